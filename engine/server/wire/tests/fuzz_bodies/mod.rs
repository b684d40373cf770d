//! What each fuzz target does with its bytes, and what must hold whatever they are. The targets in `fuzz/` only call
//! these; `tests/corpus.rs` calls them with the committed corpus, on stable Rust.

#![allow(dead_code, unused_imports, reason = "a fuzz target calls one body")]

mod grpc;
mod openai;
mod seeds;

use std::time::{Duration, Instant};

pub(crate) use grpc::grpc_generate;
pub(crate) use openai::{openai_chat, openai_completion};
pub(crate) use seeds::seeds;

/// What a refusal may say at most: it is shown to whoever asked, whatever the request holds.
const REFUSAL_BYTES_MAX: usize = 64 << 10;

/// The patience with one input, on a busy machine and under sanitizers.
const PATIENCE: Duration = Duration::from_secs(20);

/// Does something within the patience.
fn soon<T>(what: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let value = what();
    let taken = begun.elapsed();
    assert!(taken < PATIENCE, "it took {taken:?}");
    value
}
