//! Files of an export, and those that the caller names: read whole, up to a limit, and never from outside the folder.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use loam_ledger_core::audit::{Files, ReadError};

/// The largest file of an export that is read; a bundle of 256 entries has a few megabytes of rows at most.
const EXPORT_FILE_BYTES_MAX: u64 = 1 << 30;

/// Names in one folder that are looked at.
const NAMES_MAX: usize = 1 << 20;

/// A folder that holds an export.
pub(crate) struct Export {
    /// Without links, so that what lies below can be told from what does not.
    root: PathBuf,
}

impl Export {
    /// Opens a folder.
    pub(crate) fn open(folder: &Path) -> anyhow::Result<Self> {
        let root = folder.canonicalize().map_err(|e| {
            let why = why(read_error(&e));
            anyhow::anyhow!("cannot read {}: {why}", folder.display())
        })?;
        anyhow::ensure!(root.is_dir(), "{} is not a folder", folder.display());
        Ok(Self { root })
    }

    /// Whether there is anything of this name.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.root.join(path).exists()
    }

    /// Opens a folder of this one, as the export of one log among others.
    pub(crate) fn folder(&self, path: &str) -> anyhow::Result<Self> {
        match self.find(path) {
            Ok(root) if root.is_dir() => Ok(Self { root }),
            Ok(_) => anyhow::bail!("{path} is not a folder"),
            Err(error) => anyhow::bail!("cannot read {path}: {}", why(error)),
        }
    }

    /// A file without which there is nothing to look at.
    pub(crate) fn must_read(&self, path: &str) -> anyhow::Result<Vec<u8>> {
        self.read(path).map_err(|error| anyhow::anyhow!("cannot read {path}: {}", why(error)))
    }

    fn find(&self, path: &str) -> Result<PathBuf, ReadError> {
        let found = self.root.join(path).canonicalize().map_err(|e| read_error(&e))?;
        if found.starts_with(&self.root) {
            Ok(found)
        } else {
            Err(ReadError::Failed("it is a link that leaves the folder".to_owned()))
        }
    }
}

impl Files for Export {
    fn read(&self, path: &str) -> Result<Vec<u8>, ReadError> {
        read_whole(&self.find(path)?, EXPORT_FILE_BYTES_MAX)
    }

    fn list(&self, folder: &str) -> Result<Vec<String>, ReadError> {
        let found = match self.find(folder) {
            Err(ReadError::Missing) => return Ok(Vec::new()),
            found => found?,
        };
        if !found.is_dir() {
            return Err(ReadError::Failed("it is there, and is no folder".to_owned()));
        }
        let mut names = Vec::new();
        for item in fs::read_dir(found).map_err(|e| read_error(&e))? {
            let name = item.map_err(|e| read_error(&e))?.file_name();
            if names.len() == NAMES_MAX {
                return Err(ReadError::Failed(format!("more than {NAMES_MAX} files in one folder")));
            }
            names.push(name.to_string_lossy().into_owned());
        }
        Ok(names)
    }
}

/// Reads a file that the caller named.
pub(crate) fn read_named(path: &Path, bytes_max: u64) -> anyhow::Result<Vec<u8>> {
    read_whole(path, bytes_max).map_err(|error| anyhow::anyhow!("cannot read {}: {}", path.display(), why(error)))
}

fn why(error: ReadError) -> String {
    match error {
        ReadError::Missing => "it is not there".to_owned(),
        ReadError::Failed(why) => why,
    }
}

fn read_whole(path: &Path, bytes_max: u64) -> Result<Vec<u8>, ReadError> {
    // A pipe or a device is not even opened: that alone could wait for ever.
    let known = fs::metadata(path).map_err(|e| read_error(&e))?;
    if !known.is_file() {
        return Err(ReadError::Failed("it is not a file".to_owned()));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(known.len().min(bytes_max)).unwrap_or_default());
    let file = File::open(path).map_err(|e| read_error(&e))?;
    // One byte more than may be there, so that a file which grows meanwhile is seen to be too large.
    file.take(bytes_max + 1).read_to_end(&mut bytes).map_err(|e| read_error(&e))?;
    if bytes.len() as u64 > bytes_max {
        return Err(ReadError::Failed(format!("it is larger than {bytes_max} bytes")));
    }
    Ok(bytes)
}

fn read_error(error: &io::Error) -> ReadError {
    match error.kind() {
        // A file where a folder belongs, or a name that no file can have: what should be there is not.
        io::ErrorKind::NotFound
        | io::ErrorKind::NotADirectory
        | io::ErrorKind::InvalidInput
        | io::ErrorKind::InvalidFilename => ReadError::Missing,
        _ => ReadError::Failed(error.to_string()),
    }
}
