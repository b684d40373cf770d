//! Every number that Loam serves is computed here.
//!
//! * [`layout`]: plain metadata that callers fill and backends read: types, matrices, linears, pages, steps, adapters;
//! * [`backend`]: what a device can do, in four groups, each operation with its meaning and its shapes;
//! * [`cpu`]: the CPU backend, fast, and the readable specification of each operation;
//! * `cuda`: the kernels for NVIDIA GPUs, with the feature of that name, or on an emulated one, with the feature `emulate`;
//! * [`mapped`]: read-only files of weights.
//!
//! The only crate that Loam's programs are made of with `unsafe` in it; each use says why it holds. (The benches have
//! another, for calls to rivals that take raw pointers.)

pub mod backend;
pub mod cpu;
#[cfg(any(feature = "cuda", feature = "emulate"))]
pub mod cuda;
mod error;
pub mod layout;
pub mod mapped;

pub use backend::Backend;
pub use cpu::Cpu;
pub use error::Error;
