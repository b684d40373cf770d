//! The CUDA backend: a device, its steps, and what its kernels keep between them.

use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::adapters::CudaAdapters;
use super::device::{self, DeviceMemory, Library, Stream};
use super::ffi::RawStream;
use super::graph::{self, Graphs};
use super::work::{Lists, StepTables};
use crate::backend::{Device, GraphKey, Reading, Source};
use crate::error::Error;
use crate::layout::{Adapter, DType, SiteShape, StepInputs, StepLimits, StepPlan};

/// A GPU, or the emulation of one.
#[derive(Debug)]
pub struct Cuda {
    mode: CudaMode,
    /// What may be asked for products instead of `gemm.cu`; in fast mode, and where it is there.
    library: Option<Library>,
    scratch: Mutex<Scratch>,
    /// Of operations that are made of others, which use theirs meanwhile.
    outer_scratch: Mutex<Scratch>,
    /// Of adapters' operations, which run beside others.
    adapters_scratch: Mutex<Scratch>,
    graphs: Mutex<Graphs>,
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
    mode: CudaMode,
    /// Sent when an operation first asks for them; a step that is replayed has none of its own.
    own: OnceLock<Arc<StepTables>>,
    /// Those of the graph that is made of this step, meanwhile.
    placed: Mutex<Option<Arc<StepTables>>>,
}

/// A step whose tables are a graph's.
pub(super) struct Placed<'a>(&'a CudaStep);

impl Drop for Placed<'_> {
    fn drop(&mut self) {
        *self.0.placed() = None;
    }
}

/// What kernels write for each other within an operation. It grows, and is never less.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    values: Option<DeviceMemory>,
    /// Zeros, which kernels leave so.
    tickets: Option<DeviceMemory>,
    /// What is sent with an operation.
    tables: Option<DeviceMemory>,
    /// Whether a graph knows the values that are here, and the tickets.
    values_known: bool,
    tickets_known: bool,
    /// What graphs know, and was too small for others.
    kept: Vec<DeviceMemory>,
}

impl Cuda {
    /// The GPU of this number, of which a process uses one; `nvidia-smi -L` lists them. Refused with [`Error::Gpu`] where
    /// there is none that the kernels can run on.
    pub fn open(ordinal: usize, mode: CudaMode) -> Result<Self, Error> {
        device::open(ordinal)?;
        let library = if mode == CudaMode::Fast { Library::open() } else { None };
        let [scratch, outer_scratch, adapters_scratch] = Default::default();
        Ok(Self { mode, library, scratch, outer_scratch, adapters_scratch, graphs: Mutex::default() })
    }

    pub(super) const fn library(&self) -> Option<&Library> {
        self.library.as_ref()
    }

    pub(super) const fn mode(&self) -> CudaMode {
        self.mode
    }

    /// All work is done in this stream's order.
    pub(super) fn stream(&self) -> Stream {
        Stream::default()
    }

    /// Where operations are launched: the same, or, while they are recorded, the stream that notes them down.
    pub(super) fn order(&self) -> RawStream {
        graph::order()
    }

    /// A recorded graph's nodes: each kernel's name, with how many nodes it waits for itself. None before the key's
    /// first step.
    pub fn nodes(&self, key: GraphKey) -> Vec<(String, usize)> {
        self.graphs().nodes(key)
    }

    fn graphs(&self) -> MutexGuard<'_, Graphs> {
        self.graphs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Held while an operation that uses it is launched; the stream's order does the rest.
    pub(super) fn scratch(&self) -> MutexGuard<'_, Scratch> {
        self.scratch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same, for an operation that calls others meanwhile.
    pub(super) fn outer_scratch(&self) -> MutexGuard<'_, Scratch> {
        self.outer_scratch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same, for adapters.
    pub(super) fn adapters_scratch(&self) -> MutexGuard<'_, Scratch> {
        self.adapters_scratch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Scratch {
    /// Room for so many values, of anything.
    pub(super) fn values(&mut self, len: usize) -> Result<*mut f32, Error> {
        if self.values.as_ref().is_none_or(|held| held.bytes() < len * size_of::<f32>()) {
            graph::refuse_recorded("scratch that grows")?;
            let grown = DeviceMemory::new("scratch", DType::F32, room_for(len))?;
            let before = self.values.replace(grown);
            self.kept.extend(before.filter(|_| mem::take(&mut self.values_known)));
        }
        Ok(self.values.as_ref().map_or(std::ptr::null_mut(), |held| held.address().cast()))
    }

    /// These words on the device, until other ones are sent.
    pub(super) fn tables(&mut self, words: &[u32]) -> Result<*const u32, Error> {
        graph::refuse_recorded("tables of its own")?;
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
            graph::refuse_recorded("tickets that grow")?;
            let mut tickets = DeviceMemory::new("tickets", DType::U32, room_for(len))?;
            tickets.fill(&Stream::default(), 0)?;
            let before = self.tickets.replace(tickets);
            self.kept.extend(before.filter(|_| mem::take(&mut self.tickets_known)));
        }
        Ok(self.tickets.as_ref().map_or(std::ptr::null_mut(), |held| held.address().cast()))
    }

    /// What is here now is a graph's too, and must stay.
    pub(super) const fn keep(&mut self) {
        self.values_known = true;
        self.tickets_known = true;
    }
}

/// What grows is doubled: what graphs keep of all that was too small is then less than what is there.
fn room_for(len: usize) -> usize {
    len.checked_next_power_of_two().unwrap_or(len)
}

