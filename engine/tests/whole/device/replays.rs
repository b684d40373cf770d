//! A runner's steps, recorded once and replayed: the same bits as when each is run as it is, whoever is in it.

use std::fs::File;
use std::sync::Arc;

use loam_engine::DType;
use loam_engine::adapter::{Generation, HostAdapter, NoBaseTensors, PeftConfig, TENSORS_FILE, TensorFile, load};
use loam_engine::executor::{Batch, Executor as _, Outputs, Uploaded};
use loam_engine::model::{Decoder, ModelConfig, Residence, Sites, Tap, Weights};
use loam_engine::runner::{Runner, RunnerOptions};
use loam_kernels::backend::Adapted::{Everywhere, Layers, Nowhere};
use loam_kernels::backend::{Adapted, GraphKey};
use loam_kernels::cuda::device::DeviceMemory;
use loam_kernels::cuda::{Cuda, CudaMode};
use loam_kernels::layout::{AdapterLayout, Pair, RowSet, Rows, Sampling, Segment};
use loam_ledger_core::Hash;

use super::has_gpu;
use crate::ask::{ADAPTERS, golden, prompt};

const MODEL: &str = "llama-gqa";
const PAGE_TOKENS: usize = 16;
/// Pages of each sequence, which follow from its number.
const PAGES_EACH: usize = 3;
const SEQUENCES: usize = 11;
const SLOTS: usize = 4;
/// The number of the adapter that is everywhere.
const EVERYWHERE: usize = ADAPTERS.len();
const ROWS_MAX: usize = 32;
const PROMPT_TOKENS: usize = 17;

/// Looks at nothing: with a tap no step is recorded or padded.
struct Blind;

impl Tap<DeviceMemory> for Blind {
    fn input(&mut self, _: usize, _: RowSet, _: Rows<'_, DeviceMemory>) -> Result<(), loam_kernels::Error> {
        Ok(())
    }
}

fn adapter(name: &str) -> HostAdapter {
    let folder = golden().join(MODEL).join("adapters").join(name);
    let path = folder.join(TENSORS_FILE);
    let tensors = TensorFile::open(&path, File::open(&path).unwrap()).unwrap();
    load(&PeftConfig::read(&folder).unwrap(), &tensors, &Sites::new(&config().shape), &NoBaseTensors).unwrap()
}

/// An adapter at every site, the embedding and the head among them.
fn everywhere() -> HostAdapter {
    let sites = Sites::new(&config().shape);
    let ranks: Vec<_> = sites.shapes().iter().map(|site| vec![(4, 0.5); site.modules.len()]).collect();
    let layout = AdapterLayout::new(DType::F32, sites.shapes(), &ranks).unwrap();
    let value = |at: usize| ((at * 2_654_435_761) >> 7 & 0xff) as f32 / 512.0 - 0.25;
    let slab = (0..layout.len()).flat_map(|at| value(at).to_ne_bytes()).collect();
    HostAdapter { generation: Generation(Hash([9; 32])), layout, slab }
}

fn config() -> ModelConfig {
    ModelConfig::read(&golden().join(MODEL).join("base")).unwrap()
}

/// A model on a GPU, and how far each of its sequences is.
struct Machine {
    runner: Runner<Cuda>,
    /// Whether steps run as they are.
    is_tapped: bool,
    sequences: Vec<Vec<u32>>,
    adapters: Vec<Uploaded>,
}

/// Who has a row, and their slots and weights.
type Row<'a> = (usize, &'a [(u32, f32)]);

/// How a model's steps run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Start {
    /// As they are, none recorded.
    Tapped,
    /// Recorded when the first of a size comes.
    Cold,
    /// Recorded before anybody asks.
    Warm,
}

impl Machine {
    fn new(gpu: &Arc<Cuda>, start: Start) -> Self {
        let folder = golden().join(MODEL).join("base");
        let weights = Weights::open(&folder, Residence::Mapped, &mut |_| {}).unwrap();
        let decoder = Decoder::load(Arc::clone(gpu), &config(), &weights, DType::Bf16, 256).unwrap();
        let pages = SEQUENCES * PAGES_EACH;
        let options = RunnerOptions { pages, page_tokens: PAGE_TOKENS, slots: SLOTS, rows_max: ROWS_MAX, rank_max: 64 };
        let mut runner = Runner::new(decoder, options).unwrap();
        if start == Start::Warm {
            runner.warm_up().unwrap();
        }
        let is_tapped = start == Start::Tapped;
        let uploader = runner.uploader();
        let loaded = ADAPTERS.iter().map(|name| adapter(name)).chain([everywhere()]);
        let adapters = loaded.map(|adapter| uploader.upload(&adapter).unwrap()).collect();
        let sequences = vec![Vec::new(); SEQUENCES];
        let mut machine = Self { runner, is_tapped, sequences, adapters };
        // Prompts one after the other: they are no part of what is tried here.
        for id in 0..SEQUENCES {
            machine.sequences[id] = prompt(id as u64, PROMPT_TOKENS);
            machine.step(&[(id, &[])], &[]);
        }
        machine
    }

