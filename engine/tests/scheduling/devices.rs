//! What loaders and a device would hold, and every promise made to them.

use std::collections::{BTreeMap, BTreeSet};

use loam_engine::adapter::AdapterId;
use loam_engine::adapter::pool::{Install, PoolAction};
use loam_engine::scheduler::SchedulerOptions;

/// Adapters' places, as those see them who move them.
pub(crate) struct Devices {
    host_bytes_max: usize,
    device_bytes_max: usize,
    loads_max: usize,
    pub(crate) sizes: BTreeMap<AdapterId, usize>,
    pub(crate) loading: BTreeSet<AdapterId>,
    pub(crate) host: BTreeSet<AdapterId>,
    pub(crate) uploading: BTreeMap<AdapterId, u32>,
    uploaded: BTreeMap<AdapterId, u32>,
    pub(crate) slots: Vec<Option<AdapterId>>,
    /// Which are pinned, and whether they have been resident since.
    pub(crate) pinned: BTreeMap<AdapterId, bool>,
}

impl Devices {
    pub(crate) fn new(options: &SchedulerOptions, sizes: BTreeMap<AdapterId, usize>) -> Self {
        Self {
            host_bytes_max: options.host_bytes_max,
            device_bytes_max: options.device_bytes_max,
            loads_max: options.loads_max,
            sizes,
            loading: BTreeSet::new(),
            host: BTreeSet::new(),
            uploading: BTreeMap::new(),
            uploaded: BTreeMap::new(),
            slots: vec![None; options.slots as usize],
            pinned: BTreeMap::new(),
        }
    }

    /// What the scheduler wants done.
    pub(crate) fn act(&mut self, action: PoolAction) {
        match action {
            PoolAction::Load(adapter) => {
                assert!(!self.host.contains(&adapter), "{adapter:?} is loaded already");
                assert!(self.loading.insert(adapter), "{adapter:?} is being loaded");
                assert!(self.loading.len() <= self.loads_max, "too many loads at once");
            }
            PoolAction::Upload { adapter, slot } => {
                assert!(self.host.contains(&adapter), "{adapter:?} is uploaded from host memory");
                assert_eq!(self.slots[slot as usize], None, "slot {slot} is given to {adapter:?}");
                let taken = self.uploading.values().chain(self.uploaded.values()).any(|other| *other == slot);
                assert!(!taken, "slot {slot} is given twice");
                assert_eq!(self.uploading.insert(adapter, slot), None, "{adapter:?} is being uploaded");
            }
            PoolAction::DropHost(adapter) => {
                assert!(self.host.remove(&adapter), "{adapter:?} is not in host memory");
                assert!(!self.uploading.contains_key(&adapter), "{adapter:?} is read by an upload");
            }
        }
        let bytes = |adapter: &AdapterId| self.sizes[adapter];
        let resident = self.slots.iter().flatten().chain(self.uploading.keys()).chain(self.uploaded.keys());
        assert!(resident.map(bytes).sum::<usize>() <= self.device_bytes_max, "the device is over its budget");
    }

    /// After all that was wanted is done.
    pub(crate) fn check_host(&self) {
        let bytes: usize = self.host.iter().map(|adapter| self.sizes[adapter]).sum();
        assert!(bytes <= self.host_bytes_max, "host memory is over its budget");
    }

    pub(crate) fn loaded(&mut self, adapter: AdapterId, ok: bool) {
        assert!(self.loading.remove(&adapter));
        if ok {
            self.host.insert(adapter);
        }
    }

    pub(crate) fn uploaded(&mut self, adapter: AdapterId, ok: bool) {
        let slot = self.uploading.remove(&adapter).expect("it was being uploaded");
        if ok {
            self.uploaded.insert(adapter, slot);
        }
    }

    /// A step's installs; `in_use` are the adapters of all who run.
    pub(crate) fn install(&mut self, installs: &[Install], in_use: &BTreeSet<AdapterId>) {
        for Install { slot, adapter } in installs {
            let place = &mut self.slots[*slot as usize];
            match adapter {
                Some(adapter) => {
                    assert_eq!(self.uploaded.remove(adapter), Some(*slot), "{adapter:?} was uploaded for its slot");
                    assert_eq!(place.replace(*adapter), None, "slot {slot} was empty");
                    self.pinned.entry(*adapter).and_modify(|resident| *resident = true);
                }
                None => {
                    let gone = place.take().expect("an emptied slot held something");
                    assert!(!in_use.contains(&gone), "{gone:?} is in use");
                    assert_ne!(self.pinned.get(&gone), Some(&true), "{gone:?} is pinned");
                }
            }
        }
    }

    /// The step with these installs did not run.
    pub(crate) fn undo(&mut self, installs: &[Install], before: Vec<Option<AdapterId>>) {
        for Install { slot, adapter } in installs {
            if let Some(adapter) = adapter {
                self.uploaded.insert(*adapter, *slot);
            }
        }
        self.slots = before;
    }

    /// Whether a set can ever be resident, beside what is pinned.
    pub(crate) fn could_fit(&self, adapters: &[AdapterId]) -> bool {
        let others = self.pinned.keys().filter(|adapter| !adapters.contains(adapter));
        let slots = others.clone().count() + adapters.len();
        let bytes: usize = others.chain(adapters).map(|adapter| self.sizes[adapter]).sum();
        let host = adapters.iter().all(|adapter| self.sizes[adapter] <= self.host_bytes_max);
        slots <= self.slots.len() && bytes <= self.device_bytes_max && host
    }
}
