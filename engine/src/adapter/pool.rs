//! Which adapters are where: on disk, in host memory, in a device's slots. Decides; others load and copy.
//!
//! An adapter is *wanted* while a sequence that names it lives, and *in use* while one of them runs. What is in use or
//! pinned keeps its slot. A sequence takes all its slots at once or none, so that none waits for another's while it holds
//! one. Of those who wait, one has a *claim*: its adapters are fetched first and nobody else drives them out, which is why
//! any mix of sets ends.

use std::collections::{BTreeMap, BTreeSet};

use super::AdapterId;

/// What the pool may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolOptions {
    /// Slots on the device.
    pub slots: u32,
    /// Adapters that are read from disk at once.
    pub loads_max: usize,
    /// Bytes of adapters in host memory.
    pub host_bytes_max: usize,
    /// Bytes of adapters on the device.
    pub device_bytes_max: usize,
}

/// What others are to do. Each `Load` and `Upload` is answered: done, or failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolAction {
    /// Read it from disk to host memory.
    Load(AdapterId),
    /// Copy it from host memory to the device; the slot is free, and filled by a later step's installs.
    Upload {
        /// Which.
        adapter: AdapterId,
        /// The slot that it will have.
        slot: u32,
    },
    /// Let its copy in host memory go. What is on the device stays there.
    DropHost(AdapterId),
}

/// A slot changes hands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Install {
    /// The slot.
    pub slot: u32,
    /// What it holds from now on; `None` empties it.
    pub adapter: Option<AdapterId>,
}

/// Where an adapter is, and who wants it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Residency {
    /// Its size, once it was loaded.
    pub bytes: Option<usize>,
    /// In host memory.
    pub host: Tier,
    /// On the device; `Here` once the executor has it.
    pub device: Tier,
    /// Its slot, from upload on.
    pub slot: Option<u32>,
    /// Sequences that name it, waiting or running.
    pub wanted: u32,
    /// Sequences that run with it.
    pub running: u32,
    /// Whether it keeps its slot without being used.
    pub pinned: bool,
    forgotten: bool,
    failed: bool,
    used: u64,
}

/// How far something is on its way to where it is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tier {
    /// Not there.
    #[default]
    Absent,
    /// Being loaded or copied.
    Coming,
    /// Copied to the device; the next step installs it.
    Ready,
    /// There.
    Here,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    Free,
    Held,
    /// So many bytes are released when the next step has emptied it.
    Emptying(usize),
}

/// All adapters that somebody wants, or that are still somewhere.
#[derive(Debug)]
pub struct AdapterPool {
    options: PoolOptions,
    known: BTreeMap<AdapterId, Residency>,
    /// Those of them that are pinned: few, and asked for often.
    pinned: BTreeSet<AdapterId>,
    slots: Vec<Slot>,
    actions: Vec<PoolAction>,
    claim: Vec<AdapterId>,
    forced: bool,
    clock: u64,
    changed: bool,
}

/// Room that those who came before in one pass wait for.
#[derive(Clone, Copy, Default)]
struct Spoken {
    slots: usize,
    bytes: usize,
}

impl AdapterPool {
    /// An empty one.
    pub fn new(options: PoolOptions) -> Self {
        Self {
            options,
            known: BTreeMap::new(),
            pinned: BTreeSet::new(),
            slots: vec![Slot::Free; options.slots as usize],
            actions: Vec::new(),
            claim: Vec::new(),
            forced: false,
            clock: 0,
            changed: false,
        }
    }

    /// A sequence names these.
    pub fn want(&mut self, adapters: &[AdapterId]) {
        for adapter in adapters {
            let it = self.known.entry(*adapter).or_default();
            (it.wanted, it.failed, it.forgotten) = (it.wanted + 1, false, false);
            self.changed = true;
        }
    }

    /// It ended.
    pub fn unwant(&mut self, adapters: &[AdapterId]) {
        for adapter in adapters {
            let it = self.of(*adapter);
            it.wanted = it.wanted.checked_sub(1).expect("what was wanted is unwanted once");
            self.changed = true;
        }
    }

