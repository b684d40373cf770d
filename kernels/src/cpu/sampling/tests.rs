//! Tokens, log-probabilities and ranks against plain references in f64, and the edges of each rule by hand.

mod rules;
mod score;

use std::num::NonZero;

use super::Sampling;
use crate::backend::{Device, Sample, SampleOutputs, Sampler};
use crate::cpu::{Cpu, CpuMemory, CpuOptions, CpuStep, Level};
use crate::layout::{DType, Memory, Rows, RowsMut, Scored, Seen, Segment, StepInputs, StepLimits};

const NOTHING: f32 = f32::NEG_INFINITY;

#[derive(Clone, Debug, PartialEq)]
struct Answer {
    token: u32,
    log_probability: f32,
    rank: u32,
    top: Vec<(u32, f32)>,
}

fn cpu(threads: usize, level: Level) -> Cpu {
    Cpu::new(CpuOptions { threads: NonZero::new(threads), level: Some(level) }).unwrap()
}

fn memory(cpu: &Cpu, values: &[f32]) -> CpuMemory {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let mut memory = cpu.allocate(DType::F32, values.len()).unwrap();
    cpu.write(&mut memory, 0, &bytes).unwrap();
    memory
}

fn words(cpu: &Cpu, memory: &CpuMemory) -> Vec<u32> {
    let mut bytes = vec![0; memory.len() * 4];
    cpu.read(memory, 0, &mut bytes).unwrap();
    bytes.chunks_exact(4).map(|word| u32::from_le_bytes(word.try_into().unwrap())).collect()
}

fn floats(cpu: &Cpu, memory: &CpuMemory) -> Vec<f32> {
    words(cpu, memory).into_iter().map(f32::from_bits).collect()
}

/// The token of the step's only row.
const OWN: u32 = 2;

fn own_token(cpu: &Cpu, token: u32) -> CpuMemory {
    let mut memory = cpu.allocate(DType::U32, 1).unwrap();
    cpu.write(&mut memory, 0, &token.to_le_bytes()).unwrap();
    memory
}

/// One request of one row, sampled and scored as asked.
fn step(cpu: &Cpu, vocabulary: usize, sampled: usize, scored: Vec<Scored>) -> CpuStep {
    let segment = Segment { first_row: 0, rows: 1, first_position: 0, first_page: 0, pages: 1 };
    let inputs = StepInputs {
        tokens: vec![0],
        taken: Vec::new(),
        segments: vec![segment],
        pages: vec![0],
        sampled: vec![0; sampled],
        scored,
        pairs: Vec::new(),
    };
    cpu.step(inputs, StepLimits { vocabulary, positions: 1, pages: 1, page_tokens: 16, slots: 0 }).unwrap()
}

fn sample(cpu: &Cpu, logits: &[Vec<f32>], rows: &[Sampling]) -> Vec<Answer> {
    let (vocabulary, top) = (logits[0].len(), 8);
    let step = step(cpu, vocabulary, rows.len(), Vec::new());
    let logits = memory(cpu, &logits.concat());
    let column = |dtype, width| cpu.allocate(dtype, rows.len() * width).unwrap();
    let (mut tokens, mut ranks, mut top_tokens) =
        (column(DType::U32, 1), column(DType::U32, 1), column(DType::U32, top));
    let (mut log_probabilities, mut top_log_probabilities) = (column(DType::F32, 1), column(DType::F32, top));
    let out = SampleOutputs {
        tokens: RowsMut::new(&mut tokens, rows.len(), 1).unwrap(),
        log_probabilities: RowsMut::new(&mut log_probabilities, rows.len(), 1).unwrap(),
        ranks: RowsMut::new(&mut ranks, rows.len(), 1).unwrap(),
        top_tokens: RowsMut::new(&mut top_tokens, rows.len(), top).unwrap(),
        top_log_probabilities: RowsMut::new(&mut top_log_probabilities, rows.len(), top).unwrap(),
    };
    let own = own_token(cpu, OWN);
    let own = Rows::new(&own, 1, 1).unwrap();
    let logits = Rows::new(&logits, rows.len(), vocabulary).unwrap();
    cpu.sample(&step, Sample { logits, own: Some(own), rows, out }).unwrap();
    let (tokens, ranks, top_tokens) = (words(cpu, &tokens), words(cpu, &ranks), words(cpu, &top_tokens));
    let (said, top_said) = (floats(cpu, &log_probabilities), floats(cpu, &top_log_probabilities));
    let answer = |row: usize| {
        let asked = row * top..row * top + rows[row].top_log_probabilities as usize;
        let top = top_tokens[asked.clone()].iter().copied().zip(top_said[asked].iter().copied()).collect();
        Answer { token: tokens[row], log_probability: said[row], rank: ranks[row], top }
    };
    (0..rows.len()).map(answer).collect()
}

/// The same row at every level, which all must agree on the token.
fn choose(logits: &[f32], sampling: &Sampling) -> usize {
    let tokens: Vec<u32> = Level::available()
        .map(|level| sample(&cpu(1, level), &[logits.to_vec()], std::slice::from_ref(sampling))[0].token)
        .collect();
    assert!(tokens.iter().all(|token| *token == tokens[0]), "{tokens:?}");
    tokens[0] as usize
}

/// Which tokens come in many draws, and how often.
fn counts(logits: &[f32], sampling: &Sampling, draws: usize) -> Vec<usize> {
    let rows: Vec<Sampling> = (0..draws as u64).map(|draw| Sampling { draw, ..sampling.clone() }).collect();
    let mut counts = vec![0; logits.len()];
    for answer in sample(&cpu(1, Level::best()), &vec![logits.to_vec(); draws], &rows) {
        counts[answer.token as usize] += 1;
    }
    counts
}

