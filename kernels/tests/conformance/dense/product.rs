//! Products of two matrices, each as it lies or transposed.

use loam_kernels::backend::{Dense, Product};
use loam_kernels::layout::DType;

use super::{ACTIVATIONS, WEIGHTS};
use crate::check::{Mismatch, compare};
use crate::cover::cases;
use crate::random::Random;
use crate::reference::dense;
use crate::sheet::{FRAMES, Frame, Sheet};
use crate::values::Values;

/// One product.
#[derive(Clone, Debug)]
pub(crate) struct ProductCase {
    seed: u64,
    m: usize,
    k: usize,
    n: usize,
    a_transposed: bool,
    b_transposed: bool,
    a: DType,
    b: DType,
    out: DType,
    a_frame: Frame,
    b_frame: Frame,
    out_frame: Frame,
}

/// All of it, in pairs; `transposed` says which operands are.
pub(crate) fn cases(a_transposed: bool, b_transposed: bool) -> Vec<ProductCase> {
    cases!(ProductCase {
        m: [0, 1, 3, 17, 64, 133],
        k: super::widths(),
        n: [1, 5, 64, 257],
        a_transposed: [a_transposed],
        b_transposed: [b_transposed],
        a: WEIGHTS,
        b: WEIGHTS,
        out: ACTIVATIONS,
        a_frame: FRAMES,
        b_frame: FRAMES,
        out_frame: FRAMES,
    })
}

/// Its check.
pub(crate) fn check<B: Dense>(device: &B, case: &ProductCase) -> Result<(), Mismatch> {
    let mut random = Random::new(case.seed);
    let ProductCase { m, k, n, a_transposed, b_transposed, .. } = *case;
    let mut matrix = |dtype, rows, width, transposed| {
        let (rows, width) = if transposed { (width, rows) } else { (rows, width) };
        Values::random(&mut random, dtype, rows, width)
    };
    let (a, b) = (matrix(case.a, m, k, a_transposed), matrix(case.b, k, n, b_transposed));
    let (a_sheet, b_sheet) = (Sheet::new(device, &a, case.a_frame)?, Sheet::new(device, &b, case.b_frame)?);
    let mut out = Sheet::poisoned(device, case.out, m, n, case.out_frame)?;
    device.product(Product {
        a: a_sheet.reading()?,
        a_transposed,
        b: b_sheet.reading()?,
        b_transposed,
        out: out.writing()?,
    })?;
    compare(device, "out", &out, &dense::product(&a, a_transposed, &b, b_transposed))
}
