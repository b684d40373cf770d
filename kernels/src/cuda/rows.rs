//! Matrices as kernels take them.

use std::ptr;

use super::device::DeviceMemory;
use super::ffi::{LoamRows, LoamType};
use crate::error::Error;
use crate::layout::{DType, Memory, Rows, RowsMut};

impl LoamRows {
    /// No matrix.
    pub(super) const NONE: Self = Self { at: ptr::null_mut(), stride: 0, rows: 0, width: 0, dtype: LoamType::F32 };

    /// A matrix, if all of it lies in its memory, which its owner may have exchanged.
    pub(super) fn of(rows: &Rows<'_, DeviceMemory>) -> Result<Self, Error> {
        let len = rows.memory().len();
        if rows.end() > len {
            return Err(Error::OutOfBounds { what: "a matrix", from: rows.offset(), to: rows.end(), len });
        }
        let count = |value| i32::try_from(value).map_err(|_| Error::TooLarge { what: "a matrix" });
        Ok(Self {
            at: start_of(rows),
            stride: rows.stride() as i64,
            rows: count(rows.rows())?,
            width: count(rows.width())?,
            // Kernels that take whole numbers look at no type.
            dtype: if rows.dtype() == DType::U32 { LoamType::F32 } else { loam_type(rows.dtype()) },
        })
    }

    /// A matrix of f32 whose rows follow each other.
    pub(super) fn packed(at: *mut f32, rows: usize, width: usize) -> Result<Self, Error> {
        let count = |value| i32::try_from(value).map_err(|_| Error::TooLarge { what: "a matrix" });
        Ok(Self { at: at.cast(), stride: width as i64, rows: count(rows)?, width: count(width)?, dtype: LoamType::F32 })
    }

    /// Its columns `from .. from + width`, which it has.
    pub(super) const fn columns(self, from: usize, width: usize) -> Self {
        Self { at: self.at.wrapping_byte_add(from * self.dtype.bytes()), width: width as i32, ..self }
    }

    /// Its rows `from .. from + rows`, which it has.
    pub(super) const fn range(self, from: usize, rows: usize) -> Self {
        let skipped = from * self.stride as usize * self.dtype.bytes();
        Self { at: self.at.wrapping_byte_add(skipped), rows: rows as i32, ..self }
    }
}

impl LoamType {
    const fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 | Self::F16 => 2,
        }
    }
}

/// A matrix that a kernel writes.
pub(super) fn written(rows: &mut RowsMut<'_, DeviceMemory>) -> Result<LoamRows, Error> {
    LoamRows::of(&rows.reading())
}

/// The address of a matrix's first value.
pub(super) fn start_of(rows: &Rows<'_, DeviceMemory>) -> *mut std::ffi::c_void {
    rows.memory().address().wrapping_byte_add(rows.offset() * rows.dtype().bytes())
}

pub(super) fn loam_type(dtype: DType) -> LoamType {
    match dtype {
        DType::F32 => LoamType::F32,
        DType::Bf16 => LoamType::Bf16,
        DType::F16 => LoamType::F16,
        DType::U32 => unreachable!("no operation on values takes integers: `check` refused them"),
    }
}
