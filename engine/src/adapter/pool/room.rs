//! Who is fetched, and who goes for it.

use std::collections::BTreeSet;

use super::{AdapterId, AdapterPool, PoolAction, Residency, Slot, Tier};

/// Room that those who came before in one pass wait for.
#[derive(Clone, Copy, Default)]
struct Spoken {
    slots: usize,
    bytes: usize,
}

impl AdapterPool {
    /// Begins what can be begun for those who wait: the claim first, then these in order, then what is pinned. Whoever
    /// finds no room holds up those behind it, else a large one would never find any; the rest is then not even asked
    /// for.
    pub fn serve(&mut self, demands: impl IntoIterator<Item = AdapterId>) {
        self.purge();
        let pinned: Vec<AdapterId> = self.known.pinned().map(|(adapter, _)| adapter).collect();
        let claim = self.claim.clone();
        let (mut spoken, mut seen) = (Spoken::default(), BTreeSet::new());
        let (mut host_full, mut device_full) = (false, false);
        for adapter in claim.into_iter().chain(demands).chain(pinned) {
            if host_full && device_full {
                break;
            }
            let it = self.residency(adapter);
            if !it.is_asked_for() || it.failed || it.device != Tier::Absent || !seen.insert(adapter) {
                continue;
            }
            match it.host {
                Tier::Absent => host_full = host_full || !self.load(adapter),
                Tier::Coming | Tier::Ready => {}
                Tier::Here => device_full = device_full || !self.place(adapter, &mut spoken),
            }
            // Nothing waits in host memory, so that nothing will look for a slot before something is loaded.
            device_full |= !self.any_near() && host_full;
        }
        // What this pass did gives nobody more room before it is done.
        self.changed = false;
    }

    /// Has it loaded, if there is room and a loader.
    fn load(&mut self, adapter: AdapterId) -> bool {
        let bytes = self.residency(adapter).size();
        let over = (self.known.host_bytes + bytes).saturating_sub(self.options.host_bytes_max);
        let loads = self.known.loading < self.options.loads_max
            && (over == 0 || self.drop_host(over, self.is_forced(adapter), None));
        if loads {
            self.set(adapter, |it| it.host = Tier::Coming);
            self.actions.push(PoolAction::Load(adapter));
        }
        loads
    }

    /// Uploads it, or makes room for it, or (`false`) leaves it.
    fn place(&mut self, adapter: AdapterId, spoken: &mut Spoken) -> bool {
        let bytes = self.residency(adapter).size();
        let max = self.options.device_bytes_max;
        let held = self.known.device_bytes + spoken.bytes + bytes;
        let mut free = (0..).zip(&self.slots).filter(|(_, slot)| **slot == Slot::Free).map(|(slot, _)| slot);
        let (first_free, free) = (free.next(), free.count());
        let emptying = self.slots.iter().filter_map(|slot| slot.emptying());
        let (coming, coming_bytes) = emptying.fold((0, 0), |(slots, bytes), more| (slots + 1, bytes + more));
        // `free` counts those after the first.
        if let Some(slot) = first_free.filter(|_| free >= spoken.slots && held + coming_bytes <= max) {
            self.slots[slot as usize] = Slot::Held;
            self.set(adapter, |it| (it.device, it.slot) = (Tier::Coming, Some(slot)));
            self.actions.push(PoolAction::Upload { adapter, slot });
            return true;
        }
        let lacks_slot = usize::from(first_free.is_some()) + free + coming <= spoken.slots;
        let claimed = self.claim.contains(&adapter);
        let victims = self.evictable(self.forced && claimed, usize::from(lacks_slot), held.saturating_sub(max));
        // Whoever has the claim keeps what there is and waits for the rest; others leave it to whom it is enough for.
        let Some(victims) = victims.or_else(|| claimed.then(Vec::new)) else { return false };
        for victim in victims {
            self.evict(victim);
        }
        (spoken.slots, spoken.bytes) = (spoken.slots + 1, spoken.bytes + bytes);
        true
    }

    /// Adapters whose going would make so much room, the longest unused first; `None` if there are not enough.
    fn evictable(&self, forced: bool, slots: usize, bytes: usize) -> Option<Vec<AdapterId>> {
        let idle = |it: &Residency| it.device == Tier::Here && it.running == 0 && !it.pinned;
        let may_go = |(adapter, it): &(AdapterId, Residency)| {
            idle(it) && (forced || it.wanted == 0) && !self.claim.contains(adapter)
        };
        let mut going: Vec<_> = self.known.resident().filter(may_go).collect();
        going.sort_unstable_by_key(|(adapter, it)| (it.used, *adapter));
        let (mut victims, mut freed) = (Vec::new(), 0);
        for (adapter, it) in going {
            if victims.len() >= slots && freed >= bytes {
                break;
            }
            victims.push(adapter);
            freed += it.size();
        }
        (victims.len() >= slots && freed >= bytes).then_some(victims)
    }

    fn evict(&mut self, adapter: AdapterId) {
        let it = self.residency(adapter);
        assert!(it.running == 0 && !it.pinned, "what is in use or pinned keeps its slot");
        let slot = it.slot.expect("what is evicted has a slot");
        self.slots[slot as usize] = Slot::Emptying(it.size());
        self.set(adapter, |it| (it.device, it.slot) = (Tier::Absent, None));
    }

    /// Lets copies in host memory go until so many bytes are free, the longest unused first; none if that is not
    /// enough.
    pub(super) fn drop_host(&mut self, bytes: usize, forced: bool, except: Option<AdapterId>) -> bool {
        let may_go = |(adapter, it): &(AdapterId, Residency)| {
            let needless = it.is_ready() || forced || (it.wanted == 0 && !it.pinned);
            let claimed = self.claim.contains(adapter) && !it.is_ready();
            it.device != Tier::Coming && needless && !claimed && Some(*adapter) != except
        };
        let going = self.known.in_host().filter(may_go);
        let mut going: Vec<_> = going.map(|(adapter, it)| (it.used, adapter, it.size())).collect();
        going.sort_unstable();
        let mut freed = 0;
        let enough = going.iter().position(|(_, _, size)| {
            freed += size;
            freed >= bytes
        });
        let Some(last) = enough else { return false };
        going[..=last].iter().for_each(|(_, adapter, _)| self.drop_copy(*adapter));
        true
    }

    pub(super) fn drop_copy(&mut self, adapter: AdapterId) {
        self.set(adapter, |it| it.host = Tier::Absent);
        self.actions.push(PoolAction::DropHost(adapter));
    }

    /// What was unloaded and is wanted by nobody leaves.
    fn purge(&mut self) {
        for adapter in self.known.gone() {
            if self.residency(adapter).device == Tier::Here {
                self.evict(adapter);
            }
            let it = self.residency(adapter);
            if it.host == Tier::Here && it.device != Tier::Coming {
                self.drop_copy(adapter);
            }
        }
    }
}

impl Slot {
    /// Bytes that are released when it has been emptied.
    const fn emptying(self) -> Option<usize> {
        match self {
            Self::Emptying(bytes) => Some(bytes),
            Self::Free | Self::Held => None,
        }
    }
}
