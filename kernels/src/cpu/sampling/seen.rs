//! What is known of a row when some of its logits were seen: the log-probability and rank that a token will have.
//!
//! Both operations see a row in runs of neighbouring tokens and merge them in the same order, so that a token has one
//! log-probability, to the bit, whether it was sampled or scored.

use super::row::{NOTHING, Scale, TILE_TOKENS, count, peak_of, weigh};
use crate::cpu::simd::{Kernel, Level, Simd};

/// Tokens of a run: their powers are relative to its own greatest logit.
pub(super) const RUN_TOKENS: usize = 4 * TILE_TOKENS;

/// Tokens of a stripe: runs are merged within it, then stripes.
pub(super) const STRIPE_TOKENS: usize = 4 * RUN_TOKENS;

/// The greatest logit, the powers' sum, and how many are above a limit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    /// The greatest of them.
    peak: f32,
    /// The sum of `e^(logit - peak)`.
    sum: f64,
    /// How many are above the limit.
    pub(super) above: usize,
}

impl Seen {
    pub(super) const NOTHING: Self = Self { peak: NOTHING, sum: 0.0, above: 0 };

    /// All logits of a row.
    pub(super) fn of_row(level: Level, logits: &[f32], limit: f32) -> Self {
        let mut row = Self::NOTHING;
        for stripe in logits.chunks(STRIPE_TOKENS) {
            let mut seen = Self::NOTHING;
            stripe.chunks(RUN_TOKENS).for_each(|run| seen.merge(Self::of_run(level, run, limit)));
            row.merge(seen);
        }
        row
    }

    /// One run.
    pub(super) fn of_run(level: Level, logits: &[f32], limit: f32) -> Self {
        level.run(Run { logits, limit })
    }

    /// Adds what was seen of the tokens that follow.
    pub(super) fn merge(&mut self, next: Self) {
        if next.peak == NOTHING {
            return;
        }
        let peak = self.peak.max(next.peak);
        let scaled = |part: Self| {
            if part.peak == peak { part.sum } else { part.sum * (f64::from(part.peak) - f64::from(peak)).exp() }
        };
        *self = Self { peak, sum: scaled(*self) + scaled(next), above: self.above + next.above };
    }

    /// The greatest logit.
    pub(super) const fn peak(&self) -> f32 {
        self.peak
    }

    /// `logit - log sum_t e^logit[t]`, when all were seen.
    pub(super) fn log_probability(&self, logit: f32) -> f32 {
        // Minus infinity also where every logit is: nothing is probable there.
        if logit == NOTHING { logit } else { (f64::from(logit) - f64::from(self.peak) - self.sum.ln()) as f32 }
    }
}

struct Run<'a> {
    logits: &'a [f32],
    limit: f32,
}

impl Kernel for Run<'_> {
    type Output = Seen;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Seen {
        let mut seen = Seen::NOTHING;
        for tile in self.logits.chunks(TILE_TOKENS) {
            seen.peak = seen.peak.max(peak_of(simd, tile));
        }
        if seen.peak == NOTHING {
            return seen;
        }
        let scale = Scale { peak: seen.peak, inverse: 1.0, least: NOTHING, floor: NOTHING };
        for tile in self.logits.chunks(TILE_TOKENS) {
            seen.sum += f64::from(weigh::<S, false>(simd, tile, scale, None));
            seen.above += count(simd, tile, self.limit.next_up());
        }
        seen
    }
}
