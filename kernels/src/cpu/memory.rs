//! The host's memory, as values of a type, and as matrices that several threads share.

use std::marker::PhantomData;
use std::sync::Arc;

use half::{bf16, f16};
use memmap2::MmapMut;

use super::simd::{Load, Simd, Store};
use crate::backend::Source;
use crate::error::Error;
use crate::layout::{DType, Element, Memory, Rows, RowsMut};
use crate::mapped::{Mapped, large};

/// Values in the host's memory, or in a mapped file.
#[derive(Debug)]
pub struct CpuMemory {
    dtype: DType,
    len: usize,
    bytes: Bytes,
}

#[derive(Debug)]
enum Bytes {
    Owned(Owned),
    Mapped { file: Arc<Mapped>, offset: usize },
}

/// Zeroed bytes of our own, at a multiple of what a cache line holds.
#[derive(Debug)]
enum Owned {
    Small(Vec<Line>),
    /// In large pages where the system has them: a fifth of the read rate hangs on that.
    Large(MmapMut),
}

/// What a cache line holds.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// From here on memory is taken in pages.
const LARGE_BYTES: usize = 4 << 20;

impl Owned {
    fn zeroed(what: &'static str, bytes: usize) -> Result<Self, Error> {
        if bytes >= LARGE_BYTES {
            return large(bytes).map(Self::Large).ok_or(Error::OutOfMemory { what, bytes });
        }
        let lines = bytes.div_ceil(size_of::<Line>());
        let mut values = Vec::new();
        values.try_reserve_exact(lines).map_err(|_| Error::OutOfMemory { what, bytes })?;
        values.resize(lines, Line([0; 64]));
        Ok(Self::Small(values))
    }

    fn start(&self) -> *const u8 {
        match self {
            Self::Small(lines) => lines.as_ptr().cast(),
            Self::Large(pages) => pages.as_ptr(),
        }
    }

    fn start_mut(&mut self) -> *mut u8 {
        match self {
            Self::Small(lines) => lines.as_mut_ptr().cast(),
            Self::Large(pages) => pages.as_mut_ptr(),
        }
    }
}

impl CpuMemory {
    pub(super) fn zeroed(dtype: DType, len: usize) -> Result<Self, Error> {
        let bytes = len.saturating_mul(dtype.bytes());
        Ok(Self { dtype, len, bytes: Bytes::Owned(Owned::zeroed("values", bytes)?) })
    }

    /// Reads in place; copies only what lies at an address that its type cannot have.
    pub(super) fn mapped(source: &Source, dtype: DType, len: usize) -> Result<Self, Error> {
        let bytes = len.saturating_mul(dtype.bytes()) as u64;
        let stored = source.file.range(source.offset..source.offset.saturating_add(bytes))?;
        if stored.as_ptr().align_offset(dtype.bytes()) == 0 {
            let bytes = Bytes::Mapped { file: source.file.clone(), offset: source.offset as usize };
            return Ok(Self { dtype, len, bytes });
        }
        let mut copy = Self::zeroed(dtype, len)?;
        copy.write(0, stored)?;
        Ok(copy)
    }

    pub(super) fn write(&mut self, at: usize, from: &[u8]) -> Result<(), Error> {
        self.expect_range("what is written", at, from.len())?;
        let start = match &mut self.bytes {
            Bytes::Owned(owned) => owned.start_mut(),
            Bytes::Mapped { .. } => {
                let found = "a mapped file".to_owned();
                return Err(Error::Unsupported { what: "what is written to", found, allowed: "allocated memory" });
            }
        };
        // SAFETY: the range was checked; `&mut self` keeps others out.
        unsafe { start.add(at * self.dtype.bytes()).copy_from_nonoverlapping(from.as_ptr(), from.len()) };
        Ok(())
    }

    pub(super) fn read(&self, at: usize, to: &mut [u8]) -> Result<(), Error> {
        self.expect_range("what is read", at, to.len())?;
        self.expect_unchanged()?;
        // SAFETY: the range was checked; the bytes are initialised and written only through `&mut`.
        unsafe { to.as_mut_ptr().copy_from_nonoverlapping(self.start().add(at * self.dtype.bytes()), to.len()) };
        Ok(())
    }

