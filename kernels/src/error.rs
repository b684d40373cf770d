//! One named error for each way in which an operation can be asked for what cannot be done.

use std::path::PathBuf;

use thiserror::Error as ThisError;

use crate::layout::DType;

/// Why an operation did nothing. Arguments are checked before any work, so outputs are then as they were.
#[derive(Debug, ThisError)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each variant's message is its documentation")]
pub enum Error {
    // Shapes.
    #[error("{what} has {found} where {expected} belong")]
    Shape { what: &'static str, expected: usize, found: usize },
    #[error("{what} needs values {from} to {to} of a memory that holds {len}")]
    OutOfBounds { what: &'static str, from: usize, to: usize, len: usize },
    #[error("{what} is {found}; it can be {allowed}")]
    Unsupported { what: &'static str, found: String, allowed: &'static str },
    #[error("{what} is larger than can be addressed")]
    TooLarge { what: &'static str },
    #[error("{what} holds {found}; it can hold {allowed}")]
    Type { what: &'static str, found: DType, allowed: &'static str },
    #[error("{what} is at byte {offset}, which is no multiple of the {bytes} bytes of {dtype}")]
    Alignment { what: &'static str, offset: usize, bytes: usize, dtype: DType },

    // The step.
    #[error("{what} {value} is not below {limit}")]
    Limit { what: &'static str, value: usize, limit: usize },
    #[error("segment {segment} begins at row {found} where row {expected} is next")]
    SegmentOrder { segment: usize, expected: usize, found: usize },
    #[error("segment {segment} reaches position {position} and has pages for {held} positions")]
    SegmentPages { segment: usize, position: usize, held: usize },
    #[error("position {position} of page {page} would be written by segments {first} and {second}")]
    SharedPosition { page: u32, position: u32, first: usize, second: usize },
    #[error("pairs are not grouped by adapter with rows ascending: pair {pair} (row {row}, slot {slot})")]
    PairOrder { pair: usize, row: u32, slot: u32 },
    #[error("row {row} has more than {max} adapters")]
    PairsPerRow { row: u32, max: usize },
    #[error("slot {slot} holds no adapter")]
    EmptySlot { slot: u32 },
    #[error("the rank of module {module} at site {site} is {found}; a rank is at most {max}")]
    Rank { site: usize, module: usize, found: u32, max: u32 },
    #[error("{what} is {value}, which is not a finite number{also}")]
    NotFinite { what: &'static str, value: f32, also: &'static str },

    // Memory and files.
    #[error("out of memory: {bytes} bytes for {what}")]
    OutOfMemory { what: &'static str, bytes: usize },
    #[error("{path}: {source}")]
    File { path: PathBuf, source: std::io::Error },
    #[error("{path}: {held} bytes when it was opened, {found} now; files of weights must not change while in use")]
    FileShrank { path: PathBuf, held: u64, found: u64 },
    #[error("{path}: bytes {from} to {to} of a file of {len}")]
    FileRange { path: PathBuf, from: u64, to: u64, len: u64 },

    // The machine.
    #[error("this processor lacks {level}; it has {best} at best")]
    Level { level: &'static str, best: &'static str },
    #[error("threads could not be started: {reason}")]
    Threads { reason: String },
    #[error("no GPU can be used: {reason}")]
    Gpu { reason: String },
    #[error("the GPU: {report}")]
    Launch { report: String },
    #[error("the GPU is lost to this process, which must be started again: {report}")]
    DeviceLost { report: String },
}

/// Refuses a shape that is not the expected one.
pub(crate) fn expect_shape(what: &'static str, found: usize, expected: usize) -> Result<(), Error> {
    if found == expected { Ok(()) } else { Err(Error::Shape { what, expected, found }) }
}

/// A product of sizes; refused where it is more than can be addressed.
pub(crate) fn product(what: &'static str, sizes: &[usize]) -> Result<usize, Error> {
    let product = sizes.iter().try_fold(1, |product: usize, size| product.checked_mul(*size));
    // Bytes are counted as well, and offsets are signed.
    product.filter(|product| *product <= isize::MAX as usize / 8).ok_or(Error::TooLarge { what })
}

/// Refuses a number that is not below its limit.
pub(crate) fn expect_below(what: &'static str, value: usize, limit: usize) -> Result<(), Error> {
    if value < limit { Ok(()) } else { Err(Error::Limit { what, value, limit }) }
}

/// Refuses a type that is not among those allowed.
pub(crate) fn expect_type(what: &'static str, found: DType, among: &[DType]) -> Result<(), Error> {
    if among.contains(&found) {
        return Ok(());
    }
    let allowed = match among {
        [DType::F32] => "f32",
        [DType::Bf16] => "bf16",
        [DType::F16] => "f16",
        [DType::U32] => "u32",
        [DType::F32, DType::Bf16] => "f32 or bf16",
        _ => "f32, bf16 or f16",
    };
    Err(Error::Type { what, found, allowed })
}

/// What activations can be held as.
pub(crate) const ACTIVATIONS: &[DType] = &[DType::F32, DType::Bf16];

/// What weights can be stored as.
pub(crate) const WEIGHTS: &[DType] = &[DType::F32, DType::Bf16, DType::F16];
