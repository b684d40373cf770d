//! A row of logits, read from end to end a few times: its greatest, its sums, its counts.
//!
//! Sums go tile by tile, in a tile by lanes, over tiles in f64: an order that the length of the vocabulary alone
//! decides. Cutting tokens off puts zeros into it.

use super::rank::Key;
use crate::cpu::simd::{Kernel, LANES_MAX, Level, Load, Simd, Store};

/// Neighbouring tokens whose sum is made by lanes, and whose greatest logit is kept.
pub(super) const TILE_TOKENS: usize = 256;

/// Logits and the greatest of each tile.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row<'a> {
    level: Level,
    logits: &'a [f32],
    peaks: &'a [f32],
    peak: f32,
}

/// Which tokens keep their weight.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kept {
    /// The last one in rank.
    pub(super) until: Key,
    /// The least logarithm of a weight, relative to the first one's.
    pub(super) floor: f32,
}

impl Kept {
    pub(super) const ALL: Self = Self { until: Key::LAST, floor: f32::NEG_INFINITY };
}

/// What a logit counts as: minus infinity where it is not a number, the greatest number where it is infinite.
#[inline(always)]
pub(super) const fn counted(logit: f32) -> f32 {
    logit.max(f32::NEG_INFINITY).min(f32::MAX)
}

impl<'a> Row<'a> {
    /// Finds the greatest logits. `peaks` is where they are kept.
    pub(super) fn new(level: Level, logits: &'a [f32], peaks: &'a mut Vec<f32>) -> Self {
        level.run(Peaks { logits, peaks });
        let peak = peaks.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        Self { level, logits, peaks, peak }
    }

    pub(super) const fn len(&self) -> usize {
        self.logits.len()
    }

    /// The greatest logit.
    pub(super) const fn peak(&self) -> f32 {
        self.peak
    }

    /// A token's logit, as it counts.
    pub(super) const fn logit(&self, token: usize) -> f32 {
        counted(self.logits[token])
    }

    /// Every so manieth logit.
    pub(super) fn every(&self, step: usize) -> impl Iterator<Item = f32> {
        self.logits.iter().step_by(step).map(|&logit| counted(logit))
    }

    /// The first token in rank, if any has a logit above minus infinity.
    pub(super) fn first(&self) -> Option<usize> {
        if self.peak == f32::NEG_INFINITY {
            return None;
        }
        let tile = self.peaks.iter().position(|&peak| peak == self.peak)?;
        let from = tile * TILE_TOKENS;
        (from..self.len()).find(|&token| self.logit(token) == self.peak)
    }

    /// At least `count` tokens have this logit or more; where there are fewer tiles, at least one of each tile.
    pub(super) fn bound(&self, count: usize) -> f32 {
        let mut peaks = self.peaks.to_vec();
        let at = count.min(peaks.len()).saturating_sub(1);
        *peaks.select_nth_unstable_by(at, |a, b| b.total_cmp(a)).1
    }

    /// How many tokens have this logit or more.
    pub(super) fn count_from(&self, logit: f32) -> usize {
        if logit == f32::NEG_INFINITY {
            return self.len();
        }
        self.level.run(Count { logits: self.logits, from: logit })
    }

    /// How many tokens have a greater logit.
    pub(super) fn count_above(&self, logit: f32) -> usize {
        if logit == self.peak { 0 } else { self.count_from(logit.next_up()) }
    }

    /// `weight[token] = e^((logit[token] - peak) * inverse_temperature)` of tokens kept, 0 of others; sums by tile, and
    /// the sum of all. Weights are written where there is room for them.
    pub(super) fn weigh(
        &self,
        inverse_temperature: f32,
        kept: Kept,
        weights: Option<&mut [f32]>,
        sums: &mut Vec<f32>,
    ) -> f64 {
        let scale = Scale { peak: self.peak, inverse_temperature, floor: kept.floor };
        self.level.run(Weigh { logits: self.logits, scale, until: kept.until, weights, sums });
        sums.iter().copied().map(f64::from).sum()
    }

    /// The sum of weights of tokens that have this logit or more.
    pub(super) fn weight_from(&self, weights: &[f32], logit: f32) -> f64 {
        self.level.run(WeightFrom { logits: self.logits, weights, from: logit })
    }

