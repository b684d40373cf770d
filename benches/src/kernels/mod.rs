//! The kernels' figures: each beside the roof that this machine sets in the same run, linears also beside rivals.

mod attention;
mod decode;
mod lora;
mod models;
mod prefill;
mod roof;
mod rows;
mod sampling;

use loam_kernels::Cpu;
use loam_kernels::cpu::CpuOptions;

use crate::results::Figure;
use roof::Roofs;

/// What `loam-bench kernels` takes.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Fewer rounds and fewer shapes, in about 20 seconds: for a look, not to be quoted.
    #[arg(long)]
    quick: bool,
}

/// The run: what is measured, against what, and what it found so far.
struct Bench<'a> {
    cpu: &'a Cpu,
    quick: bool,
    roofs: &'a Roofs,
    figures: Vec<Figure>,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<Vec<Figure>> {
    let cpu = Cpu::new(CpuOptions::default())?;
    // Rivals and the reader work on rayon's own threads: as many as the kernels have.
    rayon::ThreadPoolBuilder::new().num_threads(cpu.threads()).build_global()?;
    let (roofs, figures) = Roofs::measured(&cpu, arguments.quick)?;
    let mut bench = Bench { cpu: &cpu, quick: arguments.quick, roofs: &roofs, figures };
    bench.decode()?;
    bench.prefill()?;
    bench.lora()?;
    bench.attention()?;
    bench.rows()?;
    bench.sampling()?;
    Ok(bench.figures)
}

impl Bench<'_> {
    fn add(&mut self, figure: &str, value: f64, unit: &'static str, roof: Option<f64>, note: impl Into<String>) {
        self.figures.push(Figure::new(figure, value, unit, roof, note));
    }

    /// How many rounds a contest has.
    const fn rounds(&self) -> usize {
        if self.quick { 1 } else { 5 }
    }

    /// The first of these in a quick run, else all.
    fn some<'a, T>(&self, all: &'a [T]) -> &'a [T] {
        if self.quick { &all[..1] } else { all }
    }
}
