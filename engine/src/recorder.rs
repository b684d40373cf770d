//! All that the engine knows of a ledger: steps are appended, and later it hears that they are durable.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use loam_ledger_core::Hash;
use loam_ledger_core::row::{Finish, Pair, Tokens};
use thiserror::Error as ThisError;

/// Keeps what the engine did. The engine calls it from one thread.
///
/// Rows of a step name it by its sequence, so [`Recorder::sequence`] says beforehand which one the next step will have.
pub trait Recorder: Send {
    /// A request was taken in; its rows will carry the key. Where the record has a public name for it, by which its
    /// receipt is asked for, that comes too.
    fn begin(&mut self, request: &RequestFacts) -> Result<(Key, Option<Hash>), NotBegun>;

    /// Which sequence the next step will have.
    fn sequence(&mut self) -> Result<u64, RecordFailed>;

    /// Appends a step. It does not wait for the disk: `done` is called once, from any thread, when the step is durable
    /// or can never be; in the order of steps. Where it is dropped uncalled, the record counts as failed. No step has more
    /// rows than an entry holds ([`ROWS_MAX`](loam_ledger_core::entry::ROWS_MAX)).
    fn append(&mut self, step: StepRecord, done: Acknowledge) -> Result<(), RecordFailed>;

    /// No step will follow; nothing is open.
    fn stop(&mut self) -> Result<(), RecordFailed>;
}

/// What hears of a step's fate.
pub type Acknowledge = Box<dyn FnOnce(Result<Recorded, RecordFailed>) + Send>;

/// A request's name within one recorder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub u64);

/// Where a step is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Its place in the log.
    pub index: u64,
}

/// The record failed, and nothing can be kept any more: what runs must end.
#[derive(Clone, Debug, PartialEq, Eq, ThisError)]
#[error("the ledger failed: {reason}; the process must be started again")]
pub struct RecordFailed {
    /// What the ledger says.
    pub reason: String,
}

/// Why a request's record was not begun.
#[derive(Clone, Debug, PartialEq, Eq, ThisError)]
pub enum NotBegun {
    /// Not now, as where the disk is nearly full. What runs is not concerned, and the refusal lifts by itself.
    #[error("the ledger takes no new requests for now: {reason}")]
    Refused {
        /// What the ledger says.
        reason: String,
    },
    /// Never again.
    #[error(transparent)]
    Failed(#[from] RecordFailed),
}

/// What a record says of a request when it begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestFacts {
    /// What the client chose, so that no receipt of its serves anybody else.
    pub client_nonce: Option<[u8; 32]>,
    /// Who pays.
    pub tenant: String,
    /// The request's bytes as they were received.
    pub request_bytes: Arc<[u8]>,
}

/// One token batch, and the rows that are due with it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepRecord {
    /// Prompt tokens computed for the first time.
    pub prefilled_tokens: u64,
    /// Tokens sampled and kept.
    pub emitted_tokens: u64,
    /// Requests with tokens not yet in a row, after these rows.
    pub open_requests: u64,
    /// The rows.
    pub rows: Vec<RowRecord>,
}

/// One row, before anything in it is hidden.
#[derive(Clone, Debug, PartialEq)]
pub enum RowRecord {
    /// Some steps of one answer.
    Usage(UsageRecord),
    /// A whole answer.
    Completion(Box<CompletionRecord>),
}

impl RowRecord {
    /// The request that it belongs to.
    pub fn request(&self) -> Key {
        match self {
            Self::Usage(usage) => usage.request,
            Self::Completion(completion) => completion.request,
        }
    }
}

/// What an answer used from one step to another.
#[derive(Clone, Debug, PartialEq)]
pub struct UsageRecord {
    /// The request.
    pub request: Key,
    /// Which of its answers, from 0.
    pub choice: u32,
    /// The adapters, in order of generation.
    pub pairs: Vec<Pair>,
    /// The first step that the row counts.
    pub first_sequence: u64,
    /// The last one.
    pub last_sequence: u64,
    /// The tokens.
    pub tokens: Tokens,
}

/// What an answer came to.
#[derive(Clone, Debug, PartialEq)]
pub struct CompletionRecord {
    /// The request.
    pub request: Key,
    /// Which of its answers, from 0.
    pub choice: u32,
    /// Whether it is the request's last, so that nothing of it follows.
    pub last_of_request: bool,
    /// The adapters, in order of generation.
    pub pairs: Vec<Pair>,
    /// The first step that worked on it, and the last; none where no step ever did.
    pub steps: Option<(u64, u64)>,
    /// The tokens: the sums over its usage rows.
    pub tokens: Tokens,
    /// Tokens of those emitted that were released to the client.
    pub delivered_tokens: u64,
    /// Why it ended.
    pub finish: Finish,
    /// The rendered prompt.
    pub prompt: Arc<[u32]>,
    /// The text delivered.
    pub text: String,
    /// The tokens delivered.
    pub output: Vec<u32>,
    /// Sampling parameters, seed, data type and mode.
    pub sampling: Arc<[u8]>,
}

impl CompletionRecord {
    /// The adapters' generations.
    pub fn generations(&self) -> impl Iterator<Item = Hash> + '_ {
        self.pairs.iter().map(|pair| pair.generation)
    }
}

/// A recorder that keeps everything in memory, or, where told so, nothing but numbers.
#[derive(Default)]
pub struct MemoryRecorder {
    kept: Option<Arc<Mutex<Vec<StepRecord>>>>,
    requests: u64,
    steps: u64,
    open: HashSet<Key>,
}

impl MemoryRecorder {
    /// A recorder, and what it keeps.
    pub fn keeping() -> (Self, Arc<Mutex<Vec<StepRecord>>>) {
        let kept = Arc::new(Mutex::new(Vec::new()));
        (Self { kept: Some(Arc::clone(&kept)), ..Self::default() }, kept)
    }
}

impl Recorder for MemoryRecorder {
    fn begin(&mut self, _: &RequestFacts) -> Result<(Key, Option<Hash>), NotBegun> {
        self.requests += 1;
        self.open.insert(Key(self.requests));
        Ok((Key(self.requests), None))
    }

    fn sequence(&mut self) -> Result<u64, RecordFailed> {
        Ok(self.steps + 1)
    }

    fn append(&mut self, step: StepRecord, done: Acknowledge) -> Result<(), RecordFailed> {
        self.steps += 1;
        for row in &step.rows {
            if let RowRecord::Completion(completion) = row
                && completion.last_of_request
            {
                self.open.remove(&completion.request);
            }
        }
        if let Some(kept) = &self.kept {
            kept.lock().unwrap_or_else(PoisonError::into_inner).push(step);
        }
        done(Ok(Recorded { index: self.steps }));
        Ok(())
    }

    fn stop(&mut self) -> Result<(), RecordFailed> {
        let open = self.open.len();
        if open == 0 { Ok(()) } else { Err(RecordFailed { reason: format!("{open} requests are still open") }) }
    }
}
