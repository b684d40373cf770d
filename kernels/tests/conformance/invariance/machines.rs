//! What is compared: CPUs, the emulated GPU, and a real one.

/// The CPU.
pub(crate) mod cpu {
    use std::num::NonZero;

    pub(crate) use loam_kernels::Cpu as Machine;
    use loam_kernels::cpu::{CpuOptions, Level};

    /// How many threads the compared CPUs have: one, a number that divides the work evenly, one that does not.
    const THREADS: [usize; 3] = [1, 2, 3];

    /// Rows that are computed alone: every so manieth.
    pub(crate) const ALONE_EVERY: usize = 3;
    /// Rows that are computed together.
    pub(crate) const CROWDS: &[usize] =
        &[2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 23, 29, 31, 32, 33, 37, 40];

    fn machine(level: Level, threads: usize) -> Machine {
        Machine::new(CpuOptions { threads: NonZero::new(threads), level: Some(level) }).unwrap()
    }

    /// At each level of this processor: CPUs that differ in threads only.
    pub(crate) fn each_level(mut test: impl FnMut(&str, &[Machine])) {
        for level in Level::available() {
            test(level.name(), &THREADS.map(|threads| machine(level, threads)));
        }
    }
}

/// The emulated GPU, in the mode that promises what is tested here.
#[cfg(feature = "emulate")]
pub(crate) mod emulated {
    pub(crate) use loam_kernels::cuda::Cuda as Machine;
    use loam_kernels::cuda::CudaMode;

    /// Of what the CPU tries as much as the emulation can in seconds: around the tiles of 16 rows.
    pub(crate) const ALONE_EVERY: usize = 13;
    pub(crate) const CROWDS: &[usize] = &[2, 7, 17, 33];

    /// There is one level, and nothing in which devices could differ.
    pub(crate) fn each_level(mut test: impl FnMut(&str, &[Machine])) {
        test("emulated", &[Machine::open(0, CudaMode::Deterministic).expect("the emulated GPU")]);
    }
}

/// A GPU, in the same mode. Where there is none nothing is compared, with a word; where `LOAM_TEST_GPU=required` says that
/// the machine was chosen for having one, that fails.
#[cfg(feature = "cuda")]
pub(crate) mod gpu {
    pub(crate) use loam_kernels::cuda::Cuda as Machine;
    use loam_kernels::cuda::{CudaMode, gpus};

    pub(crate) const ALONE_EVERY: usize = 3;
    pub(crate) const CROWDS: &[usize] = &[2, 3, 4, 7, 8, 9, 15, 16, 17, 23, 31, 32, 33, 40, 63, 64];

    pub(crate) fn each_level(mut test: impl FnMut(&str, &[Machine])) {
        let is_required = std::env::var("LOAM_TEST_GPU").is_ok_and(|word| word == "required");
        match gpus() {
            Err(error) if !is_required => eprintln!("skipped: {error}"),
            Err(error) => panic!("LOAM_TEST_GPU=required, and {error}"),
            Ok(_) => test("gpu", &[Machine::open(0, CudaMode::Deterministic).unwrap()]),
        }
    }
}
