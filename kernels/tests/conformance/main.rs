//! Conformance: every operation of every backend and level of instructions, against f64.
//!
//! One enumeration of cases, mounted once for each backend. Inputs are seeded, outputs poisoned, tolerances follow from
//! types and magnitudes, and the first coordinate that is wrong is told. `LOAM_TEST_TIER=long` tries full products and
//! real widths. Planted faults prove that the checks see what they are for. Beside it, [`invariance`]: bits, not values.

mod attention;
mod check;
mod cover;
mod dense;
mod device;
#[cfg(feature = "emulate")]
mod emulated;
#[cfg(feature = "cuda")]
mod gpu;
mod invariance;
mod lora;
mod mount;
mod planted;
mod random;
mod reference;
mod sampling;
mod scene;
mod sheet;
mod slow;
mod values;

use loam_kernels::cpu::Level;
use mount::{cpu, mount};

mount!(cpu_scalar, crate::cpu(crate::Level::Scalar));
mount!(cpu_avx2, crate::cpu(crate::Level::Avx2));
mount!(cpu_avx512, crate::cpu(crate::Level::Avx512));
mount!(cpu_avx512_bf16, crate::cpu(crate::Level::Avx512Bf16));
mount!(slow_scalar, Some(crate::slow::Slow));