impl CudaStep {
    pub(super) const fn plan(&self) -> &StepPlan {
        &self.plan
    }

    /// What its tables hold.
    pub(super) fn lists(&self) -> Lists {
        Lists::of(&self.plan, self.mode)
    }

    /// Its tables on the device.
    pub(super) fn tables(&self) -> Result<Arc<StepTables>, Error> {
        if let Some(tables) = &*self.placed() {
            return Ok(Arc::clone(tables));
        }
        if let Some(tables) = self.own.get() {
            return Ok(Arc::clone(tables));
        }
        graph::refuse_recorded("another step's tables")?;
        let tables = Arc::new(StepTables::of(&Stream::default(), &self.lists())?);
        Ok(Arc::clone(self.own.get_or_init(|| tables)))
    }

    /// Makes a graph's tables this step's, until the answer is dropped.
    pub(super) fn place(&self, tables: &Arc<StepTables>) -> Placed<'_> {
        *self.placed() = Some(Arc::clone(tables));
        Placed(self)
    }

    fn placed(&self) -> MutexGuard<'_, Option<Arc<StepTables>>> {
        self.placed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsRef<StepPlan> for CudaStep {
    fn as_ref(&self) -> &StepPlan {
        &self.plan
    }
}

impl Device for Cuda {
    type Memory = DeviceMemory;
    type Step = CudaStep;
    type Adapters = CudaAdapters;

    fn describe(&self) -> String {
        let products = match (&self.library, self.mode) {
            (Some(_), _) => "fast, with cuBLASLt",
            (None, CudaMode::Fast) => "fast, without cuBLASLt",
            (None, CudaMode::Deterministic) => "deterministic",
        };
        let device = device::describe();
        match self.graphs().refusal() {
            None => format!("{device}, {products}"),
            Some(why) => format!("{device}, {products}, launching each kernel, since steps cannot be recorded ({why})"),
        }
    }

    fn free_bytes(&self) -> Result<Option<usize>, Error> {
        Ok(device::free_bytes()?)
    }

    fn is_deterministic(&self) -> bool {
        self.mode == CudaMode::Deterministic
    }

    fn records(&self) -> bool {
        true
    }

    fn runs_apart(&self) -> bool {
        true
    }

    fn allocate(&self, dtype: DType, len: usize) -> Result<DeviceMemory, Error> {
        graph::refuse_recorded("memory to allocate")?;
        let mut memory = DeviceMemory::new("values", dtype, len)?;
        memory.clear()?;
        Ok(memory)
    }

    fn load(&self, source: &Source, dtype: DType, len: usize) -> Result<DeviceMemory, Error> {
        graph::refuse_recorded("a file to load")?;
        let bytes = len.saturating_mul(dtype.bytes()) as u64;
        let stored = source.file.range(source.offset..source.offset.saturating_add(bytes))?;
        let mut memory = DeviceMemory::new("weights", dtype, len)?;
        memory.write_bytes(0, stored)?;
        Ok(memory)
    }

    fn write(&self, memory: &mut DeviceMemory, at: usize, bytes: &[u8]) -> Result<(), Error> {
        graph::refuse_recorded("values to write")?;
        memory.write_bytes(at, bytes)
    }

    fn read(&self, memory: &DeviceMemory, at: usize, bytes: &mut [u8]) -> Result<(), Error> {
        graph::refuse_recorded("values to read")?;
        memory.read_bytes(&self.stream(), at, bytes)
    }

    fn begin_read(&self, memory: &DeviceMemory, at: usize, bytes: usize) -> Result<Reading, Error> {
        graph::refuse_recorded("values to read")?;
        memory.begin_read(at, bytes)
    }

    fn step(&self, inputs: StepInputs, limits: StepLimits) -> Result<CudaStep, Error> {
        let plan = StepPlan::new(inputs, limits)?;
        Ok(CudaStep { plan, mode: self.mode, own: OnceLock::new(), placed: Mutex::default() })
    }

    /// A key's first step calls its operations twice: to run them, and to record them. Steps with a prompt or with
    /// tokens to score call them as if there were no key, and so do those of too many rows, or whose rows share more
    /// than their key has room for.
    fn run(
        &self,
        graph: Option<(GraphKey, &CudaStep)>,
        operations: &mut (dyn FnMut() -> Result<(), Error> + Send),
    ) -> Result<(), Error> {
        let Some((key, step)) = graph else { return operations() };
        graph::check_key(key, step.plan())?;
        if !graph::is_recordable(step.plan()) {
            return operations();
        }
        self.graphs().run(self, key, step, operations)
    }

    /// In what is recorded, where a branch costs nothing when it is replayed; elsewhere launches come one by one.
    fn beside(&self, operations: &mut dyn FnMut() -> Result<(), Error>) -> Result<(), Error> {
        graph::beside(operations)
    }

    fn join(&self) -> Result<(), Error> {
        graph::join()
    }

    fn adapters(&self, sites: &[SiteShape], slots: usize) -> Result<CudaAdapters, Error> {
        CudaAdapters::new(sites.to_vec(), slots)
    }

    fn install(
        &self,
        adapters: &mut CudaAdapters,
        slot: u32,
        adapter: Option<Arc<Adapter<DeviceMemory>>>,
    ) -> Result<Option<Arc<Adapter<DeviceMemory>>>, Error> {
        graph::refuse_recorded("an adapter to install")?;
        adapters.install(&self.stream(), slot, adapter)
    }
}
