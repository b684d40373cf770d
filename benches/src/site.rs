//! Adapters at one site of a layer, to be timed beside peers: the same tensors, as many sets of them, the same work.
//!
//! A case is a line of JSON, and its tensors are files of a folder: `x [rows, in_features]`, `a [adapters, modules * rank,
//! in_features]`, `b [adapters, outputs, rank]`, `y0 [rows, outputs]`, all in bf16 as PEFT and PyTorch lay them out. The
//! answer is a line with `pair_us`, or with `error`; `y`, what one pass makes of `y0`, is written beside them.
//!
//! A pass is what a peer's shrink and expand do: `h`, the delta, and the delta added into `y`, which the engine leaves to
//! the operation that comes next. Every set has an `x`, a `y` and adapters in memory of their own, so that they come from
//! memory. Steps that a device can record are recorded, one pass over all sets a graph; larger ones launch their kernels.

use std::fs;
use std::io::{BufRead as _, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use loam_kernels::Backend;
use loam_kernels::backend::{Adapted, Add, Device as _, Expand, GraphKey, Shrink};
use loam_kernels::layout::{
    ADAPTERS_PER_ROW_MAX, Adapter, AdapterLayout, DType, Pair, RowSet, Rows, RowsMut, Segment, SiteKind, SiteShape,
    StepInputs, StepLimits,
};
use serde_json::{Value, json};

use crate::counts::float;
use crate::devices::{Devices, Kind, Mode, Processor};
use crate::results::Figure;

/// What `loam-bench site` takes.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// What computes.
    #[arg(long, value_enum, default_value = "cuda")]
    device: Kind,
    /// Of a GPU.
    #[arg(long, value_enum, default_value = "fast")]
    mode: Mode,
}

/// What is asked in a line.
struct Case {
    folder: PathBuf,
    site: SiteShape,
    rank: usize,
    /// What each adapter's delta is multiplied by.
    scale: f64,
    adapters: usize,
    /// The adapter of each row.
    slots: Vec<usize>,
    /// So many times everything lies in memory.
    sets: usize,
}

/// Passes between two looks at the clock.
const PASSES: usize = 8;
/// A pass goes over all sets so often that it takes at least about so long.
const PASS_LEAST: Duration = Duration::from_millis(2);
/// Looks at the clock: so many, and more within this time.
const LOOKS: std::ops::Range<usize> = 5..15;
const LOOKS_TIME: Duration = Duration::from_millis(80);

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<Vec<Figure>> {
    match arguments.device {
        Kind::Cpu => answer_all(&Processor)?,
        #[cfg(any(feature = "cuda", feature = "emulate"))]
        Kind::Cuda => answer_all(&crate::devices::Gpu { mode: arguments.mode })?,
        #[cfg(not(any(feature = "cuda", feature = "emulate")))]
        Kind::Cuda => anyhow::bail!(crate::devices::NO_KERNELS),
    }
    Ok(Vec::new())
}

/// Answers a case a line, until the input ends.
fn answer_all<D: Devices>(devices: &D) -> anyhow::Result<()> {
    let device = devices.open(devices.mode())?.context("a device has the mode that it is measured in")?;
    let mut out = std::io::stdout().lock();
    let mut say = |line: &Value| {
        writeln!(out, "{line}")?;
        out.flush()
    };
    say(&json!({"ready": device.describe(), "mode": devices.mode().name()}))?;
    for line in std::io::stdin().lock().lines() {
        let answered = Case::parse(&line?).and_then(|case| case.answer(&*device));
        say(&answered.unwrap_or_else(|error| json!({"error": format!("{error:#}")})))?;
    }
    Ok(())
}

impl Case {
    fn parse(line: &str) -> anyhow::Result<Self> {
        let line: Value = serde_json::from_str(line)?;
        let number = |field: &str| count(&line[field]).with_context(|| format!("a case has a number `{field}`"));
        let numbers = |field: &str| -> anyhow::Result<Vec<usize>> {
            let told = || format!("a case has numbers `{field}`");
            line[field].as_array().with_context(told)?.iter().map(|it| count(it).with_context(told)).collect()
        };
        let (in_features, modules) = (number("in_features")?, numbers("modules")?);
        Ok(Self {
            folder: line["folder"].as_str().context("a case has a `folder`")?.into(),
            site: SiteShape { kind: SiteKind::Linear, in_features, modules },
            rank: number("rank")?,
            scale: line["scale"].as_f64().context("a case has a `scale`")?,
            adapters: number("adapters")?,
            slots: numbers("slots")?,
            sets: number("sets")?.max(1),
        })
    }

