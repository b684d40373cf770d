//! The device: memory, streams, events and graphs of a GPU, or of the emulation of one.
//!
//! `driver` and `host` have the same functions with the same signatures, and one of them is compiled, as `raw`: with the
//! feature `rehearse` it is `driver`, over a stand-in for NVIDIA's. What both need is here: bounds are looked at before anybody
//! is asked, so that no copy of ours leaves its memory on either.

#[cfg(feature = "driver")]
mod arriving;
#[cfg(feature = "driver")]
mod captured;
#[cfg(feature = "driver")]
mod driver;
#[cfg(feature = "emulate")]
mod emulation;
#[cfg(not(feature = "driver"))]
mod host;
#[cfg(feature = "driver")]
mod library;
#[cfg(feature = "driver")]
mod staging;

use std::cell::RefCell;
use std::ffi::{c_int, c_void};
use std::marker::PhantomData;
use std::mem;
use std::slice;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use thiserror::Error as ThisError;

use super::ffi::RawStream;
use crate::backend::Reading;
use crate::error::Error;
use crate::layout::{DType, Element, Memory};

#[cfg(feature = "driver")]
use driver as raw;
#[cfg(not(feature = "driver"))]
use host as raw;

#[cfg(feature = "emulate")]
pub use emulation::Emulation;
pub use raw::{Graph, gpus};
pub(in crate::cuda) use raw::{Library, describe, free_bytes, multiprocessors, open, shared_bytes_max};

/// Why the device refused or a kernel failed: CUDA's number, and what is said of it.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[error("CUDA error {code}: {report}")]
pub struct LaunchError {
    /// `cudaError_t`, or `CUresult`, whose numbers are the same.
    pub code: i32,
    /// Of the emulation `[name] sentence; kernel, block, thread, line` (see `cuda/README.md`), of a GPU CUDA's own words.
    pub report: String,
}

/// `cudaErrorMemoryAllocation`.
const OUT_OF_MEMORY: i32 = 2;

/// Errors after which CUDA answers nothing else in this process: memory faults of kernels, failed launches, broken memory.
const STICKY: [i32; 14] = [214, 220, 226, 700, 702, 709, 710, 714, 715, 716, 717, 718, 719, 999];

impl LaunchError {
    /// The fault's name, as `shared_race`.
    pub fn name(&self) -> &str {
        self.report.strip_prefix('[').and_then(|rest| rest.split(']').next()).unwrap_or("")
    }

    fn is_sticky(&self) -> bool {
        STICKY.contains(&self.code)
    }
}

impl From<LaunchError> for Error {
    fn from(error: LaunchError) -> Self {
        if error.is_sticky() {
            return Self::DeviceLost { report: error.to_string() };
        }
        Self::Launch { report: error.to_string() }
    }
}

/// A launcher's return code as a result.
pub(in crate::cuda) fn checked(code: c_int) -> Result<(), LaunchError> {
    if code == 0 { Ok(()) } else { Err(raw::failed(code)) }
}

/// Values on the device, in an allocation of their own.
#[derive(Debug)]
pub struct DeviceMemory {
    at: *mut c_void,
    dtype: DType,
    len: usize,
    /// Whether something in a stream may use it.
    is_known: AtomicBool,
    /// Ends with it.
    life: Arc<()>,
}

thread_local! {
    /// Lives of the memories whose addresses this thread gave away, while somebody wants to know.
    static GIVEN: RefCell<Option<Vec<Weak<()>>>> = const { RefCell::new(None) };
}

/// Some work, and the lives of all memories whose addresses it gave away.
pub(in crate::cuda) fn watched<T>(work: impl FnOnce() -> T) -> (T, Vec<Weak<()>>) {
    GIVEN.set(Some(Vec::new()));
    let done = work();
    let mut lives = GIVEN.take().unwrap_or_default();
    lives.sort_by_key(|life| life.as_ptr().addr());
    lives.dedup_by_key(|life| life.as_ptr().addr());
    (done, lives)
}

// SAFETY: an address; what is at it is reached through the device alone, in the order of its streams.
unsafe impl Send for DeviceMemory {}
// SAFETY: as above.
unsafe impl Sync for DeviceMemory {}

impl Memory for DeviceMemory {
    fn dtype(&self) -> DType {
        self.dtype
    }
    fn len(&self) -> usize {
        self.len
    }
}

/// Values as the bytes that they are.
fn bytes_of<T: Element>(values: &[T]) -> &[u8] {
    // SAFETY: an `Element` is plain bits without padding.
    unsafe { slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) }
}

