//! One row's token: penalties, biases, mask; then the first in rank, or a draw among those kept.

use super::rank;
use super::row::{Kept, Row, TILE_TOKENS, counted};
use crate::cpu::simd::Level;
use crate::layout::{Sampling, Seen};

/// Memory for choosing, kept from one row to the next.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    adjusted: Vec<f32>,
    adjusted_peaks: Vec<f32>,
    weights: Vec<f32>,
    pub(super) sums: Vec<f32>,
    pub(super) keys: Vec<rank::Key>,
}

/// Chooses a token; `raw` is the row of `logits`, `own` the token that counts as seen once more.
pub(super) fn choose(
    level: Level,
    logits: &[f32],
    raw: Row<'_>,
    (sampling, own): (&Sampling, Option<u32>),
    scratch: &mut Scratch,
) -> usize {
    let Scratch { adjusted, adjusted_peaks, weights, sums, keys } = scratch;
    let row = if adjust(logits, (sampling, own), adjusted) { Row::new(level, adjusted, adjusted_peaks) } else { raw };
    match row.first() {
        None => (0..row.len()).find(|&token| sampling.allows(token)).expect("`check` refused masks without a token"),
        Some(first) if sampling.temperature == 0.0 => first,
        Some(_) => {
            weights.resize(row.len(), 0.0);
            draw(&row, sampling, weights, sums, keys)
        }
    }
}

/// Makes logits of what was seen, biases and mask; `false` where none of them says anything.
fn adjust(logits: &[f32], (sampling, own): (&Sampling, Option<u32>), adjusted: &mut Vec<f32>) -> bool {
    if !sampling.adjusts() {
        return false;
    }
    adjusted.clear();
    adjusted.extend_from_slice(logits);
    if sampling.penalizes() {
        penalize(sampling, own, adjusted);
    }
    for &(token, bias) in &sampling.bias {
        let logit = &mut adjusted[token as usize];
        *logit = counted(*logit) + bias;
    }
    for (logits, &allowed) in adjusted.chunks_mut(u32::BITS as usize).zip(sampling.mask.iter().flatten()) {
        match allowed {
            u32::MAX => {}
            0 => logits.fill(f32::NEG_INFINITY),
            _ => forbid(logits, allowed),
        }
    }
    true
}

fn penalize(sampling: &Sampling, own: Option<u32>, adjusted: &mut [f32]) {
    let is_new = |own: &u32| (*own as usize) < adjusted.len() && sampling.seen.iter().all(|seen| seen.token != *own);
    let new = own.filter(is_new).map(|token| Seen { token, in_prompt: false, in_output: 0 });
    for seen in sampling.seen.iter().chain(&new) {
        let in_output = seen.in_output + u32::from(own == Some(seen.token));
        let logit = &mut adjusted[seen.token as usize];
        *logit = counted(*logit);
        if seen.in_prompt || in_output > 0 {
            let repetition = sampling.repetition_penalty;
            *logit = if *logit > 0.0 { *logit / repetition } else { *logit * repetition };
        }
        if in_output > 0 {
            *logit = counted(*logit) - sampling.presence_penalty - sampling.frequency_penalty * in_output as f32;
        }
    }
}

fn forbid(logits: &mut [f32], allowed: u32) {
    for (bit, logit) in logits.iter_mut().enumerate() {
        *logit = if allowed >> bit & 1 == 1 { *logit } else { f32::NEG_INFINITY };
    }
}

/// Draws among the tokens that `top_k`, `top_p` and `min_p` keep, in proportion to their weights.
fn draw(
    row: &Row<'_>,
    sampling: &Sampling,
    weights: &mut [f32],
    sums: &mut Vec<f32>,
    keys: &mut Vec<rank::Key>,
) -> usize {
    // A temperature so low that its inverse is infinite is one that leaves only the greatest.
    let inverse_temperature = sampling.temperature.recip().min(f32::MAX);
    let mut kept = Kept::ALL;
    if sampling.top_k > 0 {
        kept.until = rank::nth(row, sampling.top_k as usize, keys);
    }
    if sampling.top_p < 1.0 {
        let total = row.weigh(inverse_temperature, kept, Some(weights), sums);
        kept.until = kept.until.min(rank::reaching(row, weights, sampling.top_p, total, keys));
    }
    kept.floor = sampling.min_p.ln();
    let total = row.weigh(inverse_temperature, kept, Some(weights), sums);
    pick(weights, sums, sampling.number() * total)
}

/// The first token up to which weights, in order of id, sum to more than `target`.
fn pick(weights: &[f32], sums: &[f32], target: f64) -> usize {
    let mut before = 0.0;
    let mut last = 0;
    for (tile, &sum) in sums.iter().enumerate() {
        let sum = f64::from(sum);
        if sum > 0.0 {
            last = tile;
            if before + sum > target {
                break;
            }
            before += sum;
        }
    }
    // Token by token a tile may sum to slightly less than by lanes: then its last token with a weight is meant.
    let from = last * TILE_TOKENS;
    let tile = &weights[from..(from + TILE_TOKENS).min(weights.len())];
    let mut chosen = 0;
    for (at, &weight) in tile.iter().enumerate().filter(|(_, weight)| **weight > 0.0) {
        chosen = at;
        before += f64::from(weight);
        if before > target {
            break;
        }
    }
    from + chosen
}
