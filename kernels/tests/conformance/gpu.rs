//! The CUDA backend on a GPU: all of it in both modes. Where there is none its tests are skipped, with a word; where
//! `LOAM_TEST_GPU=required` says that the machine was chosen for having one, they fail.

use loam_kernels::cuda::{Cuda, CudaMode, gpus};

use crate::mount::mount;

/// The first GPU, if this machine has one.
fn first(mode: CudaMode) -> Option<Cuda> {
    let is_required = std::env::var("LOAM_TEST_GPU").is_ok_and(|word| word == "required");
    match gpus() {
        Err(error) if !is_required => {
            eprintln!("skipped: {error}");
            None
        }
        Err(error) => panic!("LOAM_TEST_GPU=required, and {error}"),
        Ok(_) => Some(Cuda::open(0, mode).expect("a GPU that the driver names opens")),
    }
}

mount!(deterministic, crate::gpu::first(crate::gpu::CudaMode::Deterministic));
mount!(fast, crate::gpu::first(crate::gpu::CudaMode::Fast));
