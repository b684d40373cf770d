//! Requests to tokens: real models and real adapters over any [`Backend`](loam_kernels::Backend).
//!
//! The library starts no runtime, reads no environment, and installs no handler.
#![forbid(unsafe_code)]

pub mod adapter;
pub mod batch;
mod error;
pub mod executor;
pub mod fairness;
pub mod kv_pages;
pub mod model;
pub mod scheduler;

pub use error::Error;
