//! Choosing a token by sorting the whole vocabulary.

use loam_kernels::Error;
use loam_kernels::backend::{Sample, Sampler, Score};
use loam_kernels::layout::{RowSet, Sampling};

use super::dense::WideParts;
use super::lora::delta_of_row;
use super::memory::{put, put_token, row};
use super::{Slow, SlowMemory, SlowStep};

impl Sampler for Slow {
    fn sample(&self, step: &SlowStep, op: Sample<'_, SlowMemory>) -> Result<(), Error> {
        op.check(&step.0)?;
        let mut out = op.out;
        for (at, sampling) in op.rows.iter().enumerate() {
            let logits = counted(row(&op.logits, at));
            let own = op.own.filter(|_| sampling.counts_own).map(|own| {
                let place = own.offset() + step.0.sampled()[at] as usize * own.stride();
                own.memory().token(place)
            });
            let chosen = choose(&logits, sampling, own);
            let log_sum = log_sum_exp(&logits);
            put_token(&mut out.tokens, at, 0, chosen as u32);
            put(&mut out.log_probabilities, at, 0, &[log_probability(&logits, chosen, log_sum)]);
            put_token(&mut out.ranks, at, 0, rank(&logits, chosen));
            let asked = sampling.top_log_probabilities as usize;
            for (column, token) in ranked(&logits, 0..logits.len()).into_iter().take(asked).enumerate() {
                put_token(&mut out.top_tokens, at, column, token as u32);
                let value = log_probability(&logits, token, log_sum);
                put(&mut out.top_log_probabilities, at, column, &[value]);
            }
        }
        Ok(())
    }

    fn log_probability_of(&self, step: &SlowStep, mut op: Score<'_, Self>) -> Result<(), Error> {
        let pairs = step.0.pairs(RowSet::Scored);
        let places = match &op.delta {
            Some(delta) => delta.adapters.places(delta.site, pairs)?,
            None => Vec::new(),
        };
        op.check(&step.0, places.into_iter())?;
        let parts = WideParts::of(op.head);
        for (at, scored) in step.0.scored().iter().enumerate() {
            let mut logits = parts.apply(&row(&op.x, at));
            if let Some(delta) = op.delta.as_ref().filter(|_| !pairs.is_empty())
                && let Some(delta) = delta_of_row(pairs, delta.adapters, delta.site, &delta.h, at)?
            {
                logits.iter_mut().zip(delta).for_each(|(logit, delta)| *logit += delta);
            }
            let (logits, token) = (counted(logits), scored.token as usize);
            let log_sum = log_sum_exp(&logits);
            put(&mut op.log_probabilities, at, 0, &[log_probability(&logits, token, log_sum)]);
            put_token(&mut op.ranks, at, 0, rank(&logits, token));
            let best = ranked(&logits, 0..logits.len())[0];
            put_token(&mut op.best_tokens, at, 0, best as u32);
            put(&mut op.best_log_probabilities, at, 0, &[log_probability(&logits, best, log_sum)]);
        }
        Ok(())
    }
}

/// Logits as they count: what is not a number is minus infinity, and infinity the greatest number.
fn counted(mut logits: Vec<f32>) -> Vec<f32> {
    let count = |logit: f32| if logit.is_nan() { f32::NEG_INFINITY } else { logit.min(f32::MAX) };
    logits.iter_mut().for_each(|logit| *logit = count(*logit));
    logits
}

fn log_sum_exp(logits: &[f32]) -> f64 {
    let greatest = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    if greatest.is_infinite() {
        return greatest;
    }
    greatest + logits.iter().map(|logit| (f64::from(*logit) - greatest).exp()).sum::<f64>().ln()
}

fn log_probability(logits: &[f32], token: usize, log_sum: f64) -> f32 {
    match logits[token] {
        f32::NEG_INFINITY => f32::NEG_INFINITY,
        logit => (f64::from(logit) - log_sum) as f32,
    }
}

/// How many tokens have a greater logit.
fn rank(logits: &[f32], token: usize) -> u32 {
    logits.iter().filter(|logit| **logit > logits[token]).count() as u32
}

