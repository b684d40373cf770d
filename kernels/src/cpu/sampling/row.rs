//! A row of logits, read from end to end a few times: its greatest, its sums, its counts.
//!
//! Sums go tile by tile, in a tile by lanes, over tiles in f64: an order that the length of the vocabulary alone
//! decides. Tokens that are cut off are zeros in it; the tile in which the last one kept lies is summed in two parts.

use super::rank::Key;
use crate::cpu::simd::{Kernel, LANES_MAX, Level, Simd};

/// Neighbouring tokens whose sum is made by lanes, and whose greatest logit is kept.
pub(super) const TILE_TOKENS: usize = 256;

/// The logit of what cannot come.
pub(super) const NOTHING: f32 = f32::NEG_INFINITY;

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
    pub(super) const ALL: Self = Self { until: Key::LAST, floor: NOTHING };
}

/// What a logit counts as: minus infinity where it is not a number, the greatest number where it is infinite.
#[inline(always)]
pub(super) const fn counted(logit: f32) -> f32 {
    logit.max(NOTHING).min(f32::MAX)
}

impl<'a> Row<'a> {
    /// Finds the greatest logits. `peaks` is where they are kept.
    pub(super) fn new(level: Level, logits: &'a [f32], peaks: &'a mut Vec<f32>) -> Self {
        level.run(Peaks { logits, peaks });
        let peak = peaks.iter().copied().fold(NOTHING, f32::max);
        Self { level, logits, peaks, peak }
    }

    pub(super) const fn len(&self) -> usize {
        self.logits.len()
    }

    /// A token's logit, as it counts.
    pub(super) const fn logit(&self, token: usize) -> f32 {
        counted(self.logits[token])
    }

    /// The first logit of each `step`.
    pub(super) fn every(&self, step: usize) -> impl Iterator<Item = f32> {
        self.logits.iter().step_by(step).map(|&logit| counted(logit))
    }

    /// The first token in rank, if any has a logit above minus infinity.
    pub(super) fn first(&self) -> Option<usize> {
        if self.peak == NOTHING {
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
        if logit == NOTHING {
            return self.len();
        }
        self.level.run(Count { row: *self, from: logit })
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
        self.level.run(Weigh { row: *self, inverse_temperature, kept, weights, sums });
        sums.iter().copied().map(f64::from).sum()
    }

    /// The sum of weights of tokens that have this logit or more.
    pub(super) fn weight_from(&self, weights: &[f32], logit: f32) -> f64 {
        self.level.run(WeightFrom { row: *self, weights, from: logit })
    }

    /// Tokens with logits from `from` to below `below`, in order of id.
    pub(super) fn between(&self, from: f32, below: f32, keys: &mut Vec<Key>) {
        keys.clear();
        self.level.run(Between { row: *self, from, below, keys });
    }
}

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
    row: Row<'a>,
    inverse_temperature: f32,
    kept: Kept,
    weights: Option<&'a mut [f32]>,
    sums: &'a mut Vec<f32>,
}

impl Kernel for Weigh<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        self.sums.clear();
        self.sums.reserve(self.row.peaks.len());
        if self.kept.until == Key::LAST && self.kept.floor == NOTHING {
            self.all(simd);
        } else {
            self.those_kept(simd);
        }
    }
}

impl Weigh<'_> {
    #[inline(always)]
    fn all<S: Simd>(mut self, simd: S) {
        let scale = Scale { peak: self.row.peak, inverse: self.inverse_temperature, least: NOTHING, floor: NOTHING };
        for (tile, logits) in self.row.logits.chunks(TILE_TOKENS).enumerate() {
            let weights = self.weights.as_mut().map(|weights| &mut weights[tile * TILE_TOKENS..][..logits.len()]);
            self.sums.push(weigh::<S, false>(simd, logits, scale, weights));
        }
    }

    #[inline(always)]
    fn those_kept<S: Simd>(mut self, simd: S) {
        let Kept { until, floor } = self.kept;
        let scale = Scale { peak: self.row.peak, inverse: self.inverse_temperature, least: until.logit(), floor };
        // Of those with the last one's logit, the ones up to its id are kept.
        let after = Scale { least: until.logit().next_up(), ..scale };
        let tied = until.token() as usize + 1;
        for (tile, &peak) in self.row.peaks.iter().enumerate() {
            let from = tile * TILE_TOKENS;
            let to = (from + TILE_TOKENS).min(self.row.logits.len());
            let middle = tied.clamp(from, to);
            let mut sum = 0.0;
            for (run, scale) in [(from..middle, scale), (middle..to, after)] {
                let mut weights = self.weights.as_mut().map(|weights| &mut weights[run.clone()]);
                if peak >= scale.least && !run.is_empty() {
                    sum += weigh::<S, true>(simd, &self.row.logits[run], scale, weights);
                } else if let Some(weights) = &mut weights {
                    weights.fill(0.0);
                }
            }
            self.sums.push(sum);
        }
    }
}