    /// Tokens with logits from `from` to below `below`, in order of id.
    pub(super) fn between(&self, from: f32, below: f32, keys: &mut Vec<Key>) {
        keys.clear();
        self.level.run(Between { logits: self.logits, peaks: self.peaks, from, below, keys });
    }
}

/// One tile in one reading: its greatest logit, the sum of `e^(logit - greatest)`, and how many are above a limit.
#[derive(Debug)]
pub(super) struct TileSum<'a> {
    pub(super) logits: &'a [f32],
    pub(super) limit: f32,
}

impl Kernel for TileSum<'_> {
    type Output = (f32, f32, usize);

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> (f32, f32, usize) {
        let peak = peak_of(simd, self.logits);
        if peak == f32::NEG_INFINITY {
            return (peak, 0.0, 0);
        }
        let scale = Scale { peak, inverse_temperature: 1.0, floor: f32::NEG_INFINITY };
        let sum = weigh(simd, self.logits, scale, f32::NEG_INFINITY, None);
        (peak, sum, count(simd, self.logits, self.limit.next_up()))
    }
}

/// Vectors that are summed beside each other, so that none waits for the one before.
const ABREAST: usize = 4;

struct Peaks<'a> {
    logits: &'a [f32],
    peaks: &'a mut Vec<f32>,
}

impl Kernel for Peaks<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        self.peaks.clear();
        self.peaks.reserve(self.logits.len().div_ceil(TILE_TOKENS));
        for tile in self.logits.chunks(TILE_TOKENS) {
            self.peaks.push(peak_of(simd, tile));
        }
    }
}

struct Weigh<'a> {
    logits: &'a [f32],
    scale: Scale,
    until: Key,
    weights: Option<&'a mut [f32]>,
    sums: &'a mut Vec<f32>,
}

#[derive(Clone, Copy)]
struct Scale {
    peak: f32,
    inverse_temperature: f32,
    floor: f32,
}

impl Kernel for Weigh<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        self.sums.clear();
        self.sums.reserve(self.logits.len().div_ceil(TILE_TOKENS));
        // Of those with the last one's logit, the ones up to its id are kept.
        let (limit, tied) = (self.until.logit(), self.until.token() as usize + 1);
        for from in (0..self.logits.len()).step_by(TILE_TOKENS) {
            let to = (from + TILE_TOKENS).min(self.logits.len());
            let middle = tied.clamp(from, to);
            let mut sum = 0.0;
            for (run, least) in [(from..middle, limit), (middle..to, limit.next_up())] {
                if !run.is_empty() {
                    let weights = self.weights.as_mut().map(|weights| &mut weights[run.clone()]);
                    sum += weigh(simd, &self.logits[run], self.scale, least, weights);
                }
            }
            self.sums.push(sum);
        }
    }
}

struct Count<'a> {
    logits: &'a [f32],
    from: f32,
}

impl Kernel for Count<'_> {
    type Output = usize;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> usize {
        let mut total = 0;
        for tile in self.logits.chunks(TILE_TOKENS) {
            total += count(simd, tile, self.from);
        }
        total
    }
}

struct WeightFrom<'a> {
    logits: &'a [f32],
    weights: &'a [f32],
    from: f32,
}

impl Kernel for WeightFrom<'_> {
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> f64 {
        let from = simd.splat(self.from);
        let mut total = 0.0;
        for (logits, weights) in self.logits.chunks(TILE_TOKENS).zip(self.weights.chunks(TILE_TOKENS)) {
            let mut sums = [simd.splat(0.0); ABREAST];
            let mut at = 0;
            while at < logits.len() {
                for sum in &mut sums {
                    let weights = take(simd, weights, at, 0.0);
                    *sum = simd.add(*sum, simd.zero_where_below(weights, take_logits(simd, logits, at), from));
                    at += S::LANES;
                }
            }
            total += f64::from(sum_abreast(simd, sums));
        }
        total
    }
}

struct Between<'a> {
    logits: &'a [f32],
    peaks: &'a [f32],
    from: f32,
    below: f32,
    keys: &'a mut Vec<Key>,
}

impl Kernel for Between<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for (tile, (logits, peak)) in self.logits.chunks(TILE_TOKENS).zip(self.peaks).enumerate() {
            if *peak < self.from {
                continue;
            }
            for (run, logits) in logits.chunks(LANES_MAX).enumerate() {
                let mut inside = 0;
                for &logit in logits {
                    let logit = counted(logit);
                    inside += u32::from(logit >= self.from && logit < self.below);
                }
                if inside == 0 {
                    continue;
                }
                let first = tile * TILE_TOKENS + run * LANES_MAX;
                for (at, &logit) in logits.iter().enumerate() {
                    let logit = counted(logit);
                    if logit >= self.from && logit < self.below {
                        self.keys.push(Key::new(logit, (first + at) as u32));
                    }
                }
            }
        }
    }
}

