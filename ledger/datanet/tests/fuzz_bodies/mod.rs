//! What each fuzz target does with its bytes, and what must hold whatever they are. The targets in `fuzz/` only call
//! these; `tests/corpus.rs` calls them with the committed corpus, on stable Rust.

#![allow(dead_code, unused_imports, reason = "a fuzz target calls one body")]

mod croissant;
mod edits;
mod rows;
mod seeds;
mod statement;

use core::fmt::Display;

pub(crate) use croissant::croissant;
pub(crate) use edits::edits;
pub(crate) use rows::rows;
pub(crate) use seeds::seeds;
pub(crate) use statement::statement;

/// What a refusal may say at most: it is shown to whoever asked, whatever the file holds.
const REFUSAL_BYTES_MAX: usize = 4 << 10;

/// A refusal is short, of one line, and moves no cursor.
fn refused(fault: &impl Display) {
    let text = fault.to_string();
    assert!(text.len() <= REFUSAL_BYTES_MAX, "a refusal of {} bytes", text.len());
    assert!(!text.contains(char::is_control), "{text:?}");
}

/// Lines of a file, as an editor counts them.
fn lines_of(file: &[u8]) -> u64 {
    file.iter().filter(|byte| **byte == b'\n').count() as u64 + 1
}