    fn rows(&self) -> usize {
        self.slots.len()
    }

    /// A file's bytes, which are so many values in bf16.
    fn file(&self, name: &str, values: usize) -> anyhow::Result<Vec<u8>> {
        let path = self.folder.join(name);
        let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        let expected = values * DType::Bf16.bytes();
        ensure!(bytes.len() == expected, "{} has {} bytes, expected {expected}", path.display(), bytes.len());
        Ok(bytes)
    }

    /// Computes it once for whoever compares, then takes its time.
    fn answer<B: Backend>(&self, device: &B) -> anyhow::Result<Value> {
        let mut work = Work::new(device, self)?;
        let step = device.step(self.inputs()?, self.limits())?;
        device.run(None, &mut || work.pass(device, &step, 0..1))?;
        let mut y = vec![0; self.rows() * self.site.out_features() * DType::Bf16.bytes()];
        device.read(&work.y[0], 0, &mut y)?;
        fs::write(self.folder.join("y"), y).context("writing what was computed")?;

        let began = Instant::now();
        device.run(None, &mut || work.pass(device, &step, 0..self.sets))?;
        work.wait(device)?;
        let guess = began.elapsed() / u32::try_from(self.sets)?;
        let wanted = PASS_LEAST.as_nanos().div_ceil(guess.as_nanos().max(1));
        let turns = usize::try_from(wanted)?.div_ceil(self.sets).clamp(1, 64);
        // There is no other model in this process.
        let key = GraphKey { model: 0, rows: u32::try_from(self.rows())?, adapted: Adapted::Layers };
        let mut microseconds = Vec::new();
        let mut until = Instant::now() + LOOKS_TIME;
        // The first look, in which a graph may be recorded, is not counted.
        while microseconds.len() <= LOOKS.start || (microseconds.len() < LOOKS.end && Instant::now() < until) {
            let began = Instant::now();
            for _ in 0..PASSES {
                let mut all = || (0..turns).try_for_each(|_| work.pass(device, &step, 0..self.sets));
                device.run(Some((key, &step)), &mut all)?;
            }
            work.wait(device)?;
            microseconds.push(began.elapsed().as_secs_f64() * 1e6 / float(PASSES * turns * self.sets));
            if microseconds.len() == 1 {
                until = Instant::now() + LOOKS_TIME;
            }
        }
        let mut counted = microseconds.split_off(1);
        counted.sort_by(f64::total_cmp);
        Ok(json!({"pair_us": counted[counted.len() / 2], "sets": self.sets, "turns": turns}))
    }

    /// A step of one row a request.
    fn inputs(&self) -> anyhow::Result<StepInputs> {
        let rows = u32::try_from(self.rows())?;
        let segment = |row| Segment { first_row: row, rows: 1, first_position: 0, first_page: row, pages: 1 };
        let mut pairs = Vec::with_capacity(self.rows());
        for slot in 0..self.adapters {
            let of_slot = (0..).zip(&self.slots).filter(|(_, of)| **of == slot);
            let slot = u32::try_from(slot)?;
            pairs.extend(of_slot.map(|(row, _)| Pair { row, slot, weight: 1.0 }));
        }
        ensure!(pairs.len() == self.rows(), "`slots` names adapters below {}", self.adapters);
        Ok(StepInputs {
            tokens: vec![0; self.rows()],
            segments: (0..rows).map(segment).collect(),
            pages: (0..rows).collect(),
            pairs,
            ..StepInputs::default()
        })
    }

    fn limits(&self) -> StepLimits {
        StepLimits { vocabulary: 1, positions: 1, pages: self.rows(), page_tokens: 16, slots: self.adapters }
    }
}

fn count(value: &Value) -> Option<usize> {
    value.as_u64().and_then(|number| usize::try_from(number).ok())
}

/// A case's tensors on a device. Its sets are sites of one layout.
struct Work<B: Backend> {
    adapters: B::Adapters,
    x: Vec<B::Memory>,
    y: Vec<B::Memory>,
    h: B::Memory,
    delta: B::Memory,
    rows: usize,
    /// Values in a row of `x`, `h` and `y`.
    widths: [usize; 3],
}

