//! What everybody may see: where each log durably stands, what is signed, and whether the ledger failed.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use loam_ledger_core::Hash;
use loam_ledger_core::origin::LogId;

use crate::error::Error;
use crate::growing::{Filling, Growing};
use crate::layout::log_of;

/// The state that the committer and the publisher write and all others read.
pub(crate) struct Shared {
    view: Mutex<View>,
    /// Rings whenever the view changes.
    changed: Condvar,
    /// Held by whoever erases, and shared by whoever exports.
    erasing: RwLock<()>,
}

#[derive(Clone, Default)]
pub(crate) struct View {
    pub(crate) logs: BTreeMap<u32, LogView>,
    /// Nothing more is written, and this is why. Never unset.
    pub(crate) failed: Option<String>,
    /// Somebody waits for a checkpoint of what is durable.
    pub(crate) wanted: bool,
    /// The publisher signs what is durable, and ends.
    pub(crate) closing: bool,
}

/// One log, durably.
#[derive(Clone)]
pub(crate) struct LogView {
    pub(crate) size: u64,
    pub(crate) root: Hash,
    pub(crate) filling: Filling,
    pub(crate) frozen: bool,
    pub(crate) public_key: [u8; 32],
    /// The newest signed size; nothing before the first is signed.
    pub(crate) published: Option<u64>,
}

impl LogView {
    pub(crate) fn of(log: &Growing, published: Option<u64>) -> Self {
        Self {
            size: log.size(),
            root: log.head.edge.root(),
            filling: log.filling().clone(),
            frozen: log.head.frozen,
            public_key: log.head.public_key,
            published,
        }
    }

    /// Whether something is durable that no checkpoint covers.
    pub(crate) fn unpublished(&self) -> bool {
        self.published != Some(self.size)
    }
}

impl Shared {
    pub(crate) fn new(logs: BTreeMap<u32, LogView>) -> Self {
        Self { view: Mutex::new(View { logs, ..View::default() }), changed: Condvar::new(), erasing: RwLock::new(()) }
    }

    /// Nobody exports while this is held.
    pub(crate) fn erasing(&self) -> RwLockWriteGuard<'_, ()> {
        self.erasing.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody erases while this is held.
    pub(crate) fn exporting(&self) -> RwLockReadGuard<'_, ()> {
        self.erasing.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn view(&self) -> MutexGuard<'_, View> {
        self.view.lock().expect("nobody panics while the view is held")
    }

    /// Changes the view and wakes all who wait for a change.
    pub(crate) fn change(&self, change: impl FnOnce(&mut View)) {
        change(&mut self.view());
        self.changed.notify_all();
    }

    /// Waits for a change, at most this long where there is a limit.
    pub(crate) fn wait<'a>(
        &self,
        view: MutexGuard<'a, View>,
        limit: Option<std::time::Duration>,
    ) -> MutexGuard<'a, View> {
        const PANIC: &str = "nobody panics while the view is held";
        match limit {
            Some(limit) => self.changed.wait_timeout(view, limit).expect(PANIC).0,
            None => self.changed.wait(view).expect(PANIC),
        }
    }

    /// The ledger failed: from now on every call says so.
    pub(crate) fn fail(&self, why: &Error) {
        let why = match why {
            Error::Failed { why } => why.clone(),
            other => other.to_string(),
        };
        self.change(|view| {
            view.failed.get_or_insert(why);
        });
    }

    /// The newest usage shard.
    pub(crate) fn newest_shard(&self) -> LogId {
        self.view().newest_shard()
    }
}

/// Ends a thread's part by name if it panics: nobody waits for ever for what will not come.
pub(crate) struct PanicGuard<'a> {
    pub(crate) shared: Arc<Shared>,
    /// What else must happen then.
    pub(crate) then: Box<dyn Fn() + 'a>,
}

impl Drop for PanicGuard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.shared.fail(&Error::Failed { why: "a thread of the ledger panicked".to_owned() });
            (self.then)();
        }
    }
}

impl View {
    pub(crate) fn log(&self, log: u32) -> Result<&LogView, Error> {
        self.logs.get(&log).ok_or(Error::UnknownLog { log: log_of(log) })
    }

    /// The newest usage shard. There is one from the first commit on.
    pub(crate) fn newest_shard(&self) -> LogId {
        log_of(self.logs.last_key_value().map_or(0, |(number, _)| *number))
    }

    /// The error of a failed ledger.
    pub(crate) fn check(&self) -> Result<(), Error> {
        match &self.failed {
            Some(why) => Err(Error::Failed { why: why.clone() }),
            None => Ok(()),
        }
    }
}
