//! What computes: the processor, or a GPU where the build has kernels for one.

use std::fmt;
use std::str::FromStr;

/// What computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The processor.
    #[default]
    Cpu,
    /// The first GPU, in a build for GPUs on a machine that has one; else the processor.
    Auto,
    /// The GPU of this number, or nothing.
    Cuda(usize),
}

/// Whether a row's bits may depend on the rows beside it. On the processor they never do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Arithmetic {
    /// One arithmetic for each operation, so that a request has the same bits alone and in a crowd.
    #[default]
    Deterministic,
    /// On a GPU, what is fastest for the rows that there are: the same schedule has the same bits.
    Fast,
}

impl DeviceChoice {
    /// Whether this build has kernels for GPUs.
    pub const GPUS_IN_BUILD: bool = cfg!(any(feature = "cuda", feature = "emulate"));

    /// What can be said.
    pub const WORDS: &str = "auto, cpu, cuda or cuda:N";

    /// What `Auto` is on this machine; and where a build for GPUs has to do without one, why.
    pub fn settle(self) -> (Self, Option<String>) {
        match self {
            Self::Auto => first_gpu(),
            said => (said, None),
        }
    }
}

#[cfg(any(feature = "cuda", feature = "emulate"))]
fn first_gpu() -> (DeviceChoice, Option<String>) {
    use loam_kernels::cuda::{Cuda, CudaMode};
    match Cuda::open(0, CudaMode::Deterministic) {
        Ok(_) => (DeviceChoice::Cuda(0), None),
        Err(error) => (DeviceChoice::Cpu, Some(error.to_string())),
    }
}

#[cfg(not(any(feature = "cuda", feature = "emulate")))]
const fn first_gpu() -> (DeviceChoice, Option<String>) {
    (DeviceChoice::Cpu, None)
}

/// The words that are no device; [`DeviceChoice::WORDS`] are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoDevice;

impl FromStr for DeviceChoice {
    type Err = NoDevice;

    fn from_str(text: &str) -> Result<Self, NoDevice> {
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            _ => {
                let number = text.strip_prefix("cuda:").filter(|digits| digits.bytes().all(|it| it.is_ascii_digit()));
                number.and_then(|number| number.parse().ok()).map(Self::Cuda).ok_or(NoDevice)
            }
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Auto => f.write_str("auto"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::DeviceChoice;

    #[test]
    fn words_are_devices() {
        let of = |text: &str| text.parse::<DeviceChoice>().ok();
        assert_eq!([of("auto"), of("cpu")], [Some(DeviceChoice::Auto), Some(DeviceChoice::Cpu)]);
        assert_eq!([of("cuda"), of("cuda:0"), of("cuda:7")], [0, 0, 7].map(|number| Some(DeviceChoice::Cuda(number))));
        for other in ["", "gpu", "CUDA", "cuda:", "cuda:-1", "cuda:+1", "cuda: 1", "cuda:99999999999999999999", "tpu"] {
            assert_eq!(of(other), None, "{other}");
        }
        assert_eq!(DeviceChoice::Cuda(3).to_string().parse(), Ok(DeviceChoice::Cuda(3)));
    }

    #[test]
    fn a_build_without_kernels_for_gpus_says_nothing_of_them() {
        if !DeviceChoice::GPUS_IN_BUILD {
            assert_eq!(DeviceChoice::Auto.settle(), (DeviceChoice::Cpu, None));
        }
        assert_eq!(DeviceChoice::Cuda(1).settle(), (DeviceChoice::Cuda(1), None));
    }
}
