//! The log-probability of given tokens, from logits that exist a tile at a time.

use std::ops::Range;
use std::sync::OnceLock;

use super::row::counted;
use super::seen::{RUN_TOKENS, STRIPE_TOKENS, Seen};
use crate::backend::Score;
use crate::cpu::linear::{compute_columns, expect_unchanged};
use crate::cpu::lora::Shrunk;
use crate::cpu::memory::{AnyOut, In, Out};
use crate::cpu::simd::Level;
use crate::cpu::{Cpu, CpuMemory, CpuStep};
use crate::error::Error;
use crate::layout::{Linear, RowSet, Rows};

/// Rows that go through a tile of the layer together, so that its weights are read once for all of them.
const BLOCK_ROWS: usize = 64;

impl Cpu {
    pub(super) fn score(&self, step: &CpuStep, mut op: Score<'_, Self>) -> Result<(), Error> {
        let pairs = step.0.pairs(RowSet::Scored);
        if let Some(delta) = &op.delta {
            delta.adapters.check(delta.site, pairs)?;
            delta.h.memory().expect_unchanged()?;
        }
        op.check(&step.0, op.delta.iter().flat_map(|delta| delta.adapters.places(delta.site, pairs)))?;
        op.x.memory().expect_unchanged()?;
        expect_unchanged(op.head)?;
        for out in [&mut op.log_probabilities, &mut op.ranks, &mut op.best_tokens, &mut op.best_log_probabilities] {
            out.memory_mut().expect_output()?;
        }

        let delta = op.delta.filter(|_| !pairs.is_empty()).map(|delta| Shrunk {
            adapters: delta.adapters,
            site: delta.site,
            pairs,
            h: In::of(&delta.h),
        });
        let head = Head { level: self.level, x: op.x, weights: op.head, delta };
        let tokens = step.0.scored().iter().map(|scored| scored.token as usize);
        let targets: Vec<f32> = tokens.enumerate().map(|(row, token)| head.logit(row, token)).collect();
        let sums = self.sums(&head, &targets);
        let (log_probabilities, ranks) = (Out::of(&mut op.log_probabilities), Out::of(&mut op.ranks));
        let best_log_probabilities = Out::of(&mut op.best_log_probabilities);
        let best_tokens = Out::of(&mut op.best_tokens);
        for (row, (&target, Ranked { seen, best })) in targets.iter().zip(sums).enumerate() {
            // SAFETY: there is no other thread.
            unsafe {
                log_probabilities.row(row)[0] = seen.log_probability(target);
                ranks.row(row)[0] = seen.above as u32;
                best_tokens.row(row)[0] = best as u32;
                best_log_probabilities.row(row)[0] = seen.log_probability(seen.peak());
            }
        }
        Ok(())
    }

    /// What is known of each row, when the whole vocabulary was seen.
    fn sums(&self, head: &Head<'_>, targets: &[f32]) -> Vec<Ranked> {
        let vocabulary = head.weights.out_features();
        let (blocks, stripes) = (targets.len().div_ceil(BLOCK_ROWS), vocabulary.div_ceil(STRIPE_TOKENS));
        let seen: Vec<OnceLock<Vec<Ranked>>> = (0..blocks * stripes).map(|_| OnceLock::new()).collect();
        let bytes = targets.len() * vocabulary * head.weights.in_features();
        self.pool.each(blocks * stripes, bytes, |task| {
            // All blocks of a stripe follow each other, while its weights are near.
            let (stripe, block) = (task / blocks, task % blocks);
            let rows = block * BLOCK_ROWS..((block + 1) * BLOCK_ROWS).min(targets.len());
            let tokens = stripe * STRIPE_TOKENS..((stripe + 1) * STRIPE_TOKENS).min(vocabulary);
            let stripe = head.see(rows.clone(), tokens, &targets[rows]);
            seen[task].set(stripe).expect("each task is done once");
        });
        let mut rows = vec![Ranked::NOTHING; targets.len()];
        for (task, stripe) in seen.into_iter().enumerate() {
            let stripe = stripe.into_inner().expect("`each` does all tasks");
            for (row, stripe) in rows[task % blocks * BLOCK_ROWS..].iter_mut().zip(stripe) {
                row.merge(stripe);
            }
        }
        rows
    }
}

/// What was seen of a row, and the first token with its greatest logit.
#[derive(Clone, Copy, Debug)]
struct Ranked {
    seen: Seen,
    best: usize,
}

impl Ranked {
    const NOTHING: Self = Self { seen: Seen::NOTHING, best: 0 };

    /// Adds what was seen of the tokens that follow.
    fn merge(&mut self, next: Self) {
        if next.seen.peak() > self.seen.peak() {
            self.best = next.best;
        }
        self.seen.merge(next.seen);
    }
}

/// The layer that makes logits, with its adapters.
struct Head<'a> {
    level: Level,
    x: Rows<'a, CpuMemory>,
    weights: &'a Linear<CpuMemory>,
    delta: Option<Shrunk<'a>>,
}

impl Head<'_> {
    /// One token's logit.
    fn logit(&self, row: usize, token: usize) -> f32 {
        let mut logit = [0.0];
        self.logits(row..row + 1, token..token + 1, &mut logit, &mut [0.0]);
        counted(logit[0])
    }

    /// Logits of some rows for some tokens, packed, as `linear` and `add` would leave them. `delta` has room for a row.
    fn logits(&self, rows: Range<usize>, tokens: Range<usize>, logits: &mut [f32], delta: &mut [f32]) {
        let width = tokens.len();
        let out = AnyOut::F32(Out::packed(logits, rows.len(), width));
        compute_columns(self.level, &self.x, rows.clone(), self.weights, tokens.clone(), &out);
        let Some(adapters) = &self.delta else { return };
        for (row, logits) in rows.zip(logits.chunks_exact_mut(width)) {
            let delta = &mut delta[..width];
            if adapters.expand_row(self.level, row, tokens.clone(), delta) {
                logits.iter_mut().zip(delta).for_each(|(logit, delta)| *logit += *delta);
            }
        }
    }

    /// What a stripe of the vocabulary adds to what is known of some rows.
    fn see(&self, rows: Range<usize>, tokens: Range<usize>, targets: &[f32]) -> Vec<Ranked> {
        let mut rows_seen = vec![Ranked::NOTHING; rows.len()];
        let mut logits = vec![0.0; rows.len() * RUN_TOKENS];
        let mut delta = vec![0.0; RUN_TOKENS];
        for from in tokens.clone().step_by(RUN_TOKENS) {
            let tile = from..(from + RUN_TOKENS).min(tokens.end);
            let logits = &mut logits[..rows.len() * tile.len()];
            self.logits(rows.clone(), tile.clone(), logits, &mut delta);
            for ((row, &limit), logits) in rows_seen.iter_mut().zip(targets).zip(logits.chunks_exact(tile.len())) {
                let seen = Seen::of_run(self.level, logits, limit);
                // Most runs have nothing greater than what came before them.
                let is_best = seen.peak() > row.seen.peak();
                let place = || logits.iter().position(|logit| counted(*logit) == seen.peak()).unwrap_or(0);
                let best = if is_best { tile.start + place() } else { row.best };
                row.merge(Ranked { seen, best });
            }
        }
        rows_seen
    }
}
