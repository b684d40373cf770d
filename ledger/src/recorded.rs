//! What records came to: the registry, kept beside the log that it follows from.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use loam_ledger_core::Hash;
use loam_ledger_core::entry::Entry;
use loam_ledger_core::origin::LogId;
use loam_ledger_core::record::{PolicyChanged, Record, RecordId};
use loam_ledger_core::registry::{Refusal, Registry};

use crate::error::Error;
use crate::ledger::{Ledger, TAIL_ENTRIES_MAX};
use crate::reader::Reader;

/// All policies that were recorded, in the order of their times.
pub(crate) type Policies = Arc<Vec<(RecordId, PolicyChanged)>>;

/// The registry, and the policies apart: who prices a row waits for nobody who looks at anything else.
pub(crate) struct Recorded {
    registry: RwLock<Registry>,
    policies: Mutex<Policies>,
}

impl Recorded {
    pub(crate) fn new(registry: Registry) -> Self {
        let policies = Mutex::new(Arc::new(registry.money().policies().to_vec()));
        Self { registry: RwLock::new(registry), policies }
    }

    /// Looks at the registry. Whoever appends a record waits meanwhile: what takes long works on a copy.
    pub(crate) fn look<T>(&self, at: impl FnOnce(&Registry) -> T) -> T {
        at(&self.registry.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The policies; while they are held, none is recorded.
    pub(crate) fn policies(&self) -> MutexGuard<'_, Policies> {
        self.policies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the log's next entry, which is no record.
    pub(crate) fn follow(&self, entry: &Entry) {
        let mut registry = self.registry.write().unwrap_or_else(PoisonError::into_inner);
        registry.fold(entry).expect("only a record is ever void");
    }

    /// Takes a record for the log's next place, stamped by `clock`; or says which rule it breaks.
    ///
    /// A policy is in force from a time on: no row is priced between the stamp and the moment when everybody sees the
    /// policy, and none before it has a time as late as the stamp.
    pub(crate) fn admit(&self, record: &mut Record, clock: impl FnOnce() -> u64) -> Result<RecordId, Refusal> {
        let mut policies = self.policies();
        let mut registry = self.registry.write().unwrap_or_else(PoisonError::into_inner);
        let known = policies.len();
        record.time_ms = clock();
        if matches!(record.body.act, loam_ledger_core::record::Act::PolicyChanged(_)) {
            record.time_ms += 1;
        }
        let id = registry.admit(record, None)?;
        if registry.money().policies().len() > known {
            *policies = Arc::new(registry.money().policies().to_vec());
        }
        Ok(id)
    }
}

impl Reader {
    /// What the records log came to; folded from its entries when it is first asked for.
    pub(crate) fn recorded(&self) -> Result<&Recorded, Error> {
        if let Some(recorded) = self.recorded.get() {
            return Ok(recorded);
        }
        let mut registry = Registry::new(&self.name(LogId::Records)?.to_string());
        // A ledger in the making has no log yet.
        let size = self.size(LogId::Records).unwrap_or(0);
        for first in (0..size).step_by(4_096) {
            for entry in self.entries(LogId::Records, first, size.min(first + 4_096))? {
                // A void record is the audit's to report; it changes nothing here either.
                let _ = registry.fold(&Entry::decode(&entry)?);
            }
        }
        // Whoever came first, it is the same.
        let _ = self.recorded.set(Recorded::new(registry));
        Ok(self.recorded.get().expect("it was set"))
    }
}

impl Ledger {
    /// Looks at what records came to. Appending records waits meanwhile: what takes long works on a clone.
    pub fn with_registry<T>(&self, look: impl FnOnce(&Registry) -> T) -> Result<T, Error> {
        Ok(self.reader.recorded()?.look(look))
    }

    /// The entries of the records log, `count` from an index on: a registry can be folded of them elsewhere.
    pub fn record_entries(&self, first: u64, count: u64) -> Result<Vec<Vec<u8>>, Error> {
        let end = first.saturating_add(count.min(TAIL_ENTRIES_MAX));
        self.reader.entries(LogId::Records, first, end)
    }
}

/// The policy in force at a time.
pub(crate) fn policy_at(policies: &Policies, time_ms: u64) -> Option<&(Hash, PolicyChanged)> {
    policies.iter().rev().find(|(_, policy)| policy.effective_ms <= time_ms)
}
