//! Fees: what a completion costs under a policy, and how that is split to lanes.

use crate::hash::Hash;
use crate::record::{LANES, Lane, PerLane, PolicyChanged, Price};
use crate::row::Completion;

/// The largest price of a token, in nano-units, that is asked for before a policy is recorded: a hundred units. By it the fee
/// of 184 million tokens fits 64 bits, and no answer has that many. A log may hold larger ones.
pub const PRICE_NANO_MAX: u64 = 100_000_000_000;

/// The price of a base model's tokens.
pub fn price<'p>(policy: &'p PolicyChanged, base: &Hash) -> &'p Price {
    let listed = policy.prices.iter().find(|price| price.base == Some(*base));
    listed.unwrap_or(&policy.prices[0])
}

/// What a completion costs, in nano-units; nothing where that does not fit 64 bits.
///
/// `prefilled * price + reused * price + delivered * price`: tokens that were computed again after a preemption, thrown
/// away, or never delivered, cost their payer nothing.
pub fn fee_nano(policy: &PolicyChanged, base: &Hash, row: &Completion) -> Option<u64> {
    let price = price(policy, base);
    let prompt = row.tokens.prefilled.checked_mul(price.prefilled_nano)?;
    let reused = row.tokens.reused.checked_mul(price.reused_nano)?;
    let delivered = row.delivered_tokens.checked_mul(price.delivered_nano)?;
    prompt.checked_add(reused)?.checked_add(delivered)
}

/// Splits a fee to lanes by their basis points, by largest remainder; among equal ones the earlier lane comes first.
pub fn split_to_lanes(fee_nano: u64, lanes: &PerLane<u32>) -> PerLane<u64> {
    const WHOLE: u64 = 10_000;
    let (whole, rest) = (fee_nano / WHOLE, fee_nano % WHOLE);
    let mut parts = [0; LANES];
    let mut remainders = [(0, 0); LANES];
    let mut left = fee_nano;
    for (place, &points) in lanes.0.iter().enumerate() {
        let product = rest * u64::from(points);
        parts[place] = whole * u64::from(points) + product / WHOLE;
        left -= parts[place];
        remainders[place] = (WHOLE - product % WHOLE, place);
    }
    remainders.sort_unstable();
    for (_, place) in remainders {
        if left == 0 {
            break;
        }
        parts[place] += 1;
        left -= 1;
    }
    PerLane(parts)
}

/// A lane's word.
pub fn lane_word(lane: Lane) -> &'static str {
    match lane {
        Lane::Host => "host",
        Lane::Base => "base",
        Lane::Adapter => "adapter",
        Lane::Data => "data",
        Lane::Upkeep => "upkeep",
        Lane::Bond => "bond",
        Lane::Reserve => "reserve",
    }
}
