//! From a model's folder to a running engine: the whole assembly, in one place.

use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use loam_kernels::cpu::CpuOptions;
use loam_kernels::layout::{DType, KvShape, RANK_MAX};
use loam_kernels::{Backend, Cpu};
use loam_ledger_core::Hash;

use crate::adapter::{BaseTensors, Catalog, CatalogOptions, Way};
use crate::delivery::DeliveryMode;
use crate::device::{Arithmetic, DeviceChoice};
use crate::engine::{Engine, EngineParts, Mode};
use crate::error::Error;
use crate::model::{Decoder, ModelConfig, Progress, Residence, Sites, Weights};
use crate::recorder::{RecordFailed, Recorder};
use crate::request::{CHOICES_MAX, refuse};
use crate::room;
use crate::runner::{Runner, RunnerOptions};
use crate::scheduler::SchedulerOptions;
use crate::text::Text;

/// Where weights come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LoadFormat {
    /// The folder's safetensors.
    #[default]
    Files,
    /// Random ones of the same shape, from a seed: for measuring without a model's weights.
    Dummy {
        /// The same seed makes the same weights.
        seed: u64,
    },
}

/// How to open a model. The library reads no environment: all of it is said here.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// A folder as Hugging Face has them.
    pub model: PathBuf,
    /// What activations, keys and values are kept as: f32 or bf16.
    pub dtype: DType,
    /// What computes.
    pub device: DeviceChoice,
    /// How it computes, where it is a GPU.
    pub arithmetic: Arithmetic,
    /// Where weights come from.
    pub load_format: LoadFormat,
    /// Whether weights are read where their files are mapped, or copied.
    pub residence: Residence,
    /// Threads that compute, on the CPU; as many as the process may run at once where absent.
    pub threads: Option<NonZero<usize>>,
    /// Positions of the longest request; the model's own where absent.
    pub positions_max: Option<usize>,
    /// Bytes for keys and values; where absent, what a GPU has left, or [`KV_BYTES`](crate::KV_BYTES).
    pub kv_bytes: Option<usize>,
    /// Positions in a page of keys and values.
    pub page_tokens: usize,
    /// Adapters that one step can use.
    pub slots: usize,
    /// Rows that one step computes at most.
    pub step_tokens_max: usize,
    /// Answers that run side by side.
    pub running_max: usize,
    /// Requests taken on at once, waiting and running.
    pub requests_max: usize,
    /// The greatest rank that an adapter may have; none for what the kernels can compute.
    pub rank_max: Option<u32>,
    /// Bytes of adapters kept in host memory, ready to be used.
    pub adapter_host_bytes: usize,
    /// Bytes of adapters where steps can use them.
    pub adapter_device_bytes: usize,
    /// Folders that adapters may be loaded from; any where none is named.
    pub adapter_roots: Vec<PathBuf>,
    /// Whether a step may be launched before the tokens of the one before it are known, where a device runs apart.
    pub ahead: bool,
    /// Whether steps of all sizes are run before the first request, on a device that records them: it takes some seconds.
    pub warm_up: bool,
    /// When tokens leave.
    pub delivery: DeliveryMode,
    /// A file that remembers the digests of unchanged files; none where each start reads them whole.
    pub digest_cache: Option<PathBuf>,
}

impl OpenOptions {
    /// A folder, and defaults for all else.
    pub fn new(model: &Path) -> Self {
        Self {
            model: model.to_owned(),
            dtype: DType::Bf16,
            device: DeviceChoice::default(),
            arithmetic: Arithmetic::default(),
            load_format: LoadFormat::default(),
            residence: Residence::default(),
            threads: None,
            positions_max: None,
            kv_bytes: None,
            page_tokens: 32,
            slots: 32,
            step_tokens_max: 512,
            running_max: 256,
            requests_max: 4096,
            rank_max: None,
            adapter_host_bytes: 4 << 30,
            adapter_device_bytes: 4 << 30,
            adapter_roots: Vec::new(),
            ahead: true,
            warm_up: false,
            delivery: DeliveryMode::default(),
            digest_cache: None,
        }
    }

    /// Refuses, by the field's name, what no model could be opened with.
    fn check(&self) -> Result<(), Error> {
        let one_or_more = [
            ("page_tokens", self.page_tokens),
            ("slots", self.slots),
            ("step_tokens_max", self.step_tokens_max),
            ("running_max", self.running_max),
            ("requests_max", self.requests_max),
        ];
        for (field, number) in one_or_more {
            if number == 0 {
                return refuse(field, "0", "1 or more: nothing would ever be answered");
            }
        }
        match self.positions_max {
            Some(positions @ ..2) => {
                refuse("positions_max", &positions.to_string(), "2 or more: a token and its answer")
            }
            _ => Ok(()),
        }
    }
}

