//! A bar on a terminal, and nothing where no person watches.

use std::io::{IsTerminal as _, Write as _};

use loam_engine::Progress;

const CELLS: usize = 30;

/// How far something is, redrawn in place.
pub(crate) struct Bar {
    what: &'static str,
    watched: bool,
    drawn: Option<usize>,
}

impl Bar {
    pub(crate) fn new(what: &'static str) -> Self {
        Self { what, watched: std::io::stderr().is_terminal(), drawn: None }
    }

    pub(crate) fn show(&mut self, progress: Progress) {
        let permille = (progress.bytes_done.saturating_mul(1000) / progress.bytes_total.max(1)).min(1000);
        let permille = usize::try_from(permille).expect("at most 1000");
        if !self.watched || self.drawn == Some(permille) {
            return;
        }
        self.drawn = Some(permille);
        let full = CELLS * permille / 1000;
        let (done, total) = (progress.bytes_done >> 20, progress.bytes_total >> 20);
        let bar = format!("{:=<full$}{: <rest$}", "", "", rest = CELLS - full);
        // A bar that cannot be drawn is no reason to stop.
        let _ = write!(std::io::stderr(), "\r{} [{bar}] {done} of {total} MiB", self.what);
    }

    pub(crate) fn end(&mut self) {
        if self.drawn.take().is_some() {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
