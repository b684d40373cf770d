//! Plain files on disk, and the steps that make a new file or name survive a power cut.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::store::PlainFile;

/// A file that is written in place.
pub(crate) struct DiskFile {
    file: File,
    path: PathBuf,
}

impl DiskFile {
    /// Makes a new file that only its owner may read, and its name last.
    pub(crate) fn create(path: &Path) -> Result<Self, Error> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path);
        let file = Self { file: file.map_err(|e| Error::io(path, &e))?, path: path.to_owned() };
        sync_folder(path.parent().unwrap_or(Path::new(".")))?;
        Ok(file)
    }

    /// Opens a file that must be there.
    pub(crate) fn open(path: &Path, write: bool) -> Result<Self, Error> {
        let file = OpenOptions::new().read(true).write(write).open(path).map_err(|e| Error::io(path, &e))?;
        Ok(Self { file, path: path.to_owned() })
    }
}

impl PlainFile for DiskFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, Error> {
        let mut read = 0;
        while read < buffer.len() {
            let more = self.file.read_at(&mut buffer[read..], offset + read as u64);
            match more.map_err(|e| Error::io(&self.path, &e))? {
                0 => break,
                more => read += more,
            }
        }
        Ok(read)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        self.file.write_all_at(bytes, offset).map_err(|e| Error::io(&self.path, &e))
    }

    fn sync(&self) -> Result<(), Error> {
        self.file.sync_data().map_err(|e| Error::io(&self.path, &e))
    }

    fn length(&self) -> Result<u64, Error> {
        Ok(self.file.metadata().map_err(|e| Error::io(&self.path, &e))?.len())
    }
}

/// Makes the names in a folder survive.
pub(crate) fn sync_folder(folder: &Path) -> Result<(), Error> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|e| Error::io(folder, &e))
}

/// Writes a new file that only its owner may read, content and name made to survive.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    // Under another name first: a file that was cut short must not be taken for the whole one.
    let unfinished = path.with_extension("new");
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished);
    let written = file.and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
    written.and_then(|()| std::fs::rename(&unfinished, path)).map_err(|e| Error::io(path, &e))?;
    sync_folder(path.parent().unwrap_or(Path::new(".")))
}
