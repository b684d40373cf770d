//! How things stand when somebody looks.

use loam_engine::metrics::Metrics;

/// How things stand.
#[derive(Clone, Debug, Default)]
pub(crate) struct Moment {
    /// Seconds since 1970.
    pub(crate) now_seconds: f64,
    /// When the process began, in seconds since 1970.
    pub(crate) started_seconds: f64,
    /// The base model's name.
    pub(crate) model_name: String,
    /// What the engine says of itself.
    pub(crate) engine: Metrics,
    /// Pages of keys and values, all of them.
    pub(crate) pages: u32,
    /// Positions in each.
    pub(crate) page_tokens: u32,
    /// Adapters that one step can use.
    pub(crate) slots: usize,
    /// Those of them that are there. Several names may stand for one.
    pub(crate) slots_used: usize,
    /// Adapters that are resident or asked for; others may be left out.
    pub(crate) adapters: Vec<AdapterNow>,
    /// Where the record stands; none where it is off.
    pub(crate) ledger: Option<LedgerNow>,
}

/// Where an adapter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// Steps can use it; on a host without a GPU too.
    Device,
    /// It has only to be copied.
    Host,
}

/// How an adapter stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AdapterNow {
    /// Its name.
    pub(crate) name: String,
    /// Where it is; none where it would have to be read.
    pub(crate) level: Option<Level>,
    /// Whether it stays there.
    pub(crate) pinned: bool,
    /// Sequences that run with it.
    pub(crate) running: u32,
    /// Sequences that wait with it.
    pub(crate) waiting: u32,
}

/// Where the record stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LedgerNow {
    /// Entries of each log, by its name within the ledger.
    pub(crate) entries: Vec<(String, u64)>,
    /// Entries that are durable and not yet under a signed checkpoint.
    pub(crate) publish_lag_entries: u64,
    /// Steps that ran and are not yet durable.
    pub(crate) backlog_steps: u64,
    /// Bytes that can still be written.
    pub(crate) free_bytes: u64,
    /// Bytes of those below which no new request is taken.
    pub(crate) reserve_bytes: u64,
    /// Whether it failed, for good.
    pub(crate) failed: bool,
}