    /// Refuses a mapped file that was cut short.
    pub(super) fn expect_unchanged(&self) -> Result<(), Error> {
        match &self.bytes {
            Bytes::Owned(_) => Ok(()),
            Bytes::Mapped { file, .. } => file.unchanged(),
        }
    }

    fn expect_range(&self, what: &'static str, at: usize, bytes: usize) -> Result<(), Error> {
        let value = self.dtype.bytes();
        if !bytes.is_multiple_of(value) {
            return Err(Error::Alignment { what, offset: bytes, bytes: value, dtype: self.dtype });
        }
        match at.checked_add(bytes / value) {
            Some(to) if to <= self.len => Ok(()),
            to => Err(Error::OutOfBounds { what, from: at, to: to.unwrap_or(usize::MAX), len: self.len }),
        }
    }

    fn start(&self) -> *const u8 {
        match &self.bytes {
            Bytes::Owned(owned) => owned.start(),
            Bytes::Mapped { file, offset } => file.start().wrapping_add(*offset),
        }
    }

    /// All values, as the type they have.
    pub(super) fn values<T: Element>(&self) -> &[T] {
        assert_eq!(self.dtype, T::DTYPE, "operations choose by the memory's type");
        // SAFETY: `len` values of this type begin there, aligned: `zeroed` and `mapped` made it so.
        unsafe { std::slice::from_raw_parts(self.start().cast(), self.len) }
    }

    fn values_mut<T: Element>(&mut self) -> *mut T {
        assert_eq!(self.dtype, T::DTYPE, "operations choose by the memory's type");
        match &mut self.bytes {
            Bytes::Owned(owned) => owned.start_mut().cast(),
            Bytes::Mapped { .. } => unreachable!("a mapped file is nowhere an output: see `expect_output`"),
        }
    }

    /// Copies values from one place to another.
    pub(super) fn copy(&mut self, from: usize, to: usize, len: usize) {
        assert!(len <= self.len && from <= self.len - len && to <= self.len - len, "both places lie inside");
        let value = self.dtype.bytes();
        match &mut self.bytes {
            // SAFETY: inside, and `copy` allows that they overlap.
            Bytes::Owned(owned) => unsafe {
                let start = owned.start_mut();
                start.add(from * value).copy_to(start.add(to * value), len * value);
            },
            Bytes::Mapped { .. } => unreachable!("a mapped file is nowhere an output: see `expect_output`"),
        }
    }

    /// Refuses weights where an output belongs.
    pub(super) fn expect_output(&self) -> Result<(), Error> {
        match &self.bytes {
            Bytes::Owned(_) => Ok(()),
            Bytes::Mapped { .. } => {
                let found = "a mapped file".to_owned();
                Err(Error::Unsupported { what: "an output", found, allowed: "allocated memory" })
            }
        }
    }
}

impl Memory for CpuMemory {
    fn dtype(&self) -> DType {
        self.dtype
    }
    fn len(&self) -> usize {
        self.len
    }
}

/// Room for values that an operation needs beside its arguments; where there is none, an error and no work.
pub(super) fn room<T: Element>(what: &'static str, len: usize) -> Result<Vec<T>, Error> {
    let mut values = Vec::new();
    let bytes = len.saturating_mul(size_of::<T>());
    values.try_reserve_exact(len).map_err(|_| Error::OutOfMemory { what, bytes })?;
    Ok(values)
}

/// A matrix's values, to read.
#[derive(Clone, Copy)]
pub(super) struct In<'a, T> {
    values: &'a [T],
    pub(super) width: usize,
    stride: usize,
}

impl<'a, T: Element> In<'a, T> {
    pub(super) fn of(matrix: &Rows<'a, CpuMemory>) -> Self {
        let values = &matrix.memory().values()[matrix.offset()..];
        Self { values, width: matrix.width(), stride: matrix.stride() }
    }

    /// Values whose rows begin `stride` values apart.
    pub(super) fn strided(values: &'a [T], rows: usize, width: usize, stride: usize) -> Self {
        assert!(rows == 0 || values.len() >= (rows - 1) * stride + width, "a matrix has all its values");
        Self { values, width, stride }
    }

    /// Values that lie one row after the other.
    pub(super) fn packed(values: &'a [T], rows: usize, width: usize) -> Self {
        assert!(values.len() >= rows * width, "a packed matrix has all its values");
        Self { values, width, stride: width }
    }

