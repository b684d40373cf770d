//! Values as the bits that their type would have, widened one at a time.

use half::{bf16, f16};
use loam_kernels::Error;
use loam_kernels::layout::{DType, Memory, Rows, RowsMut};

/// A type and each value's bits.
#[derive(Debug)]
pub(crate) struct SlowMemory {
    dtype: DType,
    bits: Vec<u32>,
}

impl Memory for SlowMemory {
    fn dtype(&self) -> DType {
        self.dtype
    }

    fn len(&self) -> usize {
        self.bits.len()
    }
}

impl SlowMemory {
    pub(super) fn zeroed(dtype: DType, len: usize) -> Result<Self, Error> {
        let mut bits = Vec::new();
        let bytes = len.saturating_mul(dtype.bytes());
        bits.try_reserve_exact(len).map_err(|_| Error::OutOfMemory { what: "values", bytes })?;
        bits.resize(len, 0);
        Ok(Self { dtype, bits })
    }

    pub(super) fn write(&mut self, at: usize, bytes: &[u8]) -> Result<(), Error> {
        let size = self.dtype.bytes();
        self.check_range("what is written", at, bytes.len())?;
        for (place, value) in self.bits[at..].iter_mut().zip(bytes.chunks_exact(size)) {
            let mut wide = [0; 4];
            wide[..size].copy_from_slice(value);
            *place = u32::from_le_bytes(wide);
        }
        Ok(())
    }

    pub(super) fn read(&self, at: usize, bytes: &mut [u8]) -> Result<(), Error> {
        let size = self.dtype.bytes();
        self.check_range("what is read", at, bytes.len())?;
        for (place, value) in self.bits[at..].iter().zip(bytes.chunks_exact_mut(size)) {
            value.copy_from_slice(&place.to_le_bytes()[..size]);
        }
        Ok(())
    }

    fn check_range(&self, what: &'static str, at: usize, bytes: usize) -> Result<(), Error> {
        let (size, len) = (self.dtype.bytes(), self.bits.len());
        if !bytes.is_multiple_of(size) {
            return Err(Error::Alignment { what, offset: bytes, bytes: size, dtype: self.dtype });
        }
        let to = at.saturating_add(bytes / size);
        if to > len { Err(Error::OutOfBounds { what, from: at, to, len }) } else { Ok(()) }
    }

    /// A value, widened.
    pub(super) fn value(&self, at: usize) -> f32 {
        let bits = self.bits[at];
        match self.dtype {
            DType::F32 => f32::from_bits(bits),
            DType::Bf16 => bf16::from_bits(bits as u16).to_f32(),
            DType::F16 => f16::from_bits(bits as u16).to_f32(),
            DType::U32 => unreachable!("tokens are never computed with"),
        }
    }

    /// Rounds a value to the memory's type and keeps it.
    pub(super) fn put(&mut self, at: usize, value: f32) {
        self.bits[at] = match self.dtype {
            DType::F32 => value.to_bits(),
            DType::Bf16 => u32::from(bf16::from_f32(value).to_bits()),
            DType::F16 => u32::from(f16::from_f32(value).to_bits()),
            DType::U32 => unreachable!("tokens are written by `put_token`"),
        };
    }

    pub(super) fn token(&self, at: usize) -> u32 {
        self.bits[at]
    }

    pub(super) fn put_token(&mut self, at: usize, token: u32) {
        self.bits[at] = token;
    }

    /// All values, widened.
    pub(super) fn widened(&self) -> Vec<f32> {
        (0..self.bits.len()).map(|at| self.value(at)).collect()
    }

    pub(super) fn copy_within(&mut self, from: usize, to: usize, len: usize) {
        self.bits.copy_within(from..from + len, to);
    }
}

/// A row to read, widened.
pub(super) fn row(matrix: &Rows<'_, SlowMemory>, row: usize) -> Vec<f32> {
    let from = matrix.offset() + row * matrix.stride();
    (from..from + matrix.width()).map(|at| matrix.memory().value(at)).collect()
}

/// Rounds a whole row and keeps it.
pub(super) fn put_row(matrix: &mut RowsMut<'_, SlowMemory>, row: usize, values: &[f32]) {
    assert_eq!(values.len(), matrix.width(), "a row is written whole");
    put(matrix, row, 0, values);
}

/// Rounds some values of a row, from a column on, and keeps them.
pub(super) fn put(matrix: &mut RowsMut<'_, SlowMemory>, row: usize, column: usize, values: &[f32]) {
    let from = matrix.offset() + row * matrix.stride() + column;
    for (at, value) in (from..).zip(values) {
        matrix.memory_mut().put(at, *value);
    }
}

/// Keeps one token.
pub(super) fn put_token(matrix: &mut RowsMut<'_, SlowMemory>, row: usize, column: usize, token: u32) {
    let at = matrix.offset() + row * matrix.stride() + column;
    matrix.memory_mut().put_token(at, token);
}

/// `sum_i a[i] * b[i]`, from the first to the last.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).fold(0.0, |sum, (a, b)| sum + a * b)
}
