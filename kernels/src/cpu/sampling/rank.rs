//! The order of tokens by rank, and its beginning: found without sorting a vocabulary.

use super::row::Row;

/// A token's place in rank: keys ascend as logits fall, and among equal logits as ids rise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key(u64);

impl Key {
    /// After every token.
    pub(super) const LAST: Self = Self::new(f32::NEG_INFINITY, u32::MAX);

    /// The key of a logit as it counts.
    #[inline(always)]
    pub(super) const fn new(logit: f32, token: u32) -> Self {
        // Zero has two signs and one rank. Bits of positive numbers rise with them, those of negative ones fall.
        let bits = (logit + 0.0).to_bits();
        let falling = if bits & SIGN == 0 { !(bits | SIGN) } else { bits };
        Self((falling as u64) << 32 | token as u64)
    }

    pub(super) const fn token(self) -> u32 {
        self.0 as u32
    }

    pub(super) const fn logit(self) -> f32 {
        let falling = (self.0 >> 32) as u32;
        f32::from_bits(if falling & SIGN == 0 { !(falling | SIGN) } else { falling })
    }
}

const SIGN: u32 = 1 << 31;

/// The `count`th token in rank; where there are fewer, after every token.
pub(super) fn nth(row: &Row<'_>, count: usize, keys: &mut Vec<Key>) -> Key {
    if count >= row.len() {
        return Key::LAST;
    }
    let band = narrow(row, count, |logit| row.count_from(logit) >= count);
    let before = if band.below == f32::INFINITY { 0 } else { row.count_from(band.below) };
    row.between(band.from, band.below, keys);
    *keys.select_nth_unstable(count - before - 1).1
}

/// The first tokens in rank, in order.
pub(super) fn first(row: &Row<'_>, count: usize, keys: &mut Vec<Key>) {
    if count == 0 {
        keys.clear();
        return;
    }
    let least = nth(row, count, keys).logit();
    row.between(least, f32::INFINITY, keys);
    keys.sort_unstable();
    keys.truncate(count);
}

/// The token with which the sum of weights, in order of rank, reaches a share of all. The comparison is in f32, where
/// the share was given: a tenth of ten equal weights is one of them.
pub(super) fn reaching(row: &Row<'_>, weights: &[f32], share: f32, total: f64, keys: &mut Vec<Key>) -> Key {
    let reaches = |sum: f64| sum as f32 >= share * total as f32;
    let band = narrow(row, NEAR_TOKENS, |logit| reaches(row.weight_from(weights, logit)));
    let mut sum = if band.below == f32::INFINITY { 0.0 } else { row.weight_from(weights, band.below) };
    row.between(band.from, band.below, keys);
    keys.sort_unstable();
    let reached = keys.iter().find(|key| {
        sum += f64::from(weights[key.token() as usize]);
        reaches(sum)
    });
    // Where rounding keeps the sum from what it reached in another order, the band ends it.
    reached.or(keys.last()).copied().unwrap_or(Key::LAST)
}

/// How far most rows need to be looked at for `top_p`.
const NEAR_TOKENS: usize = 64;

/// Logits that are asked where the near ones do not suffice.
const PIVOTS: usize = 128;

/// Logits `from <= logit < below`.
struct Band {
    from: f32,
    below: f32,
}

/// Few tokens, in one run of ranks, among which is the one that reaches: those from `below` on do not, those from
/// `from` on do. First the few greatest are tried, then logits picked evenly from the row halve what is left.
fn narrow(row: &Row<'_>, near: usize, reaches: impl Fn(f32) -> bool) -> Band {
    // Tokens that cannot come may be most of a row, and are never among the near ones.
    let near = row.bound(near).max(f32::MIN);
    if reaches(near) {
        return Band { from: near, below: f32::INFINITY };
    }
    let mut pivots: Vec<f32> = row.every((row.len() / PIVOTS).max(1)).filter(|&logit| logit < near).collect();
    pivots.sort_unstable_by(|a, b| b.total_cmp(a));
    let at = pivots.partition_point(|&logit| !reaches(logit));
    Band {
        from: pivots.get(at).copied().unwrap_or(f32::NEG_INFINITY),
        below: if at == 0 { near } else { pivots[at - 1] },
    }
}