    #[inline(always)]
    pub(super) fn row(&self, row: usize) -> &'a [T] {
        &self.values[row * self.stride..][..self.width]
    }
}

/// A matrix's values, to write, from several threads at once.
#[derive(Clone, Copy)]
pub(super) struct Out<'a, T> {
    start: *mut T,
    pub(super) rows: usize,
    pub(super) width: usize,
    stride: usize,
    owner: PhantomData<&'a mut T>,
}

// SAFETY: threads take disjoint parts, as `part` demands.
unsafe impl<T: Element> Send for Out<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Element> Sync for Out<'_, T> {}

impl<'a, T: Element> Out<'a, T> {
    pub(super) fn of(matrix: &'a mut RowsMut<'_, CpuMemory>) -> Self {
        let (offset, rows, width, stride) = (matrix.offset(), matrix.rows(), matrix.width(), matrix.stride());
        assert!(
            matrix.end() <= matrix.reading().memory().len(),
            "a matrix's memory is not exchanged for a smaller one"
        );
        let start = matrix.memory_mut().values_mut::<T>();
        // SAFETY: the matrix lies inside its memory.
        Self { start: unsafe { start.add(offset) }, rows, width, stride, owner: PhantomData }
    }

    /// All values of a memory, as one row.
    pub(super) fn whole(memory: &'a mut CpuMemory) -> Self {
        let width = memory.len();
        Self { start: memory.values_mut(), rows: 1, width, stride: width, owner: PhantomData }
    }

    /// Values that lie one row after the other.
    pub(super) fn packed(values: &'a mut [T], rows: usize, width: usize) -> Self {
        assert!(values.len() >= rows * width, "a packed matrix has all its values");
        Self { start: values.as_mut_ptr(), rows, width, stride: width, owner: PhantomData }
    }

    /// Some values of a row.
    ///
    /// # Safety
    /// While they are held nobody else holds one of them.
    #[inline(always)]
    pub(super) unsafe fn part(&self, row: usize, from: usize, width: usize) -> &'a mut [T] {
        assert!(row < self.rows && width <= self.width && from <= self.width - width, "a part lies inside its matrix");
        // SAFETY: inside the matrix; exclusive by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(row * self.stride + from), width) }
    }

    /// A whole row.
    ///
    /// # Safety
    /// While it is held nobody else holds one of its values.
    #[inline(always)]
    pub(super) unsafe fn row(&self, row: usize) -> &'a mut [T] {
        // SAFETY: the caller's.
        unsafe { self.part(row, 0, self.width) }
    }
}

