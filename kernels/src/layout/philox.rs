//! Random numbers by counting: Philox 4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2,
//! 3", 2011). A draw's number is a function of the request's seed and of the draw alone.

/// Bits of a number that count.
pub(super) const BITS: u32 = 53;

/// A request's number for one of its draws, times `2^BITS`: so many bits of the first two words.
pub(super) fn number(seed: u64, draw: u64) -> u64 {
    let [high, low, ..] = philox([draw as u32, (draw >> 32) as u32, 0, 0], [seed as u32, (seed >> 32) as u32]);
    (u64::from(high) << 32 | u64::from(low)) >> (u64::BITS - BITS)
}

const ROUNDS: usize = 10;
const MULTIPLIERS: [u32; 2] = [0xd251_1f53, 0xcd9e_8d57];
const KEY_STEPS: [u32; 2] = [0x9e37_79b9, 0xbb67_ae85];

fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..ROUNDS {
        let first = u64::from(MULTIPLIERS[0]) * u64::from(counter[0]);
        let second = u64::from(MULTIPLIERS[1]) * u64::from(counter[2]);
        let high = |product: u64| (product >> 32) as u32;
        counter = [high(second) ^ counter[1] ^ key[0], second as u32, high(first) ^ counter[3] ^ key[1], first as u32];
        key = [key[0].wrapping_add(KEY_STEPS[0]), key[1].wrapping_add(KEY_STEPS[1])];
    }
    counter
}

#[cfg(test)]
mod tests {
    use super::{number, philox};

    fn check(counter: [u32; 4], key: [u32; 2], expected: [u32; 4]) {
        assert_eq!(philox(counter, key), expected);
    }

    /// The three answers that the authors' Random123 lists for `philox4x32 10`.
    #[test]
    fn known_answer_of_zeros() {
        check([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
    }

    #[test]
    fn known_answer_of_ones() {
        check([u32::MAX; 4], [u32::MAX; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
    }

    #[test]
    fn known_answer_of_pi() {
        let counter = [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344];
        check(counter, [0xa409_3822, 0x299f_31d0], [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]);
    }

    #[test]
    fn a_number_is_the_first_two_words() {
        assert_eq!(number(0, 0), 0x6627_e8d5_e169_c58d_u64 >> 11);
    }

    #[test]
    fn every_bit_of_seed_and_draw_counts() {
        let mut numbers: Vec<u64> = (0..64).map(|bit| number(1 << bit, 0)).collect();
        numbers.extend((0..64).map(|bit| number(0, 1 << bit)));
        numbers.push(number(0, 0));
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), 129);
    }
}
