//! The backend's own threads.

use std::num::NonZero;

use rayon::prelude::*;

use crate::error::Error;

/// Threads of one backend; others in the process keep theirs.
#[derive(Debug)]
pub(super) struct Pool {
    threads: rayon::ThreadPool,
}

/// Work below this, in bytes read and written, takes less time than telling another thread of it.
const ALONE_BYTES: usize = 32 << 10;

impl Pool {
    pub(super) fn new(threads: NonZero<usize>) -> Result<Self, Error> {
        let builder = rayon::ThreadPoolBuilder::new().num_threads(threads.get());
        let named = builder.thread_name(|index| format!("loam-cpu-{index}"));
        let threads = named.build().map_err(|error| Error::Threads { reason: error.to_string() })?;
        Ok(Self { threads })
    }

    pub(super) fn threads(&self) -> usize {
        self.threads.current_num_threads()
    }

    /// Runs operations on a thread of the pool.
    pub(super) fn enter<T: Send>(&self, operations: impl FnOnce() -> T + Send) -> T {
        self.threads.install(operations)
    }

    /// Does all tasks, in no order, and returns when they are done. `bytes` is what all of them read and write.
    pub(super) fn each(&self, tasks: usize, bytes: usize, task: impl Fn(usize) + Send + Sync) {
        if tasks <= 1 || bytes < ALONE_BYTES || self.threads() == 1 {
            (0..tasks).for_each(&task);
        } else {
            self.threads.install(|| (0..tasks).into_par_iter().with_max_len(1).for_each(task));
        }
    }

    /// How many tasks to make of `units` that take `bytes` altogether: a few a thread, so that one who is held up does
    /// not hold up all, and none smaller than what is worth telling.
    pub(super) fn tasks(&self, units: usize, bytes: usize) -> usize {
        let worth = (bytes / ALONE_BYTES).max(1);
        (self.threads() * TASKS_PER_THREAD).min(worth).min(units).max(1)
    }
}

const TASKS_PER_THREAD: usize = 8;

/// The units of one task of several, evenly.
pub(super) fn share(task: usize, tasks: usize, units: usize) -> std::ops::Range<usize> {
    units * task / tasks..units * (task + 1) / tasks
}
