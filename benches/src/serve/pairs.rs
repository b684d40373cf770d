//! What the ledger costs: one model served with it and without it, in turns.

use std::path::Path;
use std::time::Instant;

use anyhow::Context as _;
use running::ThreadTimes;

use super::asking::{Question, all};
use super::{Arguments, Bench, Running, said};
use crate::engine::{LLAMA_1B, counted};
use crate::results::Figure;

/// Pairs of runs, one with the ledger and one without.
const PAIRS: usize = 10;

/// Answers side by side, each with an adapter of its own.
const ANSWERS: u32 = 8;

const PROMPT_TOKENS: u32 = 64;
const TOKENS: u32 = 48;

/// Of ten pairs, the second and the ninth bound the median with 97.9 % confidence, whatever the distribution.
const BOUND: usize = 1;

pub(super) async fn run(bench: &Bench, arguments: &Arguments) -> anyhow::Result<Vec<Figure>> {
    let shape = bench.top.join("shape");
    let model = match &arguments.model {
        Some(model) => model.as_path(),
        None => of_random_weights(&shape)?,
    };
    let load = if arguments.model.is_some() { "files" } else { "dummy" };
    let adapters: Vec<String> = (0..ANSWERS).map(|number| format!("a{number}=dummy:{number}:16")).collect();
    let mut with = vec![said(model)?, "--load-format", load, "--max-model-len", "4096", "--kv-cache-mib", "512"];
    with.push("--lora-modules");
    with.extend(adapters.iter().map(String::as_str));
    let without = [&with[..], &["--ledger", "off"]].concat();
    let (on, off) = (bench.start("on", &with).await?, bench.start("off", &without).await?);
    let mut runs = Runs { asked: 0, ratios: Vec::new(), seconds: Vec::new(), shares: Vec::new() };
    // The first pair warms both, and is not counted.
    let pairs = if arguments.quick { 2 } else { PAIRS };
    for pair in 0..=pairs {
        runs.pair(&on, &off, pair).await?;
    }
    on.server.end().await?;
    off.server.end().await?;
    Ok(runs.figures())
}

/// What was measured so far.
struct Runs {
    asked: u32,
    /// Time with the ledger over time without, by pair.
    ratios: Vec<f64>,
    /// Time with the ledger.
    seconds: Vec<f64>,
    /// Its threads' share of CPU time, in percent.
    shares: Vec<f64>,
}

impl Runs {
    /// One run each; who goes first changes from pair to pair, so that a drift of the machine hits both.
    async fn pair(&mut self, on: &Running, off: &Running, number: usize) -> anyhow::Result<()> {
        let before = ThreadTimes::of(on.server.id()).context("this system tells no CPU times of threads")?;
        let (with, without) = if number.is_multiple_of(2) {
            let with = self.seconds(on).await?;
            (with, self.seconds(off).await?)
        } else {
            let without = self.seconds(off).await?;
            (self.seconds(on).await?, without)
        };
        let spent = ThreadTimes::of(on.server.id()).context("the server is gone")?.since(&before);
        if number > 0 {
            self.ratios.push(with / without);
            self.seconds.push(with);
            self.shares.push(spent.ledger_percent());
        }
        Ok(())
    }

    async fn seconds(&mut self, running: &Running) -> anyhow::Result<f64> {
        let questions = (0..ANSWERS).map(|adapter| {
            self.asked += 1;
            Question { adapter: Some(format!("a{adapter}")), ..Question::new(self.asked, PROMPT_TOKENS, TOKENS) }
        });
        let questions = questions.collect();
        let began = Instant::now();
        all(&running.channel, questions).await?;
        Ok(began.elapsed().as_secs_f64())
    }

    fn figures(mut self) -> Vec<Figure> {
        for sorted in [&mut self.ratios, &mut self.seconds, &mut self.shares] {
            sorted.sort_by(f64::total_cmp);
        }
        let last = self.ratios.len() - 1;
        let bound = BOUND.min(last / 2);
        let median = |sorted: &[f64]| f64::midpoint(sorted[last / 2], sorted[last.div_ceil(2)]);
        let note = format!(
            "median of {} interleaved pairs, {:.4} to {:.4} (second to second last); {ANSWERS} answers of {TOKENS} \
             tokens after {PROMPT_TOKENS}, each with an adapter of its own, recorded delivery",
            self.ratios.len(),
            self.ratios[bound],
            self.ratios[last - bound],
        );
        let shares = format!("median of the same runs; the largest was {:.2} %", self.shares[last]);
        let rate = counted(ANSWERS as usize * TOKENS as usize) / median(&self.seconds);
        vec![
            Figure::new("serve_ledger_on_over_off", median(&self.ratios), "x", None, note),
            Figure::new("serve_ledger_threads_cpu_share", median(&self.shares), "%", None, shares),
            Figure::new("serve_tok_s", rate, "tokens/s", None, "with the ledger, prefill included, median"),
        ]
    }
}

fn of_random_weights(shape: &Path) -> anyhow::Result<&Path> {
    std::fs::create_dir(shape)?;
    std::fs::write(shape.join("config.json"), LLAMA_1B)?;
    Ok(shape)
}
