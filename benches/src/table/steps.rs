//! A model on a device, and steps of it, as the engine asks for them.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use loam_engine::adapter::Dummy;
use loam_engine::executor::{Batch, Executor as _, Uploaded};
use loam_engine::model::{Decoder, ModelConfig, ModelShape, Sites, Weights};
use loam_engine::runner::{Runner, RunnerOptions};
use loam_kernels::Backend;
use loam_kernels::layout::{DType, Pair, Sampling, Segment, Taken};

use super::scale::{Mix, Scale};
use crate::contest::{Contestant, Times, contest};
use crate::counts::float;

const PAGE_TOKENS: usize = 32;

/// Of every adapter, on all seven linears of a layer.
const RANK: u32 = 16;

/// Adapters that are made; the rest are copies of them, in memory of their own.
const ADAPTERS_MADE: usize = 4;

/// Steps of a round at most.
const STEPS_MAX: f64 = 200.0;

/// Rows in which the first request's prompt is computed.
const PROMPT_ROWS: usize = 512;

/// A model with random weights, requests whose keys and values lie in pages, and adapters in memory.
pub(super) struct Model<B: Backend> {
    runner: Runner<B>,
    pub(super) shape: ModelShape,
    /// Tokens of each request.
    tokens: usize,
    requests: usize,
    adapters: Vec<Uploaded>,
    /// Bytes of one adapter's values.
    pub(super) adapter_bytes: usize,
}

impl<B: Backend + 'static> Model<B> {
    /// A model of a shape with every adapter in its slot, room for so many requests of so many tokens each, and for steps
    /// of so many rows.
    pub(super) fn open(
        device: Arc<B>,
        scale: &Scale,
        (requests, tokens, rows_max): (usize, usize, usize),
        adapters: usize,
    ) -> anyhow::Result<Self> {
        let config = ModelConfig::parse(Path::new("config.json"), scale.config.as_bytes())?;
        let weights = Weights::dummy(Path::new("."), 1, DType::Bf16);
        let decoder = Decoder::load(device, &config, &weights, DType::Bf16, tokens)?;
        let pages = requests * tokens.div_ceil(PAGE_TOKENS);
        let slots = adapters.max(1);
        let options = RunnerOptions { pages, page_tokens: PAGE_TOKENS, slots, rows_max, rank_max: RANK };
        let runner = Runner::new(decoder, options)?;
        let sites = Sites::new(&config.shape);
        let made =
            (0..adapters.min(ADAPTERS_MADE)).map(|seed| Dummy::parse(&format!("dummy:{seed}:{RANK}"))?.load(&sites));
        let made = made.collect::<Result<Vec<_>, _>>()?;
        let uploader = runner.uploader();
        let uploaded = (0..adapters).map(|adapter| uploader.upload(&made[adapter % made.len()]));
        let mut model = Self {
            adapters: uploaded.collect::<Result<_, _>>()?,
            adapter_bytes: made.first().map_or(0, |adapter| adapter.slab.len()),
            shape: config.shape,
            runner,
            tokens,
            requests,
        };
        model.runner.execute(&model.resident(true))?;
        Ok(model)
    }

    /// A model whose requests have all their tokens but the last.
    pub(super) fn in_decode(device: Arc<B>, scale: &Scale, mix: Mix) -> anyhow::Result<Self> {
        let rows_max = mix.rows.max(PROMPT_ROWS.min(scale.context));
        let mut model = Self::open(device, scale, (mix.rows, scale.context, rows_max), mix.adapters)?;
        model.fill(rows_max)?;
        Ok(model)
    }

    /// Computes the first request's tokens, and copies their keys and values to all others: each has pages of its own.
    fn fill(&mut self, rows_max: usize) -> anyhow::Result<()> {
        let whole = self.tokens - 1;
        for from in (0..whole).step_by(rows_max) {
            let rows = rows_max.min(whole - from);
            let mut batch = Batch::default();
            self.add(&mut batch, 0, from, rows);
            self.runner.execute(&batch)?;
        }
        let pages = self.pages_each();
        let copies = (1..self.requests).flat_map(|request| (0..pages).map(move |page| (request, page)));
        let copies = copies.map(|(request, page)| (self.page(0, page), self.page(request, page))).collect();
        self.runner.execute(&Batch { copies, ..Batch::default() })?;
        Ok(())
    }

    const fn pages_each(&self) -> usize {
        self.tokens.div_ceil(PAGE_TOKENS)
    }

    /// Where a request's page lies: neighbours in a sequence are no neighbours in memory.
    fn page(&self, request: usize, page: usize) -> u32 {
        number(page * self.requests + request)
    }

    /// Appends rows of a request.
    fn add(&self, batch: &mut Batch, request: usize, first_position: usize, rows: usize) {
        let inputs = &mut batch.inputs;
        let (first_row, first_page) = (number(inputs.tokens.len()), number(inputs.pages.len()));
        let token = |row: usize| number((request * 7919 + (first_position + row) * 31) % self.shape.vocabulary);
        inputs.tokens.extend((0..rows).map(token));
        inputs.pages.extend((0..self.pages_each()).map(|page| self.page(request, page)));
        let (rows, first_position, pages) = (number(rows), number(first_position), number(self.pages_each()));
        inputs.segments.push(Segment { first_row, rows, first_position, first_page, pages });
    }

    /// A step of one row each of so many requests, with adapters or without; requests take adapters in turn.
    pub(super) fn decode(&self, mix: Mix, with_adapters: bool) -> Batch {
        let mut batch = Batch::default();
        (0..mix.rows).for_each(|request| self.add(&mut batch, request, self.tokens - 1, 1));
        batch.inputs.sampled = (0..number(mix.rows)).collect();
        batch.sampling = vec![Sampling::default(); mix.rows];
        if with_adapters {
            let rows = |slot| (slot..mix.rows).step_by(mix.adapters).map(move |row| pair(row, slot));
            batch.inputs.pairs = (0..mix.adapters).flat_map(rows).collect();
        }
        batch
    }

    /// A step of whole prompts, one an adapter.
    pub(super) fn prefill(&self, mix: Mix, with_adapters: bool) -> Batch {
        let (mut batch, rows) = (Batch::default(), mix.rows / mix.adapters);
        (0..mix.adapters).for_each(|request| self.add(&mut batch, request, 0, rows));
        batch.inputs.sampled = (1..=mix.adapters).map(|request| number(request * rows - 1)).collect();
        batch.sampling = vec![Sampling::default(); mix.adapters];
        if with_adapters {
            batch.inputs.pairs = (0..mix.rows).map(|row| pair(row, row / rows)).collect();
        }
        batch
    }

    /// Puts every adapter into its slot, or takes all out.
    pub(super) fn resident(&self, is_resident: bool) -> Batch {
        let slots = (0..).zip(&self.adapters);
        let installs = slots.map(|(slot, adapter)| (slot, is_resident.then(|| adapter.clone())));
        Batch { installs: installs.collect(), ..Batch::default() }
    }

    /// What computes, with what it has found out about itself meanwhile.
    pub(super) fn describe(&self) -> String {
        self.runner.describe()
    }

    /// Seconds of a step of each of these batches, which take turns, round after round. One without rows is done once a
    /// round.
    pub(super) fn times(&mut self, scale: &Scale, batches: &[Batch]) -> anyhow::Result<Times> {
        for batch in batches {
            self.runner.execute(batch)?;
        }
        let began = Instant::now();
        let slowest = batches.last().expect("there are batches to measure");
        self.runner.execute(slowest)?;
        let steps = (scale.round.as_secs_f64() / began.elapsed().as_secs_f64()).clamp(2.0, STEPS_MAX);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 2 and 200")]
        let steps = steps as usize;
        let runner = RefCell::new(&mut self.runner);
        let mut runs: Vec<_> = batches.iter().map(|batch| steps_of(&runner, batch, steps)).collect();
        let mut contestants: Vec<Contestant<'_>> = runs.iter_mut().map(|it| it as Contestant<'_>).collect();
        contest(scale.rounds, &mut contestants)
    }

    /// Bytes of keys and values that a step of decode reads.
    pub(super) fn kv_bytes(&self, rows: usize) -> f64 {
        let ModelShape { layers, kv_heads, head_dim, .. } = self.shape;
        float(rows * self.tokens * layers * 2 * kv_heads * head_dim * DType::Bf16.bytes())
    }
}

