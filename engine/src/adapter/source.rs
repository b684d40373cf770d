//! Where an adapter comes from.

use std::fmt;
use std::path::PathBuf;

use super::dummy::{Dummy, SCHEME};
use crate::error::Error;

/// Where an adapter comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// A folder with the files that PEFT saves.
    Folder(PathBuf),
    /// A seed.
    Dummy(Dummy),
}

impl Source {
    /// Reads its text: a path, or `dummy:SEED[:RANK[:TARGETS]]`.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.starts_with(SCHEME) {
            return Dummy::parse(text).map(Self::Dummy);
        }
        if text.is_empty() || text.contains('\0') {
            return Err(Error::Request { field: "source", found: format!("{text:?}"), allowed: "a folder".to_owned() });
        }
        Ok(Self::Folder(PathBuf::from(text)))
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => path.display().fmt(f),
            Self::Dummy(dummy) => dummy.fmt(f),
        }
    }
}
