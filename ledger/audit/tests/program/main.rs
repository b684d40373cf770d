//! The program as a person meets it: every session's output is a file in `tests/sessions`.
//!
//! `LOAM_WRITE_SESSIONS=1 cargo test --release -p loam-audit` writes them anew.

mod log;
mod money;
mod receipt;
mod rewards;
mod story;
mod tools;
#[path = "../../../core/tests/town/mod.rs"]
mod town;
mod trace;
mod world;
