//! What an output must be, and the one comparison that all operations go through.

use std::fmt;

use loam_kernels::Error;
use loam_kernels::backend::Device;
use loam_kernels::layout::DType;

use crate::sheet::Sheet;
use crate::values::decode;

/// Half a unit in the last place of an f32, relative: what one operation in f32 adds.
pub(crate) const F32_ROUND: f64 = 1.0 / (1_u64 << 24) as f64;

/// What a value of an output must be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Want {
    /// This, computed in f64; the arithmetic in f32 may be off by `slack`, and the output's type rounds once more.
    Near { value: f64, slack: f64 },
    /// This, to the bit.
    Exactly(f64),
    /// Anything from one to the other.
    Between(f64, f64),
    /// What was there before, to the bit.
    Untouched,
    /// Undefined.
    Anything,
}

/// What was found wrong first.
#[derive(Debug)]
pub(crate) enum Mismatch {
    /// A value.
    Value { what: &'static str, row: usize, column: usize, got: f64, want: String, tolerance: f64 },
    /// A value outside the output was overwritten.
    Outside { what: &'static str, at: usize, got: f64 },
    /// Something that is not one value.
    Broken(String),
    /// The operation refused to run.
    Refused(Error),
}

impl From<Error> for Mismatch {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value { what, row, column, got, want, tolerance } => {
                write!(f, "{what}[{row}, {column}] is {got:e}, want {want} within {tolerance:e}")
            }
            Self::Outside { what, at, got } => {
                write!(f, "{what}: value {at} of the memory, outside the output, was overwritten with {got:e}")
            }
            Self::Broken(text) => f.write_str(text),
            Self::Refused(error) => write!(f, "refused: {error}"),
        }
    }
}

impl Mismatch {
    /// Whether a result was wrong, as a planted fault's must be; a refusal is not.
    pub(crate) const fn is_wrong_result(&self) -> bool {
        !matches!(self, Self::Refused(_))
    }
}

/// Relative error of a sum of `terms` products in f32, of the sum of their magnitudes.
///
/// The rigorous bound is `terms` roundings. Roundings are as good as independent, so errors grow like the root even
/// where all terms have one sign, and more slowly where they have both, as here. The cases keep well below this, and
/// one term missing among thousands does not.
pub(crate) fn sum_error(terms: usize) -> f64 {
    let terms = terms as f64;
    terms.min(terms.sqrt() + 8.0) * F32_ROUND
}

/// Half a unit in the last place, relative.
pub(crate) const fn rounding(dtype: DType) -> f64 {
    match dtype {
        DType::F32 => F32_ROUND,
        DType::Bf16 => 1.0 / 256.0,
        DType::F16 => 1.0 / 2048.0,
        DType::U32 => 0.0,
    }
}

/// Products of bf16 in hardware flush what is smaller than the least normal f32: so many of those are let go.
const FLUSHED: f64 = 1e-35;

fn fits(dtype: DType, got: f64, want: Want) -> (bool, f64) {
    match want {
        Want::Near { value, .. } if !value.is_finite() => (got == value || got.is_nan() && value.is_nan(), 0.0),
        Want::Near { value, slack } => {
            let tolerance = slack + rounding(dtype) * (value.abs() + slack) + FLUSHED;
            ((got - value).abs() <= tolerance, tolerance)
        }
        Want::Exactly(value) => (got.to_bits() == value.to_bits() || got.is_nan() && value.is_nan(), 0.0),
        Want::Between(from, to) => (got >= from && got <= to, 0.0),
        Want::Untouched => (false, 0.0),
        Want::Anything => (true, 0.0),
    }
}

/// Compares all of an output's memory, row by row: within, what is wanted; without, what was there before.
pub(crate) fn compare<D: Device>(
    device: &D,
    what: &'static str,
    sheet: &Sheet<D>,
    want: &[Want],
) -> Result<(), Mismatch> {
    assert_eq!(want.len(), sheet.rows * sheet.width, "{what}: something is wanted of each value");
    let (before, after) = (&sheet.initial, sheet.all(device)?);
    let (dtype, bytes) = (after.dtype, after.dtype.bytes());
    let changed = |at: usize| before.bytes[at * bytes..][..bytes] != after.bytes[at * bytes..][..bytes];
    let got = |at: usize| decode(dtype, &after.bytes[at * bytes..][..bytes]);
    let mut inside = vec![false; before.rows * before.width];
    for (index, want) in want.iter().enumerate() {
        let (row, column) = (index / sheet.width, index % sheet.width);
        let at = sheet.place(row, column);
        inside[at] = true;
        let (fits, tolerance) = match want {
            Want::Untouched => (!changed(at), 0.0),
            want => fits(dtype, got(at), *want),
        };
        if !fits {
            let want = format!("{want:?}");
            return Err(Mismatch::Value { what, row, column, got: got(at), want, tolerance });
        }
    }
    match (0..inside.len()).find(|at| !inside[*at] && changed(*at)) {
        Some(at) => Err(Mismatch::Outside { what, at, got: got(at) }),
        None => Ok(()),
    }
}

/// Checks every case; the first that is wrong is told with its parameters.
pub(crate) fn all<D, C: fmt::Debug>(device: &D, cases: &[C], check: impl Fn(&D, &C) -> Result<(), Mismatch>) {
    assert!(!cases.is_empty(), "an enumeration without cases");
    for case in cases {
        if let Err(mismatch) = check(device, case) {
            panic!("{mismatch}\nin {case:?}");
        }
    }
}

/// Checks cases until one is wrong, as a planted fault must be.
pub(crate) fn caught<D, C: fmt::Debug>(device: &D, cases: &[C], check: impl Fn(&D, &C) -> Result<(), Mismatch>) {
    let wrong = |case: &C| check(device, case).is_err_and(|mismatch| mismatch.is_wrong_result());
    assert!(cases.iter().any(wrong), "{} cases, and the planted fault shows in none", cases.len());
}
