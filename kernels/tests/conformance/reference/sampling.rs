//! Choosing tokens, in f64.

use std::cmp::Ordering;

use loam_kernels::layout::{Sampling, Seen};

use super::dense::Sum;
use crate::check::{F32_ROUND, Want, sum_error};

/// The number of a draw, in 0..1: Philox 4x32-10, written from the documented rule.
pub(crate) fn number_of_draw(seed: u64, draw: u64) -> f64 {
    let words = |value: u64| [value & 0xffff_ffff, value >> 32];
    let ([c0, c1], [mut k0, mut k1]) = (words(draw), words(seed));
    let mut counter = [c0, c1, 0, 0];
    for _ in 0..10 {
        let ([low_0, high_0], [low_2, high_2]) = (words(0xd251_1f53 * counter[0]), words(0xcd9e_8d57 * counter[2]));
        counter = [high_2 ^ counter[1] ^ k0, low_2, high_0 ^ counter[3] ^ k1, low_0];
        (k0, k1) = ((k0 + 0x9e37_79b9) & 0xffff_ffff, (k1 + 0xbb67_ae85) & 0xffff_ffff);
    }
    let bits = (counter[0] << 32 | counter[1]) >> 11;
    bits as f64 / (1_u64 << 53) as f64
}

/// What a logit counts as: minus infinity where it is not a number.
fn counted(logit: f64) -> f64 {
    if logit.is_nan() { f64::NEG_INFINITY } else { logit }
}

/// Tokens by rank: the greater logit first, of equal ones the lower id.
pub(crate) fn ranked(logits: &[f64]) -> Vec<usize> {
    let mut tokens: Vec<usize> = (0..logits.len()).collect();
    let falling = |a: f64, b: f64| counted(b).partial_cmp(&counted(a)).unwrap_or(Ordering::Equal);
    tokens.sort_by(|a, b| falling(logits[*a], logits[*b]).then(a.cmp(b)));
    tokens
}

/// How many tokens have a greater logit.
pub(crate) fn rank(logits: &[f64], token: usize) -> usize {
    logits.iter().filter(|logit| counted(**logit) > counted(logits[token])).count()
}

/// `logit - log sum_t exp(logit[t])`, of logits that may be off themselves.
pub(crate) fn log_probability(logits: &[Sum], token: usize) -> Want {
    let value = |sum: &Sum| counted(sum.value);
    let most = logits.iter().map(value).fold(f64::NEG_INFINITY, f64::max);
    if most == f64::NEG_INFINITY {
        // Of nothing no share is defined.
        return Want::Anything;
    }
    let weights: Vec<f64> = logits.iter().map(|logit| (value(logit) - most).exp()).collect();
    let total: f64 = weights.iter().sum();
    let sum = most + total.ln();
    let errs = |(logit, weight): (&Sum, &f64)| {
        // Where nothing is left of a weight nothing is left of its error.
        if *weight == 0.0 { 0.0 } else { weight / total * (logit.slack + 2.0 * F32_ROUND * (most - value(logit))) }
    };
    let summing = sum_error(logits.len()) + 16.0 * F32_ROUND;
    let slack: f64 = logits.iter().zip(&weights).map(errs).sum();
    let own = value(&logits[token]);
    if own == f64::NEG_INFINITY {
        return Want::Near { value: own, slack: 0.0 };
    }
    let slack = slack + logits[token].slack + summing + 2.0 * F32_ROUND * (own.abs() + sum.abs());
    Want::Near { value: own - sum, slack }
}

/// The same wishes, if the row's own token was known to be this one.
pub(crate) fn with_own(sampling: &Sampling, own: u32, vocabulary: usize) -> Sampling {
    let mut known = Sampling { counts_own: false, ..sampling.clone() };
    let seen = known.seen.iter().position(|seen| seen.token == own);
    match seen {
        _ if !sampling.counts_own || own as usize >= vocabulary => {}
        Some(at) => known.seen[at].in_output += 1,
        None => known.seen.push(Seen { token: own, in_prompt: false, in_output: 1 }),
    }
    known
}

