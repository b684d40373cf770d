//! The audit: an export goes in, a report comes out. Everything is recomputed; nothing in the export is believed.
//!
//! * [`log`](audit_log) checks one log: signatures, every tile and root, consistency along all checkpoints, every
//!   engine's chain, and rows as far as they are granted.
//! * [`ledger`](audit_ledger) checks an export of all logs, whose shards' keys and heads the records log vouches for.
//! * [`fold_records`] and [`Rewards`] settle every closed epoch again from records and rows, and compare.
//! * [`settle_again`] does so from an export, whose rows go by once.
//! * [`trace`](trace()) follows one answer to the epoch that settled it, and to whoever was paid.
//!
//! In the first two the first thing wrong ends it, with the class of the fault and the place where it lies.

mod again;
mod chain;
mod files;
mod ledger;
mod log;
mod records;
mod report;
mod rewards;
mod rows;
mod trace;

pub use again::{Again, Seen, Shown, entries_of, settle_again};
pub use files::{Files, Folder, ReadError};
pub use ledger::audit_ledger;
pub use log::audit_log;
pub use report::{Class, Failure, Fault, LedgerReport, LogReport, Scope};
pub use rewards::{
    Close, Difference, EpochReport, Left, Recorded, Rewards, RewardsReport, compare, fold_records, lanes_follow,
};
pub use trace::{Answer, Trace, TraceFinding, TracedGeneration, TracedPayee, check_usage, trace};

use crate::policy::Policy;

/// How to audit.
#[derive(Clone, Copy, Default)]
pub struct Options<'a> {
    /// Which witnesses must have cosigned the newest checkpoint.
    pub policy: Option<&'a Policy>,
    /// Do not fail where more than one row in a hundred is erased.
    pub allow_erased: bool,
    /// Check the tree alone: the entries of a log that is not Loam's mean nothing here.
    pub opaque: bool,
    /// The newest head is the reader's own and carries no signature: how a ledger examines itself up to its last entry.
    pub unsigned_head: bool,
}

/// The largest share of rows that may be erased without [`Options::allow_erased`]: one in this many.
pub const ERASED_ONE_IN: u64 = 100;
