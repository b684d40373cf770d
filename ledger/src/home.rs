//! Where a ledger lies: a folder on disk, or a disk in memory.
//!
//! ```text
//! DIR/store/            RocksDB: entries, tiles, encrypted rows, heads, checkpoints
//! DIR/floor             how large each open log was at the last acknowledgement; better on another device
//! DIR/secrets/slots     one secret for each request; in no snapshot and no export
//! DIR/keys/*.key        one private key for each log
//! ```

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

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
    /// Begins a new ledger: a home to make it in, so that one that is cut short is never taken for whole.
    fn begin(&self) -> Result<Box<dyn Home>, Error>;

    /// Ends making: from here on the ledger is where it should be, whole, and survives.
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

    /// Whether a ledger was made here.
    pub fn holds_ledger(&self) -> bool {
        self.folder.join("store").join("CURRENT").exists()
    }

    /// Where a ledger is made before it is put in its place, floor included.
    fn unfinished(&self) -> Self {
        let aside = |path: &Path| {
            let mut name = path.as_os_str().to_owned();
            name.push(".unfinished");
            PathBuf::from(name)
        };
        let folder = aside(&self.folder);
        let inside = self.floor.strip_prefix(&self.folder).map(|name| folder.join(name));
        Self { floor: inside.unwrap_or_else(|_| aside(&self.floor)), folder }
    }

    fn path(&self, which: Plain) -> PathBuf {
        match which {
            Plain::Floor => self.floor.clone(),
            Plain::Slots => self.folder.join("secrets").join("slots"),
        }
    }
}

impl Home for Folder {
    fn begin(&self) -> Result<Box<dyn Home>, Error> {
        let io = |e| Error::io(&self.folder, &e);
        if self.folder.exists() && fs::read_dir(&self.folder).map_err(io)?.next().is_some() {
            return Err(Error::NotEmpty { path: self.folder.display().to_string() });
        }
        // What an earlier attempt left: nothing in it was ever acknowledged.
        let unfinished = self.unfinished();
        let gone = |outcome: std::io::Result<()>| match outcome {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        };
        gone(fs::remove_dir_all(&unfinished.folder))
            .and_then(|()| gone(fs::remove_file(&unfinished.floor)))
            .map_err(io)?;
        make_folder(&unfinished.folder)?;
        for name in ["keys", "secrets"] {
            make_folder(&unfinished.folder.join(name))?;
        }
        Ok(Box::new(unfinished))
    }

    fn finish(&self) -> Result<(), Error> {
        let unfinished = self.unfinished();
        let io = |e| Error::io(&self.folder, &e);
        if !self.floor.starts_with(&self.folder) {
            fs::rename(&unfinished.floor, &self.floor).map_err(io)?;
            sync_folder(self.floor.parent().unwrap_or(Path::new(".")))?;
        }
        sync_folder(&unfinished.folder)?;
        fs::rename(&unfinished.folder, &self.folder).map_err(io)?;
        sync_folder(self.folder.parent().unwrap_or(Path::new(".")))
    }

    fn store(&self, access: Access) -> Result<Arc<dyn Store>, Error> {
        let path = self.folder.join("store");
        if access != Access::Create && !self.holds_ledger() {
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
    fn begin(&self) -> Result<Box<dyn Home>, Error> {
        if self.disk.is_empty() {
            Ok(Box::new(self.clone()))
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
