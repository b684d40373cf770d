//! What an engine says of itself: counters since it started, and how things stand now.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use loam_ledger_core::row::{Finish, Tokens};

use crate::scheduler::{AdapterCounts, Counts};

/// A moment's view.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// Queue, pages, slots and caches, as the scheduler sees them.
    pub now: Counts,
    /// Steps that ran.
    pub steps: u64,
    /// Of these, such as were launched before the tokens of the one before were known.
    pub steps_ahead: u64,
    /// Rows that they computed.
    pub rows: u64,
    /// Tokens by what was done with them.
    pub tokens: Tokens,
    /// Answers by why they ended.
    pub finished: BTreeMap<u8, u64>,
    /// Requests that failed.
    pub failed: u64,
    /// Sequences that gave their pages up and began anew.
    pub preempted: u64,
    /// Adapters read from disk, and the milliseconds that took, together and at most.
    pub loads: Loads,
    /// Where requests found their adapters, and how much is kept of them.
    pub adapters: Adapters,
}

/// Adapters that requests named, by where they were when the request came in; and bytes in host memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Adapters {
    /// Steps could use it at once.
    pub found_on_device: u64,
    /// It had only to be copied.
    pub found_in_host: u64,
    /// It had to be read.
    pub found_nowhere: u64,
    /// Bytes in host memory now.
    pub host_bytes: usize,
    /// At most so far.
    pub host_bytes_max: usize,
}

/// Adapters read from disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loads {
    /// How many.
    pub count: u64,
    /// How many could not be.
    pub failed: u64,
    /// Milliseconds in all.
    pub ms_sum: u64,
    /// The same in microseconds: many are read in less than a millisecond.
    pub micros_sum: u64,
    /// Milliseconds of the slowest.
    pub ms_max: u64,
}

impl Metrics {
    pub(crate) fn finish(&mut self, finish: Finish) {
        *self.finished.entry(finish.0).or_default() += 1;
    }
}

/// Where the loop leaves its view for whoever asks.
#[derive(Clone, Default)]
pub(crate) struct Board(Arc<Mutex<(Metrics, Arc<[AdapterCounts]>)>>);

impl Board {
    pub(crate) fn post(&self, metrics: &Metrics) {
        self.lock().0.clone_from(metrics);
    }

    pub(crate) fn post_adapters(&self, adapters: Vec<AdapterCounts>) {
        self.lock().1 = adapters.into();
    }

    pub(crate) fn read(&self) -> Metrics {
        self.lock().0.clone()
    }

    pub(crate) fn adapters(&self) -> Arc<[AdapterCounts]> {
        Arc::clone(&self.lock().1)
    }

    fn lock(&self) -> MutexGuard<'_, (Metrics, Arc<[AdapterCounts]>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
