//! Devices that steps and kernels are measured on.

use std::sync::Arc;

use loam_kernels::cpu::CpuOptions;
use loam_kernels::{Backend, Cpu};

/// Whether a row's bits may depend on how many others there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Mode {
    Fast,
    Deterministic,
}

impl Mode {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Fast => "fast mode",
            Self::Deterministic => "deterministic mode",
        }
    }
}

/// Which devices there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    Cpu,
    Cuda,
}

/// Why there is no GPU to measure on, whatever the machine has.
#[cfg(not(any(feature = "cuda", feature = "emulate")))]
pub(crate) const NO_KERNELS: &str = "this loam-bench was built without kernels for a GPU: `make gpu-bundle` makes one with \
    them, and --device cpu measures here";

/// A kind of devices.
pub(crate) trait Devices {
    type Backend: Backend + 'static;

    /// A device in a mode, or none where there is no such mode.
    fn open(&self, mode: Mode) -> anyhow::Result<Option<Arc<Self::Backend>>>;

    /// The mode to measure in where only one is asked for.
    fn mode(&self) -> Mode;
}

/// This machine's processor, which has one mode.
pub(crate) struct Processor;

impl Devices for Processor {
    type Backend = Cpu;

    fn open(&self, mode: Mode) -> anyhow::Result<Option<Arc<Cpu>>> {
        let open = || Cpu::new(CpuOptions::default()).map(Arc::new);
        Ok(if mode == self.mode() { Some(open()?) } else { None })
    }

    fn mode(&self) -> Mode {
        Mode::Deterministic
    }
}

/// A GPU, or the emulation of one.
#[cfg(any(feature = "cuda", feature = "emulate"))]
pub(crate) struct Gpu {
    pub(crate) mode: Mode,
}

#[cfg(any(feature = "cuda", feature = "emulate"))]
impl Devices for Gpu {
    type Backend = loam_kernels::cuda::Cuda;

    fn open(&self, mode: Mode) -> anyhow::Result<Option<Arc<Self::Backend>>> {
        use loam_kernels::cuda::{Cuda, CudaMode};
        let mode = match mode {
            Mode::Fast => CudaMode::Fast,
            Mode::Deterministic => CudaMode::Deterministic,
        };
        Ok(Some(Arc::new(Cuda::open(0, mode)?)))
    }

    fn mode(&self) -> Mode {
        self.mode
    }
}
