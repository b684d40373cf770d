//! Whose offers are on their way. Of each author one at a time is looked at, stored and appended: their records are a
//! chain, so that of two at once one is refused, and what was stored for it would lie here for ever, with a secret that no
//! record leads to.

use std::collections::BTreeSet;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use loam_ledger_core::record::ContributorId;

/// Authors of offers that are on their way.
#[derive(Default)]
pub(crate) struct Speaking {
    now: Mutex<BTreeSet<ContributorId>>,
    ended: Condvar,
}

/// Authors whose turn it is, until this is dropped.
pub(crate) struct Turn<'a> {
    speaking: &'a Speaking,
    authors: BTreeSet<ContributorId>,
}

impl Speaking {
    fn now(&self) -> MutexGuard<'_, BTreeSet<ContributorId>> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until none of these authors has an offer on its way. Nobody holds one turn and waits for another.
    pub(crate) fn turn(&self, authors: BTreeSet<ContributorId>) -> Turn<'_> {
        let busy = |now: &mut BTreeSet<ContributorId>| !now.is_disjoint(&authors);
        let mut now = self.ended.wait_while(self.now(), busy).unwrap_or_else(PoisonError::into_inner);
        now.extend(&authors);
        drop(now);
        Turn { speaking: self, authors }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.speaking.now().retain(|author| !self.authors.contains(author));
        self.speaking.ended.notify_all();
    }
}
