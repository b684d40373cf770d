//! The log-probability of given tokens, against a softmax of the same layer's logits.

use std::sync::Arc;

use half::bf16;

use super::*;
use crate::backend::{Add, ApplyLinear, Dense, Expand, HeadDelta, Lora, Score, Shrink};
use crate::cpu::CpuAdapters;
use crate::layout::{Adapter, AdapterLayout, Linear, Pair, Part, RowSet, SiteKind, SiteShape, Split, Stored};

const HIDDEN: usize = 72;
/// More than a stripe, in two parts, and no multiple of a tile.
const PARTS: [usize; 2] = [1003, 4000];
const VOCABULARY: usize = PARTS[0] + PARTS[1];
const BATCH_ROWS: usize = 5;
const RANK: u32 = 6;

/// A row's log-probability and rank, and the best token with its own.
type Said = (f32, u32, u32, f32);

/// A head, inputs, and an adapter in each of two slots.
struct World {
    cpu: Cpu,
    head: Linear<CpuMemory>,
    x: Vec<f32>,
    x_dtype: DType,
    adapters: CpuAdapters,
    pairs: Vec<Pair>,
}

fn stored(cpu: &Cpu, dtype: DType, values: &[f32]) -> CpuMemory {
    if dtype == DType::F32 {
        return memory(cpu, values);
    }
    let bytes: Vec<u8> = values.iter().flat_map(|&value| bf16::from_f32(value).to_le_bytes()).collect();
    let mut memory = cpu.allocate(dtype, values.len()).unwrap();
    cpu.write(&mut memory, 0, &bytes).unwrap();
    memory
}

fn adapter(cpu: &Cpu, sites: &[SiteShape], numbers: &mut Numbers) -> Arc<Adapter<CpuMemory>> {
    let layout = AdapterLayout::new(DType::F32, sites, &[vec![(RANK, 0.5)]]).unwrap();
    let values = numbers.normals(layout.len(), 0.3);
    Arc::new(Adapter::new(memory(cpu, &values), layout).unwrap())
}

impl World {
    fn new(threads: usize, level: Level, x_dtype: DType, weights: DType, pairs: Vec<Pair>) -> Self {
        let (cpu, mut numbers) = (cpu(threads, level), Numbers::new(21));
        let parts = PARTS.map(|out_features| {
            let weight = stored(&cpu, weights, &numbers.normals(out_features * HIDDEN, 0.3));
            let bias = stored(&cpu, weights, &numbers.normals(out_features, 1.0));
            Part { weight: Stored::Dense(Arc::new(weight)), bias: Some(Arc::new(bias)) }
        });
        let head = Linear::new(HIDDEN, Split::Column, parts.into()).unwrap();
        let x = numbers.normals(BATCH_ROWS * HIDDEN, 1.0);
        let sites = [SiteShape { kind: SiteKind::Linear, in_features: HIDDEN, modules: vec![VOCABULARY] }];
        let mut adapters = cpu.adapters(&sites, 2).unwrap();
        for slot in 0..2 {
            let adapter = adapter(&cpu, &sites, &mut numbers);
            cpu.install(&mut adapters, slot, Some(adapter)).unwrap();
        }
        Self { cpu, head, x, x_dtype, adapters, pairs }
    }

    /// Log-probabilities and ranks as scored, and as a softmax of logits has them.
    fn score(&self, scored: &[Scored]) -> (Vec<Said>, Vec<Said>) {
        let (cpu, rows) = (&self.cpu, scored.len());
        let segment = Segment { first_row: 0, rows: BATCH_ROWS as u32, first_position: 0, first_page: 0, pages: 1 };
        let inputs = StepInputs {
            tokens: vec![0; BATCH_ROWS],
            segments: vec![segment],
            pages: vec![0],
            scored: scored.to_vec(),
            pairs: self.pairs.clone(),
            ..StepInputs::default()
        };
        let limits = StepLimits { vocabulary: VOCABULARY, positions: 16, pages: 1, page_tokens: 16, slots: 2 };
        let step = cpu.step(inputs, limits).unwrap();
        let x: Vec<f32> = scored.iter().flat_map(|it| &self.x[it.row as usize * HIDDEN..][..HIDDEN]).copied().collect();
        let x = stored(cpu, self.x_dtype, &x);
        let x = Rows::new(&x, rows, HIDDEN).unwrap();
        let set = RowSet::Scored;
        let pairs = step.as_ref().pairs(set).pairs().len();
        let mut h = cpu.allocate(DType::F32, pairs * RANK as usize).unwrap();
        let h_out = RowsMut::new(&mut h, pairs, RANK as usize).unwrap();
        cpu.lora_shrink(&step, Shrink { adapters: &self.adapters, site: 0, set, x: Some(x), h: h_out }).unwrap();
        let h = Rows::new(&h, pairs, RANK as usize).unwrap();

        let column = |dtype| cpu.allocate(dtype, rows).unwrap();
        let (mut said, mut ranks) = (column(DType::F32), column(DType::U32));
        let (mut best, mut best_said) = (column(DType::U32), column(DType::F32));
        let op = Score {
            x,
            head: &self.head,
            delta: Some(HeadDelta { adapters: &self.adapters, site: 0, h }),
            log_probabilities: RowsMut::new(&mut said, rows, 1).unwrap(),
            ranks: RowsMut::new(&mut ranks, rows, 1).unwrap(),
            best_tokens: RowsMut::new(&mut best, rows, 1).unwrap(),
            best_log_probabilities: RowsMut::new(&mut best_said, rows, 1).unwrap(),
        };
        cpu.log_probability_of(&step, op).unwrap();
        let (said, ranks) = (floats(cpu, &said), words(cpu, &ranks));
        let (best, best_said) = (words(cpu, &best), floats(cpu, &best_said));
        let found = (0..rows).map(|row| (said[row], ranks[row], best[row], best_said[row])).collect();
        (found, self.softmax(&step, x, h, scored))
    }

