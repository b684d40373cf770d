//! A matrix on a device, alone in its memory or inside a frame of poison that nobody may read or write.

use loam_kernels::Error;
use loam_kernels::backend::Device;
use loam_kernels::layout::{DType, Memory, Rows, RowsMut};

use crate::values::{Values, poison};

/// What lies around a matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// Nothing: rows follow each other.
    Packed,
    /// A row above, two below, columns on both sides: a strided view.
    Framed,
}

pub(crate) const FRAMES: &[Frame] = &[Frame::Packed, Frame::Framed];

impl Frame {
    /// Rows above and below, columns left and right; odd ones, so that rows begin at odd places.
    const fn sides(self) -> [usize; 4] {
        match self {
            Self::Packed => [0; 4],
            Self::Framed => [1, 2, 3, 4],
        }
    }
}

/// A matrix in a memory of its own.
#[derive(Debug)]
pub(crate) struct Sheet<D: Device> {
    memory: D::Memory,
    frame: Frame,
    /// What the memory held at first, frame included.
    pub(crate) initial: Values,
    pub(crate) rows: usize,
    pub(crate) width: usize,
}

impl<D: Device> Sheet<D> {
    /// These values, in poison.
    pub(crate) fn new(device: &D, values: &Values, frame: Frame) -> Result<Self, Error> {
        let [above, below, left, right] = frame.sides();
        let mut initial = Values::poisoned(values.dtype, above + values.rows + below, left + values.width + right);
        let (bytes, stride) = (values.dtype.bytes(), initial.width);
        for row in 0..values.rows {
            let at = ((above + row) * stride + left) * bytes;
            initial.bytes[at..at + values.width * bytes].copy_from_slice(values.row_bytes(row));
        }
        let memory = upload(device, &initial)?;
        Ok(Self { memory, frame, initial, rows: values.rows, width: values.width })
    }

    /// A matrix for an output: poison within as without.
    pub(crate) fn poisoned(device: &D, dtype: DType, rows: usize, width: usize, frame: Frame) -> Result<Self, Error> {
        Self::new(device, &Values::poisoned(dtype, rows, width), frame)
    }

    pub(crate) fn reading(&self) -> Result<Rows<'_, D::Memory>, Error> {
        let [above, _, left, _] = self.frame.sides();
        let all = Rows::new(&self.memory, self.initial.rows, self.initial.width)?;
        all.range(above, self.rows)?.columns(left, self.width)
    }

    pub(crate) fn writing(&mut self) -> Result<RowsMut<'_, D::Memory>, Error> {
        let [above, _, left, _] = self.frame.sides();
        let all = RowsMut::new(&mut self.memory, self.initial.rows, self.initial.width)?;
        all.range(above, self.rows)?.columns(left, self.width)
    }

    /// What the whole memory holds now, frame included.
    pub(crate) fn all(&self, device: &D) -> Result<Values, Error> {
        let mut all = self.initial.clone();
        device.read(&self.memory, 0, &mut all.bytes)?;
        Ok(all)
    }

    /// What the matrix holds now.
    pub(crate) fn values(&self, device: &D) -> Result<Values, Error> {
        let all = self.all(device)?;
        let mut values = Values::poisoned(all.dtype, self.rows, self.width);
        let bytes = self.width * all.dtype.bytes();
        for row in 0..self.rows {
            let from = (self.place(row, 0)) * all.dtype.bytes();
            values.bytes[row * bytes..][..bytes].copy_from_slice(&all.bytes[from..from + bytes]);
        }
        Ok(values)
    }

    /// Takes over what another memory of the same shape holds, to be compared with what was there before.
    pub(crate) fn hold(&mut self, device: &D, other: &D::Memory) -> Result<(), Error> {
        let values = download(device, other)?;
        device.write(&mut self.memory, 0, &values.bytes)
    }

    /// A value's place in the memory.
    pub(crate) const fn place(&self, row: usize, column: usize) -> usize {
        let [above, _, left, _] = self.frame.sides();
        (above + row) * self.initial.width + left + column
    }
}

/// Values to a memory of their own.
pub(crate) fn upload<D: Device>(device: &D, values: &Values) -> Result<D::Memory, Error> {
    let mut memory = device.allocate(values.dtype, values.rows * values.width)?;
    device.write(&mut memory, 0, &values.bytes)?;
    Ok(memory)
}

/// A memory's values as one row.
pub(crate) fn download<D: Device>(device: &D, memory: &D::Memory) -> Result<Values, Error> {
    let mut values = Values { dtype: memory.dtype(), rows: 1, width: memory.len(), bytes: Vec::new() };
    values.bytes = poison(values.dtype).repeat(values.width);
    device.read(memory, 0, &mut values.bytes)?;
    Ok(values)
}
