//! The program as a person meets it: every session's output is a file in `tests/sessions`.
//!
//! `LOAM_WRITE_SESSIONS=1 cargo test --release -p loam-audit` writes them anew.

mod log;
mod receipt;
mod story;
mod tools;
mod world;