impl Engine {
    /// Opens a model. `progress` hears how far its weights are.
    pub fn open(
        options: &OpenOptions,
        recorder: Box<dyn Recorder>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Self, Error> {
        Self::open_recorded(options, |_| Ok(recorder), progress)
    }

    /// As [`Engine::open`], for a record that says which base model it is of: `record` is told the digest.
    pub fn open_recorded(
        options: &OpenOptions,
        record: impl FnOnce(Hash) -> Result<Box<dyn Recorder>, RecordFailed>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Self, Error> {
        match options.device.settle().0 {
            DeviceChoice::Cuda(ordinal) => Self::open_on_gpu(ordinal, options, record, progress),
            DeviceChoice::Cpu | DeviceChoice::Auto => {
                let cpu = Cpu::new(CpuOptions { threads: options.threads, level: None })?;
                Self::open_on(Arc::new(cpu), options, record, progress)
            }
        }
    }

    #[cfg(any(feature = "cuda", feature = "emulate"))]
    fn open_on_gpu(
        ordinal: usize,
        options: &OpenOptions,
        record: impl FnOnce(Hash) -> Result<Box<dyn Recorder>, RecordFailed>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Self, Error> {
        use loam_kernels::cuda::{Cuda, CudaMode};
        let mode = match options.arithmetic {
            Arithmetic::Deterministic => CudaMode::Deterministic,
            Arithmetic::Fast => CudaMode::Fast,
        };
        Self::open_on(Arc::new(Cuda::open(ordinal, mode)?), options, record, progress)
    }

    #[cfg(not(any(feature = "cuda", feature = "emulate")))]
    fn open_on_gpu(
        _ordinal: usize,
        _options: &OpenOptions,
        _record: impl FnOnce(Hash) -> Result<Box<dyn Recorder>, RecordFailed>,
        _progress: &mut dyn FnMut(Progress),
    ) -> Result<Self, Error> {
        let reason = "this build has no kernels for GPUs; `make build-cuda` makes one that has".to_owned();
        Err(loam_kernels::Error::Gpu { reason }.into())
    }

    /// As [`Engine::open_recorded`], on a backend that is there already.
    pub fn open_on<B: Backend + 'static>(
        backend: Arc<B>,
        options: &OpenOptions,
        record: impl FnOnce(Hash) -> Result<Box<dyn Recorder>, RecordFailed>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Self, Error> {
        options.check()?;
        let config = ModelConfig::read(&options.model)?;
        let shape = config.shape;
        let text = Text::read(&options.model, shape.vocabulary)?;
        let weights = match options.load_format {
            LoadFormat::Files => Weights::open(&options.model, options.residence, progress)?,
            LoadFormat::Dummy { seed } => Weights::dummy(&options.model, seed, DType::Bf16),
        };
        let base = weights.digest(options.digest_cache.as_deref(), progress)?;
        let weights = Arc::new(weights);
        let kv = KvShape {
            layers: shape.layers,
            kv_heads: shape.kv_heads,
            head_dim: shape.head_dim,
            page_tokens: options.page_tokens,
        };
        kv.check()?;
        let sites = Sites::new(&shape);
        let weight_bytes = weights.bytes().unwrap_or_else(|| room::weight_bytes(&sites, DType::Bf16.bytes()));
        let kv_bytes = room::kv_bytes(options, &shape, weight_bytes, backend.free_bytes()?);
        let positions = room::positions(options, &config, &kv, kv_bytes)?;
        let pages = room::pages(options, &kv, kv_bytes, positions)?;
        let catalog = Catalog::new(CatalogOptions {
            roots: options.adapter_roots.clone(),
            way: Way::Any,
            dummies: true,
            rank_max: options.rank_max,
            sites: Arc::new(sites),
            base: Arc::clone(&weights) as Arc<dyn BaseTensors>,
        })?;
        let mode = Mode { dtype: options.dtype, is_deterministic: backend.is_deterministic() };
        let decoder = Decoder::load(backend, &config, &weights, options.dtype, positions)?;
        let runner = RunnerOptions {
            pages,
            page_tokens: options.page_tokens,
            slots: options.slots,
            rows_max: options.step_tokens_max,
            rank_max: options.rank_max.map_or(RANK_MAX, |rank| rank.min(RANK_MAX)),
        };
        let mut executor = Runner::new(decoder, runner)?;
        if options.warm_up {
            executor.warm_up()?;
        }
        let scheduling = scheduling(options, pages)?;
        Self::new(EngineParts {
            executor: Box::new(executor),
            recorder: record(base)?,
            catalog,
            text,
            base,
            mode,
            scheduling,
            requests_max: options.requests_max,
            delivery: options.delivery,
            loader_threads: 2,
        })
    }
}

/// A number as the scheduler counts.
fn count(field: &'static str, number: usize) -> Result<u32, Error> {
    let allowed = || format!("at most {}", u32::MAX);
    u32::try_from(number).map_err(|_| Error::Request { field, found: number.to_string(), allowed: allowed() })
}

/// What the scheduler may use.
fn scheduling(options: &OpenOptions, pages: usize) -> Result<SchedulerOptions, Error> {
    Ok(SchedulerOptions {
        pages: count("kv_bytes", pages)?,
        page_tokens: count("page_tokens", options.page_tokens)?,
        slots: count("slots", options.slots)?,
        step_tokens_max: count("step_tokens_max", options.step_tokens_max)?,
        prefill_tokens_max: count("step_tokens_max", options.step_tokens_max)?,
        running_max: count("running_max", options.running_max.min(options.step_tokens_max))?,
        waiting_max: options.requests_max.saturating_mul(CHOICES_MAX as usize),
        waiting_per_tenant_max: options.requests_max.saturating_mul(CHOICES_MAX as usize),
        host_bytes_max: options.adapter_host_bytes,
        device_bytes_max: options.adapter_device_bytes,
        ahead: options.ahead,
        ..SchedulerOptions::default()
    })
}