impl<B: Backend> Work<B> {
    fn new(device: &B, case: &Case) -> anyhow::Result<Self> {
        let (rows, site) = (case.rows(), &case.site);
        let (k, outputs, ranks) = (site.in_features, site.out_features(), site.modules.len() * case.rank);
        let copies = |name: &str, width: usize| -> anyhow::Result<Vec<B::Memory>> {
            let bytes = case.file(name, rows * width)?;
            let copy = || {
                let mut memory = device.allocate(DType::Bf16, rows * width)?;
                device.write(&mut memory, 0, &bytes)?;
                anyhow::Ok(memory)
            };
            (0..case.sets).map(|_| copy()).collect()
        };
        Ok(Self {
            adapters: adapters(device, case)?,
            x: copies("x", k)?,
            y: copies("y0", outputs)?,
            h: device.allocate(DType::F32, rows * ADAPTERS_PER_ROW_MAX * ranks)?,
            delta: device.allocate(DType::F32, rows * outputs)?,
            rows,
            widths: [k, ranks, outputs],
        })
    }

    /// What a peer does at the site, for some sets.
    fn pass(&mut self, device: &B, step: &B::Step, sets: std::ops::Range<usize>) -> Result<(), loam_kernels::Error> {
        let (rows, [k, ranks, outputs], set) = (self.rows, self.widths, RowSet::Batch);
        for site in sets {
            let adapters = &self.adapters;
            let x = Some(Rows::new(&self.x[site], rows, k)?);
            let h = RowsMut::new(&mut self.h, rows * ADAPTERS_PER_ROW_MAX, ranks)?;
            device.lora_shrink(step, Shrink { adapters, site, set, x, h })?;
            let h = Rows::new(&self.h, rows * ADAPTERS_PER_ROW_MAX, ranks)?;
            let delta = RowsMut::new(&mut self.delta, rows, outputs)?;
            device.lora_expand(step, Expand { adapters, site, set, h, delta })?;
            let x = RowsMut::new(&mut self.y[site], rows, outputs)?;
            device.add(step, Add { x, delta: Rows::new(&self.delta, rows, outputs)?, set })?;
        }
        Ok(())
    }

    /// Until all that was asked for is done.
    fn wait(&self, device: &B) -> anyhow::Result<()> {
        Ok(device.read(&self.y[0], 0, &mut [0; DType::Bf16.bytes()])?)
    }
}

/// A case's adapters in their slots, the same at every set.
fn adapters<B: Backend>(device: &B, case: &Case) -> anyhow::Result<B::Adapters> {
    let (site, rank, bytes) = (&case.site, case.rank, DType::Bf16.bytes());
    let (k, outputs, modules) = (site.in_features, site.out_features(), site.modules.len());
    let a = case.file("a", case.adapters * modules * rank * k)?;
    let b = case.file("b", case.adapters * outputs * rank)?;
    #[expect(clippy::cast_possible_truncation, reason = "an adapter's scale is an f32")]
    let ranks = vec![(u32::try_from(rank)?, case.scale as f32); modules];
    let one = AdapterLayout::new(DType::Bf16, std::slice::from_ref(site), std::slice::from_ref(&ranks))?;
    let sites = vec![site.clone(); case.sets];
    let layout = AdapterLayout::new(DType::Bf16, &sites, &vec![ranks; case.sets])?;
    ensure!(layout.len() == one.len() * case.sets, "sites of one shape lie at one distance");
    let mut resident = device.adapters(&sites, case.adapters)?;
    for adapter in 0..case.adapters {
        let (mut slab, mut from) = (vec![0; one.len() * bytes], 0);
        for (module, outputs_of) in site.modules.iter().enumerate() {
            let a_from = (adapter * modules + module) * rank * k * bytes;
            one.write_a(&mut slab, 0, module, &a[a_from..][..rank * k * bytes])?;
            let b_from = (adapter * outputs + from) * rank * bytes;
            one.write_b(&mut slab, 0, module, &b[b_from..][..outputs_of * rank * bytes])?;
            from += outputs_of;
        }
        let mut memory = device.allocate(DType::Bf16, layout.len())?;
        for set in 0..case.sets {
            device.write(&mut memory, set * one.len(), &slab)?;
        }
        let adapter_of_all = Adapter::new(memory, layout.clone())?;
        device.install(&mut resident, u32::try_from(adapter)?, Some(Arc::new(adapter_of_all)))?;
    }
    Ok(resident)
}
