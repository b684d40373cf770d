//! A second implementation of every operation: scalar, sequential, deliberately slow.
//!
//! It shares nothing with the CPU backend but the trait. That the same suite passes over both proves that neither the
//! trait nor the suite is written around one implementation. It copies weights when they are loaded, as a device does.

mod attention;
mod dense;
mod lora;
mod memory;
mod sampling;

use std::sync::{Arc, Mutex, MutexGuard};

use loam_kernels::Error;
use loam_kernels::backend::{Device, GraphKey, Source};
use loam_kernels::layout::{Adapter, DType, PairList, SitePlace, SiteShape, StepInputs, StepLimits, StepPlan};
pub(crate) use memory::SlowMemory;

/// The slow device.
#[derive(Debug, Default)]
pub(crate) struct Slow;

/// A step is its plan, and its tokens, some of which it may take from the step before.
#[derive(Debug)]
pub(crate) struct SlowStep(StepPlan, Mutex<Vec<u32>>);

impl SlowStep {
    fn tokens(&self) -> MutexGuard<'_, Vec<u32>> {
        self.1.lock().expect("nobody panics over them")
    }
}

impl AsRef<StepPlan> for SlowStep {
    fn as_ref(&self) -> &StepPlan {
        &self.0
    }
}

/// Resident adapters, by slot.
#[derive(Debug)]
pub(crate) struct SlowAdapters {
    sites: Vec<SiteShape>,
    slots: Vec<Option<Arc<Adapter<SlowMemory>>>>,
}

impl SlowAdapters {
    /// The adapter in a slot; refused where there is none.
    fn adapter(&self, slot: u32) -> Result<&Adapter<SlowMemory>, Error> {
        let held = self.slots.get(slot as usize).and_then(Option::as_deref);
        held.ok_or(Error::EmptySlot { slot })
    }

    /// A site that `places` found.
    fn site(&self, site: usize) -> &SiteShape {
        &self.sites[site]
    }

    /// The place of a site in each group's adapter, in order of groups.
    fn places(&self, site: usize, pairs: &PairList) -> Result<Vec<&SitePlace>, Error> {
        if site >= self.sites.len() {
            return Err(Error::Limit { what: "a site", value: site, limit: self.sites.len() });
        }
        pairs.groups().iter().map(|group| Ok(&self.adapter(group.slot)?.layout().sites()[site])).collect()
    }
}

impl Device for Slow {
    type Memory = SlowMemory;
    type Step = SlowStep;
    type Adapters = SlowAdapters;

    fn describe(&self) -> String {
        "a slow reference, 1 thread".to_owned()
    }

    fn is_deterministic(&self) -> bool {
        true
    }

    fn allocate(&self, dtype: DType, len: usize) -> Result<SlowMemory, Error> {
        SlowMemory::zeroed(dtype, len)
    }

    fn load(&self, source: &Source, dtype: DType, len: usize) -> Result<SlowMemory, Error> {
        let bytes = len.saturating_mul(dtype.bytes()) as u64;
        let stored = source.file.range(source.offset..source.offset.saturating_add(bytes))?;
        let mut memory = SlowMemory::zeroed(dtype, len)?;
        memory.write(0, stored)?;
        Ok(memory)
    }

    fn write(&self, memory: &mut SlowMemory, at: usize, bytes: &[u8]) -> Result<(), Error> {
        memory.write(at, bytes)
    }

    fn read(&self, memory: &SlowMemory, at: usize, bytes: &mut [u8]) -> Result<(), Error> {
        memory.read(at, bytes)
    }

    fn step(&self, inputs: StepInputs, limits: StepLimits) -> Result<SlowStep, Error> {
        let tokens = Mutex::new(inputs.tokens.clone());
        Ok(SlowStep(StepPlan::new(inputs, limits)?, tokens))
    }

    fn run(
        &self,
        _: Option<(GraphKey, &SlowStep)>,
        operations: &mut (dyn FnMut() -> Result<(), Error> + Send),
    ) -> Result<(), Error> {
        operations()
    }

    fn adapters(&self, sites: &[SiteShape], slots: usize) -> Result<SlowAdapters, Error> {
        Ok(SlowAdapters { sites: sites.to_vec(), slots: vec![None; slots] })
    }

    fn install(
        &self,
        adapters: &mut SlowAdapters,
        slot: u32,
        adapter: Option<Arc<Adapter<SlowMemory>>>,
    ) -> Result<Option<Arc<Adapter<SlowMemory>>>, Error> {
        let limit = adapters.slots.len();
        let Some(held) = adapters.slots.get_mut(slot as usize) else {
            return Err(Error::Limit { what: "a slot", value: slot as usize, limit });
        };
        if let Some(adapter) = &adapter {
            let (found, expected) = (adapter.layout().sites(), &adapters.sites);
            let same = found.iter().zip(expected).take_while(|(place, shape)| place.shape == **shape).count();
            if found.len() != expected.len() || same != expected.len() {
                return Err(Error::Shape { what: "an adapter's sites", expected: expected.len(), found: same });
            }
        }
        Ok(std::mem::replace(held, adapter))
    }
}
