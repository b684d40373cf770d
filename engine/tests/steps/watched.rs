//! The CPU, watched: which operations were asked for, and with what; and any one of them can be made to fail.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use loam_kernels::backend::{
    Add, AddRmsNorm, ApplyLinear, Attend, Attention, CopyPages, Dense, Device, Embed, Expand, Gate, GatherRows,
    GraphKey, HeadDelta, Lora, Product, QkNorm, RmsNorm, RopeStore, Sample, Sampler, Score, Shrink, Source, TakeTokens,
};
use loam_kernels::cpu::{CpuAdapters, CpuMemory, CpuStep};
use loam_kernels::layout::{Adapter, DType, SiteShape, StepInputs, StepLimits};
use loam_kernels::{Cpu, Error};

pub(crate) struct Watched {
    cpu: Cpu,
    calls: Mutex<Vec<Call>>,
    /// Calls that still succeed before one fails.
    left: AtomicUsize,
    /// Whether steps with a key are said to be recorded; what is, runs like all others.
    records: bool,
}

/// An operation that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) name: &'static str,
    /// Of adapters.
    pub(crate) site: Option<usize>,
    /// Whether it was given a delta.
    pub(crate) delta: bool,
    /// Of a run.
    pub(crate) key: Option<GraphKey>,
    /// Rows and width of what an adapter's first half writes.
    pub(crate) h: Option<[usize; 2]>,
}

impl Watched {
    pub(crate) const fn new(cpu: Cpu, records: bool) -> Self {
        Self { cpu, calls: Mutex::new(Vec::new()), left: AtomicUsize::new(usize::MAX), records }
    }

    /// What was asked for since it was last taken.
    pub(crate) fn take(&self) -> Vec<Call> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }

    /// The call after so many more fails; those after it do not.
    pub(crate) fn fail_after(&self, calls: usize) {
        self.left.store(calls, Ordering::SeqCst);
    }

    fn note(&self, name: &'static str, site: Option<usize>, delta: bool, key: Option<GraphKey>) -> Result<(), Error> {
        self.calls.lock().unwrap().push(Call { name, site, delta, key, h: None });
        // Past its failure nothing is counted any more.
        let counted = |left: usize| if left == usize::MAX { left } else { left.wrapping_sub(1) };
        match self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| Some(counted(left))) {
            Ok(0) => Err(Error::Threads { reason: format!("{name} was made to fail") }),
            _ => Ok(()),
        }
    }

    fn plain(&self, name: &'static str) -> Result<(), Error> {
        self.note(name, None, false, None)
    }

    fn with_delta(&self, name: &'static str, delta: bool) -> Result<(), Error> {
        self.note(name, None, delta, None)
    }
}

impl Device for Watched {
    type Memory = CpuMemory;
    type Step = CpuStep;
    type Adapters = CpuAdapters;

    fn describe(&self) -> String {
        self.cpu.describe()
    }

    fn is_deterministic(&self) -> bool {
        self.cpu.is_deterministic()
    }

    fn records(&self) -> bool {
        self.records
    }

    /// Nor is it: what is said to run apart is done when it is asked for.
    fn runs_apart(&self) -> bool {
        self.records
    }

    fn loads_in_place(&self) -> bool {
        self.cpu.loads_in_place() && !self.records
    }

    fn allocate(&self, dtype: DType, len: usize) -> Result<CpuMemory, Error> {
        self.plain("allocate")?;
        self.cpu.allocate(dtype, len)
    }

    fn load(&self, source: &Source, dtype: DType, len: usize) -> Result<CpuMemory, Error> {
        self.plain("load")?;
        self.cpu.load(source, dtype, len)
    }

    fn write(&self, memory: &mut CpuMemory, at: usize, bytes: &[u8]) -> Result<(), Error> {
        self.plain("write")?;
        self.cpu.write(memory, at, bytes)
    }

    fn read(&self, memory: &CpuMemory, at: usize, bytes: &mut [u8]) -> Result<(), Error> {
        self.plain("read")?;
        self.cpu.read(memory, at, bytes)
    }

    fn step(&self, inputs: StepInputs, limits: StepLimits) -> Result<CpuStep, Error> {
        self.plain("step")?;
        self.cpu.step(inputs, limits)
    }

    fn run(
        &self,
        graph: Option<(GraphKey, &CpuStep)>,
        operations: &mut (dyn FnMut() -> Result<(), Error> + Send),
    ) -> Result<(), Error> {
        self.note("run", None, false, graph.map(|(key, _)| key))?;
        self.cpu.run(graph, operations)
    }

    fn adapters(&self, sites: &[SiteShape], slots: usize) -> Result<CpuAdapters, Error> {
        self.cpu.adapters(sites, slots)
    }

