//! A small ledger that tells the truth, made in memory, so that tests can look at it and make it lie.
//!
//! It is made in three steps, and a lie can be told in each: [`World`] holds what engines say of their steps; sealed,
//! it is entries and rows with all their hashes; exported, it is signed files.
#![allow(dead_code, unused_imports, reason = "each test uses the part of the world that it needs")]

mod engines;
mod export;
mod receipts;
mod requests;
mod sealed;
mod witness;

use std::collections::BTreeMap;

use loam_ledger_core::audit::{self, ReadError};
use loam_ledger_core::hash::digest;

pub(crate) use engines::{Drafted, Salted, World};
pub(crate) use export::{Grant, Log};
pub(crate) use receipts::Received;
pub(crate) use requests::Request;
pub(crate) use sealed::{Leaf, Sealed, key, origin};
pub(crate) use witness::Witness;

/// The ledger's name; its logs are `loam.test/world/records` and `loam.test/world/usage/N`.
pub(crate) const NAME: &str = "loam.test/world";

/// Files by their paths, as an export has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Files(pub(crate) BTreeMap<String, Vec<u8>>);

impl audit::Files for Files {
    fn read(&self, path: &str) -> Result<Vec<u8>, ReadError> {
        self.0.get(path).cloned().ok_or(ReadError::Missing)
    }

    fn list(&self, folder: &str) -> Result<Vec<String>, ReadError> {
        let prefix = format!("{folder}/");
        let below = self.0.keys().filter_map(|path| path.strip_prefix(&prefix));
        let mut names: Vec<String> = below.map(|path| path.split('/').next().unwrap_or_default().to_owned()).collect();
        names.dedup();
        Ok(names)
    }
}

impl Files {
    /// The file itself, to be changed.
    pub(crate) fn file(&mut self, path: &str) -> &mut Vec<u8> {
        self.0.get_mut(path).unwrap_or_else(|| panic!("the export has no {path}"))
    }

    /// The files of one folder, as if it were the top.
    pub(crate) fn below(&self, folder: &str) -> Self {
        let below = self.0.iter().filter_map(|(path, bytes)| {
            let path = path.strip_prefix(folder)?.strip_prefix('/')?;
            Some((path.to_owned(), bytes.clone()))
        });
        Self(below.collect())
    }
}

/// Chance that is the same in every run (SplitMix64).
#[derive(Clone)]
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// A place below `end`.
    pub(crate) fn at(&mut self, end: usize) -> usize {
        usize::try_from(self.below(end as u64)).expect("it is below a usize")
    }

    /// Once in so many times.
    pub(crate) fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

/// Thirty-two bytes that belong to a name and a number.
pub(crate) fn bytes32(what: &str, number: u64) -> [u8; 32] {
    digest(format!("{what} {number}").as_bytes()).0
}

/// Sixteen of them.
pub(crate) fn bytes16(what: &str, number: u64) -> [u8; 16] {
    bytes32(what, number).first_chunk().copied().expect("16 are fewer than 32")
}
