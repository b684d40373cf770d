//! Requests to tokens: real models and real adapters over any [`Backend`](loam_kernels::Backend).
//!
//! The library starts no runtime, reads no environment, and installs no handler.
#![forbid(unsafe_code)]

pub mod adapter;
mod apart;
pub mod constraint;
pub mod detokenizer;
mod error;
pub mod executor;
pub mod generation;
pub mod json;
pub mod model;
pub mod request;
pub mod request_line;
pub mod sampler;
pub mod stops;
pub mod template;
pub mod tokenizer;

pub use error::Error;
