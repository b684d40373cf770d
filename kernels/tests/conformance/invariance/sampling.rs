//! Choosing tokens and scoring them, row by row.

use std::sync::Arc;

use loam_kernels::backend::{
    ApplyLinear, Dense, Device, HeadDelta, Lora, Sample, SampleOutputs, Sampler, Score, Shrink,
};
use loam_kernels::layout::DType::{self, Bf16, F32, U32};
use loam_kernels::layout::{Linear, RowSet, Sampling, Seen, SiteKind, SiteShape, Split, StepPlan};

use super::adapters::table;
use super::crowd::check_rows;
use super::machine::{Machine, Matrix, Step, filled, hash, noise};
use super::schedule::{Request, Space};

/// No multiple of a vector, a word of a mask or a tile.
const VOCABULARY: usize = 2501;
const HIDDEN: usize = 96;
const TOP: usize = 8;

/// A step of requests with one row each, of which every other uses the head's adapter.
fn step(machine: &Machine, chosen: &[usize], with_adapters: bool) -> Step {
    let request = |&row: &usize| Request {
        // Each request's row is scored by the token that follows it: in a request of one, itself.
        tokens: vec![(row * 37 % VOCABULARY) as u32],
        adapters: if with_adapters && row.is_multiple_of(2) { vec![(row / 2 % 2, 0.75)] } else { Vec::new() },
    };
    let requests: Vec<Request> = chosen.iter().map(request).collect();
    let space = Space::new(&requests, VOCABULARY, 16, 2);
    let each: Vec<(usize, usize)> = (0..chosen.len()).map(|request| (request, 1)).collect();
    let inputs = space.inputs(&requests, &vec![0; chosen.len()], &each, &[1, 0]);
    machine.step(inputs, space.limits(&requests)).unwrap()
}

/// A row's wishes: every filter, in many combinations.
fn sampling(row: usize) -> Sampling {
    let bit = |at: u32| row >> at & 1 == 1;
    let token = |index: usize| (hash(8, row, index) % VOCABULARY as u64) as u32;
    Sampling {
        temperature: if row.is_multiple_of(5) { 0.0 } else { 0.3 + row as f32 / 40.0 },
        top_k: if bit(0) { 40 } else { 0 },
        top_p: if bit(1) { 0.9 } else { 1.0 },
        min_p: if bit(2) { 0.02 } else { 0.0 },
        repetition_penalty: if bit(3) { 1.3 } else { 1.0 },
        presence_penalty: if bit(4) { 0.4 } else { 0.0 },
        frequency_penalty: if bit(5) { 0.2 } else { 0.0 },
        seen: (0..row).map(|at| Seen { token: at as u32 * 3, in_prompt: bit(0), in_output: at as u32 % 3 }).collect(),
        counts_own: bit(1),
        bias: (0..row % 4).map(|index| (token(index), 1.5)).collect(),
        mask: row.is_multiple_of(7).then(|| (0..VOCABULARY.div_ceil(32)).map(|at| token(at) | 1).collect()),
        seed: row as u64,
        draw: 17 * row as u64,
        top_log_probabilities: (row % (TOP + 1)) as u32,
    }
}

fn beside(matrices: &[Vec<Vec<u32>>]) -> Vec<Vec<u32>> {
    (0..matrices[0].len()).map(|row| matrices.iter().flat_map(|matrix| matrix[row].clone()).collect()).collect()
}

fn sample(machine: &Machine, step: &Step, logits: &Matrix, rows: &[Sampling]) -> Vec<Vec<u32>> {
    let column = |dtype, width| Matrix::poisoned(machine, dtype, rows.len(), width);
    let (mut tokens, mut log_probabilities, mut ranks) = (column(U32, 1), column(F32, 1), column(U32, 1));
    let (mut top_tokens, mut top_log_probabilities) = (column(U32, TOP), column(F32, TOP));
    let out = SampleOutputs {
        tokens: tokens.rows_mut(),
        log_probabilities: log_probabilities.rows_mut(),
        ranks: ranks.rows_mut(),
        top_tokens: top_tokens.rows_mut(),
        top_log_probabilities: top_log_probabilities.rows_mut(),
    };
    let plan: &StepPlan = step.as_ref();
    let own = Matrix::new(machine, U32, [plan.tokens().len(), 1, 0], |row, _| plan.tokens()[row] as f32);
    machine.sample(step, Sample { logits: logits.rows(), own: Some(own.rows()), rows, out }).unwrap();
    beside(&[&tokens, &log_probabilities, &ranks, &top_tokens, &top_log_probabilities].map(|out| out.bits(machine)))
}

struct Head {
    layer: Linear<<Machine as Device>::Memory>,
    x: Matrix,
    site: SiteShape,
}

