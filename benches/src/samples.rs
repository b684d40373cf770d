//! Samples of a time, and what is quoted of them.

use std::time::{Duration, Instant};

/// Times of one thing, many times over.
#[derive(Default)]
pub(crate) struct Samples {
    milliseconds: Vec<f64>,
}

impl Samples {
    pub(crate) fn push(&mut self, time: Duration) {
        self.milliseconds.push(time.as_secs_f64() * 1e3);
    }

    /// Runs something so many times, and takes the time of each.
    pub(crate) fn of<E>(count: u32, mut run: impl FnMut(u32) -> Result<(), E>) -> Result<Self, E> {
        let mut samples = Self::default();
        for number in 0..count {
            let began = Instant::now();
            run(number)?;
            samples.push(began.elapsed());
        }
        Ok(samples)
    }

    /// The time below which this share of the samples lies, in milliseconds.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let mut sorted = self.milliseconds.clone();
        sorted.sort_by(f64::total_cmp);
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "an index"
        )]
        let place = ((sorted.len() as f64 * share) as usize).min(sorted.len().saturating_sub(1));
        sorted.get(place).copied().unwrap_or(f64::NAN)
    }

    pub(crate) fn p50(&self) -> f64 {
        self.quantile(0.50)
    }

    pub(crate) fn p99(&self) -> f64 {
        self.quantile(0.99)
    }
}
