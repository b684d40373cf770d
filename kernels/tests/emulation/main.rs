//! The emulated GPU: that it sees what it is for, computes what a GPU would, and raises no false alarm.
//!
//! `cargo nextest run -p loam-kernels --features emulate`

mod decoder;
mod faults;
mod gemm;
mod graphs;
mod rates;
mod replays;
mod sequence;

use loam_kernels::cuda::{Cuda, CudaMode};

/// The emulated GPU.
fn gpu(mode: CudaMode) -> Cuda {
    Cuda::open(0, mode).expect("the emulated GPU, which is always there")
}