impl DeviceMemory {
    /// `len` values that are not yet anything. `what` names them in reports.
    pub fn new(what: &'static str, dtype: DType, len: usize) -> Result<Self, Error> {
        let bytes = len.checked_mul(dtype.bytes()).filter(|bytes| isize::try_from(*bytes).is_ok());
        let bytes = bytes.ok_or(Error::TooLarge { what })?;
        let at = raw::allocate(bytes, what).map_err(|error| match error.code {
            OUT_OF_MEMORY => Error::OutOfMemory { what, bytes },
            _ => error.into(),
        })?;
        Ok(Self { at, dtype, len, is_known: AtomicBool::new(false), life: Arc::default() })
    }

    /// A copy of host values.
    pub fn of<T: Element>(what: &'static str, values: &[T]) -> Result<Self, Error> {
        let mut memory = Self::new(what, T::DTYPE, values.len())?;
        memory.write(&Stream::default(), values)?;
        Ok(memory)
    }

    /// Overwrites the first values.
    pub fn write<T: Element>(&mut self, stream: &Stream, values: &[T]) -> Result<(), Error> {
        self.write_at(stream, 0, values)
    }

    /// Overwrites values from `at` on, of a memory that kernels may know: the stream's order keeps them apart.
    pub(in crate::cuda) fn write_at<T: Element>(&self, stream: &Stream, at: usize, values: &[T]) -> Result<(), Error> {
        let to = self.range("what is written", at, size_of_val(values))?;
        self.is_known.store(true, Ordering::Relaxed);
        // SAFETY: the range was checked.
        Ok(unsafe { raw::write(stream.raw, to, bytes_of(values)) }?)
    }

    /// Overwrites values from `at` on with bytes that are such values: what no kernel knows yet beside the steps, other
    /// memory after those that read it.
    pub(in crate::cuda) fn write_bytes(&mut self, at: usize, from: &[u8]) -> Result<(), Error> {
        let to = self.range("what is written", at, from.len())?;
        // SAFETY: the range was checked.
        Ok(unsafe {
            if self.is_known() { raw::write(raw::first_stream(), to, from) } else { raw::write_beside(to, from) }
        }?)
    }

    /// Values from `at` on as bytes, when what was asked for before is done.
    pub(in crate::cuda) fn read_bytes(&self, stream: &Stream, at: usize, to: &mut [u8]) -> Result<(), Error> {
        let from = self.range("what is read", at, to.len())?;
        // SAFETY: the range was checked.
        Ok(unsafe { raw::read(stream.raw, to, from) }?)
    }

    /// Begins to read so many bytes from value `at` on, as they are when what was asked for before is done.
    pub(in crate::cuda) fn begin_read(&self, at: usize, bytes: usize) -> Result<Reading, Error> {
        let from = self.range("what is read", at, bytes)?;
        // What is written after this must not overtake it.
        self.is_known.store(true, Ordering::Relaxed);
        // SAFETY: the range was checked.
        Ok(unsafe { raw::begin_read(from, bytes) }?)
    }

    /// Where so many bytes from value `at` on begin, if all are values and here.
    fn range(&self, what: &'static str, at: usize, bytes: usize) -> Result<*mut c_void, Error> {
        let value = self.dtype.bytes();
        if !bytes.is_multiple_of(value) {
            return Err(Error::Alignment { what, offset: bytes, bytes: value, dtype: self.dtype });
        }
        match at.checked_add(bytes / value) {
            Some(to) if to <= self.len => Ok(self.at.wrapping_byte_add(at * value)),
            to => Err(Error::OutOfBounds { what, from: at, to: to.unwrap_or(usize::MAX), len: self.len }),
        }
    }

    /// Its size.
    pub(in crate::cuda) const fn bytes(&self) -> usize {
        self.len * self.dtype.bytes()
    }

    fn is_known(&self) -> bool {
        self.is_known.load(Ordering::Relaxed)
    }

    /// All values, when what was asked for before is done.
    pub fn read<T: Element>(&self, stream: &Stream) -> Result<Vec<T>, Error> {
        assert!(T::DTYPE == self.dtype, "values are read as what they are");
        let mut values = vec![T::default(); self.len];
        // SAFETY: any bits are a value of an `Element`.
        let to = unsafe { slice::from_raw_parts_mut(values.as_mut_ptr().cast(), size_of_val(values.as_slice())) };
        self.read_bytes(stream, 0, to)?;
        Ok(values)
    }

