//! The publisher: one thread that signs where the logs durably stand.
//!
//! Sign, store, then publish: a checkpoint that anyone saw is on disk, and so is all that it covers. It alone signs,
//! and nothing but what the view says is durable, so no two checkpoints of its can disagree.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use loam_ledger_core::Hash;
use loam_ledger_core::checkpoint::Checkpoint;
use loam_ledger_core::note::SigningKey;
use loam_ledger_core::origin::LogName;

use crate::error::Error;
use crate::keys::Keys;
use crate::layout::{log_number, log_of, place_key};
use crate::store::{Batch, Space, Store};
use crate::submission::{Acknowledge, Committed};
use crate::view::{PanicGuard, Shared, View};

pub(crate) struct Publisher {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) ledger_name: String,
    pub(crate) keys: Arc<dyn Keys>,
    /// How long what is durable may stay unsigned while nobody waits for it.
    pub(crate) interval: Duration,
    waiting: Mutex<Waiting>,
}

/// Acknowledgements that wait for a checkpoint.
#[derive(Default)]
struct Waiting {
    acknowledgements: Vec<(Committed, Acknowledge)>,
    /// The publisher ended, and will acknowledge nothing more.
    ended: bool,
}

impl Publisher {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        shared: Arc<Shared>,
        ledger_name: String,
        keys: Arc<dyn Keys>,
        interval: Duration,
    ) -> Self {
        Self { store, shared, ledger_name, keys, interval, waiting: Mutex::default() }
    }

    /// Acknowledges an append when a checkpoint covers it, and sees to it that one does soon.
    pub(crate) fn when_published(&self, committed: Committed, acknowledge: Acknowledge) {
        let mut waiting = self.waiting();
        if waiting.ended {
            drop(waiting);
            return acknowledge(Err(self.shared.view().check().err().unwrap_or(Error::Closed)));
        }
        waiting.acknowledgements.push((committed, acknowledge));
        drop(waiting);
        self.shared.change(|view| view.wanted = true);
    }

    /// Drops what waits, so that whoever waits for an answer hears that none will come.
    fn abandon(&self) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.ended = true;
        waiting.acknowledgements.clear();
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().expect("nobody panics while acknowledgements wait")
    }

    /// Signs until it is told to close, or something fails.
    pub(crate) fn run(&self) {
        let _guard = PanicGuard { shared: Arc::clone(&self.shared), then: Box::new(|| self.abandon()) };
        let mut signing = BTreeMap::new();
        // An interval beyond all time is never due.
        let mut due = Instant::now().checked_add(self.interval);
        loop {
            let closing = {
                let mut view = self.shared.view();
                loop {
                    let stale = view.logs.values().any(|log| log.unpublished());
                    let now = Instant::now();
                    let is_due = due.is_some_and(|due| now >= due);
                    if view.failed.is_some() || view.closing || view.wanted || (stale && is_due) {
                        break;
                    }
                    // Nothing to sign: any change wakes. Something unsigned: at the latest when it is due.
                    let limit = due.filter(|_| stale).map(|due| due - now);
                    view = self.shared.wait(view, limit);
                }
                view.wanted = false;
                view.closing || view.failed.is_some()
            };
            due = Instant::now().checked_add(self.interval);
            let outcome = self.publish(&mut signing);
            if let Err(why) = &outcome {
                self.shared.fail(why);
            }
            self.acknowledge(closing || outcome.is_err());
            if closing || outcome.is_err() {
                return;
            }
        }
    }

    /// Signs every log that has something unsigned.
    pub(crate) fn publish(&self, signing: &mut BTreeMap<u32, SigningKey>) -> Result<(), Error> {
        let heads: Vec<(u32, u64, Hash)> = {
            let view = self.shared.view();
            view.check()?;
            let stale = view.logs.iter().filter(|(_, log)| log.unpublished());
            stale.map(|(number, log)| (*number, log.size, log.root)).collect()
        };
        if heads.is_empty() {
            return Ok(());
        }
        // 1. Sign what is durable. Stop here: nobody saw it.
        let mut batch = Batch::default();
        for &(number, size, root) in &heads {
            let name = LogName::new(&self.ledger_name, log_of(number))?;
            if let std::collections::btree_map::Entry::Vacant(vacant) = signing.entry(number) {
                let lost = || Error::damaged(format!("the key of {name}"), "it was there when the ledger was opened");
                vacant.insert(self.keys.key(&name)?.ok_or_else(lost)?);
            }
            let note = Checkpoint { origin: name.to_string(), size, root }.sign(&signing[&number])?;
            batch.put(Space::Checkpoint, place_key(number, size), note);
        }
        // 2. Store it. Stop here: it is found again, and nothing else can be signed at its size.
        self.store.commit(batch)?;
        // 3. Publish it.
        self.shared.change(|view| mark(view, &heads));
        Ok(())
    }

    /// Acknowledges what a checkpoint covers; at the end, refuses the rest.
    fn acknowledge(&self, end: bool) {
        let mut waiting = self.waiting();
        waiting.ended = end;
        let all = std::mem::take(&mut waiting.acknowledgements);
        let (failed, published) = {
            let view = self.shared.view();
            let sizes: BTreeMap<u32, u64> =
                view.logs.iter().filter_map(|(number, log)| Some((*number, log.published?))).collect();
            (view.check(), sizes)
        };
        let mut covered = Vec::new();
        for (committed, acknowledge) in all {
            if published.get(&log_number(committed.log)).is_some_and(|size| committed.index < *size) {
                covered.push((Ok(committed), acknowledge));
            } else if end {
                covered.push((Err(failed.clone().err().unwrap_or(Error::Closed)), acknowledge));
            } else {
                waiting.acknowledgements.push((committed, acknowledge));
            }
        }
        drop(waiting);
        covered.into_iter().for_each(|(outcome, acknowledge)| acknowledge(outcome));
    }
}

fn mark(view: &mut View, heads: &[(u32, u64, Hash)]) {
    for (number, size, _) in heads {
        if let Some(log) = view.logs.get_mut(number) {
            log.published = log.published.max(Some(*size));
        }
    }
}