    /// A sequence runs with these, which are all ready: their slots.
    pub fn acquire(&mut self, adapters: &[AdapterId]) -> Vec<u32> {
        let slot = |adapter: &AdapterId| {
            let it = self.known.get_mut(adapter).expect("what is acquired was wanted");
            it.running += 1;
            it.slot.expect("what is acquired is ready")
        };
        adapters.iter().map(slot).collect()
    }

    /// It runs no longer.
    pub fn release(&mut self, adapters: &[AdapterId]) {
        for adapter in adapters {
            self.clock += 1;
            let used = self.clock;
            let it = self.of(*adapter);
            it.running = it.running.checked_sub(1).expect("what was acquired is released once");
            it.used = used;
            self.changed = true;
        }
    }

    /// Whether steps can use all of these.
    pub fn ready(&self, adapters: &[AdapterId]) -> bool {
        adapters.iter().all(|adapter| matches!(self.residency(*adapter).device, Tier::Ready | Tier::Here))
    }

    /// Whether all of these are in host memory or further.
    pub fn near(&self, adapters: &[AdapterId]) -> bool {
        let near = |it: Residency| it.host == Tier::Here || it.device != Tier::Absent;
        adapters.iter().all(|adapter| near(self.residency(*adapter)))
    }

    /// Whether any adapter is being loaded.
    pub fn is_loading(&self) -> bool {
        self.known.values().any(|it| it.host == Tier::Coming)
    }

    /// Where it is.
    pub fn residency(&self, adapter: AdapterId) -> Residency {
        self.known.get(&adapter).copied().unwrap_or_default()
    }

    /// All adapters that are somewhere, or wanted.
    pub fn all(&self) -> impl Iterator<Item = (AdapterId, Residency)> {
        self.known.iter().map(|(adapter, it)| (*adapter, *it))
    }

    /// What others are to do since the last call.
    pub fn take_actions(&mut self) -> Vec<PoolAction> {
        std::mem::take(&mut self.actions)
    }

    /// Keeps an adapter resident, or no longer does. One slot at least stays for the others: a pin beyond is not made.
    pub fn pin(&mut self, adapter: AdapterId, pinned: bool) -> bool {
        let others = self.pinned.iter().filter(|other| **other != adapter).count();
        if pinned && others + 1 >= self.slots.len() {
            return false;
        }
        self.changed = true;
        if pinned {
            let it = self.known.entry(adapter).or_default();
            (it.pinned, it.failed, it.forgotten) = (true, false, false);
            self.pinned.insert(adapter);
        } else if let Some(it) = self.known.get_mut(&adapter) {
            it.pinned = false;
            self.pinned.remove(&adapter);
        }
        true
    }

    /// It was unloaded: leaves every tier when nobody wants it any more.
    pub fn forget(&mut self, adapter: AdapterId) {
        if let Some(it) = self.known.get_mut(&adapter) {
            (it.forgotten, it.pinned, self.changed) = (true, false, true);
            self.pinned.remove(&adapter);
        }
    }

    /// It was read. Where there is no room for it, or it was neither asked for nor is wanted, it is let go again.
    pub fn loaded(&mut self, adapter: AdapterId, bytes: usize) {
        self.changed = true;
        let used = self.tick();
        let it = self.known.entry(adapter).or_default();
        if it.host == Tier::Absent && it.wanted == 0 {
            return self.actions.push(PoolAction::DropHost(adapter));
        }
        (it.bytes, it.host, it.used) = (Some(bytes), Tier::Here, used);
        let held = self.host_bytes();
        let over = held.saturating_sub(self.options.host_bytes_max);
        if over == 0 {
            return;
        }
        let forced = self.forced && self.claim.contains(&adapter);
        if !self.drop_host(over, forced, Some(adapter)) {
            self.of(adapter).host = Tier::Absent;
            self.actions.push(PoolAction::DropHost(adapter));
        }
    }