    /// Copies all of another memory to the beginning of this one.
    pub fn copy_from(&mut self, stream: &Stream, from: &Self) -> Result<(), Error> {
        let to = self.range("what is copied", 0, from.bytes())?;
        // What is written to either after this must not overtake it.
        self.is_known.store(true, Ordering::Relaxed);
        from.is_known.store(true, Ordering::Relaxed);
        // SAFETY: the range was checked, and all of `from` is `from`'s.
        Ok(unsafe { raw::copy(stream.raw, to, from.at, from.bytes()) }?)
    }

    /// Sets every byte.
    pub fn fill(&mut self, stream: &Stream, value: u8) -> Result<(), Error> {
        self.is_known.store(true, Ordering::Relaxed);
        // SAFETY: all of it, and no more.
        Ok(unsafe { raw::fill(stream.raw, self.at, value, self.bytes()) }?)
    }

    /// Sets every byte of a memory that no kernel knows yet to zero, beside the steps.
    pub(in crate::cuda) fn clear(&mut self) -> Result<(), Error> {
        assert!(!self.is_known(), "a memory is cleared before it is used");
        // SAFETY: all of it, and no more.
        Ok(unsafe { raw::clear_beside(self.at, self.bytes()) }?)
    }

    /// Its address on the device, for launchers.
    pub(in crate::cuda) fn address(&self) -> *mut c_void {
        self.is_known.store(true, Ordering::Relaxed);
        GIVEN.with_borrow_mut(|given| given.iter_mut().for_each(|given| given.push(Arc::downgrade(&self.life))));
        self.at
    }
}

impl Drop for DeviceMemory {
    fn drop(&mut self) {
        // SAFETY: allocated by `new`, freed once; on a GPU after all that was asked of its first stream.
        unsafe { raw::free(self.at) };
    }
}

/// Work in the order it was asked for. The default one is the device's first, in which steps run.
#[derive(Debug)]
pub struct Stream {
    raw: RawStream,
    is_first: bool,
    /// A stream belongs to the thread that captures it.
    here: PhantomData<*const ()>,
}

impl Default for Stream {
    fn default() -> Self {
        Self { raw: raw::first_stream(), is_first: true, here: PhantomData }
    }
}

impl Stream {
    /// Another stream.
    pub fn new() -> Result<Self, LaunchError> {
        Ok(Self { raw: raw::create_stream()?, is_first: false, here: PhantomData })
    }

    /// Waits until all is done.
    pub fn synchronize(&self) -> Result<(), LaunchError> {
        // SAFETY: a stream that lives.
        unsafe { raw::synchronize(self.raw) }
    }

    /// What is asked for after this waits for the event. If that was recorded in a capture, so is what follows here.
    pub fn wait(&self, event: &Event) -> Result<(), LaunchError> {
        // SAFETY: both live.
        unsafe { raw::wait(self.raw, event.raw) }
    }

    /// Notes down what `work` asks of this stream, and of those it forks to, as a graph; runs nothing.
    pub fn capture<E: From<LaunchError>>(&self, work: impl FnOnce() -> Result<(), E>) -> Result<Graph, E> {
        assert!(!self.is_first, "the first stream is never captured");
        // SAFETY: a stream that lives, and whose capture ends below.
        unsafe { raw::begin_capture(self.raw) }?;
        let capture = Capture(self.raw);
        let worked = work();
        worked.and(capture.end().map_err(E::from))
    }

    pub(in crate::cuda) const fn raw(&self) -> RawStream {
        self.raw
    }
}

/// A capture that has begun. It ends also where what it notes down panics.
struct Capture(RawStream);

impl Capture {
    fn end(self) -> Result<Graph, LaunchError> {
        let stream = self.0;
        mem::forget(self);
        // SAFETY: a stream that lives, whose capture began and ends once.
        unsafe { raw::end_capture(stream) }
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        // SAFETY: as above. Nobody wants what was noted down.
        let _ = unsafe { raw::end_capture(self.0) };
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if !self.is_first {
            // SAFETY: made by `new`, ended once.
            unsafe { raw::destroy_stream(self.raw) };
        }
    }
}

/// A place in a stream that another one can wait for.
#[derive(Debug)]
pub struct Event {
    raw: *mut c_void,
}

impl Event {
    /// An event that nothing waits for yet.
    pub fn new() -> Result<Self, LaunchError> {
        Ok(Self { raw: raw::create_event()? })
    }

    /// The place after all that was asked of the stream so far.
    pub fn record(&self, stream: &Stream) -> Result<(), LaunchError> {
        // SAFETY: both live.
        unsafe { raw::record(self.raw, stream.raw) }
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: made by `new`, ended once.
        unsafe { raw::destroy_event(self.raw) };
    }
}
