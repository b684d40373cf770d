//! What is known of each adapter, and sums over all of them that are kept while it changes.

use std::collections::{BTreeMap, BTreeSet};

use super::{AdapterId, Residency, Tier};

/// All adapters. There may be many more than a step may look at: each question is answered from what it is about.
#[derive(Debug, Default)]
pub(super) struct Tally {
    known: BTreeMap<AdapterId, Residency>,
    resident: BTreeSet<AdapterId>,
    in_host: BTreeSet<AdapterId>,
    pinned: BTreeSet<AdapterId>,
    forgotten: BTreeSet<AdapterId>,
    /// Bytes in host memory, what is coming included as far as its size is known.
    pub(super) host_bytes: usize,
    /// Bytes on the device, or on their way there.
    pub(super) device_bytes: usize,
    /// How many are being loaded.
    pub(super) loading: usize,
    /// How many are asked for, in host memory and no further.
    pub(super) near: usize,
}

impl Tally {
    pub(super) fn residency(&self, adapter: AdapterId) -> Residency {
        self.known.get(&adapter).copied().unwrap_or_default()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (AdapterId, Residency)> {
        self.known.iter().map(|(adapter, it)| (*adapter, *it))
    }

    /// On the device, or on their way there.
    pub(super) fn resident(&self) -> impl Iterator<Item = (AdapterId, Residency)> {
        self.resident.iter().map(|adapter| (*adapter, self.known[adapter]))
    }

    /// In host memory.
    pub(super) fn in_host(&self) -> impl Iterator<Item = (AdapterId, Residency)> {
        self.in_host.iter().map(|adapter| (*adapter, self.known[adapter]))
    }

    pub(super) fn pinned(&self) -> impl Iterator<Item = (AdapterId, Residency)> {
        self.pinned.iter().map(|adapter| (*adapter, self.known[adapter]))
    }

    /// Unloaded, and wanted by nobody.
    pub(super) fn gone(&self) -> Vec<AdapterId> {
        self.forgotten.iter().filter(|adapter| self.known[adapter].wanted == 0).copied().collect()
    }

    /// Changes one. What is nowhere, wanted by nobody and of unknown size, or unloaded, is known no longer.
    pub(super) fn set(&mut self, adapter: AdapterId, set: impl FnOnce(&mut Residency)) {
        let before = self.residency(adapter);
        let mut after = before;
        set(&mut after);
        let nowhere = after.host == Tier::Absent && after.device == Tier::Absent;
        let known = !(nowhere && !after.is_asked_for() && (after.bytes.is_none() || after.forgotten));
        after.forgotten &= known;
        if known {
            self.known.insert(adapter, after);
        } else {
            self.known.remove(&adapter);
        }
        let mut keep = |set: fn(&mut Self) -> &mut BTreeSet<AdapterId>, belongs: bool| {
            if belongs {
                set(self).insert(adapter);
            } else {
                set(self).remove(&adapter);
            }
        };
        keep(|tally| &mut tally.resident, after.device != Tier::Absent);
        keep(|tally| &mut tally.in_host, after.host == Tier::Here);
        keep(|tally| &mut tally.pinned, after.pinned);
        keep(|tally| &mut tally.forgotten, after.forgotten);
        let count = |sum: &mut usize, of: fn(&Residency) -> usize| *sum = *sum - of(&before) + of(&after);
        count(&mut self.host_bytes, |it| if it.host == Tier::Absent { 0 } else { it.size() });
        count(&mut self.device_bytes, |it| if it.device == Tier::Absent { 0 } else { it.size() });
        count(&mut self.loading, |it| usize::from(it.host == Tier::Coming));
        count(&mut self.near, |it| {
            usize::from(it.is_asked_for() && it.host == Tier::Here && it.device == Tier::Absent)
        });
    }
}
