//! Patience with the other side of a long call: what it holds up, nobody may hold up for ever.

use std::time::Duration;

/// How long the other side is waited for at most, and how fast that grows back with what goes over: so slow may it be.
const PATIENCE: Duration = Duration::from_secs(30);
const BYTES_A_SECOND_MIN: u32 = 256 << 10;

/// How long is still waited for whoever reads or sends.
pub(super) struct Patience(Duration);

impl Patience {
    pub(super) fn new() -> Self {
        Self(PATIENCE)
    }

    /// As long as that.
    pub(super) fn left(&self) -> Duration {
        self.0
    }

    /// Takes note of what went over, and how long that took.
    pub(super) fn moved(&mut self, bytes: usize, waited: Duration) {
        let earned = Duration::from_secs(bytes as u64) / BYTES_A_SECOND_MIN;
        // What was read fast is no right to stop for long afterwards.
        self.0 = (self.0.saturating_sub(waited) + earned).min(PATIENCE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEBIBYTE: usize = 1 << 20;

    #[test]
    fn whoever_read_fast_may_not_stop_for_long() {
        let mut patience = Patience::new();
        (0..10_000).for_each(|_| patience.moved(MEBIBYTE, Duration::ZERO));
        assert_eq!(patience.0, PATIENCE);
    }

    #[test]
    fn whoever_reads_too_slowly_is_given_up() {
        let mut patience = Patience::new();
        // A chunk in five seconds is less than a chunk in four.
        (0..40).for_each(|_| patience.moved(MEBIBYTE, Duration::from_secs(5)));
        assert_eq!(patience.0, Duration::from_secs(4), "it has what the last chunk earned");
        let mut patience = Patience::new();
        (0..40).for_each(|_| patience.moved(MEBIBYTE, Duration::from_secs(3)));
        assert_eq!(patience.0, PATIENCE, "a reader that keeps pace stays");
    }
}
