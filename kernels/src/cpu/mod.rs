//! The CPU backend: every operation of [`backend`](crate::backend), fast, and readable as its specification.
//!
//! Weights are read as stored, from mapped files. Work is divided among threads by outputs, never along a sum.

mod adapters;
mod attention;
mod dense;
mod dot;
mod dots;
mod linear;
mod lora;
mod memory;
mod pool;
mod sampling;
mod simd;
mod vector;

use std::borrow::Cow;
use std::num::NonZero;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use adapters::CpuAdapters;
pub use memory::CpuMemory;
pub use simd::Level;

use crate::backend::{Device, GraphKey, Source};
use crate::error::Error;
use crate::layout::{Adapter, DType, SiteShape, StepInputs, StepLimits, StepPlan};
use pool::Pool;

/// The CPU, with threads of its own.
#[derive(Debug)]
pub struct Cpu {
    level: Level,
    pool: Pool,
}

/// What a [`Cpu`] may use.
#[derive(Clone, Copy, Debug, Default)]
pub struct CpuOptions {
    /// Threads; as many as the process may run at once where absent.
    pub threads: Option<NonZero<usize>>,
    /// Instructions; the best this processor has where absent.
    pub level: Option<Level>,
}

impl Cpu {
    /// Starts the threads.
    pub fn new(options: CpuOptions) -> Result<Self, Error> {
        let level = options.level.unwrap_or_else(Level::best);
        level.check()?;
        let threads =
            options.threads.or_else(|| std::thread::available_parallelism().ok()).unwrap_or(NonZero::<usize>::MIN);
        Ok(Self { level, pool: Pool::new(threads)? })
    }

    /// The instructions it uses.
    pub const fn level(&self) -> Level {
        self.level
    }

    /// How many threads it has.
    pub fn threads(&self) -> usize {
        self.pool.threads()
    }
}

/// A step on the CPU is the plan itself, but for tokens that it takes from the step before.
#[derive(Debug)]
pub struct CpuStep(StepPlan, Mutex<Option<Vec<u32>>>);

impl CpuStep {
    /// Token of each row, as far as they are known.
    fn tokens(&self) -> Cow<'_, [u32]> {
        match &*self.taken() {
            Some(tokens) => Cow::Owned(tokens.clone()),
            None => Cow::Borrowed(self.0.tokens()),
        }
    }

    fn taken(&self) -> MutexGuard<'_, Option<Vec<u32>>> {
        self.1.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsRef<StepPlan> for CpuStep {
    fn as_ref(&self) -> &StepPlan {
        &self.0
    }
}

impl Device for Cpu {
    type Memory = CpuMemory;
    type Step = CpuStep;
    type Adapters = CpuAdapters;

    fn describe(&self) -> String {
        format!("cpu, {} thread{}, {}", self.threads(), if self.threads() == 1 { "" } else { "s" }, self.level)
    }

    fn is_deterministic(&self) -> bool {
        true
    }

    fn loads_in_place(&self) -> bool {
        true
    }

    fn allocate(&self, dtype: DType, len: usize) -> Result<CpuMemory, Error> {
        CpuMemory::zeroed(dtype, len)
    }

    fn load(&self, source: &Source, dtype: DType, len: usize) -> Result<CpuMemory, Error> {
        CpuMemory::mapped(source, dtype, len)
    }

    fn write(&self, memory: &mut CpuMemory, at: usize, bytes: &[u8]) -> Result<(), Error> {
        memory.write(at, bytes)
    }

    fn read(&self, memory: &CpuMemory, at: usize, bytes: &mut [u8]) -> Result<(), Error> {
        memory.read(at, bytes)
    }

    fn step(&self, inputs: StepInputs, limits: StepLimits) -> Result<CpuStep, Error> {
        Ok(CpuStep(StepPlan::new(inputs, limits)?, Mutex::default()))
    }

    /// Nothing is recorded: operations run, on a thread of the pool, so that each finds the others awake.
    fn run(
        &self,
        _: Option<(GraphKey, &CpuStep)>,
        operations: &mut (dyn FnMut() -> Result<(), Error> + Send),
    ) -> Result<(), Error> {
        self.pool.enter(operations)
    }

    fn adapters(&self, sites: &[SiteShape], slots: usize) -> Result<CpuAdapters, Error> {
        CpuAdapters::new(sites.to_vec(), slots)
    }

    fn install(
        &self,
        adapters: &mut CpuAdapters,
        slot: u32,
        adapter: Option<Arc<Adapter<CpuMemory>>>,
    ) -> Result<Option<Arc<Adapter<CpuMemory>>>, Error> {
        adapters.install(slot, adapter)
    }
}

/// Chooses a type for activations.
macro_rules! for_activation {
    ($dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            $crate::layout::DType::F32 => {
                type $T = f32;
                $body
            }
            $crate::layout::DType::Bf16 => {
                type $T = half::bf16;
                $body
            }
            other => unreachable!("{other} is no type of activations: `check` refuses it"),
        }
    };
}

/// Chooses a type for weights.
macro_rules! for_weight {
    ($dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            $crate::layout::DType::F32 => {
                type $T = f32;
                $body
            }
            $crate::layout::DType::Bf16 => {
                type $T = half::bf16;
                $body
            }
            $crate::layout::DType::F16 => {
                type $T = half::f16;
                $body
            }
            other => unreachable!("{other} is no type of weights: `check` refuses it"),
        }
    };
}

use {for_activation, for_weight};
