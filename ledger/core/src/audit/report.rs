//! What an audit says.

use core::fmt;

use crate::audit::ReadError;
use crate::hash::Hash;
use crate::origin::LogId;
use crate::registry::Registry;

/// Why an audit ended early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The export could not be read, so nothing is known.
    Unreadable {
        /// Which file.
        path: String,
        /// Why.
        why: String,
    },
    /// The export was read, and this is the first thing wrong with it.
    Invalid(Fault),
}

/// The first thing wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What kind of promise is broken.
    pub class: Class,
    /// Where.
    pub place: String,
    /// How.
    pub why: String,
}

/// Kinds of fault, in the order in which an audit can meet them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Bytes that are not in the format they should be in.
    Malformed,
    /// A signature, or the key or name behind it, is wrong.
    Signature,
    /// Too few witnesses cosigned.
    Quorum,
    /// A file that must be there is not.
    Missing,
    /// Entries, tiles and root do not belong together.
    Tree,
    /// Two signed heads are not of one growing log: a fork.
    Fork,
    /// The records log contradicts itself, or what it says of a shard.
    Records,
    /// An engine's chain of entries has a gap, a repetition or a turn back in time.
    Sequence,
    /// Rows do not lie below their entry.
    Rows,
    /// Token counts do not add up.
    Totals,
    /// More rows are erased than may be, or without a word.
    Erased,
    /// A file is not the one that the manifest lists.
    Manifest,
}

impl Class {
    /// The class in a word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Signature => "signature",
            Self::Quorum => "quorum",
            Self::Missing => "missing",
            Self::Tree => "tree",
            Self::Fork => "fork",
            Self::Records => "records",
            Self::Sequence => "sequence",
            Self::Rows => "rows",
            Self::Totals => "totals",
            Self::Erased => "erased",
            Self::Manifest => "manifest",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, why } => write!(f, "cannot read {path}: {why}"),
            Self::Invalid(Fault { class, place, why }) => write!(f, "{} fault at {place}: {why}", class.word()),
        }
    }
}

impl Failure {
    /// The same, with the log named in which it lies.
    pub(super) fn within(self, log: LogId) -> Self {
        match self {
            Self::Unreadable { path, why } => Self::Unreadable { path: format!("{log}/{path}"), why },
            Self::Invalid(Fault { class, place, why }) => {
                Self::Invalid(Fault { class, place: format!("{log}: {place}"), why })
            }
        }
    }

    pub(super) fn unreadable(path: &str, why: ReadError) -> Self {
        let why = match why {
            ReadError::Missing => "it is not there".to_owned(),
            ReadError::Failed(why) => why,
        };
        Self::Unreadable { path: path.to_owned(), why }
    }
}

/// Makes a failure of a fault.
pub(super) fn fault(class: Class, place: impl fmt::Display, why: impl fmt::Display) -> Failure {
    Failure::Invalid(Fault { class, place: place.to_string(), why: why.to_string() })
}

/// How much of the rows an export shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// None.
    Public,
    /// Some are hidden.
    Part,
    /// All that were not erased.
    All,
}

impl Scope {
    /// The scope in words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Public => "public (no rows)",
            Self::Part => "rows in part",
            Self::All => "all rows",
        }
    }
}

/// What was found of one log.
#[derive(Clone, Debug)]
pub struct LogReport {
    /// The log's origin.
    pub origin: String,
    /// Its size at the newest checkpoint.
    pub size: u64,
    /// Its root there.
    pub root: Hash,
    /// Signed checkpoints that were found consistent with each other and the entries, the newest included.
    pub checkpoints: u64,
    /// Heads that the records log holds of this shard, found consistent too.
    pub recorded_heads: u64,
    /// Tiles recomputed.
    pub tiles: u64,
    /// Files held against the manifest.
    pub manifest_files: u64,
    /// Engines whose chains were followed.
    pub engines: u64,
    /// Boots of these engines.
    pub boots: u64,
    /// Boots that found their predecessor cut off.
    pub crashes: u64,
    /// Prompt tokens that entries count.
    pub prefilled_tokens: u64,
    /// Emitted tokens that entries count.
    pub emitted_tokens: u64,
    /// How much of the rows was shown.
    pub scope: Scope,
    /// Rows that entries have.
    pub rows: u64,
    /// Rows in clear, checked.
    pub rows_open: u64,
    /// Rows that nobody can open any more.
    pub rows_erased: u64,
    /// Rows of this shard that the records log says were erased; none where the records log is not at hand.
    pub rows_announced_erased: u64,
    /// Completion rows whose sums were checked against usage rows.
    pub completions: u64,
    /// Signed records of a records log, the void ones included.
    pub records: u64,
    /// Those that break a rule, and so change nothing.
    pub records_void: u64,
    /// The first of these, each with its place and the rule.
    pub void_records: Vec<String>,
    /// Shards that this records log opened and that are not in the export.
    pub shards_absent: u64,
    /// What this export's scope could not check.
    pub unchecked: Vec<String>,
}

impl LogReport {
    pub(super) fn new(origin: String, size: u64, root: Hash) -> Self {
        Self {
            origin,
            size,
            root,
            checkpoints: 0,
            recorded_heads: 0,
            tiles: 0,
            manifest_files: 0,
            engines: 0,
            boots: 0,
            crashes: 0,
            prefilled_tokens: 0,
            emitted_tokens: 0,
            scope: Scope::Public,
            rows: 0,
            rows_open: 0,
            rows_erased: 0,
            rows_announced_erased: 0,
            completions: 0,
            records: 0,
            records_void: 0,
            void_records: Vec::new(),
            shards_absent: 0,
            unchecked: Vec::new(),
        }
    }
}

/// What was found of a whole ledger.
#[derive(Clone, Debug)]
pub struct LedgerReport {
    /// The records log first, then each usage shard.
    pub logs: Vec<(LogId, LogReport)>,
    /// What the records log came to.
    pub registry: Registry,
}
