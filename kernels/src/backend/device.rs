//! Memory, steps, resident adapters: what the operations work on.

use std::sync::Arc;

use crate::error::Error;
use crate::layout::{Adapter, DType, Memory, SiteShape, StepInputs, StepLimits, StepPlan};
use crate::mapped::Mapped;

/// A device and its memory. Methods take `&self`: one thread runs steps while others load adapters.
///
/// Operations may return before they are done, but are done in the order they were asked for; `read` waits.
pub trait Device: Send + Sync {
    /// Values on the device.
    type Memory: Memory + 'static;
    /// A step's inputs, on the device.
    type Step: AsRef<StepPlan> + Send + Sync;
    /// Adapters that steps can use, by slot.
    type Adapters: Send + Sync;

    /// What it is, for people: device, instructions, threads.
    fn describe(&self) -> String;

    /// Bytes that can still be allocated, on a device with memory of its own.
    fn free_bytes(&self) -> Result<Option<usize>, Error> {
        Ok(None)
    }

    /// Whether a row's bits never depend on what else is in its step. What is recorded of an answer says so.
    fn is_deterministic(&self) -> bool;

    /// Whether [`Device::run`] records steps that have a key: then they are worth padding to the numbers of rows that
    /// [`GraphKey::ROWS`] names.
    fn records(&self) -> bool {
        false
    }

    /// Whether operations return before they are done, so that a step can be launched while the one before it runs.
    fn runs_apart(&self) -> bool {
        false
    }

    /// Whether [`Device::load`] reads values where they lie. Elsewhere layers with the same input are worth laying behind one
    /// another, as one.
    fn loads_in_place(&self) -> bool {
        false
    }

    /// Memory of zeros.
    fn allocate(&self, dtype: DType, len: usize) -> Result<Self::Memory, Error>;

    /// Values of a mapped file, as stored. A device that can read them in place does.
    fn load(&self, source: &Source, dtype: DType, len: usize) -> Result<Self::Memory, Error>;

    /// Overwrites values from `at` on with `bytes`.
    fn write(&self, memory: &mut Self::Memory, at: usize, bytes: &[u8]) -> Result<(), Error>;

    /// Reads values from `at` on into `bytes`, when all that was asked for before is done.
    fn read(&self, memory: &Self::Memory, at: usize, bytes: &mut [u8]) -> Result<(), Error>;

    /// Begins to read so many bytes of the values from `at` on, as they are when all that was asked for before is done: what
    /// is asked for later may overwrite them. A device on which all is done at once reads at once.
    fn begin_read(&self, memory: &Self::Memory, at: usize, bytes: usize) -> Result<Reading, Error> {
        let mut read = vec![0; bytes];
        self.read(memory, at, &mut read)?;
        Ok(Reading::done(read))
    }

    /// Checks a step's numbers and sends them to the device, in one call.
    fn step(&self, inputs: StepInputs, limits: StepLimits) -> Result<Self::Step, Error>;

    /// Runs the operations of a step. With a key a device may record them once, calling them twice then, and, for each later
    /// step of that key, replay them with that step's numbers instead of calling them. They must be the same but for those:
    /// over the same memories, whose end is the end of what was recorded, and, under a key with adapters, at the same sites,
    /// through an `h` with room for as many pairs as so many rows can have, and for every rank that comes.
    fn run(
        &self,
        graph: Option<(GraphKey, &Self::Step)>,
        operations: &mut (dyn FnMut() -> Result<(), Error> + Send),
    ) -> Result<(), Error>;

    /// Runs operations that need not wait for those between here and [`Device::join`], nor these for them: what either
    /// writes the other does not touch. A device may run them at once, or side by side.
    fn beside(&self, operations: &mut dyn FnMut() -> Result<(), Error>) -> Result<(), Error> {
        operations()
    }

    /// What follows waits for all that was to run beside.
    fn join(&self) -> Result<(), Error> {
        Ok(())
    }

    /// A table of `slots` empty slots for adapters of a model with these sites.
    fn adapters(&self, sites: &[SiteShape], slots: usize) -> Result<Self::Adapters, Error>;

    /// Puts an adapter into a slot and returns what was there. Steps running now keep what they began with.
    fn install(
        &self,
        adapters: &mut Self::Adapters,
        slot: u32,
        adapter: Option<Arc<Adapter<Self::Memory>>>,
    ) -> Result<Option<Arc<Adapter<Self::Memory>>>, Error>;
}

/// Values on their way from a device.
pub struct Reading(Box<dyn FnOnce() -> Result<Vec<u8>, Error> + Send>);

impl Reading {
    /// Values that are there.
    pub fn done(bytes: Vec<u8>) -> Self {
        Self(Box::new(|| Ok(bytes)))
    }

    /// Values that `wait` waits for, and what may be wrong with all that they come of.
    pub fn new(wait: impl FnOnce() -> Result<Vec<u8>, Error> + Send + 'static) -> Self {
        Self(Box::new(wait))
    }

    /// Waits for them.
    pub fn wait(self) -> Result<Vec<u8>, Error> {
        (self.0)()
    }
}

/// What makes two steps the same but for their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GraphKey {
    /// Whose step it is: models that share a device have a number each, and never each other's.
    pub model: u64,
    /// Rows, padding included.
    pub rows: u32,
    /// Which of its operations are adapters'.
    pub adapted: Adapted,
}

/// Where a step's rows use adapters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Adapted {
    /// Nowhere: the base's operations alone.
    Nowhere,
    /// In the layers, as most do.
    Layers,
    /// At the embedding or the head too, where an adapter's outputs are as many as tokens.
    Everywhere,
}

impl GraphKey {
    /// Rows of the steps that are worth recording; steps of other numbers are padded to the next.
    pub const ROWS: [u32; 15] = [1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 160, 192, 224, 256];

    /// Rows that a step is padded with at most.
    pub const PADDING_ROWS_MAX: usize = {
        let (mut most, mut at) = (0, 1);
        while at < Self::ROWS.len() {
            let padding = Self::ROWS[at] - Self::ROWS[at - 1] - 1;
            most = if padding > most { padding } else { most };
            at += 1;
        }
        most as usize
    };

    /// The fewest of them that so many rows fit into, if any do.
    pub fn rows_for(rows: usize) -> Option<u32> {
        Self::ROWS.into_iter().find(|fit| rows <= *fit as usize)
    }
}

/// A tensor's bytes in a mapped file.
#[derive(Clone, Debug)]
pub struct Source {
    /// The file.
    pub file: Arc<Mapped>,
    /// First byte.
    pub offset: u64,
}
