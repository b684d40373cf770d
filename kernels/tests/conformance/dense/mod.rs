//! The dense group: each operation's cases, and its check.

pub(crate) mod linear;
pub(crate) mod norms;
pub(crate) mod product;
pub(crate) mod rows;

use loam_kernels::layout::{DType, RowSet};

/// What activations are held as.
pub(crate) const ACTIVATIONS: &[DType] = &[DType::F32, DType::Bf16];

/// What weights are stored as.
pub(crate) const WEIGHTS: &[DType] = &[DType::F32, DType::Bf16, DType::F16];

pub(crate) const SETS: &[RowSet] = &[RowSet::Batch, RowSet::Sampled, RowSet::Scored];

/// Beyond this many products a case takes seconds, and finds nothing that fewer would not. One row of each of a real model's
/// layers has less also where a GPU is emulated.
pub(crate) const PRODUCTS_MAX: usize =
    if cfg!(any(feature = "emulate", feature = "interpret")) { 1 << 27 } else { 1 << 29 };

/// Widths, most of them no multiple of anything.
pub(crate) fn widths() -> Vec<usize> {
    let mut widths = vec![1, 7, 64, 129, 512];
    if crate::cover::long() {
        widths.extend([4096, 14336]);
    }
    widths
}
