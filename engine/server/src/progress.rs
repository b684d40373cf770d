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

    /// Bytes of a file.
    pub(crate) fn show(&mut self, progress: Progress) {
        let (done, total) = (progress.bytes_done, progress.bytes_total);
        self.draw(done, total, |done, total| format!("{} of {} MiB", done >> 20, total >> 20));
    }

    /// Things that are counted.
    pub(crate) fn count(&mut self, done: usize, total: usize) {
        self.draw(done as u64, total as u64, |done, total| format!("{done} of {total}"));
    }

    /// Something that takes a while, and does not say how far it is.
    pub(crate) fn begin(&mut self) {
        if self.watched {
            self.drawn = Some(0);
            let _ = write!(std::io::stderr(), "\r{} ...", self.what);
        }
    }

    fn draw(&mut self, done: u64, total: u64, words: impl FnOnce(u64, u64) -> String) {
        let permille = (done.saturating_mul(1000) / total.max(1)).min(1000);
        let permille = usize::try_from(permille).expect("at most 1000");
        if !self.watched || self.drawn == Some(permille) {
            return;
        }
        self.drawn = Some(permille);
        let full = CELLS * permille / 1000;
        let bar = format!("{:=<full$}{: <rest$}", "", "", rest = CELLS - full);
        // A bar that cannot be drawn is no reason to stop.
        let _ = write!(std::io::stderr(), "\r{} [{bar}] {}", self.what, words(done, total));
    }

    pub(crate) fn end(&mut self) {
        if self.drawn.take().is_some() {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

/// What stops in the middle leaves no half bar before its message.
impl Drop for Bar {
    fn drop(&mut self) {
        self.end();
    }
}
