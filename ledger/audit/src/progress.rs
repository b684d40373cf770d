//! A bar on standard error while a long log is read, for whoever watches a terminal.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use crate::text::number;

/// Shorter logs are done before anybody could read a bar.
const ENTRIES_MIN: u64 = 100_000;
const EVERY: Duration = Duration::from_millis(100);
const CELLS: u128 = 30;

/// The bar, which is drawn over itself.
pub(crate) struct Progress {
    watched: bool,
    drawn: Option<Instant>,
}

impl Progress {
    pub(crate) fn new(json: bool) -> Self {
        Self { watched: !json && std::io::stderr().is_terminal(), drawn: None }
    }

    /// Shows how many entries of how many are done.
    pub(crate) fn show(&mut self, name: &str, done: u64, of: u64) {
        let due = self.drawn.is_none_or(|at| at.elapsed() >= EVERY);
        if !self.watched || of < ENTRIES_MIN || !due {
            return;
        }
        self.drawn = Some(Instant::now());
        let filled = usize::try_from(u128::from(done) * CELLS / u128::from(of)).unwrap_or_default();
        let bar = format!("{}{}", "#".repeat(filled), ".".repeat(30_usize.saturating_sub(filled)));
        let _ = write!(std::io::stderr(), "\r\x1b[K  {name} [{bar}] {} of {} entries", number(done), number(of));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.drawn.is_some() {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