    /// An `Upload` is done.
    pub fn uploaded(&mut self, adapter: AdapterId) {
        let used = self.tick();
        if let Some(it) = self.known.get_mut(&adapter).filter(|it| it.device == Tier::Coming) {
            (it.device, it.used, self.changed) = (Tier::Ready, used, true);
        }
    }

    /// A `Load` or an `Upload` failed. It is not tried again before somebody asks anew.
    pub fn failed(&mut self, adapter: AdapterId) {
        let Some(it) = self.known.get_mut(&adapter) else { return };
        it.failed = true;
        if it.host == Tier::Coming {
            it.host = Tier::Absent;
        }
        // Also what was copied, where the step that was to take it could not.
        if matches!(it.device, Tier::Coming | Tier::Ready) {
            it.device = Tier::Absent;
            let slot = it.slot.take().expect("what is on its way has a slot");
            self.slots[slot as usize] = Slot::Free;
        }
        self.changed = true;
    }

    /// What the next step has to do to its slots.
    pub fn installs(&self) -> Vec<Install> {
        let ready = self.known.iter().filter(|(_, it)| it.device == Tier::Ready);
        let fills = ready.map(|(adapter, it)| (it.slot.expect("what is ready has a slot"), Some(*adapter)));
        let emptied = (0..).zip(&self.slots).filter(|(_, slot)| matches!(slot, Slot::Emptying(_)));
        let mut installs: Vec<Install> = fills
            .chain(emptied.map(|(slot, _)| (slot, None)))
            .map(|(slot, adapter)| Install { slot, adapter })
            .collect();
        installs.sort_unstable_by_key(|install| install.slot);
        installs
    }

    /// A step did that.
    pub fn installed(&mut self, installs: &[Install]) {
        for install in installs {
            self.changed = true;
            match install.adapter {
                Some(adapter) => self.of(adapter).device = Tier::Here,
                None => self.slots[install.slot as usize] = Slot::Free,
            }
        }
    }

    /// Whether these can never be resident together, beside what is pinned, as far as their sizes are known: the bytes
    /// that they need, and those that there are.
    pub fn never_fit(&self, adapters: &[AdapterId]) -> Option<(usize, usize)> {
        let bytes = |adapter: &AdapterId| self.residency(*adapter).bytes.unwrap_or(0);
        let pinned = self.pinned.iter().filter(|adapter| !adapters.contains(adapter));
        let needed = pinned.map(bytes).chain(adapters.iter().map(bytes));
        let needed = needed.fold(0_usize, usize::saturating_add);
        let largest = adapters.iter().map(bytes).max().unwrap_or(0);
        if largest > self.options.host_bytes_max {
            return Some((largest, self.options.host_bytes_max));
        }
        (!adapters.is_empty() && needed > self.options.device_bytes_max)
            .then_some((needed, self.options.device_bytes_max))
    }

    /// Slots that a set can have at most, beside what is pinned.
    pub fn slots_for(&self, adapters: &[AdapterId]) -> usize {
        self.slots.len() - self.pinned.iter().filter(|adapter| !adapters.contains(adapter)).count()
    }

    /// Slots and bytes that a set lacks, even if all were driven out that nobody uses.
    pub fn shortfall(&self, adapters: &[AdapterId]) -> (usize, usize) {
        let missing = adapters.iter().filter(|adapter| self.residency(**adapter).device == Tier::Absent);
        let (mut slots, mut bytes) = (0_usize, 0_usize);
        for adapter in missing {
            (slots, bytes) = (slots + 1, bytes + self.residency(*adapter).bytes.unwrap_or(0));
        }
        let stays = |(adapter, it): &(&AdapterId, &Residency)| {
            it.device != Tier::Absent && (it.running > 0 || it.pinned || adapters.contains(adapter))
        };
        let (mut kept, mut kept_bytes) = (0_usize, 0_usize);
        for (_, it) in self.known.iter().filter(stays) {
            (kept, kept_bytes) = (kept + 1, kept_bytes + it.bytes.unwrap_or(0));
        }
        let slots = if slots == 0 { 0 } else { (slots + kept).saturating_sub(self.slots.len()) };
        let bytes = if bytes == 0 { 0 } else { (bytes + kept_bytes).saturating_sub(self.options.device_bytes_max) };
        (slots, bytes)
    }

