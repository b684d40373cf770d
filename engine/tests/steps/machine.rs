//! A runner, and what is put to it.

use std::num::NonZero;
use std::path::Path;
use std::sync::Arc;

use loam_engine::adapter::{Generation, HostAdapter};
use loam_engine::executor::{Batch, Executor as _, Uploaded};
use loam_engine::model::{Decoder, ModelConfig, Sites, Weights};
use loam_engine::runner::{Runner, RunnerOptions};
use loam_kernels::cpu::CpuOptions;
use loam_kernels::layout::{AdapterLayout, DType, Pair, RANK_MAX, Sampling, Scored, Segment, SiteShape};
use loam_kernels::{Backend, Cpu};
use loam_ledger_core::Hash;
use serde_json::json;

use crate::watched::Watched;

pub(crate) const PAGE_TOKENS: usize = 16;
pub(crate) const POSITIONS: usize = 64;
/// Pages of one sequence.
const PAGES: u32 = 4;
pub(crate) const ROWS_MAX: usize = 48;
pub(crate) const SLOTS: usize = 3;

fn cpu() -> Cpu {
    Cpu::new(CpuOptions { threads: NonZero::new(1), level: None }).unwrap()
}

/// A small model.
pub(crate) fn model() -> ModelConfig {
    let config = json!({
        "architectures": ["Qwen3ForCausalLM"], "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 64, "vocab_size": 96,
        "max_position_embeddings": 256
    });
    ModelConfig::parse(Path::new("config.json"), config.to_string().as_bytes()).unwrap()
}

/// It with invented weights, watched.
pub(crate) fn watched() -> (Arc<Watched>, Runner<Watched>) {
    runner(Watched::new(cpu(), false), RANK_MAX)
}

/// The same on a device that says that it records steps, with adapters of at most such a rank.
pub(crate) fn recording(rank_max: u32) -> (Arc<Watched>, Runner<Watched>) {
    runner(Watched::new(cpu(), true), rank_max)
}

fn runner(watched: Watched, rank_max: u32) -> (Arc<Watched>, Runner<Watched>) {
    let watched = Arc::new(watched);
    let weights = Weights::dummy(Path::new("."), 5, DType::Bf16);
    let decoder = Decoder::load(watched.clone(), &model(), &weights, DType::F32, POSITIONS).unwrap();
    let options = RunnerOptions { pages: 16, page_tokens: PAGE_TOKENS, slots: SLOTS, rows_max: ROWS_MAX, rank_max };
    let runner = Runner::new(decoder, options).unwrap();
    watched.take();
    (watched, runner)
}

/// Rows of one sequence; its pages follow from its number.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) number: u32,
    pub(crate) tokens: Vec<u32>,
    pub(crate) first_position: u32,
    /// Slots and weights, in order of slot.
    pub(crate) adapters: Vec<(u32, f32)>,
    /// Whether each row but the last is scored by the next one's token.
    pub(crate) scored: bool,
}

impl Part {
    pub(crate) fn new(number: u32, tokens: &[u32]) -> Self {
        Self { number, tokens: tokens.to_vec(), first_position: 0, adapters: Vec::new(), scored: false }
    }

    pub(crate) fn with(mut self, adapters: &[(u32, f32)]) -> Self {
        self.adapters = adapters.to_vec();
        self
    }

    pub(crate) fn at(mut self, first_position: u32) -> Self {
        self.first_position = first_position;
        self
    }

    pub(crate) fn scored(mut self) -> Self {
        self.scored = true;
        self
    }
}

/// A step of these rows; the last of each part is sampled, greedily, and its logits are wanted.
pub(crate) fn batch(parts: &[Part]) -> Batch {
    let mut batch = Batch::default();
    let inputs = &mut batch.inputs;
    for part in parts {
        let (first_row, first_page) = (inputs.tokens.len() as u32, inputs.pages.len() as u32);
        let rows = part.tokens.len() as u32;
        inputs.tokens.extend(&part.tokens);
        inputs.pages.extend((0..PAGES).map(|page| part.number * PAGES + page));
        let first_position = part.first_position;
        inputs.segments.push(Segment { first_row, rows, first_position, first_page, pages: PAGES });
        inputs.sampled.push(first_row + rows - 1);
        let uses = |row| part.adapters.iter().map(move |&(slot, weight)| Pair { row: first_row + row, slot, weight });
        inputs.pairs.extend((0..rows).flat_map(uses));
        if part.scored {
            let next = part.tokens.iter().skip(1);
            inputs.scored.extend((first_row..).zip(next).map(|(row, token)| Scored { row, token: *token }));
        }
    }
    inputs.pairs.sort_by_key(|pair| (pair.slot, pair.row));
    batch.sampling = vec![Sampling::default(); inputs.sampled.len()];
    batch.logits = (0..inputs.sampled.len() as u32).collect();
    batch
}

/// An adapter of rank 4 at some sites of a model, with values that follow from a seed.
pub(crate) fn adapter(sites: &[SiteShape], seed: u32, at: impl Fn(usize) -> bool) -> HostAdapter {
    let rank = |site| if at(site) { 4 } else { 0 };
    let ranks: Vec<Vec<(u32, f32)>> =
        sites.iter().enumerate().map(|(site, shape)| vec![(rank(site), 0.5); shape.modules.len()]).collect();
    let layout = AdapterLayout::new(DType::F32, sites, &ranks).unwrap();
    let mut state = seed;
    let mut slab = Vec::new();
    for _ in 0..layout.len() {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        slab.extend((f32::from((state >> 24) as u8 as i8) / 256.0).to_ne_bytes());
    }
    HostAdapter { generation: Generation(Hash([seed as u8; 32])), layout, slab }
}

/// One at every site.
pub(crate) fn uploaded<B: Backend + 'static>(runner: &Runner<B>, seed: u32) -> Uploaded {
    let sites = Sites::new(&model().shape);
    runner.uploader().upload(&adapter(sites.shapes(), seed, |_| true)).unwrap()
}
