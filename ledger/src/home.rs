//! Where a ledger lies: a folder on disk, or a disk in memory.
//!
//! ```text
//! DIR/store/            RocksDB: entries, tiles, encrypted rows, heads, checkpoints
//! DIR/floor             how large each open log was at the last acknowledgement; better on another device
//! DIR/secrets/slots     one secret for each request; in no snapshot and no export
//! DIR/keys/*.key        one private key for each log
//! ```

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

    /// Makes the folder and those in it. It may be there, if it is empty.
    pub fn make(&self) -> Result<(), Error> {
        let io = |e| Error::io(&self.folder, &e);
        std::fs::create_dir_all(&self.folder).map_err(io)?;
        if std::fs::read_dir(&self.folder).map_err(io)?.next().is_some() {
            return Err(Error::NotEmpty { path: self.folder.display().to_string() });
        }
        for name in ["keys", "secrets"] {
            let path = self.folder.join(name);
            std::os::unix::fs::DirBuilderExt::mode(&mut std::fs::DirBuilder::new(), 0o700)
                .create(&path)
                .map_err(|e| Error::io(&path, &e))?;
        }
        sync_folder(&self.folder)?;
        self.folder.parent().filter(|above| !above.as_os_str().is_empty()).map_or(Ok(()), sync_folder)
    }

    fn path(&self, which: Plain) -> PathBuf {
        match which {
            Plain::Floor => self.floor.clone(),
            Plain::Slots => self.folder.join("secrets").join("slots"),
        }
    }
}

impl Home for Folder {
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

/// A disk in memory, with keys beside it.
#[derive(Clone, Default)]
pub struct MemoryHome {
    /// The store and the files.
    pub disk: MemoryDisk,
    /// The keys, which never fail.
    pub keys: Arc<MemoryKeys>,
}

impl Home for MemoryHome {
    fn store(&self, _access: Access) -> Result<Arc<dyn Store>, Error> {
        Ok(Arc::new(self.disk.store()))
    }

    fn file(&self, which: Plain, _access: Access) -> Result<Option<Box<dyn PlainFile>>, Error> {
        Ok(Some(Box::new(self.disk.file(match which {
            Plain::Floor => "floor",
            Plain::Slots => "slots",
        }))))
    }

    fn keys(&self) -> Arc<dyn Keys> {
        Arc::new(Arc::clone(&self.keys))
    }
}
