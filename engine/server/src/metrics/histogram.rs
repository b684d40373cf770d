//! Values by size, counted from any thread without a lock.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of values up to each of some bounds, and above the last.
pub(super) struct Histogram {
    /// In ascending order; the bucket above the last has none.
    bounds: Vec<f64>,
    counts: Vec<AtomicU64>,
    /// The sum's bits: there is no atomic `f64`.
    sum: AtomicU64,
}

impl Histogram {
    /// Empty, with bounds in ascending order.
    pub(super) fn new(bounds: &[f64]) -> Self {
        debug_assert!(bounds.is_sorted());
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds: bounds.to_vec(), counts, sum: AtomicU64::new(0.0_f64.to_bits()) }
    }

    /// With the bounds 1, 2, 5, 10, 20, 50 and so on, up to a number.
    pub(super) fn one_two_five(most: usize) -> Self {
        let powers = std::iter::successors(Some(1_usize), |power| power.checked_mul(10));
        let bounds = powers.flat_map(|power| [1, 2, 5].map(|digit| power.saturating_mul(digit)));
        #[expect(clippy::cast_precision_loss, reason = "bounds have one digit that is not zero")]
        let bounds: Vec<f64> = bounds.take_while(|bound| *bound <= most.max(1)).map(|bound| bound as f64).collect();
        Self::new(&bounds)
    }

    /// Counts a value some times over. What is no number, or below zero, counts as zero: clocks may step.
    pub(super) fn observe(&self, value: f64, times: u64) {
        let value = if value > 0.0 { value } else { 0.0 };
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.counts[bucket].fetch_add(times, Ordering::Relaxed);
        #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^53 at once")]
        let added = value * times as f64;
        let more = |sum: u64| Some((f64::from_bits(sum) + added).to_bits());
        let _ = self.sum.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    }

    /// Each bucket's upper bound, the last one's infinite, and how many values lie in it and in none before.
    pub(super) fn buckets(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        let bounds = self.bounds.iter().copied().chain([f64::INFINITY]);
        bounds.zip(self.counts.iter().map(|count| count.load(Ordering::Relaxed)))
    }

    /// All values together.
    pub(super) fn sum(&self) -> f64 {
        f64::from_bits(self.sum.load(Ordering::Relaxed))
    }
}