    /// All that these have no keys and values of yet: a prompt, or the token drawn last. Each draws.
    fn batch(&self, rows: &[Row<'_>]) -> Batch {
        let mut batch = Batch::default();
        let inputs = &mut batch.inputs;
        let mut pairs = Vec::new();
        for &(id, uses) in rows {
            let tokens = &self.sequences[id];
            let from = if tokens.len() == PROMPT_TOKENS { 0 } else { tokens.len() - 1 };
            let (first_row, first_page) = (inputs.tokens.len() as u32, inputs.pages.len() as u32);
            let count = (tokens.len() - from) as u32;
            let pages = PAGES_EACH as u32;
            inputs.segments.push(Segment { first_row, rows: count, first_position: from as u32, first_page, pages });
            inputs.tokens.extend(&tokens[from..]);
            inputs.pages.extend((0..pages).map(|page| id as u32 * pages + page));
            inputs.sampled.push(first_row + count - 1);
            pairs.extend(uses.iter().map(|&(slot, weight)| Pair { row: first_row, slot, weight }));
            let draw = tokens.len() as u64;
            let seed = id as u64;
            batch.sampling.push(Sampling {
                temperature: 1.0,
                seed,
                draw,
                top_log_probabilities: 2,
                ..Sampling::default()
            });
        }
        pairs.sort_by_key(|pair| (pair.slot, pair.row));
        inputs.pairs = pairs;
        batch.logits = (0..rows.len() as u32).collect();
        batch
    }

    /// Runs them; `installs` are slots and numbers of adapters to put there.
    fn step(&mut self, rows: &[Row<'_>], installs: &[(u32, Option<usize>)]) -> Outputs {
        let mut batch = self.batch(rows);
        batch.installs =
            installs.iter().map(|&(slot, it)| (slot, it.map(|adapter| self.adapters[adapter].clone()))).collect();
        let outputs = match self.is_tapped {
            true => self.runner.execute_tapped(&batch, &mut Blind),
            false => self.runner.execute(&batch),
        };
        let outputs = outputs.unwrap();
        assert_eq!(outputs.sampled.len(), rows.len(), "padding is seen by nobody");
        for ((id, _), sampled) in rows.iter().zip(&outputs.sampled) {
            self.sequences[*id].push(sampled.chosen.token);
        }
        outputs
    }

    fn nodes(&self, gpu: &Cuda, rows: u32, adapted: Adapted) -> usize {
        gpu.nodes(GraphKey { model: self.runner.model(), rows, adapted }).len()
    }
}

/// Nodes of a recorded step of this model, as the table in the kernels' README has them: norms of heads it has none of. The
/// first takes the tokens of the step before.
fn nodes(adapted: Adapted) -> usize {
    let layers = config().shape.layers;
    1 + match adapted {
        Adapted::Nowhere => 4 + 9 * layers,
        Adapted::Layers => 4 + 17 * layers,
        Adapted::Everywhere => 10 + 17 * layers,
    }
}

/// Both ways, step by step, to the bit.
struct Both {
    gpu: Arc<Cuda>,
    recorded: Machine,
    plain: Machine,
}

impl Both {
    fn new(mode: CudaMode) -> Self {
        Self::start(mode, Start::Cold)
    }

    fn start(mode: CudaMode, start: Start) -> Self {
        let gpu = Arc::new(Cuda::open(0, mode).unwrap());
        Self { recorded: Machine::new(&gpu, start), plain: Machine::new(&gpu, Start::Tapped), gpu }
    }

    #[track_caller]
    fn step(&mut self, rows: &[Row<'_>], installs: &[(u32, Option<usize>)]) {
        let (found, expected) = (self.recorded.step(rows, installs), self.plain.step(rows, installs));
        assert!(found == expected, "{rows:?}: other bits when replayed");
    }
}

/// One adapter, two, four; none; ranks 2 to 64, at all sites or few; other weights.
const MIXES: [&[(u32, f32)]; 6] =
    [&[(1, 1.0)], &[], &[(0, 0.5), (2, -1.0)], &[(3, 1.25)], &[(0, 1.0), (1, 0.5), (2, 0.25), (3, 1.0)], &[(2, 1.0)]];

#[test]
fn one_recording_serves_every_mix_of_adapters() {
    if !has_gpu() {
        return;
    }
    let mut both = Both::new(CudaMode::Deterministic);
    let all: Vec<_> = (0..SLOTS).map(|slot| (slot as u32, Some(slot))).collect();
    both.step(&[(0, &[(0, 1.0)])], &all);
    for turn in 0..4 {
        // Nine to eleven of them: all in the bucket of sixteen.
        let rows: Vec<Row<'_>> =
            (0..9 + turn % 3).map(|at| ((at + turn) % SEQUENCES, MIXES[(at * 5 + turn) % MIXES.len()])).collect();
        both.step(&rows, &[]);
        assert_eq!(both.recorded.nodes(&both.gpu, 16, Layers), nodes(Layers), "one recording, at every layer's sites");
    }
    assert_eq!(both.recorded.nodes(&both.gpu, 16, Nowhere), 0, "nobody ran the base alone yet");
    let base: Vec<Row<'_>> = (0..10).map(|id| (id, &[][..])).collect();
    both.step(&base, &[]);
    assert_eq!(both.recorded.nodes(&both.gpu, 16, Nowhere), nodes(Nowhere), "who uses none pays for none");
    assert_eq!(both.plain.nodes(&both.gpu, 16, Layers), 0, "the other model has recordings of its own");
}

/// What an adapter does at the embedding and the head, whoever has none there runs nothing of.
#[test]
fn an_adapter_of_the_vocabulary_has_a_recording_of_its_own() {
    if !has_gpu() {
        return;
    }
    let mut both = Both::new(CudaMode::Deterministic);
    let rows: [Row<'_>; 3] = [(0, &[(0, 1.0)]), (1, &[(0, 0.5), (1, 1.0)]), (2, &[])];
    both.step(&rows, &[(0, Some(0)), (1, Some(1))]);
    assert_eq!(both.recorded.nodes(&both.gpu, 4, Everywhere), 0, "nobody has one there");
    both.step(&rows, &[(1, Some(EVERYWHERE))]);
    assert_eq!(both.recorded.nodes(&both.gpu, 4, Everywhere), nodes(Everywhere));
    both.step(&[(0, &[(0, 1.0)]), (1, &[]), (2, &[(0, -1.0)])], &[]);
    assert_eq!(both.recorded.nodes(&both.gpu, 4, Layers), nodes(Layers), "it is resident, and not used");
    both.step(&rows, &[]);
}

#[test]
fn replays_see_who_is_resident_now() {
    if !has_gpu() {
        return;
    }
    let mut both = Both::new(CudaMode::Deterministic);
    let rows: [Row<'_>; 3] = [(0, &[(0, 1.0)]), (1, &[(0, 0.5), (1, 1.0)]), (2, &[])];
    both.step(&rows, &[(0, Some(0)), (1, Some(1))]);
    both.step(&rows, &[]);
    // Others come into the same slots, of other ranks and at other sites, and the first ones come back elsewhere.
    both.step(&rows, &[(0, Some(4)), (1, Some(2))]);
    both.step(&rows, &[(0, Some(3)), (2, Some(0)), (1, None), (1, Some(1))]);
    both.step(&[(0, &[(2, 1.0)]), (1, &[(0, 1.0)]), (2, &[(1, -0.5)])], &[]);
    both.step(&rows[..2], &[(2, None)]);
    assert_eq!(both.recorded.nodes(&both.gpu, 4, Layers), nodes(Layers));
    let empty = both.recorded.batch(&[(0, &[(2, 1.0)])]);
    let error = both.recorded.runner.execute(&empty).expect_err("nobody is there").to_string();
    assert!(error.contains("slot 2"), "{error}");
    both.step(&rows, &[]);
}

#[test]
fn fast_steps_are_replayed_alike() {
    if !has_gpu() {
        return;
    }
    let mut both = Both::new(CudaMode::Fast);
    both.step(&[(0, &[(0, 1.0)])], &[(0, Some(0)), (1, Some(1)), (2, Some(2)), (3, Some(3))]);
    for turn in 0..3 {
        // What is fast depends on how many rows there are: those of a whole size are compared.
        let rows: Vec<Row<'_>> = (0..4).map(|at| (at, MIXES[(at + turn) % MIXES.len()])).collect();
        both.step(&rows, &[]);
    }
}

/// All sizes are recorded before anybody asks, and what nobody's rows wrote is never seen.
#[test]
fn a_start_that_is_warm_leaves_nothing_to_record() {
    let mut both = Both::start(CudaMode::Deterministic, Start::Warm);
    let sizes = GraphKey::ROWS.into_iter().filter(|rows| *rows as usize <= ROWS_MAX);
    let is_there = |rows, adapted| both.recorded.nodes(&both.gpu, rows, adapted) == nodes(adapted);
    assert!(sizes.clone().count() > 2 && sizes.clone().all(|rows| is_there(rows, Nowhere) && is_there(rows, Layers)));
    both.step(&[(0, &[(0, 1.0)]), (1, &[])], &[(0, Some(0))]);
    both.step(&[(0, &[(0, 1.0)]), (1, &[]), (2, &[])], &[]);
}
