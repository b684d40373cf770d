//! The kernels for NVIDIA GPUs, and the device they run on.
//!
//! A device with memory, steps, graphs of them and resident adapters, and all operations of a
//! [`Backend`](crate::backend::Backend): on a GPU with the feature `cuda`, on an emulated one with `emulate`. But for
//! [`device`] both are the same. Each operation's meaning is said in [`backend`](crate::backend), its kernel stands in
//! `cuda/NAME.cu`, and its launcher is called from here.

mod adapters;
mod attention;
mod backend;
mod dense;
pub mod device;
mod ffi;
mod gemm;
mod graph;
mod lora;
#[cfg(feature = "emulate")]
pub mod planted;
#[cfg(feature = "emulate")]
pub mod rates;
mod rows;
mod sampling;
mod score;
mod work;

pub use adapters::CudaAdapters;
pub use backend::{Cuda, CudaMode, CudaStep};
pub use device::gpus;
use rows::{loam_type, written};
