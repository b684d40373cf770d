//! Where a ledger lies: a folder on disk, or a disk in memory.
//!
//! ```text
//! DIR/store/            RocksDB: entries, tiles, encrypted rows, heads, checkpoints
//! DIR/floor             how large each open log was at the last acknowledgement; better on another device
//! DIR/secrets/slots     one secret for each request; in no snapshot and no export
//! DIR/keys/*.key        one private key for each log
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::FlockOperation;

use crate::disk::{DiskFile, sync_folder};
use crate::error::Error;
use crate::keys::{KeyFolder, Keys, MemoryKeys};
use crate::memory::MemoryDisk;
use crate::rocks::Rocks;
use crate::store::{PlainFile, Store};

/// What to do with a store or a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It must not be there yet.
    Create,
    /// It is read, and nothing in it changes.
    Read,
    /// It is read and written.
    Write,
}

/// The files beside the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plain {
    /// How large each log was at the last acknowledgement.
    Floor,
    /// The slots of the requests' secrets.
    Slots,
}

/// Where a ledger lies.
pub trait Home: Send + Sync {
    /// Begins a new ledger, which is not taken for one before [`Home::finish`]. What is returned is held meanwhile, so
    /// that nobody else makes one here.
    fn begin(&self) -> Result<Box<dyn Send>, Error>;

    /// Ends making: from here on the ledger is whole, and survives.
    fn finish(&self) -> Result<(), Error>;

    /// Opens the store.
    fn store(&self, access: Access) -> Result<Arc<dyn Store>, Error>;

    /// Opens a file; nothing where it is to be read or written and is not there.
    fn file(&self, which: Plain, access: Access) -> Result<Option<Box<dyn PlainFile>>, Error>;

    /// The logs' keys.
    fn keys(&self) -> Arc<dyn Keys>;
}

/// A folder on disk.
pub struct Folder {
    folder: PathBuf,
    floor: PathBuf,
}

impl Folder {
    /// A ledger's folder, with its floor inside unless another place is given for it.
    pub fn new(folder: &Path, floor: Option<&Path>) -> Self {
        Self { folder: folder.to_owned(), floor: floor.map_or_else(|| folder.join("floor"), Path::to_owned) }
    }

    /// Whether a ledger was made here, to its end.
    pub fn holds_ledger(&self) -> bool {
        self.folder.join("store").join("CURRENT").exists() && !self.mark().exists()
    }

    /// The mark that stands in a folder while a ledger is made in it. To remove it is the last step of making one.
    fn mark(&self) -> PathBuf {
        self.folder.join("unfinished")
    }

    /// Takes the folder for making a ledger in it: an empty one, or one whose making was cut short.
    fn claim(&self) -> Result<File, Error> {
        let (mark, io) = (self.mark(), |e| Error::io(&self.folder, &e));
        let not_empty = |path: &Path| Error::NotEmpty { path: path.display().to_string() };
        let taken = fs::read_dir(&self.folder).map_err(io)?.next().is_some();
        let opened = OpenOptions::new().read(true).write(true).create_new(!taken).open(&mark);
        let file = opened.map_err(|e| match e.kind() {
            ErrorKind::NotFound | ErrorKind::AlreadyExists => not_empty(&self.folder),
            _ => Error::io(&mark, &e),
        })?;
        let in_use = |_| Error::InUse { path: self.folder.display().to_string() };
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(in_use)?;
        // Whoever held the lock may have finished meanwhile, and this be a file that has no name any more.
        let ours = file.metadata().map_err(io)?.ino();
        if fs::metadata(&mark).map_or(true, |mark| mark.ino() != ours) {
            return Err(not_empty(&self.folder));
        }
        let mut named = String::new();
        (&file).read_to_string(&mut named).map_err(io)?;
        // What lies here is ours to remove only if the mark says so: it names the floor before anything else is made.
        let cut_short = named == self.floor.display().to_string();
        if !cut_short && fs::read_dir(&self.folder).map_err(io)?.count() > 1 {
            return Err(not_empty(&self.folder));
        }
        // So with a floor elsewhere.
        if self.floor.exists() && !cut_short {
            return Err(not_empty(&self.floor));
        }
        for name in ["store", "keys", "secrets"] {
            gone(fs::remove_dir_all(self.folder.join(name))).map_err(io)?;
        }
        gone(fs::remove_file(&self.floor)).map_err(|e| Error::io(&self.floor, &e))?;
        file.set_len(0).and_then(|()| file.write_all_at(self.floor.display().to_string().as_bytes(), 0)).map_err(io)?;
        file.sync_all().map_err(io)?;
        Ok(file)
    }

