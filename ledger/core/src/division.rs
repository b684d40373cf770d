//! Division of whole amounts: by largest remainder, so that parts always sum to the whole.
//!
//! Who gets the last units is decided by a hash that nobody could know beforehand, never by an id: an id can be ground
//! until it comes first.

use crate::hash::{Hash, digest_parts};

/// One who has a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// How much, in whatever unit all parts have.
    pub weight: u64,
    /// Where two remainders are equal, the lesser tie comes first.
    pub tie: Hash,
}

/// Divides an amount by weights. No weight at all: nothing is divided, and nothing comes back.
///
/// `part_i = floor(amount * weight_i / sum)`; the units that are left go one by one to the largest remainders.
pub fn divide(amount: u128, parts: &[Part]) -> Option<Vec<u128>> {
    let sum: u128 = parts.iter().map(|part| u128::from(part.weight)).sum();
    if sum == 0 {
        return None;
    }
    let (whole, rest) = (amount / sum, amount % sum);
    let mut shares = Vec::with_capacity(parts.len());
    let mut remainders = Vec::with_capacity(parts.len());
    let mut left = amount;
    for (place, part) in parts.iter().enumerate() {
        let (share, remainder) = scaled(rest, part.weight, sum);
        let share = whole * u128::from(part.weight) + share;
        left -= share;
        shares.push(share);
        remainders.push((core::cmp::Reverse(remainder), part.tie, place));
    }
    remainders.sort_unstable();
    // Fewer units are left than there are parts with a remainder.
    for (_, _, place) in remainders {
        if left == 0 {
            break;
        }
        shares[place] += 1;
        left -= 1;
    }
    Some(shares)
}

/// `rest * weight / sum` and its remainder, for `rest < sum`. The product fits wherever the sum or the rest fits 64 bits;
/// beyond that, which no money reaches, it is computed bit by bit.
fn scaled(rest: u128, weight: u64, sum: u128) -> (u128, u128) {
    if let Some(product) = rest.checked_mul(u128::from(weight)) {
        return (product / sum, product % sum);
    }
    let (mut share, mut remainder) = (0_u128, 0_u128);
    for bit in (0..u64::BITS).rev() {
        // Both stay below twice the sum, which is below 2^75: 2^10 weights of 64 bits.
        (share, remainder) = (share * 2, remainder * 2);
        if weight >> bit & 1 == 1 {
            remainder += rest;
        }
        while remainder >= sum {
            (share, remainder) = (share + 1, remainder - sum);
        }
    }
    (share, remainder)
}

/// The seed of an epoch's ties: `H("loam/epoch-seed/v1\0" || seed || root of the last usage head covered)`.
pub fn epoch_seed(seed: &Hash, last_root: &Hash) -> Hash {
    digest_parts(&[b"loam/epoch-seed/v1\0", &seed.0, &last_root.0])
}

/// Whose turn it is among equal remainders: `H("loam/tie/v1\0" || epoch seed || id)`.
pub fn tie(epoch_seed: &Hash, id: &Hash) -> Hash {
    digest_parts(&[b"loam/tie/v1\0", &epoch_seed.0, &id.0])
}
