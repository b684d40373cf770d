//! The table of decode with adapters, and what belongs to it: steps of a model on a device, with random weights and
//! adapters, each figure beside the roof that the probe of the same device found.
//!
//! A step is what the engine makes it: what changed is sent, all operations run, and the chosen tokens are read back, on a
//! GPU when the next step is on its way. The scheduler is not in it. Requests have their context in pages of their own.
//! What is compared takes turns, round after round; a time is the rounds' median, and a ratio the median of ratios within a
//! round.

mod cases;
mod roofs;
mod scale;
mod steps;

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use clap::ValueEnum as _;
use loam_engine::executor::Batch;
use loam_kernels::backend::Device as _;
use serde_json::Value;

use crate::contest::Times;
use crate::devices::{Devices, Kind, Mode, Processor};
use crate::results::Figure;
use roofs::Roofs;
use scale::Scale;
use steps::Model;

/// What `loam-bench table` takes.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// What to measure; all where none is named. On a GPU each is best run by itself, under a limit of its own.
    #[arg(long = "case", value_name = "NAME", value_enum)]
    cases: Vec<Case>,
    /// Prints the cases' names, and measures nothing.
    #[arg(long)]
    list: bool,
    /// What computes.
    #[arg(long, value_enum, default_value = "cuda")]
    device: Kind,
    /// Of a GPU; one case compares both.
    #[arg(long, value_enum, default_value = "fast")]
    mode: Mode,
    /// Sizes of everything.
    #[arg(long, value_enum, default_value = "llama-3-8b")]
    shape: Shape,
    /// What `gpu_probe --out` wrote on the same device; figures have no roofs without.
    #[arg(long, value_name = "FILE")]
    probe: Option<PathBuf>,
    /// Appends each figure to a file as soon as it is known.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Measures nothing, and says of each figure that it was not measured, and why.
    #[arg(long, value_name = "WHY")]
    unmeasured: Option<String>,
}

/// What is measured by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
enum Case {
    #[value(name = "decode_b1")]
    DecodeB1,
    #[value(name = "decode_b32_32")]
    DecodeB32,
    #[value(name = "decode_b128_128")]
    DecodeB128,
    #[value(name = "decode_b256_8")]
    DecodeB256,
    Unused,
    Attention,
    Prefill,
    Deterministic,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Shape {
    #[value(name = "llama-3-8b")]
    Llama8B,
    /// For a look at whether everything is measured.
    Tiny,
}

/// What the table holds beside the cases: `benches/peers/gpu` measures it.
const BESIDE_PEERS: [&str; 2] = ["lora_kernel_over_vllm", "lora_kernel_over_sglang"];

/// A run: on what, how large, against what, and what was found so far.
struct Bench<'a, D> {
    devices: &'a D,
    scale: &'a Scale,
    roofs: &'a Roofs,
    findings: &'a mut Findings,
}

/// Figures, as they come.
struct Findings {
    out: Option<PathBuf>,
    /// What the file had already: of a case that was ended from outside, what it had measured.
    before: Vec<String>,
    /// What is true of all of them, for their notes.
    about: String,
    figures: Vec<Figure>,
}

