//! The CUDA backend: a device, its steps, and what its kernels keep between them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::adapters::CudaAdapters;
use super::device::{DeviceMemory, LaunchError, Stream};
use super::work::StepTables;
use crate::backend::{Device, GraphKey, Source};
use crate::error::Error;
use crate::layout::{Adapter, DType, SiteShape, StepInputs, StepLimits, StepPlan};

/// A GPU, or the emulation of one.
#[derive(Debug, Default)]
pub struct Cuda {
    mode: CudaMode,
    scratch: Mutex<Scratch>,
    /// Of operations that are made of others, which use theirs meanwhile.
    outer_scratch: Mutex<Scratch>,
}

/// Whether a row's bits may depend on how many others there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CudaMode {
    /// One arithmetic for each operation: a row has the same bits alone, in a crowd, in prefill and in decode.
    #[default]
    Deterministic,
    /// What is fastest for the rows that there are.
    Fast,
}

/// A step that was checked, and its tables on the device.
#[derive(Debug)]
pub struct CudaStep {
    plan: StepPlan,
    tables: StepTables,
}

/// What kernels write for each other within an operation. It grows, and is never less.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    values: Option<DeviceMemory>,
    /// Zeros, which kernels leave so.
    tickets: Option<DeviceMemory>,
    /// What is sent with an operation.
    tables: Option<DeviceMemory>,
}

impl Cuda {
    /// The device.
    pub fn new(mode: CudaMode) -> Self {
        Self { mode, ..Self::default() }
    }

    pub(super) const fn mode(&self) -> CudaMode {
        self.mode
    }

    /// All work is done in this stream's order.
    pub(super) fn stream(&self) -> Stream {
        Stream::default()
    }

    /// Held while an operation that uses it is launched; the stream's order does the rest.
    pub(super) fn scratch(&self) -> MutexGuard<'_, Scratch> {
        self.scratch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same, for an operation that calls others meanwhile.
    pub(super) fn outer_scratch(&self) -> MutexGuard<'_, Scratch> {
        self.outer_scratch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Scratch {
    /// Room for so many values, of anything.
    pub(super) fn values(&mut self, len: usize) -> Result<*mut f32, Error> {
        if self.values.as_ref().is_none_or(|held| held.bytes() < len * size_of::<f32>()) {
            self.values = Some(DeviceMemory::new("scratch", DType::F32, len)?);
        }
        Ok(self.values.as_ref().map_or(std::ptr::null_mut(), |held| held.address().cast()))
    }

    /// These words on the device, until other ones are sent.
    pub(super) fn tables(&mut self, words: &[u32]) -> Result<*const u32, Error> {
        if self.tables.as_ref().is_none_or(|held| held.bytes() < size_of_val(words)) {
            self.tables = Some(DeviceMemory::new("an operation's tables", DType::U32, words.len())?);
        }
        let Some(held) = &mut self.tables else { return Ok(std::ptr::null()) };
        held.write(&Stream::default(), words)?;
        Ok(held.address().cast())
    }

    /// So many tickets that nobody has drawn.
    pub(super) fn tickets(&mut self, len: usize) -> Result<*mut u32, Error> {
        if self.tickets.as_ref().is_none_or(|held| held.bytes() < len * size_of::<u32>()) {
            let mut tickets = DeviceMemory::new("tickets", DType::U32, len)?;
            tickets.fill(&Stream::default(), 0)?;
            self.tickets = Some(tickets);
        }
        Ok(self.tickets.as_ref().map_or(std::ptr::null_mut(), |held| held.address().cast()))
    }
}

impl CudaStep {
    pub(super) const fn plan(&self) -> &StepPlan {
        &self.plan
    }

    pub(super) const fn tables(&self) -> &StepTables {
        &self.tables
    }
}

impl AsRef<StepPlan> for CudaStep {
    fn as_ref(&self) -> &StepPlan {
        &self.plan
    }
}

impl From<LaunchError> for Error {
    fn from(error: LaunchError) -> Self {
        Self::Launch { report: error.to_string() }
    }
}

impl Device for Cuda {
    type Memory = DeviceMemory;
    type Step = CudaStep;
    type Adapters = CudaAdapters;

    fn describe(&self) -> String {
        "cuda, emulated".to_owned()
    }

    fn allocate(&self, dtype: DType, len: usize) -> Result<DeviceMemory, Error> {
        let mut memory = DeviceMemory::new("values", dtype, len)?;
        memory.fill(&self.stream(), 0)?;
        Ok(memory)
    }

    fn load(&self, source: &Source, dtype: DType, len: usize) -> Result<DeviceMemory, Error> {
        let bytes = len.saturating_mul(dtype.bytes()) as u64;
        let stored = source.file.range(source.offset..source.offset.saturating_add(bytes))?;
        let mut memory = DeviceMemory::new("weights", dtype, len)?;
        memory.write_bytes(&self.stream(), 0, stored)?;
        Ok(memory)
    }

    fn write(&self, memory: &mut DeviceMemory, at: usize, bytes: &[u8]) -> Result<(), Error> {
        memory.write_bytes(&self.stream(), at, bytes)
    }

    fn read(&self, memory: &DeviceMemory, at: usize, bytes: &mut [u8]) -> Result<(), Error> {
        memory.read_bytes(&self.stream(), at, bytes)
    }

    fn step(&self, inputs: StepInputs, limits: StepLimits) -> Result<CudaStep, Error> {
        let plan = StepPlan::new(inputs, limits)?;
        let tables = StepTables::new(&self.stream(), &plan)?;
        Ok(CudaStep { plan, tables })
    }

    /// Nothing is recorded yet: operations run.
    fn run(
        &self,
        _: Option<(GraphKey, &CudaStep)>,
        operations: &mut (dyn FnMut() -> Result<(), Error> + Send),
    ) -> Result<(), Error> {
        operations()
    }

    fn adapters(&self, sites: &[SiteShape], slots: usize) -> Result<CudaAdapters, Error> {
        Ok(CudaAdapters::new(sites.to_vec(), slots)?)
    }

    fn install(
        &self,
        adapters: &mut CudaAdapters,
        slot: u32,
        adapter: Option<Arc<Adapter<DeviceMemory>>>,
    ) -> Result<Option<Arc<Adapter<DeviceMemory>>>, Error> {
        adapters.install(&self.stream(), slot, adapter)
    }
}