fn head(machine: &Machine, dtype: DType, chosen: &[usize]) -> Head {
    let weight = filled(machine, dtype, VOCABULARY * HIDDEN, |at| noise(1, at / HIDDEN, at % HIDDEN) * 0.2);
    let layer = Linear::dense(HIDDEN, Split::Column, Arc::new(weight), None).unwrap();
    let x = Matrix::new(machine, dtype, [chosen.len(), HIDDEN, 0], |row, k| noise(2, chosen[row], k));
    let site = SiteShape { kind: SiteKind::Linear, in_features: HIDDEN, modules: vec![VOCABULARY] };
    Head { layer, x, site }
}

/// Log-probability and rank of each row's token, and the best one with its own.
fn score(machine: &Machine, dtype: DType, chosen: &[usize], with_adapters: bool) -> Vec<Vec<u32>> {
    let (step, Head { layer, x, site }) = (step(machine, chosen, with_adapters), head(machine, dtype, chosen));
    let plan: &StepPlan = step.as_ref();
    let ranks = |adapter| vec![vec![([8, 20][adapter], 0.5)]];
    let adapters = table(machine, dtype, &[site], ranks, &[1, 0]);
    let mut h = Matrix::poisoned(machine, F32, plan.pairs(RowSet::Scored).pairs().len(), 20);
    let (set, adapters) = (RowSet::Scored, &adapters);
    machine.lora_shrink(&step, Shrink { adapters, site: 0, set, x: Some(x.rows()), h: h.rows_mut() }).unwrap();
    let column = |dtype| Matrix::poisoned(machine, dtype, chosen.len(), 1);
    let mut said = [F32, U32, U32, F32].map(column);
    let [log_probabilities, ranks, best_tokens, best_log_probabilities] = said.each_mut().map(|it| it.rows_mut());
    let op = Score {
        x: x.rows(),
        head: &layer,
        delta: with_adapters.then(|| HeadDelta { adapters, site: 0, h: h.rows() }),
        log_probabilities,
        ranks,
        best_tokens,
        best_log_probabilities,
    };
    machine.log_probability_of(&step, op).unwrap();
    beside(&said.map(|it| it.bits(machine)))
}

#[track_caller]
fn check(what: &str, operation: impl Fn(&Machine, &[usize]) -> Vec<Vec<u32>>) {
    check_rows(what, operation);
}

#[test]
fn sample_by_every_filter() {
    check("sample", |machine, chosen| {
        let logits = Matrix::new(machine, F32, [chosen.len(), VOCABULARY, 1], |row, token| {
            // Coarse values, so that many are equal.
            (noise(4, chosen[row], token) * 4.0).round() / 2.0
        });
        let rows: Vec<Sampling> = chosen.iter().map(|row| sampling(*row)).collect();
        sample(machine, &step(machine, chosen, false), &logits, &rows)
    });
}

#[test]
fn score_with_bf16() {
    check("log_probability_of, bf16", |machine, chosen| score(machine, Bf16, chosen, false));
}

#[test]
fn score_with_f32() {
    check("log_probability_of, f32", |machine, chosen| score(machine, F32, chosen, false));
}

#[test]
fn score_with_adapters() {
    check("log_probability_of with adapters", |machine, chosen| score(machine, Bf16, chosen, true));
}

/// What a prompt's tokens are scored by is what they would be sampled with.
#[test]
fn score_is_what_sample_says() {
    check("log_probability_of and sample", |machine, chosen| {
        let (step, Head { layer, x, .. }) = (step(machine, chosen, false), head(machine, Bf16, chosen));
        let mut logits = Matrix::poisoned(machine, F32, chosen.len(), VOCABULARY);
        machine.linear(ApplyLinear { x: x.rows(), weights: &layer, out: logits.rows_mut() }).unwrap();
        let plan: &StepPlan = step.as_ref();
        // A mask leaves no choice but the scored token.
        let only = |token: u32| {
            let mut mask = vec![0; VOCABULARY.div_ceil(32)];
            mask[token as usize / 32] = 1 << (token % 32);
            Sampling { mask: Some(mask), top_log_probabilities: 1, ..Sampling::default() }
        };
        let rows: Vec<Sampling> = plan.scored().iter().map(|scored| only(scored.token)).collect();
        let (sampled, scored) = (sample(machine, &step, &logits, &rows), score(machine, Bf16, chosen, false));
        for (sampled, scored) in sampled.iter().zip(&scored) {
            let said = [sampled[1], sampled[2], sampled[3], sampled[3 + TOP]];
            assert_eq!(said[..], scored[..], "log-probability, rank, and the best token with its own, to the bit");
        }
        scored
    });
}
