//! Requests to tokens: real models and real adapters over any [`Backend`](loam_kernels::Backend).
//!
//! The library starts no runtime, reads no environment, and installs no handler.
#![forbid(unsafe_code)]

pub mod adapter;
mod error;
pub mod executor;
pub mod model;

pub use error::Error;