    fn softmax(&self, step: &CpuStep, x: Rows<'_, CpuMemory>, h: Rows<'_, CpuMemory>, scored: &[Scored]) -> Vec<Said> {
        let (cpu, rows, set) = (&self.cpu, scored.len(), RowSet::Scored);
        let mut logits = cpu.allocate(DType::F32, rows * VOCABULARY).unwrap();
        let mut delta = cpu.allocate(DType::F32, rows * VOCABULARY).unwrap();
        let out = RowsMut::new(&mut logits, rows, VOCABULARY).unwrap();
        cpu.linear(ApplyLinear { x, weights: &self.head, out }).unwrap();
        let out = RowsMut::new(&mut delta, rows, VOCABULARY).unwrap();
        cpu.lora_expand(step, Expand { adapters: &self.adapters, site: 0, set, h, delta: out }).unwrap();
        let delta = Rows::new(&delta, rows, VOCABULARY).unwrap();
        cpu.add(step, Add { x: RowsMut::new(&mut logits, rows, VOCABULARY).unwrap(), delta, set }).unwrap();
        let logits = floats(cpu, &logits);
        let of = |(row, it): (usize, &Scored)| {
            let row = &logits[row * VOCABULARY..][..VOCABULARY];
            let sum: f64 = row.iter().map(|&logit| f64::from(logit).exp()).sum();
            let target = row[it.token as usize];
            let rank = row.iter().filter(|&&logit| logit > target).count() as u32;
            let first = |best: usize, at: usize| if row[at] > row[best] { at } else { best };
            let best = (0..row.len()).fold(0, first);
            let said = |logit: f32| (f64::from(logit) - sum.ln()) as f32;
            (said(target), rank, best as u32, said(row[best]))
        };
        scored.iter().enumerate().map(of).collect()
    }
}

fn some_pairs() -> Vec<Pair> {
    let pair = |row, slot, weight| Pair { row, slot, weight };
    vec![pair(0, 1, 1.0), pair(3, 1, 0.4), pair(2, 0, 0.7), pair(3, 0, 1.5)]
}

/// Many rows, so that there is more than one block of them.
fn scored(rows: usize) -> Vec<Scored> {
    let mut numbers = Numbers::new(8);
    let token = |numbers: &mut Numbers| numbers.below(VOCABULARY) as u32;
    (0..rows as u32).map(|row| Scored { row: row % BATCH_ROWS as u32, token: token(&mut numbers) }).collect()
}

fn check(x: DType, weights: DType, pairs: &[Pair]) {
    for level in Level::available() {
        let world = World::new(1, level, x, weights, pairs.to_vec());
        let scored = scored(70);
        let (found, expected) = world.score(&scored);
        for ((found, expected), scored) in found.iter().zip(&expected).zip(&scored) {
            assert_eq!((found.1, found.2), (expected.1, expected.2), "{level} {scored:?}");
            let off = (found.0 - expected.0).abs().max((found.3 - expected.3).abs());
            assert!(off < 1e-5, "{level} {scored:?}: {found:?} {expected:?}");
        }
        // On other threads, and alone, to the bit.
        let crowd = World::new(2, level, x, weights, pairs.to_vec());
        assert_eq!(crowd.score(&scored).0, found);
        for row in [0, 1, 2, 3, 69] {
            assert_eq!(world.score(&scored[row..=row]).0, found[row..=row]);
        }
    }
}

#[test]
fn in_f32() {
    check(DType::F32, DType::F32, &[]);
}

#[test]
fn in_bf16() {
    check(DType::Bf16, DType::Bf16, &[]);
}

#[test]
fn in_f32_with_adapters() {
    check(DType::F32, DType::Bf16, &some_pairs());
}

#[test]
fn in_bf16_with_adapters() {
    check(DType::Bf16, DType::Bf16, &some_pairs());
}

#[test]
fn no_rows_are_no_work() {
    let world = World::new(1, Level::best(), DType::F32, DType::F32, Vec::new());
    assert_eq!(world.score(&[]), (Vec::new(), Vec::new()));
}