/// Does a batch so many times. Where a device computes while its host goes on, a step is launched before the tokens of the
/// one before it are read, as the engine does it, and takes them where they are drawn.
fn steps_of<'a, B: Backend + 'static>(
    runner: &'a RefCell<&'a mut Runner<B>>,
    batch: &'a Batch,
    steps: usize,
) -> impl FnMut(usize) -> anyhow::Result<usize> + use<'a, B> {
    let steps = if batch.inputs.tokens.is_empty() { 1 } else { steps };
    let next = taking(batch);
    move |_| {
        let runner = &mut **runner.borrow_mut();
        let ahead = runner.steps_ahead();
        let mut launched = VecDeque::new();
        for step in 0..steps {
            let is_first = step == 0 || ahead == 0;
            launched.push_back(runner.launch(if is_first { batch } else { &next })?);
            if launched.len() > ahead {
                launched.pop_front().map(|ticket| runner.collect(ticket)).transpose()?;
            }
        }
        launched.into_iter().try_for_each(|ticket| runner.collect(ticket).map(drop))?;
        Ok(steps)
    }
}

/// The same batch, in which each row of decode takes the token that the step before drew in its place.
fn taking(batch: &Batch) -> Batch {
    let mut inputs = batch.inputs.clone();
    if inputs.sampled.len() == inputs.tokens.len() {
        inputs.taken = inputs.sampled.iter().map(|row| Taken { row: *row, place: *row }).collect();
    }
    Batch { inputs, sampling: batch.sampling.clone(), ..Batch::default() }
}

fn pair(row: usize, slot: usize) -> Pair {
    Pair { row: number(row), slot: number(slot), weight: 1.0 }
}

fn number(count: usize) -> u32 {
    u32::try_from(count).expect("a bench counts few rows")
}
