//! Which adapters are where: on disk, in host memory, in a device's slots. Decides; others load and copy.
//!
//! An adapter is *wanted* while a sequence that names it lives, and *in use* while one of them runs. What is in use or
//! pinned keeps its slot. A sequence takes all its slots at once or none, so that none waits for another's while it
//! holds one. Of those who wait, one has a *claim*: its adapters are fetched first and nobody else drives them out,
//! which is why any mix of sets ends.

mod room;
mod tally;

use loam_kernels::layout::ADAPTERS_PER_ROW_MAX;

use super::AdapterId;
use tally::Tally;

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
    known: Tally,
    slots: Vec<Slot>,
    actions: Vec<PoolAction>,
    claim: Vec<AdapterId>,
    forced: bool,
    clock: u64,
    changed: bool,
    largest_bytes: usize,
}

impl AdapterPool {
    /// An empty one.
    pub fn new(options: PoolOptions) -> Self {
        Self {
            options,
            known: Tally::default(),
            slots: vec![Slot::Free; options.slots as usize],
            actions: Vec::new(),
            claim: Vec::new(),
            forced: false,
            clock: 0,
            changed: false,
            largest_bytes: 0,
        }
    }

    /// A sequence names these.
    pub fn want(&mut self, adapters: &[AdapterId]) {
        for adapter in adapters {
            self.set(*adapter, |it| (it.wanted, it.failed, it.forgotten) = (it.wanted + 1, false, false));
        }
    }

    /// It ended.
    pub fn unwant(&mut self, adapters: &[AdapterId]) {
        for adapter in adapters {
            self.set(*adapter, |it| {
                it.wanted = it.wanted.checked_sub(1).expect("what was wanted is unwanted once");
            });
        }
    }

    /// A sequence runs with these, which are all ready: their slots.
    pub fn acquire(&mut self, adapters: &[AdapterId]) -> Vec<u32> {
        let mut slots = Vec::with_capacity(adapters.len());
        for adapter in adapters {
            self.set(*adapter, |it| {
                it.running += 1;
                slots.push(it.slot.expect("what is acquired is ready"));
            });
        }
        slots
    }

    /// It runs no longer.
    pub fn release(&mut self, adapters: &[AdapterId]) {
        for adapter in adapters {
            let used = self.tick();
            self.set(*adapter, |it| {
                it.running = it.running.checked_sub(1).expect("what was acquired is released once");
                it.used = used;
            });
        }
    }

    /// Whether steps can use all of these.
    pub fn ready(&self, adapters: &[AdapterId]) -> bool {
        adapters.iter().all(|adapter| self.residency(*adapter).is_ready())
    }

    /// All that steps can use.
    pub fn all_ready(&self) -> impl Iterator<Item = AdapterId> {
        self.known.resident().filter(|(_, it)| it.is_ready()).map(|(adapter, _)| adapter)
    }

    /// Whether all of these are in host memory or further.
    pub fn near(&self, adapters: &[AdapterId]) -> bool {
        let near = |it: Residency| it.host == Tier::Here || it.device != Tier::Absent;
        adapters.iter().all(|adapter| near(self.residency(*adapter)))
    }

    /// Whether an adapter that is asked for is in host memory and no further.
    pub const fn any_near(&self) -> bool {
        self.known.near > 0
    }

    /// Whether any adapter is being loaded.
    pub const fn is_loading(&self) -> bool {
        self.known.loading > 0
    }

    /// Where it is.
    pub fn residency(&self, adapter: AdapterId) -> Residency {
        self.known.residency(adapter)
    }

    /// All adapters that are somewhere, or wanted.
    pub fn all(&self) -> impl Iterator<Item = (AdapterId, Residency)> {
        self.known.all()
    }

    /// What others are to do since the last call.
    pub fn take_actions(&mut self) -> Vec<PoolAction> {
        std::mem::take(&mut self.actions)
    }

    /// Keeps an adapter resident, or no longer does. One slot at least stays for the others: a pin beyond is not made.
    pub fn pin(&mut self, adapter: AdapterId, pinned: bool) -> bool {
        let others = self.known.pinned().filter(|(other, _)| *other != adapter).count();
        if pinned && others + 1 >= self.slots.len() {
            return false;
        }
        if pinned {
            self.set(adapter, |it| (it.pinned, it.failed, it.forgotten) = (true, false, false));
        } else {
            self.set(adapter, |it| it.pinned = false);
        }
        true
    }

    /// It was unloaded: leaves every tier when nobody wants it any more.
    pub fn forget(&mut self, adapter: AdapterId) {
        self.set(adapter, |it| (it.forgotten, it.pinned) = (true, false));
    }

    /// A `Load` is done. Where there is no room for what came, it is let go and loaded again when there is.
    pub fn loaded(&mut self, adapter: AdapterId, bytes: usize) {
        if self.residency(adapter).host != Tier::Coming {
            return;
        }
        self.largest_bytes = self.largest_bytes.max(bytes);
        let used = self.tick();
        self.set(adapter, |it| (it.bytes, it.host, it.used) = (Some(bytes), Tier::Here, used));
        let over = self.known.host_bytes.saturating_sub(self.options.host_bytes_max);
        if over > 0 && !self.drop_host(over, self.is_forced(adapter), Some(adapter)) {
            self.drop_copy(adapter);
        }
    }

    /// An `Upload` is done.
    pub fn uploaded(&mut self, adapter: AdapterId) {
        if self.residency(adapter).device == Tier::Coming {
            let used = self.tick();
            self.set(adapter, |it| (it.device, it.used) = (Tier::Ready, used));
        }
    }