/// Tokens by logit, equal ones by id.
fn ranked(logits: &[f32], tokens: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut tokens: Vec<usize> = tokens.collect();
    tokens.sort_by(|a, b| logits[*b].partial_cmp(&logits[*a]).expect("no logit is NaN").then(a.cmp(b)));
    tokens
}

fn choose(logits: &[f32], sampling: &Sampling, own: Option<u32>) -> usize {
    let logits = counted(changed(logits, sampling, own));
    let left = |token: &usize| sampling.allows(*token) && logits[*token] > f32::NEG_INFINITY;
    let mut tokens = ranked(&logits, (0..logits.len()).filter(left));
    let Some(&first) = tokens.first() else {
        return (0..logits.len()).find(|token| sampling.allows(*token)).expect("`check` refused empty masks");
    };
    if sampling.temperature == 0.0 {
        return first;
    }
    if sampling.top_k > 0 {
        tokens.truncate(sampling.top_k as usize);
    }
    let temperature = f64::from(sampling.temperature);
    // What divides by the temperature is the distance from the first: no temperature is too small for it.
    let distance = |token: usize| {
        if logits[token] == logits[first] { 0.0 } else { f64::from(logits[token]) - f64::from(logits[first]) }
    };
    let weight = |token: &usize| (distance(*token) / temperature).exp();
    let total: f64 = tokens.iter().map(weight).sum();
    if sampling.top_p < 1.0 {
        let mut reached = 0.0;
        let enough = tokens.iter().position(|token| {
            reached += weight(token) / total;
            reached >= f64::from(sampling.top_p)
        });
        tokens.truncate(enough.map_or(tokens.len(), |last| last + 1));
    }
    tokens.retain(|token| weight(token) >= f64::from(sampling.min_p));
    tokens.sort_unstable();
    let mut left = number(sampling.seed, sampling.draw) * tokens.iter().map(weight).sum::<f64>();
    for token in &tokens {
        left -= weight(token);
        if left < 0.0 {
            return *token;
        }
    }
    tokens.into_iter().rfind(|token| weight(token) > 0.0).unwrap_or(first)
}

/// Logits after penalties and biases.
fn changed(logits: &[f32], sampling: &Sampling, own: Option<u32>) -> Vec<f32> {
    let mut logits = logits.to_vec();
    if sampling.penalizes() {
        let mut times = vec![(false, 0); logits.len()];
        sampling.seen.iter().for_each(|seen| times[seen.token as usize] = (seen.in_prompt, seen.in_output));
        if let Some((_, in_output)) = own.and_then(|own| times.get_mut(own as usize)) {
            *in_output += 1;
        }
        for (logit, (in_prompt, in_output)) in logits.iter_mut().zip(times) {
            if in_prompt || in_output > 0 {
                let repetition = sampling.repetition_penalty;
                *logit = if *logit > 0.0 { *logit / repetition } else { *logit * repetition };
            }
            if in_output > 0 {
                *logit -= sampling.frequency_penalty * in_output as f32;
                *logit -= sampling.presence_penalty;
            }
        }
    }
    for &(token, bias) in &sampling.bias {
        logits[token as usize] += bias;
    }
    logits
}

/// A request's number for one draw, in `0..1`: the first two words of Philox 4x32-10, 53 bits of them.
fn number(seed: u64, draw: u64) -> f64 {
    let (mut counter, mut key) = ([draw as u32, (draw >> 32) as u32, 0, 0], [seed as u32, (seed >> 32) as u32]);
    for _ in 0..10 {
        let first = u64::from(counter[0]) * 0xd251_1f53;
        let second = u64::from(counter[2]) * 0xcd9e_8d57;
        let left = (second >> 32) as u32 ^ counter[1] ^ key[0];
        let right = (first >> 32) as u32 ^ counter[3] ^ key[1];
        counter = [left, second as u32, right, first as u32];
        key = [key[0].wrapping_add(0x9e37_79b9), key[1].wrapping_add(0xbb67_ae85)];
    }
    let word = u64::from(counter[0]) << 32 | u64::from(counter[1]);
    (word >> 11) as f64 / (1_u64 << 53) as f64
}