/// A matrix to read, of any stored type.
#[derive(Clone, Copy)]
pub(super) enum AnyIn<'a> {
    F32(In<'a, f32>),
    Bf16(In<'a, bf16>),
    F16(In<'a, f16>),
}

/// A matrix to write, of any type of activations.
#[derive(Clone, Copy)]
pub(super) enum AnyOut<'a> {
    F32(Out<'a, f32>),
    Bf16(Out<'a, bf16>),
}

impl<'a> AnyIn<'a> {
    pub(super) fn of(matrix: &Rows<'a, CpuMemory>) -> Self {
        match matrix.dtype() {
            DType::F32 => Self::F32(In::of(matrix)),
            DType::Bf16 => Self::Bf16(In::of(matrix)),
            DType::F16 => Self::F16(In::of(matrix)),
            DType::U32 => unreachable!("integers are no operand: `check` refuses them"),
        }
    }

    /// All values of a memory as one row.
    pub(super) fn row_of(memory: &'a CpuMemory) -> Self {
        Self::of(&Rows::new(memory, 1, memory.len()).expect("a memory holds all of its values"))
    }

    /// One value.
    pub(super) fn at(&self, row: usize, column: usize) -> f32 {
        match self {
            Self::F32(x) => x.row(row)[column],
            Self::Bf16(x) => x.row(row)[column].to_f32(),
            Self::F16(x) => x.row(row)[column].to_f32(),
        }
    }

    /// One value of the only row.
    pub(super) fn value(&self, column: usize) -> f32 {
        self.at(0, column)
    }

    /// A part of a row, widened.
    #[inline(always)]
    pub(super) fn read<S: Simd>(&self, simd: S, row: usize, from: usize, to: &mut [f32]) {
        match self {
            Self::F32(x) => widen(simd, &x.row(row)[from..], to),
            Self::Bf16(x) => widen(simd, &x.row(row)[from..], to),
            Self::F16(x) => widen(simd, &x.row(row)[from..], to),
        }
    }
}

impl<'a> AnyOut<'a> {
    pub(super) fn of(matrix: &'a mut RowsMut<'_, CpuMemory>) -> Self {
        match matrix.dtype() {
            DType::F32 => Self::F32(Out::of(matrix)),
            DType::Bf16 => Self::Bf16(Out::of(matrix)),
            _ => unreachable!("neither integers nor f16 are activations: `check` refuses them"),
        }
    }

    /// All values of a memory, as one row.
    pub(super) fn whole(memory: &'a mut CpuMemory) -> Self {
        match memory.dtype() {
            DType::F32 => Self::F32(Out::whole(memory)),
            DType::Bf16 => Self::Bf16(Out::whole(memory)),
            _ => unreachable!("pages hold activations: `PagedKv::new` refuses the rest"),
        }
    }

    pub(super) const fn rows(&self) -> usize {
        match self {
            Self::F32(x) => x.rows,
            Self::Bf16(x) => x.rows,
        }
    }

    pub(super) const fn width(&self) -> usize {
        match self {
            Self::F32(x) => x.width,
            Self::Bf16(x) => x.width,
        }
    }

    /// Writes a few values of a row, rounded.
    ///
    /// # Safety
    /// Nobody else holds one of them.
    #[inline(always)]
    pub(super) unsafe fn put(&self, row: usize, column: usize, values: &[f32]) {
        // SAFETY: the caller's.
        unsafe {
            match self {
                Self::F32(x) => x.part(row, column, values.len()).copy_from_slice(values),
                Self::Bf16(x) => {
                    for (to, value) in x.part(row, column, values.len()).iter_mut().zip(values) {
                        *to = bf16::from_f32(*value);
                    }
                }
            }
        }
    }

    /// Writes many values of a row, rounded.
    ///
    /// # Safety
    /// Nobody else holds one of them.
    #[inline(always)]
    pub(super) unsafe fn write<S: Simd>(&self, simd: S, row: usize, column: usize, values: &[f32]) {
        // SAFETY: the caller's.
        unsafe {
            match self {
                Self::F32(x) => narrow(simd, values, x.part(row, column, values.len())),
                Self::Bf16(x) => narrow(simd, values, x.part(row, column, values.len())),
            }
        }
    }

    /// Reads back many values of a row.
    ///
    /// # Safety
    /// Nobody else holds one of them.
    #[inline(always)]
    pub(super) unsafe fn read<S: Simd>(&self, simd: S, row: usize, column: usize, to: &mut [f32]) {
        // SAFETY: the caller's.
        unsafe {
            match self {
                Self::F32(x) => widen(simd, x.part(row, column, to.len()), to),
                Self::Bf16(x) => widen(simd, x.part(row, column, to.len()), to),
            }
        }
    }
}

/// Stored values to f32.
#[inline(always)]
pub(super) fn widen<S: Simd, T: Load>(simd: S, from: &[T], to: &mut [f32]) {
    let len = to.len();
    assert!(from.len() >= len, "a row holds what is read of it");
    let (from, to) = (from.as_ptr(), to.as_mut_ptr());
    let mut at = 0;
    // SAFETY: both have `len` values.
    unsafe {
        while at + S::LANES <= len {
            simd.store(to.add(at), T::load(simd, from.add(at)));
            at += S::LANES;
        }
        if at < len {
            let v = T::load_part(simd, from.add(at), len - at);
            f32::store_part(simd, to.add(at), v, len - at);
        }
    }
}

/// Values of f32 to their stored type.
#[inline(always)]
fn narrow<S: Simd, T: Store>(simd: S, from: &[f32], to: &mut [T]) {
    let len = to.len();
    assert!(from.len() == len, "a row is written whole");
    let (from, to) = (from.as_ptr(), to.as_mut_ptr());
    let mut at = 0;
    // SAFETY: both have `len` values.
    unsafe {
        while at + S::LANES <= len {
            T::store(simd, to.add(at), simd.load(from.add(at)));
            at += S::LANES;
        }
        if at < len {
            let v = f32::load_part(simd, from.add(at), len - at);
            T::store_part(simd, to.add(at), v, len - at);
        }
    }
}
