//! Matrices: rows of a memory, some columns of them.

use super::DType;
use crate::error::Error;

/// What a backend's memory says of itself; its values may lie where the host cannot look.
pub trait Memory: Send + Sync {
    /// Type of its values.
    fn dtype(&self) -> DType;
    /// How many values it holds.
    fn len(&self) -> usize;
    /// Whether it holds none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A matrix to read: `rows` rows of `width` values, their beginnings `stride` values apart.
#[derive(Debug)]
pub struct Rows<'a, M> {
    memory: &'a M,
    place: Place,
}

/// A matrix to write.
#[derive(Debug)]
pub struct RowsMut<'a, M> {
    memory: &'a mut M,
    place: Place,
}

/// Where in its memory a matrix lies. All of it is inside: `new` looked, and parts of it are only made smaller.
#[derive(Clone, Copy, Debug)]
struct Place {
    offset: usize,
    rows: usize,
    width: usize,
    stride: usize,
}

impl Place {
    fn new(len: usize, rows: usize, width: usize) -> Result<Self, Error> {
        match rows.checked_mul(width) {
            Some(needed) if needed <= len => Ok(Self { offset: 0, rows, width, stride: width }),
            needed => Err(Error::OutOfBounds { what: "a matrix", from: 0, to: needed.unwrap_or(usize::MAX), len }),
        }
    }

    /// What has no values begins at none.
    const fn or_nowhere(self) -> Self {
        if self.rows == 0 || self.width == 0 { Self { offset: 0, ..self } } else { self }
    }

    /// The value after its last.
    const fn end(&self) -> usize {
        if self.rows == 0 || self.width == 0 { 0 } else { self.offset + (self.rows - 1) * self.stride + self.width }
    }

    fn columns(self, from: usize, width: usize) -> Result<Self, Error> {
        match from.checked_add(width) {
            Some(to) if to <= self.width => Ok(Self { offset: self.offset + from, width, ..self }.or_nowhere()),
            to => {
                let to = to.unwrap_or(usize::MAX);
                Err(Error::OutOfBounds { what: "a range of columns", from, to, len: self.width })
            }
        }
    }

    fn rows(self, from: usize, rows: usize) -> Result<Self, Error> {
        match from.checked_add(rows) {
            Some(to) if to <= self.rows => {
                let skipped = if rows == 0 { 0 } else { from * self.stride };
                Ok(Self { offset: self.offset + skipped, rows, ..self }.or_nowhere())
            }
            to => {
                let to = to.unwrap_or(usize::MAX);
                Err(Error::OutOfBounds { what: "a range of rows", from, to, len: self.rows })
            }
        }
    }
}

impl<'a, M: Memory> Rows<'a, M> {
    /// The first `rows * width` values of a memory, one row after the other.
    pub fn new(memory: &'a M, rows: usize, width: usize) -> Result<Self, Error> {
        Ok(Self { memory, place: Place::new(memory.len(), rows, width)? })
    }

    /// Its columns `from .. from + width`.
    pub fn columns(self, from: usize, width: usize) -> Result<Self, Error> {
        Ok(Self { place: self.place.columns(from, width)?, ..self })
    }

    /// Its rows `from .. from + rows`.
    pub fn range(self, from: usize, rows: usize) -> Result<Self, Error> {
        Ok(Self { place: self.place.rows(from, rows)?, ..self })
    }

    /// Type of its values.
    pub fn dtype(&self) -> DType {
        self.memory.dtype()
    }
}

impl<'a, M: Memory> RowsMut<'a, M> {
    /// The first `rows * width` values of a memory, one row after the other.
    pub fn new(memory: &'a mut M, rows: usize, width: usize) -> Result<Self, Error> {
        let place = Place::new(memory.len(), rows, width)?;
        Ok(Self { memory, place })
    }

    /// Its columns `from .. from + width`.
    pub fn columns(self, from: usize, width: usize) -> Result<Self, Error> {
        Ok(Self { place: self.place.columns(from, width)?, ..self })
    }

    /// Its rows `from .. from + rows`.
    pub fn range(self, from: usize, rows: usize) -> Result<Self, Error> {
        Ok(Self { place: self.place.rows(from, rows)?, ..self })
    }

    /// Type of its values.
    pub fn dtype(&self) -> DType {
        self.memory.dtype()
    }

    /// The same matrix, to read.
    pub fn reading(&self) -> Rows<'_, M> {
        Rows { memory: self.memory, place: self.place }
    }

    /// The memory it lies in. A backend looks again whether all of the matrix does.
    pub fn memory_mut(&mut self) -> &mut M {
        self.memory
    }
}

impl<M> Clone for Rows<'_, M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M> Copy for Rows<'_, M> {}

impl<'a, M> Rows<'a, M> {
    /// The memory it lies in.
    pub const fn memory(&self) -> &'a M {
        self.memory
    }
}

/// What both say of their shape.
macro_rules! shape_of {
    ($matrix:ident) => {
        impl<M> $matrix<'_, M> {
            /// How many rows.
            pub const fn rows(&self) -> usize {
                self.place.rows
            }
            /// Values in a row.
            pub const fn width(&self) -> usize {
                self.place.width
            }
            /// Values from one row's beginning to the next one's.
            pub const fn stride(&self) -> usize {
                self.place.stride
            }
            /// The place after the last value.
            pub const fn end(&self) -> usize {
                self.place.end()
            }
            /// The first value's place in the memory.
            pub const fn offset(&self) -> usize {
                self.place.offset
            }
        }
    };
}
shape_of!(Rows);
shape_of!(RowsMut);
