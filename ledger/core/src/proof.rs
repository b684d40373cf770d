//! Inclusion proofs in a file (C2SP tlog-proof): a path, an index and the checkpoint that it leads to.

use crate::checkpoint::Checkpoint;
use crate::error::Error;
use crate::hash::Hash;
use crate::note::{Note, VerifierKey};
use crate::text::{base64_decode, base64_encode, base64_hash, decimal};
use crate::tree::check_inclusion;

const HEADER: &str = "c2sp.org/tlog-proof@v1";

/// Hashes that a path can have: one for each bit of an index.
const PATH_MAX: usize = 64;

/// A proof as it came: nothing is verified before [`Proof::check`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// Bytes for the application, which nothing in the proof itself vouches for.
    pub extra: Option<Vec<u8>>,
    /// Which entry.
    pub index: u64,
    /// From the entry's sibling up to the root's child.
    pub path: Vec<Hash>,
    /// The signed checkpoint, cosignatures included.
    pub checkpoint: Vec<u8>,
}

impl Proof {
    /// Writes the file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut text = format!("{HEADER}\n");
        if let Some(extra) = &self.extra {
            text += &format!("extra {}\n", base64_encode(extra));
        }
        text += &format!("index {}\n", self.index);
        for hash in &self.path {
            text += &format!("{}\n", base64_encode(&hash.0));
        }
        text.push('\n');
        let mut bytes = text.into_bytes();
        bytes.extend_from_slice(&self.checkpoint);
        bytes
    }

    /// Reads the file.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let blank = bytes.windows(2).position(|pair| pair == b"\n\n").ok_or(Error::ProofShape)?;
        let head = core::str::from_utf8(&bytes[..blank]).map_err(|_| Error::ProofShape)?;
        let mut lines = head.split('\n');
        if lines.next() != Some(HEADER) {
            return Err(Error::ProofShape);
        }
        let mut line = lines.next().ok_or(Error::ProofShape)?;
        let mut extra = None;
        if let Some(text) = line.strip_prefix("extra ") {
            extra = Some(base64_decode(text)?);
            line = lines.next().ok_or(Error::ProofShape)?;
        }
        let index = decimal(line.strip_prefix("index ").ok_or(Error::ProofShape)?)?;
        let path = lines.map(base64_hash).collect::<Result<Vec<_>, _>>()?;
        if path.len() > PATH_MAX {
            return Err(Error::ProofTooLong);
        }
        Ok(Self { extra, index, path, checkpoint: bytes[blank + 2..].to_vec() })
    }

    /// Opens the proof's checkpoint, which `key` must have signed.
    pub fn open_checkpoint(&self, key: &VerifierKey) -> Result<Checkpoint, Error> {
        Checkpoint::open_parsed(&Note::parse(&self.checkpoint)?, key)
    }

    /// Checks that `key` signed a checkpoint whose log holds the entry with this leaf hash at the proof's index.
    pub fn check(&self, leaf: &Hash, key: &VerifierKey) -> Result<Checkpoint, Error> {
        let checkpoint = self.open_checkpoint(key)?;
        check_inclusion(self.index, checkpoint.size, leaf, &self.path, &checkpoint.root)?;
        Ok(checkpoint)
    }
}