struct Count<'a> {
    row: Row<'a>,
    from: f32,
}

impl Kernel for Count<'_> {
    type Output = usize;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> usize {
        let mut total = 0;
        for (tile, &peak) in self.row.logits.chunks(TILE_TOKENS).zip(self.row.peaks) {
            if peak >= self.from {
                total += count(simd, tile, self.from);
            }
        }
        total
    }
}

struct WeightFrom<'a> {
    row: Row<'a>,
    weights: &'a [f32],
    from: f32,
}

impl Kernel for WeightFrom<'_> {
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> f64 {
        let tiles = self.row.logits.chunks(TILE_TOKENS).zip(self.weights.chunks(TILE_TOKENS));
        let mut total = 0.0;
        for ((logits, weights), &peak) in tiles.zip(self.row.peaks) {
            if peak >= self.from {
                total += f64::from(weight_from(simd, logits, weights, self.from));
            }
        }
        total
    }
}

struct Between<'a> {
    row: Row<'a>,
    from: f32,
    below: f32,
    keys: &'a mut Vec<Key>,
}

impl Kernel for Between<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let (one, from, below) = (simd.splat(1.0), simd.splat(self.from), simd.splat(self.below));
        let mut room = [NOTHING; TILE_TOKENS];
        for (index, (logits, peak)) in self.row.logits.chunks(TILE_TOKENS).zip(self.row.peaks).enumerate() {
            if *peak < self.from {
                continue;
            }
            let padded = tile(logits, NOTHING, &mut room);
            for at in (0..logits.len()).step_by(S::LANES) {
                let v = take_logits(simd, padded, at);
                let inside = simd.sub(simd.zero_where_below(one, v, from), simd.zero_where_below(one, v, below));
                if simd.greatest(inside) > 0.0 {
                    let run = &logits[at..(at + S::LANES).min(logits.len())];
                    self.take(run, index * TILE_TOKENS + at);
                }
            }
        }
    }
}

impl Between<'_> {
    /// Without a branch for each token, as none would be foreseen.
    #[inline(always)]
    fn take(&mut self, run: &[f32], first: usize) {
        let mut found = [Key::LAST; LANES_MAX];
        let mut count = 0;
        for (at, &logit) in run.iter().enumerate() {
            let logit = counted(logit);
            found[count % LANES_MAX] = Key::new(logit, (first + at) as u32);
            count += usize::from(logit >= self.from && logit < self.below);
        }
        self.keys.extend_from_slice(&found[..count]);
    }
}

/// A tile of logits. One that the end cuts short is filled up with what cannot come.
type Tile = [f32; TILE_TOKENS];

/// Vectors that are summed beside each other, so that none waits for the one before.
const ABREAST: usize = 4;

const _: () = assert!(TILE_TOKENS.is_multiple_of(ABREAST * LANES_MAX), "a tile is whole vectors, at each level");

/// Some values as a tile; `room` is for those that are fewer.
#[inline(always)]
fn tile<'a>(values: &'a [f32], rest: f32, room: &'a mut Tile) -> &'a Tile {
    if let Ok(tile) = values.try_into() {
        return tile;
    }
    let (to, beyond) = room.split_at_mut(values.len());
    to.copy_from_slice(values);
    beyond.fill(rest);
    room
}

/// The greatest of a tile.
#[inline(always)]
pub(super) fn peak_of<S: Simd>(simd: S, logits: &[f32]) -> f32 {
    let mut room = [NOTHING; TILE_TOKENS];
    let logits = tile(logits, NOTHING, &mut room);
    let mut peaks = [simd.splat(NOTHING); ABREAST];
    for from in (0..TILE_TOKENS).step_by(ABREAST * S::LANES) {
        for (at, peak) in peaks.iter_mut().enumerate() {
            *peak = simd.max(take_logits(simd, logits, from + at * S::LANES), *peak);
        }
    }
    let [a, b, c, d] = peaks;
    simd.greatest(simd.max(simd.max(a, b), simd.max(c, d)))
}

/// How logits become weights.
#[derive(Clone, Copy)]
pub(super) struct Scale {
    pub(super) peak: f32,
    pub(super) inverse: f32,
    /// Logits below have no weight.
    pub(super) least: f32,
    /// Nor have weights whose logarithm is below.
    pub(super) floor: f32,
}

