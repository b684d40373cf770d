//! A matrix on the host, as the device holds it: rounded to its type before anything is computed from it.

use half::{bf16, f16};
use loam_kernels::layout::DType;

use crate::random::Random;

/// A matrix of stored values.
#[derive(Clone, Debug)]
pub(crate) struct Values {
    pub(crate) dtype: DType,
    pub(crate) rows: usize,
    pub(crate) width: usize,
    pub(crate) bytes: Vec<u8>,
}

/// What nobody wrote: not a number, and no integer that could be meant.
pub(crate) fn poison(dtype: DType) -> Vec<u8> {
    match dtype {
        DType::F32 => 0x7fc5_a5a5_u32.to_le_bytes().to_vec(),
        DType::Bf16 => 0x7fc5_u16.to_le_bytes().to_vec(),
        DType::F16 => 0x7e5a_u16.to_le_bytes().to_vec(),
        DType::U32 => 0xa5a5_a5a5_u32.to_le_bytes().to_vec(),
    }
}

/// Stores a value, rounded to nearest even; by way of f32, because `from_f64` of `half` forgets the lower bits at ties.
fn put(dtype: DType, value: f64, to: &mut [u8]) {
    match dtype {
        DType::F32 => to.copy_from_slice(&(value as f32).to_le_bytes()),
        DType::Bf16 => to.copy_from_slice(&bf16::from_f32(value as f32).to_le_bytes()),
        DType::F16 => to.copy_from_slice(&f16::from_f32(value as f32).to_le_bytes()),
        DType::U32 => to.copy_from_slice(&(value as u32).to_le_bytes()),
    }
}

/// A value's bytes, rounded.
pub(crate) fn encode(dtype: DType, value: f64) -> Vec<u8> {
    let mut bytes = vec![0; dtype.bytes()];
    put(dtype, value, &mut bytes);
    bytes
}

/// A value as it would be stored.
pub(crate) fn rounded(dtype: DType, value: f64) -> f64 {
    decode(dtype, &encode(dtype, value))
}

/// A stored value.
pub(crate) fn decode(dtype: DType, bytes: &[u8]) -> f64 {
    let two = || bytes.try_into().expect("two bytes a value");
    let four = || bytes.try_into().expect("four bytes a value");
    match dtype {
        DType::F32 => f64::from(f32::from_le_bytes(four())),
        DType::Bf16 => bf16::from_le_bytes(two()).to_f64(),
        DType::F16 => f16::from_le_bytes(two()).to_f64(),
        DType::U32 => f64::from(u32::from_le_bytes(four())),
    }
}

impl Values {
    /// Nothing but poison.
    pub(crate) fn poisoned(dtype: DType, rows: usize, width: usize) -> Self {
        Self { dtype, rows, width, bytes: poison(dtype).repeat(rows * width) }
    }

    /// Values that are made for each row and column.
    pub(crate) fn of(dtype: DType, rows: usize, width: usize, mut value: impl FnMut(usize, usize) -> f64) -> Self {
        let mut values = Self { dtype, rows, width, bytes: vec![0; rows * width * dtype.bytes()] };
        for row in 0..rows {
            (0..width).for_each(|column| values.set(row, column, value(row, column)));
        }
        values
    }

    /// Values in -1..1.
    pub(crate) fn random(random: &mut Random, dtype: DType, rows: usize, width: usize) -> Self {
        Self::of(dtype, rows, width, |_, _| random.signed())
    }

    /// One row of values in -1..1.
    pub(crate) fn vector(random: &mut Random, dtype: DType, len: usize) -> Self {
        Self::random(random, dtype, 1, len)
    }

    fn place(&self, row: usize, column: usize) -> std::ops::Range<usize> {
        let at = (row * self.width + column) * self.dtype.bytes();
        at..at + self.dtype.bytes()
    }

    pub(crate) fn set(&mut self, row: usize, column: usize, value: f64) {
        let place = self.place(row, column);
        put(self.dtype, value, &mut self.bytes[place]);
    }

    pub(crate) fn at(&self, row: usize, column: usize) -> f64 {
        decode(self.dtype, &self.bytes[self.place(row, column)])
    }

    /// A row, widened.
    pub(crate) fn row(&self, row: usize) -> Vec<f64> {
        (0..self.width).map(|column| self.at(row, column)).collect()
    }

    /// All rows, widened.
    pub(crate) fn widened(&self) -> Vec<Vec<f64>> {
        (0..self.rows).map(|row| self.row(row)).collect()
    }

    /// All columns, widened.
    pub(crate) fn columns(&self) -> Vec<Vec<f64>> {
        (0..self.width).map(|column| (0..self.rows).map(|row| self.at(row, column)).collect()).collect()
    }

    /// Bytes of one row.
    pub(crate) fn row_bytes(&self, row: usize) -> &[u8] {
        let len = self.width * self.dtype.bytes();
        &self.bytes[row * len..][..len]
    }

    /// Poisons rows that must not be read.
    pub(crate) fn poison_rows(&mut self, which: impl Fn(usize) -> bool) {
        let poisoned = poison(self.dtype).repeat(self.width);
        for row in (0..self.rows).filter(|row| which(*row)) {
            let at = row * poisoned.len();
            self.bytes[at..at + poisoned.len()].copy_from_slice(&poisoned);
        }
    }
}