/// Numbers for tests.
struct Numbers {
    seed: u64,
    drawn: u64,
}

impl Numbers {
    const fn new(seed: u64) -> Self {
        Self { seed, drawn: 0 }
    }

    /// From 0 to below 1.
    fn unit(&mut self) -> f64 {
        self.drawn += 1;
        Sampling { seed: self.seed, draw: self.drawn, ..Sampling::default() }.number()
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.unit() * limit as f64) as usize
    }

    /// About normal, of standard deviation 1.
    fn normal(&mut self) -> f32 {
        let sum: f64 = (0..12).map(|_| self.unit()).sum();
        (sum - 6.0) as f32
    }

    fn normals(&mut self, count: usize, deviation: f32) -> Vec<f32> {
        (0..count).map(|_| self.normal() * deviation).collect()
    }
}

/// Rows as they come: spread, tied, with holes, with infinities.
fn any_logits(numbers: &mut Numbers, vocabulary: usize) -> Vec<f32> {
    let deviation = [0.1, 1.0, 3.0, 20.0][numbers.below(4)];
    let mut logits = numbers.normals(vocabulary, deviation);
    if numbers.below(3) == 0 {
        logits.iter_mut().for_each(|logit| *logit = logit.round());
    }
    if numbers.below(3) == 0 {
        for _ in 0..vocabulary / 2 {
            logits[numbers.below(vocabulary)] = [NOTHING, f32::NAN, -0.0, 0.0][numbers.below(4)];
        }
    }
    logits
}

fn any_sampling(numbers: &mut Numbers, vocabulary: usize) -> Sampling {
    let mut sampling = Sampling {
        temperature: [0.0, 0.3, 1.0, 1.7][numbers.below(4)],
        top_k: [0, 1, 2, 40, vocabulary as u32 / 2, u32::MAX][numbers.below(6)],
        // No share that a few equal weights have exactly: rounding would decide.
        top_p: [1.0, 0.953, 0.57, 1e-6][numbers.below(4)],
        min_p: [0.0, 0.0, 0.013, 0.31][numbers.below(4)],
        seed: numbers.below(1 << 40) as u64,
        draw: numbers.below(1000) as u64,
        ..Sampling::default()
    };
    if numbers.below(2) == 0 {
        (sampling.repetition_penalty, sampling.presence_penalty, sampling.frequency_penalty) = (1.3, 0.4, -0.2);
        let mut seen: Vec<u32> = (0..20).map(|_| numbers.below(vocabulary) as u32).collect();
        seen.sort_unstable();
        seen.dedup();
        let of = |token: u32| Seen { token, in_prompt: token.is_multiple_of(2), in_output: token % 3 };
        sampling.seen = seen.into_iter().map(of).collect();
    }
    if numbers.below(3) == 0 {
        sampling.bias = vec![(numbers.below(vocabulary) as u32, [NOTHING, 2.5, -7.0][numbers.below(3)])];
    }
    if numbers.below(3) == 0 {
        let words = (0..vocabulary.div_ceil(32)).map(|_| [0, 0x1357_9bdf, u32::MAX][numbers.below(3)]);
        let mut mask: Vec<u32> = words.collect();
        mask[0] |= 1;
        sampling.mask = Some(mask);
    }
    sampling
}

/// The rules as they are written, one after the other: logits in f32, then a sorted vocabulary in f64.
fn reference(logits: &[f32], sampling: &Sampling) -> usize {
    let mut logits: Vec<f32> = logits.iter().map(|&logit| if logit.is_nan() { NOTHING } else { logit }).collect();
    for seen in &sampling.seen {
        let logit = &mut logits[seen.token as usize];
        if seen.in_prompt || seen.in_output > 0 {
            let repetition = sampling.repetition_penalty;
            *logit = if *logit > 0.0 { *logit / repetition } else { *logit * repetition };
        }
        if seen.in_output > 0 {
            *logit -= sampling.presence_penalty;
            *logit -= sampling.frequency_penalty * seen.in_output as f32;
        }
    }
    sampling.bias.iter().for_each(|&(token, bias)| logits[token as usize] += bias);
    for (token, logit) in logits.iter_mut().enumerate() {
        *logit = if sampling.allows(token) { *logit } else { NOTHING };
    }
    let logits: Vec<f64> = logits.into_iter().map(f64::from).collect();
    let mut ranked: Vec<usize> = (0..logits.len()).filter(|&token| logits[token] > f64::from(NOTHING)).collect();
    ranked.sort_by(|&a, &b| logits[b].partial_cmp(&logits[a]).unwrap());
    let Some(&first) = ranked.first() else {
        return (0..logits.len()).find(|&token| sampling.allows(token)).unwrap();
    };
    if sampling.temperature == 0.0 {
        return first;
    }
    let weight = |token: usize| ((logits[token] - logits[first]) / f64::from(sampling.temperature)).exp();
    if sampling.top_k > 0 {
        ranked.truncate(sampling.top_k as usize);
    }
    let total: f64 = ranked.iter().map(|&token| weight(token)).sum();
    let mut sum = 0.0;
    let reached = ranked.iter().position(|&token| {
        sum += weight(token);
        sum >= f64::from(sampling.top_p) * total
    });
    ranked.truncate(reached.map_or(ranked.len(), |at| at + 1));
    ranked.retain(|&token| weight(token) >= f64::from(sampling.min_p));
    ranked.sort_unstable();
    let total: f64 = ranked.iter().map(|&token| weight(token)).sum();
    let (number, mut sum) = (sampling.number(), 0.0);
    let drawn = ranked.iter().find(|&&token| {
        sum += weight(token);
        sum > number * total
    });
    *drawn.or(ranked.last()).unwrap()
}