/// Figures of the cases. Where one fails its figures are null, the others are measured, and the whole has failed.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<Vec<Figure>> {
    let all = if arguments.cases.is_empty() { Case::value_variants() } else { &arguments.cases[..] };
    let mut findings = Findings::new(arguments.out.as_deref())?;
    if arguments.list {
        all.iter().filter_map(Case::to_possible_value).for_each(|case| println!("{}", case.get_name()));
    } else if let Some(why) = &arguments.unmeasured {
        all.iter().try_for_each(|case| findings.lack(*case, why))?;
        if arguments.cases.is_empty() {
            BESIDE_PEERS.iter().try_for_each(|name| findings.lack_figure(name, "x", why))?;
        }
    } else {
        let roofs = arguments.probe.as_deref().map(Roofs::read).transpose()?.unwrap_or_default();
        let scale = if arguments.shape == Shape::Tiny { &scale::TINY } else { &scale::LLAMA_8B };
        match arguments.device {
            Kind::Cpu => Bench { devices: &Processor, scale, roofs: &roofs, findings: &mut findings }.run(all)?,
            #[cfg(any(feature = "cuda", feature = "emulate"))]
            Kind::Cuda => {
                let devices = &crate::devices::Gpu { mode: arguments.mode };
                Bench { devices, scale, roofs: &roofs, findings: &mut findings }.run(all)?;
            }
            #[cfg(not(any(feature = "cuda", feature = "emulate")))]
            Kind::Cuda => anyhow::bail!(crate::devices::NO_KERNELS),
        }
    }
    Ok(findings.figures)
}

impl<D: Devices> Bench<'_, D> {
    fn run(&mut self, cases: &[Case]) -> anyhow::Result<()> {
        let mut failed = Vec::new();
        for case in cases {
            if let Err(error) = self.measure(*case) {
                self.findings.lack(*case, &format!("failed: {error:#}"))?;
                failed.push(case.to_possible_value().map_or(String::new(), |case| case.get_name().to_owned()));
            }
        }
        let note = "each wrote null for what it did not measure, with the reason";
        anyhow::ensure!(failed.is_empty(), "failed: {} ({note})", failed.join(", "));
        Ok(())
    }

    /// The device, in the mode asked for.
    fn device(&mut self) -> anyhow::Result<Arc<D::Backend>> {
        let mode = self.devices.mode();
        let device = self.devices.open(mode)?.context("a device has the mode that it is measured in")?;
        self.findings.about = format!("{}, bf16", device.describe());
        Ok(device)
    }

    /// Times of steps. How they were launched is known after them.
    fn times(&mut self, model: &mut Model<D::Backend>, batches: &[Batch]) -> anyhow::Result<Times> {
        let times = model.times(self.scale, batches)?;
        self.findings.about = format!("{}, bf16", model.describe());
        Ok(times)
    }

    fn add(
        &mut self,
        figure: &str,
        value: f64,
        unit: &'static str,
        roof: Option<f64>,
        note: String,
    ) -> anyhow::Result<()> {
        let note = format!("{note}; {}", self.findings.about);
        self.findings.keep(Figure::new(figure, value, unit, roof, note))
    }

    fn unmeasured(&mut self, figure: &str, unit: &'static str, why: String) -> anyhow::Result<()> {
        self.findings.keep(Figure::unmeasured(figure, unit, why))
    }
}

impl Findings {
    fn new(out: Option<&Path>) -> anyhow::Result<Self> {
        let text = match out.map(fs::read_to_string) {
            Some(Err(error)) if error.kind() == ErrorKind::NotFound => String::new(),
            Some(read) => read.context("reading the file to append to")?,
            None => String::new(),
        };
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let before = lines.filter_map(|line| line["figure"].as_str().map(str::to_owned)).collect();
        Ok(Self { out: out.map(Path::to_owned), before, about: String::new(), figures: Vec::new() })
    }

    fn keep(&mut self, figure: Figure) -> anyhow::Result<()> {
        if let Some(path) = &self.out {
            figure.append(path)?;
        }
        self.figures.push(figure);
        Ok(())
    }

    /// Says of a case's figures that are not there why they were not measured.
    fn lack(&mut self, case: Case, why: &str) -> anyhow::Result<()> {
        case.figures().iter().try_for_each(|(name, unit)| self.lack_figure(name, unit, why))
    }

    fn lack_figure(&mut self, name: &str, unit: &'static str, why: &str) -> anyhow::Result<()> {
        if self.before.iter().any(|known| known == name) || self.figures.iter().any(|known| known.figure == name) {
            return Ok(());
        }
        self.keep(Figure::unmeasured(name, unit, format!("not measured: {why}")))
    }
}
