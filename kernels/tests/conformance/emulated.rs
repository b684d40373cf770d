//! The CUDA backend on the emulated GPU: all of it in both modes, so that a row that is missing in one is seen.

use crate::mount::mount;

mount!(
    deterministic,
    Some(loam_kernels::cuda::Cuda::open(0, loam_kernels::cuda::CudaMode::Deterministic).expect("the emulated GPU"))
);
mount!(fast, Some(loam_kernels::cuda::Cuda::open(0, loam_kernels::cuda::CudaMode::Fast).expect("the emulated GPU")));