    /// A `Load` or an `Upload` failed. It is not tried again before somebody asks anew.
    pub fn failed(&mut self, adapter: AdapterId) {
        let Residency { device, slot, .. } = self.residency(adapter);
        // Also what was copied, where the step that was to take it could not.
        let on_its_way = matches!(device, Tier::Coming | Tier::Ready);
        if on_its_way {
            let slot = slot.expect("what is on its way has a slot");
            self.slots[slot as usize] = Slot::Free;
        }
        self.set(adapter, |it| {
            it.failed = true;
            if it.host == Tier::Coming {
                it.host = Tier::Absent;
            }
            if on_its_way {
                (it.device, it.slot) = (Tier::Absent, None);
            }
        });
    }

    /// What the next step has to do to its slots.
    pub fn installs(&self) -> Vec<Install> {
        let ready = self.known.resident().filter(|(_, it)| it.device == Tier::Ready);
        let fills = ready.map(|(adapter, it)| (it.slot.expect("what is ready has a slot"), Some(adapter)));
        let emptied = (0..).zip(&self.slots).filter(|(_, slot)| matches!(slot, Slot::Emptying(_)));
        let all = fills.chain(emptied.map(|(slot, _)| (slot, None)));
        let mut installs: Vec<Install> = all.map(|(slot, adapter)| Install { slot, adapter }).collect();
        installs.sort_unstable_by_key(|install| install.slot);
        installs
    }

    /// A step did that.
    pub fn installed(&mut self, installs: &[Install]) {
        for install in installs {
            self.changed = true;
            match install.adapter {
                Some(adapter) => self.set(adapter, |it| it.device = Tier::Here),
                None => self.slots[install.slot as usize] = Slot::Free,
            }
        }
    }

    /// Whether these can never be resident together, beside what is pinned, as far as their sizes are known: the bytes
    /// that they need, and those that there are.
    pub fn never_fit(&self, adapters: &[AdapterId]) -> Option<(usize, usize)> {
        let bytes = |adapter: &AdapterId| self.residency(*adapter).size();
        let largest = adapters.iter().map(bytes).max()?;
        if largest > self.options.host_bytes_max {
            return Some((largest, self.options.host_bytes_max));
        }
        let pinned = self.known.pinned().filter(|(adapter, _)| !adapters.contains(adapter));
        let needed = pinned.map(|(_, it)| it.size()).chain(adapters.iter().map(bytes));
        let needed = needed.fold(0_usize, usize::saturating_add);
        (needed > self.options.device_bytes_max).then_some((needed, self.options.device_bytes_max))
    }

    /// Whether a set that holds this one might never fit, as far as can be told without looking at any.
    pub fn might_never_fit(&self, adapter: AdapterId) -> bool {
        let pinned: usize = self.known.pinned().map(|(_, it)| it.size()).sum();
        let most = self.largest_bytes.saturating_mul(ADAPTERS_PER_ROW_MAX).saturating_add(pinned);
        most > self.options.device_bytes_max || self.residency(adapter).size() > self.options.host_bytes_max
    }

    /// Slots that a set can have at most, beside what is pinned.
    pub fn slots_for(&self, adapters: &[AdapterId]) -> usize {
        self.slots.len() - self.known.pinned().filter(|(adapter, _)| !adapters.contains(adapter)).count()
    }

    /// Slots and bytes that a set lacks, even if all were driven out that nobody uses.
    pub fn shortfall(&self, adapters: &[AdapterId]) -> (usize, usize) {
        let missing = adapters.iter().map(|adapter| self.residency(*adapter)).filter(|it| it.device == Tier::Absent);
        let stays = |(adapter, it): &(AdapterId, Residency)| it.running > 0 || it.pinned || adapters.contains(adapter);
        let sum = |(slots, bytes): (usize, usize), it: Residency| (slots + 1, bytes + it.size());
        let needed = missing.fold((0, 0), sum);
        if needed.0 == 0 {
            return (0, 0);
        }
        let (slots, bytes) = self.known.resident().filter(stays).map(|(_, it)| it).fold(needed, sum);
        (slots.saturating_sub(self.slots.len()), bytes.saturating_sub(self.options.device_bytes_max))
    }

    /// Gives one set the right to be fetched first; with `forced` it may drive out what others wait with.
    pub fn set_claim(&mut self, adapters: &[AdapterId], forced: bool) {
        if self.claim != adapters || self.forced != forced {
            (self.claim, self.forced, self.changed) = (adapters.to_vec(), forced, true);
        }
    }

    /// Whether anything changed since the last pass of [`AdapterPool::serve`].
    pub const fn changed(&self) -> bool {
        self.changed
    }

    fn is_forced(&self, adapter: AdapterId) -> bool {
        self.forced && self.claim.contains(&adapter)
    }

    fn set(&mut self, adapter: AdapterId, set: impl FnOnce(&mut Residency)) {
        self.changed = true;
        self.known.set(adapter, set);
    }

    const fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }
}

impl Residency {
    /// Whether steps can use it.
    pub const fn is_ready(&self) -> bool {
        matches!(self.device, Tier::Ready | Tier::Here)
    }

    /// Whether somebody waits for it, runs with it, or keeps it.
    pub const fn is_asked_for(&self) -> bool {
        self.wanted > 0 || self.pinned
    }

    /// Its size as far as it is known.
    fn size(&self) -> usize {
        self.bytes.unwrap_or(0)
    }
}
