//! Adapters: a row with its own alone, and among rows with others.

use std::sync::Arc;

use loam_kernels::backend::{Device, Expand, Lora, Shrink};
use loam_kernels::layout::DType::{self, Bf16, F16, F32};
use loam_kernels::layout::{Adapter, AdapterLayout, RowSet, SiteKind, SiteShape, StepPlan};

use super::crowd::check_rows;
use super::machine::{Adapters, Machine, Matrix, Step, encoded, noise};
use super::schedule::{Request, Space};

const ADAPTERS: usize = 9;
const IN: usize = 203;
const VOCABULARY: usize = 90;

/// A site of three modules, as q, k and v have, and an embedding.
fn sites() -> Vec<SiteShape> {
    vec![
        SiteShape { kind: SiteKind::Linear, in_features: IN, modules: vec![130, 35, 35] },
        SiteShape { kind: SiteKind::Embedding, in_features: VOCABULARY, modules: vec![77] },
    ]
}

/// Ranks of an adapter's modules: small, large, odd, and with holes.
const fn ranks(adapter: usize) -> ([u32; 3], u32) {
    match adapter {
        0 => ([8, 8, 8], 8),
        1 => ([16, 0, 16], 4),
        2 => ([1, 1, 1], 1),
        3 => ([0, 64, 0], 0),
        4 => ([256, 256, 256], 256),
        5 => ([3, 5, 7], 13),
        6 => ([32, 32, 32], 32),
        7 => ([0, 0, 0], 2),
        _ => ([17, 33, 65], 64),
    }
}

/// All adapters, each in the slot that `slot_of` says.
pub(crate) fn table(
    machine: &Machine,
    dtype: DType,
    sites: &[SiteShape],
    ranks: impl Fn(usize) -> Vec<Vec<(u32, f32)>>,
    slot_of: &[u32],
) -> Adapters {
    let mut adapters = machine.adapters(sites, slot_of.len()).unwrap();
    for (adapter, slot) in slot_of.iter().enumerate() {
        let layout = AdapterLayout::new(dtype, sites, &ranks(adapter)).unwrap();
        let mut memory = machine.allocate(dtype, layout.len()).unwrap();
        let values = (0..layout.len()).map(|at| noise(1000 + adapter as u64, 0, at) * 0.25);
        machine.write(&mut memory, 0, &encoded(dtype, values)).unwrap();
        let adapter = Arc::new(Adapter::new(memory, layout).unwrap());
        assert!(machine.install(&mut adapters, *slot, Some(adapter)).unwrap().is_none(), "the slot was empty");
    }
    adapters
}

/// Adapters of a row, in order of generation: none, one, or up to four.
fn adapters_of(row: usize) -> Vec<(usize, f32)> {
    let count = [1, 0, 2, 1, 4, 3, 1, 0][row % 8];
    let mut chosen: Vec<usize> = (0..count).map(|index| (row / 8 + row + index * 2) % ADAPTERS).collect();
    chosen.sort_unstable();
    chosen.into_iter().map(|adapter| (adapter, noise(5, row, adapter))).collect()
}

/// Where adapters are resident: elsewhere in each crowd.
fn slots(chosen: &[usize]) -> Vec<u32> {
    (0..ADAPTERS).map(|adapter| ((adapter * 2 + chosen.len()) % ADAPTERS) as u32).collect()
}

fn step(machine: &Machine, chosen: &[usize], slot_of: &[u32]) -> Step {
    let request = |&row: &usize| Request { tokens: vec![(row * 37 % VOCABULARY) as u32], adapters: adapters_of(row) };
    let requests: Vec<Request> = chosen.iter().map(request).collect();
    let space = Space::new(&requests, VOCABULARY, 16, slot_of.len());
    let each: Vec<(usize, usize)> = (0..chosen.len()).map(|request| (request, 1)).collect();
    let inputs = space.inputs(&requests, &vec![0; chosen.len()], &each, slot_of);
    machine.step(inputs, space.limits(&requests)).unwrap()
}

/// Each row's delta, and `h` of its pairs in order of generation up to the adapters' ranks.
fn through(machine: &Machine, dtype: DType, x: Option<DType>, set: RowSet, chosen: &[usize]) -> Vec<Vec<u32>> {
    let site = usize::from(x.is_none());
    let slot_of = slots(chosen);
    let scaled = |rank: &u32| (*rank, 16.0 / (*rank as f32 + 1.0));
    let ranks = |adapter| {
        let (linear, embedding) = ranks(adapter);
        vec![linear.iter().map(scaled).collect(), vec![scaled(&embedding)]]
    };
    let adapters = table(machine, dtype, &sites(), ranks, &slot_of);
    let step = step(machine, chosen, &slot_of);
    let plan: &StepPlan = step.as_ref();
    let pairs = plan.pairs(set);
    let x = x.map(|x| Matrix::new(machine, x, [chosen.len(), IN, chosen.len() % 3], |row, k| noise(3, chosen[row], k)));
    // Larger than needed, as a caller's would be.
    let mut h = Matrix::poisoned(machine, F32, pairs.pairs().len() + 2, 3 * 256 + 8);
    let (x, to) = (x.as_ref().map(Matrix::rows), h.rows_mut());
    machine.lora_shrink(&step, Shrink { adapters: &adapters, site, set, x, h: to }).unwrap();
    let mut delta = Matrix::poisoned(machine, F32, chosen.len(), sites()[site].out_features());
    let to = delta.rows_mut();
    machine.lora_expand(&step, Expand { adapters: &adapters, site, set, h: h.rows(), delta: to }).unwrap();
    let (h, mut rows) = (h.bits(machine), delta.bits(machine));
    for (row, bits) in rows.iter_mut().enumerate() {
        let untouched = bits.iter().all(|bits| f32::from_bits(*bits).is_nan());
        let touched = bits.iter().all(|bits| f32::from_bits(*bits).is_finite());
        assert!(if pairs.of_row(row).is_empty() { untouched } else { touched }, "row {row} of {}", chosen.len());
        pairs.of_row(row).iter().for_each(|pair| bits.extend(&h[*pair as usize]));
    }
    rows
}

#[track_caller]
fn check(dtype: DType, x: Option<DType>, set: RowSet) {
    let what = format!("adapters of {dtype} at {}", x.map_or("tokens".to_owned(), |x| x.to_string()));
    check_rows(&what, |machine, chosen| through(machine, dtype, x, set, chosen));
}

#[test]
fn bf16_adapters_of_bf16_rows() {
    check(Bf16, Some(Bf16), RowSet::Batch);
}

#[test]
fn bf16_adapters_of_f32_rows() {
    check(Bf16, Some(F32), RowSet::Batch);
}

#[test]
fn f16_adapters_of_bf16_rows() {
    check(F16, Some(Bf16), RowSet::Sampled);
}

#[test]
fn f32_adapters_of_f32_rows() {
    check(F32, Some(F32), RowSet::Scored);
}

#[test]
fn bf16_adapters_of_tokens() {
    check(Bf16, None, RowSet::Batch);
}

#[test]
fn f32_adapters_of_tokens() {
    check(F32, None, RowSet::Batch);
}
