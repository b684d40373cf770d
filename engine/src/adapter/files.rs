//! An adapter's two files, opened together, and what tells them from other files.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::HostAdapter;
use super::load::{BaseTensors, load};
use super::peft::{CONFIG_BYTES_MAX, CONFIG_FILE, PeftConfig};
use super::roots::{Inside, Roots};
use super::tensors::{TENSORS_FILE, TensorFile};
use crate::error::Error;
use crate::model::Sites;

/// What people have instead of safetensors.
const PICKLES: [&str; 3] = ["adapter_model.bin", "adapter_model.pt", "adapter_model.pth"];

/// Which files an adapter was read from: device, inode, length, and the time of the last write, of both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    config: [u64; 5],
    tensors: [u64; 5],
}

impl Stamp {
    fn of(config: &Inside, tensors_path: &Path, tensors: &File) -> Result<Self, Error> {
        Ok(Self { config: of_file(&config.path, &config.file)?, tensors: of_file(tensors_path, tensors)? })
    }
}

/// Both files of an adapter, open.
#[derive(Debug)]
pub(super) struct AdapterFiles {
    config: PeftConfig,
    config_file: Inside,
    tensors: Inside,
    stamp: Stamp,
}

impl AdapterFiles {
    /// Opens both, and reads the configuration.
    pub(super) fn open(roots: &Roots, folder: &Path) -> Result<Self, Error> {
        let config_file = roots.open(folder, CONFIG_FILE)?;
        let tensors = roots.open(folder, TENSORS_FILE).map_err(|e| explain_pickle(roots, folder, e))?;
        let stamp = Stamp::of(&config_file, &tensors.path, &tensors.file)?;
        // The folder may have been exchanged between the two: then the first one is another file by now.
        let again = roots.open(folder, CONFIG_FILE)?;
        if of_file(&again.path, &again.file)? != stamp.config {
            return Err(changing(folder));
        }
        let bytes = read_config(&config_file)?;
        let config = PeftConfig::parse(&config_file.path, &bytes)?;
        Ok(Self { config, config_file, tensors, stamp })
    }

    /// The configuration.
    pub(super) const fn config(&self) -> &PeftConfig {
        &self.config
    }

    /// Which files these are.
    pub(super) const fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// Loads the adapter. A file that is written to meanwhile is noticed, and the adapter is not loaded.
    pub(super) fn load(self, sites: &Sites, base: &dyn BaseTensors) -> Result<HostAdapter, Error> {
        let tensors = TensorFile::open(&self.tensors.path, self.tensors.file)?;
        let adapter = load(&self.config, &tensors, sites, base)?;
        if self.stamp != Stamp::of(&self.config_file, tensors.path(), tensors.file())? {
            return Err(changing(tensors.path()));
        }
        Ok(adapter)
    }
}

fn of_file(path: &Path, file: &File) -> Result<[u64; 5], Error> {
    let data = file.metadata().map_err(|source| Error::File { path: path.to_owned(), source })?;
    Ok([data.dev(), data.ino(), data.len(), data.mtime().cast_unsigned(), data.mtime_nsec().cast_unsigned()])
}

fn changing(path: &Path) -> Error {
    Error::Malformed { path: path.to_owned(), reason: "it changed while it was read; try again".to_owned() }
}

fn read_config(Inside { path, file }: &Inside) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    // One byte more than there may be says that there are too many.
    match file.take(CONFIG_BYTES_MAX + 1).read_to_end(&mut bytes) {
        Err(source) => Err(Error::File { path: path.clone(), source }),
        Ok(len) if len as u64 > CONFIG_BYTES_MAX => {
            let reason = format!("it has more than {CONFIG_BYTES_MAX} bytes");
            Err(Error::Malformed { path: path.clone(), reason })
        }
        Ok(_) => Ok(bytes),
    }
}

/// A missing file has another reason where a pickle lies in its place.
fn explain_pickle(roots: &Roots, folder: &Path, missing: Error) -> Error {
    let is_missing = matches!(&missing, Error::File { source, .. } if source.kind() == ErrorKind::NotFound);
    let pickle = PICKLES.iter().find_map(|name| if is_missing { roots.open(folder, name).ok() } else { None });
    let Some(Inside { path, .. }) = pickle else { return missing };
    let reason =
        format!("it is a pickle, and whoever reads one runs the code in it; save the adapter as {TENSORS_FILE}");
    Error::Malformed { path, reason }
}
