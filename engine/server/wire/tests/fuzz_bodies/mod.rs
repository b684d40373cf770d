//! What each fuzz target does with its bytes, and what must hold whatever they are. The targets in `fuzz/` only call
//! these; `tests/corpus.rs` calls them with the committed corpus, on stable Rust.

#![allow(dead_code, unused_imports, reason = "a fuzz target calls one body")]

mod openai;
mod seeds;

pub(crate) use openai::{openai_chat, openai_completion};
pub(crate) use seeds::seeds;
