//! What each fuzz target does with its bytes, and what must hold whatever they are. The targets in `fuzz/` only call
//! these; `tests/corpus.rs` calls them with the committed corpus, on stable Rust.

#![allow(dead_code, unused_imports, reason = "a fuzz target calls one body")]

mod configs;
mod requests;
mod seeds;
mod tensors;

use std::time::{Duration, Instant};

use loam_engine::model::{ModelShape, Sites};

pub(crate) use configs::{adapter_config, model_config};
pub(crate) use requests::{request_line, template};
pub(crate) use seeds::seeds;
pub(crate) use tensors::tensors;

/// What a refusal may say at most: it is shown to whoever asked, whatever the file or the request holds.
const REFUSAL_BYTES_MAX: usize = 64 << 10;

/// The patience with one input, on a busy machine and under sanitizers. Without bounds it would be years.
const PATIENCE: Duration = Duration::from_secs(20);

/// A refusal is short and of one line.
fn refused(error: &loam_engine::Error) {
    let text = error.to_string();
    assert!(text.len() <= REFUSAL_BYTES_MAX, "a refusal of {} bytes", text.len());
}

/// Does something within the patience.
fn soon<T>(what: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let value = what();
    let taken = begun.elapsed();
    assert!(taken < PATIENCE, "it took {taken:?}");
    value
}

/// Sites of a model so small that its adapters are seeds.
fn sites() -> Sites {
    Sites::new(&ModelShape {
        vocabulary: 5,
        hidden: 4,
        intermediate: 6,
        layers: 2,
        q_heads: 2,
        kv_heads: 1,
        head_dim: 2,
    })
}
