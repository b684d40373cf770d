//! Read-only mapped files.

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};

use memmap2::{Mmap, MmapMut};

use crate::error::Error;

/// A file of weights, mapped. Pages come from disk when they are first read, and are shared with other processes.
///
/// A file must not change while it is mapped: reading what was cut off ends a process by a signal. So the length is
/// asked for again before each operation that reads, and a shorter file is an error; what is left to chance is a cut
/// within that one operation. Who cannot keep others from writing to the file loads a copy with [`Mapped::read`], which
/// also lies in large pages: it is read about a fifth faster.
#[derive(Debug)]
pub struct Mapped {
    path: PathBuf,
    /// The file of a mapping; a copy needs none.
    file: Option<File>,
    bytes: Bytes,
}

#[derive(Debug)]
enum Bytes {
    Mapped(Mmap),
    Copied(MmapMut),
    Empty,
}

impl Mapped {
    /// Maps a file.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::File { path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        // SAFETY: the bytes are only read, through `bytes`, which is documented to need a file that does not change; an
        // operation asks `unchanged` first, as above.
        let map = unsafe { Mmap::map(&file) }.map_err(failed)?;
        Ok(Self { path: path.to_owned(), file: Some(file), bytes: Bytes::Mapped(map) })
    }

    /// Copies a file to memory: slower to start, faster to read, and immune to what happens to the file later.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::File { path: path.to_owned(), source };
        let mut file = File::open(path).map_err(failed)?;
        let bytes = file.metadata().map_err(failed)?.len() as usize;
        if bytes == 0 {
            return Ok(Self { path: path.to_owned(), file: None, bytes: Bytes::Empty });
        }
        let mut copy = large(bytes).ok_or(Error::OutOfMemory { what: "a copy of a file", bytes })?;
        file.read_exact(&mut copy).map_err(failed)?;
        Ok(Self { path: path.to_owned(), file: None, bytes: Bytes::Copied(copy) })
    }

    /// Where the file was found.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All bytes.
    pub fn bytes(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Mapped(map) => map,
            Bytes::Copied(copy) => copy,
            Bytes::Empty => &[],
        }
    }

    /// The first byte, for who keeps the file and does its own looking.
    pub(crate) fn start(&self) -> *const u8 {
        self.bytes().as_ptr()
    }

    /// Some bytes; refused where the file does not have them.
    pub fn range(&self, range: Range<u64>) -> Result<&[u8], Error> {
        self.unchanged()?;
        let len = self.bytes().len() as u64;
        if range.start > range.end || range.end > len {
            return Err(Error::FileRange { path: self.path.clone(), from: range.start, to: range.end, len });
        }
        Ok(&self.bytes()[range.start as usize..range.end as usize])
    }

    /// Refuses a file that was cut short since it was mapped.
    pub fn unchanged(&self) -> Result<(), Error> {
        let Some(file) = &self.file else { return Ok(()) };
        let held = self.bytes().len() as u64;
        let now = file.metadata().map_err(|source| Error::File { path: self.path.clone(), source })?;
        if now.len() < held {
            return Err(Error::FileShrank { path: self.path.clone(), held, found: now.len() });
        }
        Ok(())
    }
}

/// Zeroed pages of memory, large ones where the system has them; none where there is no room.
pub(crate) fn large(bytes: usize) -> Option<MmapMut> {
    let pages = MmapMut::map_anon(bytes).ok()?;
    #[cfg(target_os = "linux")]
    if pages.advise(memmap2::Advice::HugePage).is_err() {
        // A system without large pages serves as well, a little slower.
    }
    Some(pages)
}
