//! The way to the committer: bounded by count and by bytes, so that whoever is too fast waits or is told so.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard};

/// Commands that may wait.
pub(crate) const QUEUE_COMMANDS_MAX: usize = 65_536;

/// Bytes that may wait.
pub(crate) const QUEUE_BYTES_MAX: usize = 64 << 20;

/// A queue with one end that takes what is there, as much as one group may hold.
pub(crate) struct Queue<T> {
    waiting: Mutex<Waiting<T>>,
    filled: Condvar,
    drained: Condvar,
}

struct Waiting<T> {
    commands: VecDeque<(T, usize)>,
    bytes: usize,
    closed: bool,
}

/// Why a command was not taken.
pub(crate) enum Refused {
    Full,
    Closed,
}

impl<T> Queue<T> {
    pub(crate) fn new() -> Self {
        let waiting = Waiting { commands: VecDeque::new(), bytes: 0, closed: false };
        Self { waiting: Mutex::new(waiting), filled: Condvar::new(), drained: Condvar::new() }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting<T>> {
        self.waiting.lock().expect("nobody panics while the queue is held")
    }

    /// Adds a command, waiting for room where `wait` says so.
    pub(crate) fn push(&self, command: T, bytes: usize, wait: bool) -> Result<(), Refused> {
        let mut waiting = self.waiting();
        while !waiting.closed && waiting.is_full() {
            if !wait {
                return Err(Refused::Full);
            }
            waiting = self.drained.wait(waiting).expect("nobody panics while the queue is held");
        }
        if waiting.closed {
            return Err(Refused::Closed);
        }
        waiting.commands.push_back((command, bytes));
        waiting.bytes += bytes;
        drop(waiting);
        self.filled.notify_one();
        Ok(())
    }

    /// Takes the oldest commands, up to both limits and at least one. Waits for the first; none are left when the
    /// queue is closed and empty.
    pub(crate) fn take(&self, commands_max: usize, bytes_max: usize) -> Vec<T> {
        let mut waiting = self.waiting();
        while waiting.commands.is_empty() && !waiting.closed {
            waiting = self.filled.wait(waiting).expect("nobody panics while the queue is held");
        }
        let (mut taken, mut taken_bytes) = (Vec::new(), 0);
        while let Some((_, bytes)) = waiting.commands.front() {
            if !taken.is_empty() && (taken.len() == commands_max || taken_bytes + bytes > bytes_max) {
                break;
            }
            let (command, bytes) = waiting.commands.pop_front().expect("there is a first one");
            taken.push(command);
            taken_bytes += bytes;
        }
        waiting.bytes -= taken_bytes;
        drop(waiting);
        self.drained.notify_all();
        taken
    }

    /// Refuses what comes from now on, and drops what waits: whoever waits for an answer hears that none will come.
    pub(crate) fn abandon(&self) {
        self.close();
        while !self.take(usize::MAX, usize::MAX).is_empty() {}
    }

    /// Refuses what comes from now on. What waits is still taken.
    pub(crate) fn close(&self) {
        // Also called while a thread of the ledger unwinds, when nobody holds the queue for long.
        self.waiting.lock().unwrap_or_else(std::sync::PoisonError::into_inner).closed = true;
        self.filled.notify_all();
        self.drained.notify_all();
    }
}

impl<T> Waiting<T> {
    fn is_full(&self) -> bool {
        self.commands.len() >= QUEUE_COMMANDS_MAX || self.bytes >= QUEUE_BYTES_MAX
    }
}