/// Logits after penalties, biases and mask.
fn adjusted(logits: &[f64], sampling: &Sampling) -> Vec<Sum> {
    let mut adjusted: Vec<Sum> = logits.iter().map(|logit| Sum::exact(counted(*logit))).collect();
    let minus = |sum: Sum, other: f64| if sum.value == f64::NEG_INFINITY { sum } else { sum.plus(-other) };
    for seen in &sampling.seen {
        let logit = &mut adjusted[seen.token as usize];
        let penalty = f64::from(sampling.repetition_penalty);
        if penalty != 1.0 && logit.value != f64::NEG_INFINITY {
            let value = if logit.value > 0.0 { logit.value / penalty } else { logit.value * penalty };
            *logit = Sum { value, slack: 2.0 * F32_ROUND * value.abs() };
        }
        if seen.in_output > 0 {
            let times = f64::from(seen.in_output) * f64::from(sampling.frequency_penalty);
            *logit = minus(minus(*logit, f64::from(sampling.presence_penalty)), times);
            logit.slack += 2.0 * F32_ROUND * times.abs();
        }
    }
    for &(token, bias) in &sampling.bias {
        let logit = &mut adjusted[token as usize];
        *logit =
            if bias == f32::NEG_INFINITY { Sum::exact(f64::NEG_INFINITY) } else { minus(*logit, -f64::from(bias)) };
    }
    for (token, logit) in adjusted.iter_mut().enumerate() {
        let allowed = sampling.mask.as_ref().is_none_or(|mask| mask[token / 32] & 1 << (token % 32) != 0);
        if !allowed {
            *logit = Sum::exact(f64::NEG_INFINITY);
        }
    }
    adjusted
}

/// The same, each step of it rounded to f32.
fn rounded_steps(logits: &[f64], sampling: &Sampling) -> Vec<Sum> {
    let mut adjusted: Vec<f32> = logits.iter().map(|logit| counted(*logit) as f32).collect();
    for seen in &sampling.seen {
        let logit = &mut adjusted[seen.token as usize];
        let penalty = sampling.repetition_penalty;
        *logit = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
        if seen.in_output > 0 {
            *logit = *logit - sampling.presence_penalty - sampling.frequency_penalty * seen.in_output as f32;
        }
    }
    for &(token, bias) in &sampling.bias {
        adjusted[token as usize] += bias;
    }
    let allowed = |token: usize| sampling.mask.as_ref().is_none_or(|mask| mask[token / 32] & 1 << (token % 32) != 0);
    let value = |(token, logit): (usize, &f32)| if allowed(token) { f64::from(*logit) } else { f64::NEG_INFINITY };
    adjusted.iter().enumerate().map(value).map(Sum::exact).collect()
}

/// The tokens that may be chosen: one, and its neighbours where f32 may fall on their side of a boundary.
pub(crate) fn choices(logits: &[f64], sampling: &Sampling) -> Vec<usize> {
    let adjusted = adjusted(logits, sampling);
    let values: Vec<f64> = adjusted.iter().map(|sum| sum.value).collect();
    let by_rank = ranked(&values);
    let first = by_rank[0];
    if values[first] == f64::NEG_INFINITY {
        let allowed =
            |token: &usize| sampling.mask.as_ref().is_none_or(|mask| mask[token / 32] & 1 << (token % 32) != 0);
        return (0..logits.len()).find(allowed).into_iter().collect();
    }
    if sampling.temperature == 0.0 {
        let near = |token: &usize| {
            let slack = adjusted[*token].slack + adjusted[first].slack;
            *token == first || slack > 0.0 && values[first] - values[*token] <= slack
        };
        return by_rank.into_iter().filter(near).collect();
    }
    // Penalties make equal logits of different ones, and f32 rounds them apart: then `top_p` may end at another of them.
    let rounded = rounded_steps(logits, sampling);
    let by_rank_rounded = ranked(&rounded.iter().map(|sum| sum.value).collect::<Vec<_>>());
    let mut accepted = Vec::new();
    for (adjusted, by_rank) in [(&adjusted, &by_rank), (&rounded, &by_rank_rounded)] {
        for nudge in [-1.0, 0.0, 1.0] {
            for other in [-1.0, 0.0, 1.0] {
                accepted.extend(drawn(adjusted, by_rank, sampling, [nudge, other]));
            }
        }
    }
    accepted.sort_unstable();
    accepted.dedup();
    accepted
}