    /// Gives one set the right to be fetched first; with `forced` it may drive out what others wait with.
    pub fn set_claim(&mut self, adapters: &[AdapterId], forced: bool) {
        if self.claim != adapters || self.forced != forced {
            (self.claim, self.forced, self.changed) = (adapters.to_vec(), forced, true);
        }
    }

    /// Whether anything changed since the last pass.
    pub const fn changed(&self) -> bool {
        self.changed
    }

    /// Begins what can be begun for those who wait: the claim first, then these in order, then what is pinned.
    pub fn serve(&mut self, demands: impl IntoIterator<Item = AdapterId>) {
        self.changed = false;
        self.purge();
        let pinned = self.pinned.iter().copied().filter(|adapter| !self.known[adapter].failed);
        let pinned: Vec<AdapterId> = pinned.collect();
        let claim = self.claim.clone();
        let (mut spoken, mut seen) = (Spoken::default(), BTreeSet::new());
        let (mut host_full, mut device_full) = (false, false);
        for adapter in claim.into_iter().chain(demands).chain(pinned) {
            let it = self.residency(adapter);
            if it.failed || it.device != Tier::Absent || !self.known.contains_key(&adapter) || !seen.insert(adapter) {
                continue;
            }
            // Whoever finds no room holds up those behind it, else a large one would never find any.
            match it.host {
                Tier::Absent => host_full = host_full || !self.load(adapter),
                Tier::Coming | Tier::Ready => {}
                Tier::Here => device_full = device_full || !self.place(adapter, &mut spoken),
            }
        }
    }

    /// Has it loaded, if there is room and a loader.
    fn load(&mut self, adapter: AdapterId) -> bool {
        let coming = self.known.values().filter(|it| it.host == Tier::Coming).count();
        let bytes = self.residency(adapter).bytes.unwrap_or(0);
        let over = (self.host_bytes() + bytes).saturating_sub(self.options.host_bytes_max);
        let forced = self.forced && self.claim.contains(&adapter);
        let loads = coming < self.options.loads_max && (over == 0 || self.drop_host(over, forced, None));
        if loads {
            self.of(adapter).host = Tier::Coming;
            self.actions.push(PoolAction::Load(adapter));
        }
        loads
    }

    /// Uploads it, or makes room for it, or (`false`) leaves it.
    fn place(&mut self, adapter: AdapterId, spoken: &mut Spoken) -> bool {
        let bytes = self.residency(adapter).bytes.unwrap_or(0);
        let claimed = self.claim.contains(&adapter);
        let (held, emptying) = self.device_bytes();
        let free: Vec<u32> =
            (0..).zip(&self.slots).filter(|(_, slot)| **slot == Slot::Free).map(|(slot, _)| slot).collect();
        let fits = |held: usize| held + spoken.bytes + bytes <= self.options.device_bytes_max;
        if free.len() > spoken.slots && fits(held + emptying) {
            let it = self.of(adapter);
            (it.device, it.slot) = (Tier::Coming, Some(free[0]));
            self.slots[free[0] as usize] = Slot::Held;
            self.actions.push(PoolAction::Upload { adapter, slot: free[0] });
            return true;
        }
        let coming = self.slots.iter().filter(|slot| matches!(slot, Slot::Emptying(_))).count();
        let lacks_slot = free.len() + coming <= spoken.slots;
        let lacks_bytes = (held + spoken.bytes + bytes).saturating_sub(self.options.device_bytes_max);
        let victims = self.evictable(self.forced && claimed, usize::from(lacks_slot), lacks_bytes);
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
        let may_go = |(adapter, it): &(&AdapterId, &Residency)| {
            idle(it) && (forced || it.wanted == 0) && !self.claim.contains(adapter)
        };
        let mut going: Vec<_> = self.known.iter().filter(may_go).collect();
        going.sort_unstable_by_key(|(adapter, it)| (it.used, **adapter));
        let (mut victims, mut freed) = (Vec::new(), 0);
        for (adapter, it) in going {
            if victims.len() >= slots && freed >= bytes {
                break;
            }
            victims.push(*adapter);
            freed += it.bytes.unwrap_or(0);
        }
        (victims.len() >= slots && freed >= bytes).then_some(victims)
    }

