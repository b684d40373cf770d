//! An engine whose executor can be slow or fail on demand: the real runner, seen through a thin wall.

use std::collections::BTreeSet;
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use loam_engine::adapter::{BaseTensors, Catalog, CatalogOptions, HostAdapter, Way};
use loam_engine::executor::{Batch, Executor, ExecutorLimits, Outputs, Ticket, Uploaded, Uploader};
use loam_engine::model::{Decoder, ModelConfig, Residence, Sites, Weights};
use loam_engine::recorder::Recorder;
use loam_engine::runner::{Runner, RunnerOptions};
use loam_engine::scheduler::SchedulerOptions;
use loam_engine::text::Text;
use loam_engine::{DType, DeliveryMode, Engine, EngineParts, Error, Mode};
use loam_kernels::Cpu;
use loam_kernels::cpu::CpuOptions;
use loam_kernels::layout::RANK_MAX;

use crate::ask::golden;

const PAGES: usize = 256;
const PAGE_TOKENS: usize = 32;
const ROWS: usize = 64;

/// What goes wrong, from outside.
#[derive(Default)]
pub(crate) struct Weather {
    /// Steps that ran, or failed.
    pub(crate) steps: AtomicU64,
    /// Each so manieth step fails; none where it is 0.
    pub(crate) fails_each: AtomicU64,
    /// Whether what fails is the device, for good.
    pub(crate) loses_device: AtomicBool,
    /// Whether it fails when its outputs are collected, and not when it is launched.
    pub(crate) fails_late: AtomicBool,
    /// Whether steps may be launched before the one before is collected.
    pub(crate) runs_apart: AtomicBool,
    /// Copies to the device do not end as long as this is so.
    pub(crate) holds_uploads: AtomicBool,
    /// Copies that began.
    pub(crate) uploads: AtomicU64,
}

struct Weathered {
    runner: Box<dyn Executor>,
    weather: Arc<Weather>,
    /// Steps in flight that will have failed.
    struck: BTreeSet<u64>,
}

struct HeldUploader {
    uploader: Arc<dyn Uploader>,
    weather: Arc<Weather>,
}

impl Weather {
    fn error(&self, report: String) -> Error {
        match self.loses_device.load(Ordering::Relaxed) {
            true => loam_kernels::Error::DeviceLost { report }.into(),
            false => Error::Stopped { reason: report },
        }
    }
}

impl Executor for Weathered {
    fn limits(&self) -> ExecutorLimits {
        self.runner.limits()
    }

    fn uploader(&self) -> Arc<dyn Uploader> {
        Arc::new(HeldUploader { uploader: self.runner.uploader(), weather: Arc::clone(&self.weather) })
    }

    fn steps_ahead(&self) -> usize {
        usize::from(self.weather.runs_apart.load(Ordering::Relaxed))
    }

    fn launch(&mut self, batch: &Batch) -> Result<Ticket, Error> {
        let step = self.weather.steps.fetch_add(1, Ordering::Relaxed) + 1;
        let each = self.weather.fails_each.load(Ordering::Relaxed);
        let fails = each > 0 && step.is_multiple_of(each);
        if fails && !self.weather.fails_late.load(Ordering::Relaxed) {
            return Err(self.weather.error(format!("step {step} was struck")));
        }
        let ticket = self.runner.launch(batch)?;
        self.struck.extend(fails.then_some(ticket.0));
        Ok(ticket)
    }

    fn collect(&mut self, ticket: Ticket) -> Result<Outputs, Error> {
        let is_struck = self.struck.remove(&ticket.0);
        let outputs = self.runner.collect(ticket)?;
        if is_struck { Err(self.weather.error("a step was struck".to_owned())) } else { Ok(outputs) }
    }

    fn describe(&self) -> String {
        self.runner.describe()
    }
}

impl Uploader for HeldUploader {
    fn upload(&self, adapter: &HostAdapter) -> Result<Uploaded, Error> {
        self.weather.uploads.fetch_add(1, Ordering::Relaxed);
        while self.weather.holds_uploads.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.uploader.upload(adapter)
    }
}

/// An engine over `llama-gqa` in f32, with so many slots.
pub(crate) fn open(weather: &Arc<Weather>, recorder: Box<dyn Recorder>, slots: u32) -> Engine {
    let folder = golden().join("llama-gqa/base");
    let config = ModelConfig::read(&folder).unwrap();
    let text = Text::read(&folder, config.shape.vocabulary).unwrap();
    let cpu = Arc::new(Cpu::new(CpuOptions { threads: NonZero::new(2), level: None }).unwrap());
    let weights = Weights::open(&folder, Residence::default(), &mut |_| {}).unwrap();
    let base = weights.digest(None, &mut |_| {}).unwrap();
    let weights = Arc::new(weights);
    let catalog = Catalog::new(CatalogOptions {
        roots: Vec::new(),
        way: Way::Any,
        dummies: true,
        rank_max: None,
        sites: Arc::new(Sites::new(&config.shape)),
        base: Arc::clone(&weights) as Arc<dyn BaseTensors>,
    });
    let decoder = Decoder::load(cpu, &config, &weights, DType::F32, config.positions_max).unwrap();
    let limits = RunnerOptions {
        pages: PAGES,
        page_tokens: PAGE_TOKENS,
        slots: slots as usize,
        rows_max: ROWS,
        rank_max: RANK_MAX,
    };
    let runner = Box::new(Runner::new(decoder, limits).unwrap());
    let scheduling = SchedulerOptions {
        pages: PAGES as u32,
        page_tokens: PAGE_TOKENS as u32,
        slots,
        step_tokens_max: ROWS as u32,
        prefill_tokens_max: ROWS as u32,
        running_max: 32,
        ..SchedulerOptions::default()
    };
    Engine::new(EngineParts {
        executor: Box::new(Weathered { runner, weather: Arc::clone(weather), struck: BTreeSet::new() }),
        recorder,
        catalog: catalog.unwrap(),
        text,
        base,
        mode: Mode { dtype: DType::F32, is_deterministic: true },
        scheduling,
        requests_max: 256,
        delivery: DeliveryMode::default(),
        loader_threads: 2,
    })
    .unwrap()
}
