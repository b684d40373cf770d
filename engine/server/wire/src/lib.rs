//! Between the network and the engine, as values: what arrives becomes a request or a named refusal, what the engine says
//! becomes an answer. No socket, no clock, no database.
//!
//! ```text
//! bytes -> openai, grpc -> Asked { Generate, .. } -> engine -> Event -> openai, grpc -> bytes
//!                  \-> Problem, in either protocol's own words
//! ```
#![forbid(unsafe_code)]

pub mod asked;
pub mod grpc;
pub mod openai;
pub mod problem;

pub use asked::Asked;
pub use problem::{Kind, LEDGER_FAILED, Problem};