    fn evict(&mut self, adapter: AdapterId) {
        self.changed = true;
        let it = self.of(adapter);
        assert!(it.running == 0 && !it.pinned, "what is in use or pinned keeps its slot");
        let slot = it.slot.take().expect("what is evicted has a slot");
        it.device = Tier::Absent;
        let bytes = it.bytes.unwrap_or(0);
        self.slots[slot as usize] = Slot::Emptying(bytes);
    }

    /// Lets copies in host memory go until so many bytes are free, the longest unused first; none if that is not enough.
    fn drop_host(&mut self, bytes: usize, forced: bool, except: Option<AdapterId>) -> bool {
        let may_go = |(adapter, it): &(&AdapterId, &Residency)| {
            let copied = matches!(it.device, Tier::Ready | Tier::Here);
            let needless = copied || forced || (it.wanted == 0 && !it.pinned);
            let claimed = self.claim.contains(adapter) && !copied;
            it.host == Tier::Here && it.device != Tier::Coming && needless && !claimed && Some(**adapter) != except
        };
        let mut going: Vec<_> =
            self.known.iter().filter(may_go).map(|(adapter, it)| (it.used, *adapter, it.bytes)).collect();
        going.sort_unstable();
        let mut freed = 0;
        let enough = going.iter().position(|(_, _, size)| {
            freed += size.unwrap_or(0);
            freed >= bytes
        });
        let Some(last) = enough else { return false };
        for (_, adapter, _) in &going[..=last] {
            self.of(*adapter).host = Tier::Absent;
            self.actions.push(PoolAction::DropHost(*adapter));
        }
        true
    }

    /// What was forgotten and is wanted by nobody leaves, and what is nowhere is no longer known.
    fn purge(&mut self) {
        let gone = |it: &Residency| it.forgotten && it.wanted == 0;
        let going: Vec<AdapterId> = self.known.iter().filter(|(_, it)| gone(it)).map(|(adapter, _)| *adapter).collect();
        for adapter in going {
            let it = self.residency(adapter);
            if it.device == Tier::Here {
                self.evict(adapter);
            }
            if it.host == Tier::Here && it.device != Tier::Coming {
                self.of(adapter).host = Tier::Absent;
                self.actions.push(PoolAction::DropHost(adapter));
            }
        }
        let nowhere = |it: &Residency| it.host == Tier::Absent && it.device == Tier::Absent;
        self.known.retain(|_, it| it.wanted > 0 || it.pinned || !nowhere(it) || (it.bytes.is_some() && !it.forgotten));
    }

    /// Bytes in host memory, what is coming included as far as its size is known.
    pub fn host_bytes(&self) -> usize {
        let there = self.known.values().filter(|it| it.host != Tier::Absent);
        there.map(|it| it.bytes.unwrap_or(0)).sum()
    }

    /// Bytes on the device: of adapters in slots, and of those that the next step removes.
    pub fn device_bytes(&self) -> (usize, usize) {
        let held = self.known.values().filter(|it| it.device != Tier::Absent).map(|it| it.bytes.unwrap_or(0)).sum();
        let emptying = self.slots.iter().map(|slot| if let Slot::Emptying(bytes) = slot { *bytes } else { 0 }).sum();
        (held, emptying)
    }

    fn of(&mut self, adapter: AdapterId) -> &mut Residency {
        self.known.get_mut(&adapter).expect("the adapter is known")
    }

    const fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }
}