/// What remains after `top_k`, `top_p` and `min_p`: relative weights by token, 0 where cut off.
pub(crate) fn weights(logits: &[f64], sampling: &Sampling) -> Vec<f64> {
    let adjusted = adjusted(logits, sampling);
    let by_rank = ranked(&adjusted.iter().map(|sum| sum.value).collect::<Vec<_>>());
    kept(&adjusted, &by_rank, sampling, [0.0; 2])
}

fn kept(adjusted: &[Sum], by_rank: &[usize], sampling: &Sampling, [p_nudge, min_nudge]: [f64; 2]) -> Vec<f64> {
    let most = adjusted[by_rank[0]].value;
    let weight = |token: usize| ((adjusted[token].value - most) / f64::from(sampling.temperature)).exp();
    let of_all = by_rank.len();
    let count = if sampling.top_k == 0 { of_all } else { of_all.min(sampling.top_k as usize) };
    let mut first = &by_rank[..count];
    if sampling.top_p < 1.0 {
        let total: f64 = first.iter().map(|token| weight(*token)).sum();
        let reach = f64::from(sampling.top_p) * (1.0 + p_nudge * 4e-6) * total;
        let mut sum = 0.0;
        let fewest = first.iter().position(|token| {
            sum += weight(*token);
            sum >= reach
        });
        first = &first[..fewest.map_or(first.len(), |last| last + 1)];
    }
    let least = f64::from(sampling.min_p) * (1.0 + min_nudge * 4e-6);
    let mut weights = vec![0.0; of_all];
    for token in first.iter().filter(|token| weight(**token) >= least.min(1.0)) {
        weights[*token] = weight(*token);
    }
    weights
}

/// The tokens whose share of 0..1, in order of id, holds the draw's number.
fn drawn(adjusted: &[Sum], by_rank: &[usize], sampling: &Sampling, nudges: [f64; 2]) -> Vec<usize> {
    let weights = kept(adjusted, by_rank, sampling, nudges);
    let total: f64 = weights.iter().sum();
    let (most, temperature) = (adjusted[by_rank[0]], f64::from(sampling.temperature));
    let errs = |(token, weight): (usize, &f64)| {
        let it = adjusted[token];
        let exponent = (4.0 * F32_ROUND * (most.value - it.value) + it.slack + most.slack) / temperature;
        if *weight == 0.0 { 0.0 } else { weight / total * (exponent + 16.0 * F32_ROUND) }
    };
    let slack = weights.iter().enumerate().map(errs).sum::<f64>() + sum_error(weights.len());
    let number = number_of_draw(sampling.seed, sampling.draw);
    let (mut tokens, mut before) = (Vec::new(), 0.0);
    for (token, weight) in weights.iter().enumerate().filter(|(_, weight)| **weight > 0.0) {
        let after = before + weight / total;
        if number >= before - slack && number <= after + slack {
            tokens.push(token);
        }
        before = after;
    }
    tokens
}

#[test]
fn known_answer_of_philox() {
    let bits = 0x6627_e8d5_e169_c58d_u64 >> 11;
    assert_eq!(number_of_draw(0, 0), bits as f64 / (1_u64 << 53) as f64);
}