    fn install(
        &self,
        adapters: &mut CpuAdapters,
        slot: u32,
        adapter: Option<Arc<Adapter<CpuMemory>>>,
    ) -> Result<Option<Arc<Adapter<CpuMemory>>>, Error> {
        self.plain("install")?;
        self.cpu.install(adapters, slot, adapter)
    }
}

impl Dense for Watched {
    fn take_tokens(&self, step: &CpuStep, op: TakeTokens<'_, CpuMemory>) -> Result<(), Error> {
        self.plain("take_tokens")?;
        self.cpu.take_tokens(step, op)
    }

    fn embed(&self, step: &CpuStep, op: Embed<'_, CpuMemory>) -> Result<(), Error> {
        self.plain("embed")?;
        self.cpu.embed(step, op)
    }

    fn rms_norm(&self, op: RmsNorm<'_, CpuMemory>) -> Result<(), Error> {
        self.plain("rms_norm")?;
        self.cpu.rms_norm(op)
    }

    fn add_rms_norm(&self, step: &CpuStep, op: AddRmsNorm<'_, CpuMemory>) -> Result<(), Error> {
        self.with_delta("add_rms_norm", op.delta.is_some())?;
        self.cpu.add_rms_norm(step, op)
    }

    fn qk_norm(&self, step: &CpuStep, op: QkNorm<'_, CpuMemory>) -> Result<(), Error> {
        self.with_delta("qk_norm", op.delta.is_some())?;
        self.cpu.qk_norm(step, op)
    }

    fn linear(&self, op: ApplyLinear<'_, CpuMemory>) -> Result<(), Error> {
        self.plain("linear")?;
        self.cpu.linear(op)
    }

    fn product(&self, op: Product<'_, CpuMemory>) -> Result<(), Error> {
        self.plain("product")?;
        self.cpu.product(op)
    }

    fn gate(&self, step: &CpuStep, op: Gate<'_, CpuMemory>) -> Result<(), Error> {
        self.with_delta("gate", op.delta.is_some())?;
        self.cpu.gate(step, op)
    }

    fn add(&self, step: &CpuStep, op: Add<'_, CpuMemory>) -> Result<(), Error> {
        self.with_delta("add", true)?;
        self.cpu.add(step, op)
    }

    fn gather_rows(&self, step: &CpuStep, op: GatherRows<'_, CpuMemory>) -> Result<(), Error> {
        self.plain("gather_rows")?;
        self.cpu.gather_rows(step, op)
    }
}

impl Attention for Watched {
    fn rope_store(&self, step: &CpuStep, op: RopeStore<'_, CpuMemory>) -> Result<(), Error> {
        self.with_delta("rope_store", op.delta.is_some())?;
        self.cpu.rope_store(step, op)
    }

    fn attention(&self, step: &CpuStep, op: Attend<'_, CpuMemory>) -> Result<(), Error> {
        self.plain("attention")?;
        self.cpu.attention(step, op)
    }

    fn copy_pages(&self, op: CopyPages<'_, CpuMemory>) -> Result<(), Error> {
        self.plain("copy_pages")?;
        self.cpu.copy_pages(op)
    }
}

impl Lora for Watched {
    fn lora_shrink(&self, step: &CpuStep, op: Shrink<'_, Self>) -> Result<(), Error> {
        let Shrink { adapters, site, set, x, h } = op;
        let noted = self.note("lora_shrink", Some(site), false, None);
        self.calls.lock().unwrap().last_mut().unwrap().h = Some([h.rows(), h.width()]);
        noted?;
        self.cpu.lora_shrink(step, Shrink { adapters, site, set, x, h })
    }

    fn lora_expand(&self, step: &CpuStep, op: Expand<'_, Self>) -> Result<(), Error> {
        let Expand { adapters, site, set, h, delta } = op;
        self.note("lora_expand", Some(site), true, None)?;
        self.cpu.lora_expand(step, Expand { adapters, site, set, h, delta })
    }
}

impl Sampler for Watched {
    fn sample(&self, step: &CpuStep, op: Sample<'_, CpuMemory>) -> Result<(), Error> {
        self.plain("sample")?;
        self.cpu.sample(step, op)
    }

    fn log_probability_of(&self, step: &CpuStep, op: Score<'_, Self>) -> Result<(), Error> {
        self.with_delta("log_probability_of", op.delta.is_some())?;
        let Score { x, head, delta, log_probabilities, ranks, best_tokens, best_log_probabilities } = op;
        let delta = delta.map(|HeadDelta { adapters, site, h }| HeadDelta { adapters, site, h });
        let op = Score { x, head, delta, log_probabilities, ranks, best_tokens, best_log_probabilities };
        self.cpu.log_probability_of(step, op)
    }
}
