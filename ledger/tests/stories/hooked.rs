//! A home whose plain files are watched, or made to fail.

use std::sync::Arc;

use loam_ledger::home::{Access, Home, Plain};
use loam_ledger::store::{PlainFile, Store};
use loam_ledger::{Error, Keys};

/// Told of every write (its offset and length) and sync of a file, before it happens.
pub(crate) type Hook = Arc<dyn Fn(Option<(u64, usize)>) -> Result<(), Error> + Send + Sync>;

/// A home whose plain files are watched, or made to fail.
pub(crate) struct Hooked<H> {
    pub(crate) inner: H,
    pub(crate) which: Plain,
    pub(crate) hook: Hook,
}

struct HookedFile {
    inner: Box<dyn PlainFile>,
    hook: Hook,
}

impl PlainFile for HookedFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, Error> {
        self.inner.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        (self.hook)(Some((offset, bytes.len())))?;
        self.inner.write_at(offset, bytes)
    }

    fn sync(&self) -> Result<(), Error> {
        (self.hook)(None)?;
        self.inner.sync()
    }

    fn length(&self) -> Result<u64, Error> {
        self.inner.length()
    }
}

impl<H: Home> Home for Hooked<H> {
    fn begin(&self) -> Result<Box<dyn Send>, Error> {
        self.inner.begin()
    }

    fn finish(&self) -> Result<(), Error> {
        self.inner.finish()
    }

    fn store(&self, access: Access) -> Result<Arc<dyn Store>, Error> {
        self.inner.store(access)
    }

    fn file(&self, which: Plain, access: Access) -> Result<Option<Box<dyn PlainFile>>, Error> {
        let file = self.inner.file(which, access)?;
        if which != self.which {
            return Ok(file);
        }
        Ok(file.map(|inner| Box::new(HookedFile { inner, hook: Arc::clone(&self.hook) }) as Box<dyn PlainFile>))
    }

    fn keys(&self) -> Arc<dyn Keys> {
        self.inner.keys()
    }
}
