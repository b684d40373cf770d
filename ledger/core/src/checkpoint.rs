//! Checkpoints (C2SP tlog-checkpoint): a log's name, size and root, signed.

use crate::error::Error;
use crate::hash::Hash;
use crate::note::{Note, SigningKey, VerifierKey};
use crate::text::{base64_encode, base64_hash, decimal};

/// What a log commits to at one size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's name, which is also its key's.
    pub origin: String,
    /// Entries in the log.
    pub size: u64,
    /// The tree's root over them.
    pub root: Hash,
}

impl Checkpoint {
    /// The text that is signed.
    pub fn to_text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, base64_encode(&self.root.0))
    }

    /// Reads the text. Extension lines are refused: witnesses do not cover them, and no Loam log writes any.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut lines = text.strip_suffix('\n').ok_or(Error::CheckpointShape)?.split('\n');
        let (Some(origin), Some(size), Some(root), None) = (lines.next(), lines.next(), lines.next(), lines.next())
        else {
            return Err(Error::CheckpointShape);
        };
        if origin.is_empty() {
            return Err(Error::CheckpointShape);
        }
        let checkpoint = Self { origin: origin.to_owned(), size: decimal(size)?, root: base64_hash(root)? };
        if checkpoint.size == 0 && checkpoint.root != Hash::EMPTY_TREE {
            return Err(Error::CheckpointEmptyRoot);
        }
        Ok(checkpoint)
    }

    /// Signs the checkpoint with its log's key.
    pub fn sign(&self, key: &SigningKey) -> Result<Vec<u8>, Error> {
        self.named_as(key.verifier())?;
        Ok(key.sign_note(&self.to_text()))
    }

    /// Opens a note that this log's key must have signed, under the log's own name.
    pub fn open(note: &[u8], key: &VerifierKey) -> Result<Self, Error> {
        Self::open_parsed(&Note::parse(note)?, key)
    }

    /// Opens a note that is already taken apart.
    pub fn open_parsed(note: &Note, key: &VerifierKey) -> Result<Self, Error> {
        note.signed_by(key)?;
        let checkpoint = Self::parse(note.text())?;
        checkpoint.named_as(key)?;
        Ok(checkpoint)
    }

    fn named_as(&self, key: &VerifierKey) -> Result<(), Error> {
        if self.origin == key.name() {
            Ok(())
        } else {
            Err(Error::Origin { origin: self.origin.clone(), key: key.name().to_owned() })
        }
    }
}