/// Weights of a tile's logits, and their sum; some are left out only where `CUT` says so.
#[inline(always)]
pub(super) fn weigh<S: Simd, const CUT: bool>(
    simd: S,
    logits: &[f32],
    scale: Scale,
    weights: Option<&mut [f32]>,
) -> f32 {
    if let Ok(logits) = logits.try_into() {
        let weights = weights.map(|weights| weights.try_into().expect("there are as many weights as logits"));
        return weigh_tile::<S, CUT>(simd, logits, scale, weights);
    }
    let (mut room, mut padded) = ([NOTHING; TILE_TOKENS], [0.0; TILE_TOKENS]);
    let sum = weigh_tile::<S, CUT>(simd, tile(logits, NOTHING, &mut room), scale, Some(&mut padded));
    if let Some(weights) = weights {
        weights.copy_from_slice(&padded[..logits.len()]);
    }
    sum
}

#[inline(always)]
fn weigh_tile<S: Simd, const CUT: bool>(simd: S, logits: &Tile, scale: Scale, mut weights: Option<&mut Tile>) -> f32 {
    let (peak, inverse) = (simd.splat(scale.peak), simd.splat(scale.inverse));
    let (least, floor) = (simd.splat(scale.least), simd.splat(scale.floor));
    let mut sums = [simd.splat(0.0); ABREAST];
    for from in (0..TILE_TOKENS).step_by(ABREAST * S::LANES) {
        for (at, sum) in sums.iter_mut().enumerate() {
            let at = from + at * S::LANES;
            let logits = take_logits(simd, logits, at);
            let scaled = simd.mul(simd.sub(logits, peak), inverse);
            let mut weight = simd.exp(scaled);
            if CUT {
                weight = simd.zero_where_below(weight, scaled, floor);
                weight = simd.zero_where_below(weight, logits, least);
            }
            if let Some(weights) = &mut weights {
                // SAFETY: a tile is whole vectors, and `at` is where one begins.
                unsafe { simd.store(weights.as_mut_ptr().add(at), weight) };
            }
            *sum = simd.add(*sum, weight);
        }
    }
    sum_abreast(simd, sums)
}

/// The sum of a tile's weights whose logits are `least` or more.
#[inline(always)]
fn weight_from<S: Simd>(simd: S, logits: &[f32], weights: &[f32], least: f32) -> f32 {
    let mut rooms = [[0.0; TILE_TOKENS]; 2];
    let [logits_room, weights_room] = &mut rooms;
    let (logits, weights) = (tile(logits, NOTHING, logits_room), tile(weights, 0.0, weights_room));
    let least = simd.splat(least);
    let mut sums = [simd.splat(0.0); ABREAST];
    for from in (0..TILE_TOKENS).step_by(ABREAST * S::LANES) {
        for (at, sum) in sums.iter_mut().enumerate() {
            let at = from + at * S::LANES;
            // SAFETY: as above.
            let weights = unsafe { simd.load(weights.as_ptr().add(at)) };
            *sum = simd.add(*sum, simd.zero_where_below(weights, take_logits(simd, logits, at), least));
        }
    }
    sum_abreast(simd, sums)
}

/// How many of a tile's logits are `least` or more, which is above minus infinity.
#[inline(always)]
pub(super) fn count<S: Simd>(simd: S, logits: &[f32], least: f32) -> usize {
    let mut room = [NOTHING; TILE_TOKENS];
    let logits = tile(logits, NOTHING, &mut room);
    let (one, least) = (simd.splat(1.0), simd.splat(least));
    let mut counts = [simd.splat(0.0); ABREAST];
    for from in (0..TILE_TOKENS).step_by(ABREAST * S::LANES) {
        for (at, count) in counts.iter_mut().enumerate() {
            let logits = take_logits(simd, logits, from + at * S::LANES);
            *count = simd.add(*count, simd.zero_where_below(one, logits, least));
        }
    }
    sum_abreast(simd, counts) as usize
}

#[inline(always)]
fn sum_abreast<S: Simd>(simd: S, [a, b, c, d]: [S::V; ABREAST]) -> f32 {
    simd.sum(simd.add(simd.add(a, b), simd.add(c, d)))
}

/// A vector of logits as they count; `at` is a multiple of its lanes.
#[inline(always)]
fn take_logits<S: Simd>(simd: S, logits: &Tile, at: usize) -> S::V {
    assert!(at + S::LANES <= TILE_TOKENS, "a vector lies in its tile");
    // SAFETY: a whole vector is there.
    let stored = unsafe { simd.load(logits.as_ptr().add(at)) };
    simd.min(simd.max(stored, simd.splat(NOTHING)), simd.splat(f32::MAX))
}