    fn path(&self, which: Plain) -> PathBuf {
        match which {
            Plain::Floor => self.floor.clone(),
            Plain::Slots => self.folder.join("secrets").join("slots"),
        }
    }
}

impl Home for Folder {
    fn begin(&self) -> Result<Box<dyn Send>, Error> {
        if !self.folder.exists() {
            make_folder(&self.folder)?;
        }
        let claim = self.claim()?;
        for name in ["keys", "secrets"] {
            make_folder(&self.folder.join(name))?;
        }
        Ok(Box::new(claim))
    }

    fn finish(&self) -> Result<(), Error> {
        sync_folder(&self.folder)?;
        fs::remove_file(self.mark()).map_err(|e| Error::io(self.mark(), &e))?;
        sync_folder(&self.folder)
    }

    fn store(&self, access: Access) -> Result<Arc<dyn Store>, Error> {
        let path = self.folder.join("store");
        let there = access == Access::Create || self.holds_ledger();
        if !there {
            return Err(Error::NotALedger { path: self.folder.display().to_string() });
        }
        Ok(match access {
            Access::Create => Arc::new(Rocks::create(&path)?),
            Access::Read => Arc::new(Rocks::open_read_only(&path)?),
            Access::Write => Arc::new(Rocks::open(&path)?),
        })
    }

    fn file(&self, which: Plain, access: Access) -> Result<Option<Box<dyn PlainFile>>, Error> {
        let path = self.path(which);
        if access == Access::Create {
            return Ok(Some(Box::new(DiskFile::create(&path)?)));
        }
        if !path.exists() {
            return Ok(None);
        }
        Ok(Some(Box::new(DiskFile::open(&path, access == Access::Write)?)))
    }

    fn keys(&self) -> Arc<dyn Keys> {
        Arc::new(KeyFolder::new(&self.folder.join("keys")))
    }
}

/// That something is not there is as good as having removed it.
fn gone(removed: std::io::Result<()>) -> std::io::Result<()> {
    match removed {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// Makes a folder that only its owner may enter, and every one above it that is missing, names made to survive.
fn make_folder(path: &Path) -> Result<(), Error> {
    let above = path.parent().unwrap_or(Path::new("."));
    if !above.as_os_str().is_empty() && !above.exists() {
        make_folder(above)?;
    }
    fs::DirBuilder::new().mode(0o700).create(path).map_err(|e| Error::io(path, &e))?;
    sync_folder(above)
}

/// A disk in memory, with keys beside it.
#[derive(Clone, Default)]
pub struct MemoryHome {
    /// The store and the files.
    pub disk: MemoryDisk,
    /// The keys, which never fail.
    pub keys: Arc<MemoryKeys>,
}

impl Home for MemoryHome {
    fn begin(&self) -> Result<Box<dyn Send>, Error> {
        if self.disk.is_empty() {
            Ok(Box::new(()))
        } else {
            Err(Error::NotEmpty { path: "this disk in memory".to_owned() })
        }
    }

    fn finish(&self) -> Result<(), Error> {
        Ok(())
    }

    fn store(&self, access: Access) -> Result<Arc<dyn Store>, Error> {
        if access != Access::Create && self.disk.is_empty() {
            return Err(Error::NotALedger { path: "this disk in memory".to_owned() });
        }
        Ok(Arc::new(self.disk.store()))
    }

    fn file(&self, which: Plain, access: Access) -> Result<Option<Box<dyn PlainFile>>, Error> {
        let name = match which {
            Plain::Floor => "floor",
            Plain::Slots => "slots",
        };
        if access != Access::Create && !self.disk.has_file(name) {
            return Ok(None);
        }
        Ok(Some(Box::new(self.disk.file(name))))
    }

    fn keys(&self) -> Arc<dyn Keys> {
        Arc::new(Arc::clone(&self.keys))
    }
}
