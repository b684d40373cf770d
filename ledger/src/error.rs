//! Errors of keeping a ledger: what was refused, what could not be opened, what failed for good.

use loam_ledger_core::origin::LogId;
use loam_ledger_core::text::hex_encode;
use thiserror::Error as ThisError;

/// Why a ledger did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, ThisError)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each variant's message is its documentation")]
pub enum Error {
    // Refused: nothing was written, and the ledger goes on.
    #[error("engine {} is at sequence {expected}, so {found} leaves a gap", hex_encode(.engine))]
    Gap { engine: [u8; 16], expected: u64, found: u64 },
    #[error("engine {} wrote something else at sequence {sequence} of that boot", hex_encode(.engine))]
    Conflict { engine: [u8; 16], sequence: u64 },
    #[error("engine {} is beyond sequence {sequence}, which is too long ago to say where it lies", hex_encode(.engine))]
    ReplayTooOld { engine: [u8; 16], sequence: u64 },
    #[error("engine {} has no boot {} that is running", hex_encode(.engine), hex_encode(.boot))]
    UnknownBoot { engine: [u8; 16], boot: [u8; 16] },
    #[error(
        "{name:?} is no name for a ledger; it can be like example.org/a, with something before and after each slash"
    )]
    LedgerName { name: String },
    #[error("boot id {} was used before: draw a new one", hex_encode(.boot))]
    BootAgain { boot: [u8; 16] },
    #[error("the entry does not follow engine {}'s last one: {what}", hex_encode(.engine))]
    Chain { engine: [u8; 16], what: &'static str },
    #[error("rows count more tokens than their entries do")]
    RowsExceedEntries,
    #[error("no request is open, yet rows and entries count different tokens")]
    TotalsDisagree,
    #[error("{rows} rows in one step are too many: {max} is the most")]
    TooManyRows { rows: usize, max: u32 },
    #[error("a row names another request than the one whose secret hides it")]
    RowOfAnotherRequest,
    #[error("a row's request was begun in another ledger, or in this one before it was opened anew")]
    ForeignRequest,
    #[error("a row that no auditor would accept: {what}")]
    Row { what: &'static str },
    #[error("the queue is full: try again when some of it is written")]
    Busy,
    #[error("{free} bytes are free, below the reserve of {reserve}: nothing is taken until there is room again")]
    LowSpace { free: u64, reserve: u64 },
    #[error("the ledger is open for reading only: {why}")]
    ReadOnly { why: String },
    #[error("the ledger is closed")]
    Closed,
    #[error("no request of this name is known here")]
    UnknownRequest,
    #[error("the request has no completion row, or not of that answer")]
    NotCompleted,
    #[error("the request's rows are erased: they can be proven to exist, but not opened")]
    Erased,
    #[error("the request still runs: erase it when it has ended")]
    StillOpen,
    #[error(
        "what was erased since the last epoch was closed, by the same adapters and prices, would come to more than 64 bits \
         hold: close the epoch with `loam epoch close`, then erase again"
    )]
    ErasedFull,
    #[error("the secrets of these rows are not here: they can be proven to exist, but not opened")]
    SecretMissing,
    #[error("{log} has {size} entries, so there is no number {index}")]
    NotInLog { log: LogId, index: u64, size: u64 },
    #[error("{log} has {size} entries, so none of size {asked} was ever signed")]
    NotThatLarge { log: LogId, asked: u64, size: u64 },
    #[error("there is no log {log} here")]
    UnknownLog { log: LogId },
    #[error("{log} has no signed checkpoint of size {size} or more, and none can be signed: {why}")]
    NotPublished { log: LogId, size: u64, why: String },
    #[error(
        "entry {index} of records says that rows were erased, and records is signed at {signed} only, so that an export would \
         have rows erased without a word: a running server signs it in a moment; where none runs, the same `loam ledger \
         erase` once more does"
    )]
    ErasureUnsigned { index: u64, signed: u64 },

    // Records.
    #[error(transparent)]
    Refused(#[from] loam_ledger_core::registry::Refusal),
    #[error("{what}")]
    Offer { what: String },
    #[error("the operations under root {root} are not here, so nothing can be made of them")]
    NoList { root: loam_ledger_core::Hash },
    #[error("{what}: draft the epoch again, and close it by that draft")]
    NotDrafted { what: &'static str },

    // Not opened.
    #[error("{path} holds no ledger: make one with `loam ledger init --data {path}`")]
    NotALedger { path: String },
    #[error("{path} is not empty: name a folder that is new or empty")]
    NotEmpty { path: String },
    #[error("{path} is in use by another process: stop that process first")]
    InUse { path: String },
    #[error("the store is of format {found}, and this program knows {known}")]
    Format { found: u64, known: u64 },
    #[error("{what} is damaged: {how}; restore the folder from a snapshot, or check it with `loam ledger fsck`")]
    Damaged { what: String, how: String },

    // Failed for good.
    #[error("ledger failed: {why}; nothing more is written. Restart: what was acknowledged is there")]
    Failed { why: String },
    #[error("{path}: {why}")]
    Io { path: String, why: String },
    #[error("store: {0}")]
    Store(String),
    #[error(transparent)]
    Core(#[from] loam_ledger_core::Error),
}

impl Error {
    /// An error of the operating system, with the path that it is about.
    pub(crate) fn io(path: impl AsRef<std::path::Path>, why: &std::io::Error) -> Self {
        Self::Io { path: path.as_ref().display().to_string(), why: why.to_string() }
    }

    pub(crate) fn damaged(what: impl ToString, how: impl ToString) -> Self {
        Self::Damaged { what: what.to_string(), how: how.to_string() }
    }
}
