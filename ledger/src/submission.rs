//! What goes to the committer: an entry made whole, its rows sealed, and who wants to hear of it.

use std::sync::Arc;

use loam_ledger_core::Hash;
use loam_ledger_core::entry::Entry;
use loam_ledger_core::hash::leaf_hash;
use loam_ledger_core::origin::LogId;

use crate::engines::Rowed;
use crate::error::Error;
use crate::request::Request;

/// When an append is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Synced, its index fixed, and part of the tree.
    Durable,
    /// Covered by a signed checkpoint that is itself on disk.
    Published,
}

/// An entry that is in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Which log.
    pub log: LogId,
    /// Its place there, for ever.
    pub index: u64,
    /// Its leaf hash.
    pub leaf: Hash,
}

/// Called once an append reached its level, or was refused. It runs on the ledger's own threads, so it must be quick,
/// and must neither append, publish, erase nor drop the ledger; where it panics, the ledger fails.
pub type Acknowledge = Box<dyn FnOnce(Result<Committed, Error>) + Send>;

/// An entry with its rows, ready to be appended. Appending it again tells where it lies.
#[derive(Clone, Debug)]
pub struct Prepared {
    pub(crate) entry: Entry,
    pub(crate) bytes: Vec<u8>,
    pub(crate) leaf: Hash,
    /// The rows as one stored value; empty where there are none.
    pub(crate) rows: Vec<u8>,
    pub(crate) rowed: Rowed,
    /// The first slot that these rows do not use.
    pub(crate) slots_below: u64,
    pub(crate) begun: Vec<Begun>,
    pub(crate) answers: Vec<AnswerMark>,
    /// The requests of the rows, held against erasing until the rows are durable.
    pub(crate) requests: Vec<Arc<Request>>,
}

/// A request whose first row this is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Begun {
    pub(crate) request: Hash,
    pub(crate) slot: u64,
    pub(crate) masked_nonce: Option<[u8; 32]>,
}

/// An answer that begins or ends here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AnswerMark {
    pub(crate) request: Hash,
    pub(crate) choice: u32,
    /// The number of its completion row, where it ends.
    pub(crate) completed: Option<u32>,
}

impl Prepared {
    /// An entry without rows.
    pub(crate) fn new(entry: Entry) -> Self {
        let bytes = entry.encode();
        Self {
            leaf: leaf_hash(&bytes),
            entry,
            bytes,
            rows: Vec::new(),
            rowed: Rowed::default(),
            slots_below: 0,
            begun: Vec::new(),
            answers: Vec::new(),
            requests: Vec::new(),
        }
    }

    /// The entry's bytes.
    pub fn entry_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The entry's leaf hash.
    pub fn leaf(&self) -> Hash {
        self.leaf
    }

    /// Bytes that it takes in the queue.
    pub(crate) fn weight(&self) -> usize {
        self.bytes.len() + self.rows.len() + 128 * (1 + self.begun.len() + self.answers.len() + self.requests.len() / 8)
    }
}
