//! What is compared: CPUs, and the emulated GPU.

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
