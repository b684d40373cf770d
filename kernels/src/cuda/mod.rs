//! The kernels for NVIDIA GPUs, and the device they run on.
//!
//! A device with memory, steps, graphs of them and resident adapters, and all operations of a
//! [`Backend`](crate::backend::Backend), on an emulated GPU; the driver of a real one is still to be written. Each
//! operation's meaning is said in [`backend`](crate::backend), its kernel stands in `cuda/NAME.cu`, and its launcher is
//! called from here.

#[cfg(feature = "emulate")]
mod adapters;
#[cfg(feature = "emulate")]
mod attention;
#[cfg(feature = "emulate")]
mod backend;
#[cfg(feature = "emulate")]
mod dense;
#[cfg(feature = "emulate")]
pub mod device;
#[cfg_attr(not(feature = "emulate"), expect(dead_code, reason = "device::driver, for a GPU, is still to be written"))]
mod ffi;
#[cfg(feature = "emulate")]
mod gemm;
#[cfg(feature = "emulate")]
mod graph;
#[cfg(feature = "emulate")]
mod lora;
#[cfg(feature = "emulate")]
pub mod planted;
#[cfg(feature = "emulate")]
pub mod rates;
#[cfg(feature = "emulate")]
mod rows;
#[cfg(feature = "emulate")]
mod sampling;
#[cfg(feature = "emulate")]
mod score;
#[cfg(feature = "emulate")]
mod work;

#[cfg(feature = "emulate")]
pub use adapters::CudaAdapters;
#[cfg(feature = "emulate")]
pub use backend::{Cuda, CudaMode, CudaStep};
#[cfg(feature = "emulate")]
use rows::{loam_type, written};