/// The greatest of a tile.
#[inline(always)]
fn peak_of<S: Simd>(simd: S, tile: &[f32]) -> f32 {
    let mut peaks = [simd.splat(f32::NEG_INFINITY); ABREAST];
    let mut at = 0;
    while at < tile.len() {
        for peak in &mut peaks {
            *peak = simd.max(take_logits(simd, tile, at), *peak);
            at += S::LANES;
        }
    }
    let [a, b, c, d] = peaks;
    simd.greatest(simd.max(simd.max(a, b), simd.max(c, d)))
}

/// Weights of a tile's logits of `least` or more, and their sum.
#[inline(always)]
fn weigh<S: Simd>(simd: S, tile: &[f32], scale: Scale, least: f32, mut weights: Option<&mut [f32]>) -> f32 {
    let (peak, inverse) = (simd.splat(scale.peak), simd.splat(scale.inverse_temperature));
    let (least, floor) = (simd.splat(least), simd.splat(scale.floor));
    let mut sums = [simd.splat(0.0); ABREAST];
    let mut at = 0;
    while at < tile.len() {
        for sum in &mut sums {
            let logits = take_logits(simd, tile, at);
            let scaled = simd.mul(simd.sub(logits, peak), inverse);
            let weight = simd.zero_where_below(simd.exp(scaled), scaled, floor);
            let weight = simd.zero_where_below(weight, logits, least);
            if let Some(weights) = &mut weights {
                put(simd, weights, at, weight);
            }
            *sum = simd.add(*sum, weight);
            at += S::LANES;
        }
    }
    sum_abreast(simd, sums)
}

/// How many of a tile's logits are `from` or more; `from` is above minus infinity.
#[inline(always)]
fn count<S: Simd>(simd: S, tile: &[f32], from: f32) -> usize {
    let (one, from) = (simd.splat(1.0), simd.splat(from));
    let mut counts = [simd.splat(0.0); ABREAST];
    let mut at = 0;
    while at < tile.len() {
        for count in &mut counts {
            *count = simd.add(*count, simd.zero_where_below(one, take_logits(simd, tile, at), from));
            at += S::LANES;
        }
    }
    sum_abreast(simd, counts) as usize
}

#[inline(always)]
fn sum_abreast<S: Simd>(simd: S, [a, b, c, d]: [S::V; ABREAST]) -> f32 {
    simd.sum(simd.add(simd.add(a, b), simd.add(c, d)))
}

/// A vector of logits as they count.
#[inline(always)]
fn take_logits<S: Simd>(simd: S, logits: &[f32], at: usize) -> S::V {
    let stored = take(simd, logits, at, f32::NEG_INFINITY);
    simd.min(simd.max(stored, simd.splat(f32::NEG_INFINITY)), simd.splat(f32::MAX))
}

/// A vector of values; what lies past the end is `rest`.
#[inline(always)]
fn take<S: Simd>(simd: S, values: &[f32], at: usize, rest: f32) -> S::V {
    if at + S::LANES <= values.len() {
        // SAFETY: a whole vector is there.
        return unsafe { simd.load(values.as_ptr().add(at)) };
    }
    let mut lanes = [rest; LANES_MAX];
    let values = values.get(at..).unwrap_or_default();
    lanes[..values.len()].copy_from_slice(values);
    // SAFETY: `LANES <= LANES_MAX`.
    unsafe { f32::load(simd, lanes.as_ptr()) }
}

/// Writes a vector, or what of it lies before the end.
#[inline(always)]
fn put<S: Simd>(simd: S, values: &mut [f32], at: usize, v: S::V) {
    if let Some(values) = values.get_mut(at..) {
        let count = values.len().min(S::LANES);
        // SAFETY: `count` values are there, and `count == LANES` where a whole vector is written.
        unsafe {
            if count == S::LANES {
                simd.store(values.as_mut_ptr(), v);
            } else {
                f32::store_part(simd, values.as_mut_ptr(), v, count);
            }
        }
    }
}
