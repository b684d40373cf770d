//! The emulated device: memory whose accesses can be looked at, streams that run at once, graphs that are lists.

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_int, c_void};
use std::marker::PhantomData;
use std::ptr;
use std::sync::{Arc, Weak};

use thiserror::Error as ThisError;

use crate::cuda::ffi::{RawStream, emulated as ffi};
use crate::error::Error;
use crate::layout::{DType, Element, Memory};

/// Why the device refused or a kernel failed: CUDA's number, and what the emulation says of it.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[error("CUDA error {code}: {report}")]
pub struct LaunchError {
    /// `cudaError_t`.
    pub code: i32,
    /// `[name] sentence; kernel, block, thread, line`; see `cuda/README.md`.
    pub report: String,
}

impl LaunchError {
    /// The fault's name, as `shared_race`.
    pub fn name(&self) -> &str {
        self.report.strip_prefix('[').and_then(|rest| rest.split(']').next()).unwrap_or("")
    }
}

/// A return code as a result.
pub(in crate::cuda) fn checked(code: c_int) -> Result<(), LaunchError> {
    if code == 0 {
        return Ok(());
    }
    // SAFETY: the report is a string of this thread's that lives until the next call that can fail.
    let report = unsafe { CStr::from_ptr(ffi::loam_emulation_report()) };
    Err(LaunchError { code, report: report.to_string_lossy().into_owned() })
}

/// As many as this device has: few, so that matrices of a test's size have too few tiles for them, and enough.
pub(in crate::cuda) const fn multiprocessors() -> usize {
    4
}

/// What the emulation itself can be asked.
#[derive(Debug)]
pub struct Emulation;

impl Emulation {
    /// Whether accesses are looked at.
    pub const CHECKED: bool = !cfg!(feature = "emulate-unchecked");

    /// Another order of blocks and threads from here on.
    pub fn seed(seed: u64) {
        // SAFETY: sets a number.
        unsafe { ffi::loam_emulation_seed(seed) }
    }

    /// So far: thread barriers, collectives, matrix products (each lane counted), accesses looked at.
    pub fn counts() -> [u64; 4] {
        let mut counts = [0; 4];
        // SAFETY: room for four.
        unsafe { ffi::loam_emulation_counts(counts.as_mut_ptr()) };
        counts
    }
}

/// Values on the device, in an allocation of their own.
#[derive(Debug)]
pub struct DeviceMemory {
    at: *mut c_void,
    dtype: DType,
    len: usize,
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

// SAFETY: an address; what is at it is reached through the device alone, which takes one launch at a time.
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

impl DeviceMemory {
    /// `len` values that are not yet anything. `what` names them in reports.
    pub fn new(what: &str, dtype: DType, len: usize) -> Result<Self, LaunchError> {
        let what = CString::new(what).unwrap_or_default();
        let mut at = ptr::null_mut();
        // SAFETY: a string, and room for an address.
        checked(unsafe { ffi::loam_device_allocate(len * dtype.bytes(), what.as_ptr(), &raw mut at) })?;
        Ok(Self { at, dtype, len, life: Arc::default() })
    }

    /// A copy of host values.
    pub fn of<T: Element>(what: &str, values: &[T]) -> Result<Self, LaunchError> {
        let mut memory = Self::new(what, T::DTYPE, values.len())?;
        memory.write(&Stream::default(), values)?;
        Ok(memory)
    }

    /// Overwrites the first values.
    pub fn write<T: Element>(&mut self, stream: &Stream, values: &[T]) -> Result<(), LaunchError> {
        // SAFETY: `values` are that many bytes; the device looks whether they fit.
        checked(unsafe { ffi::loam_device_write(stream.raw, self.at, values.as_ptr().cast(), size_of_val(values)) })
    }

    /// Overwrites values from `at` on, of a memory that kernels may know: the stream's order keeps them apart.
    pub(in crate::cuda) fn write_at<T: Element>(
        &self,
        stream: &Stream,
        at: usize,
        values: &[T],
    ) -> Result<(), LaunchError> {
        let to = self.at.wrapping_byte_add(at * self.dtype.bytes());
        // SAFETY: `values` are that many bytes; the device looks whether they fit.
        checked(unsafe { ffi::loam_device_write(stream.raw, to, values.as_ptr().cast(), size_of_val(values)) })
    }

    /// Overwrites values from `at` on with bytes that are such values.
    #[expect(clippy::needless_pass_by_ref_mut, reason = "what is written there is nobody else's to read meanwhile")]
    pub(in crate::cuda) fn write_bytes(&mut self, stream: &Stream, at: usize, from: &[u8]) -> Result<(), Error> {
        let to = self.range("what is written", at, from.len())?;
        // SAFETY: the range was checked.
        Ok(checked(unsafe { ffi::loam_device_write(stream.raw, to, from.as_ptr().cast(), from.len()) })?)
    }

    /// Values from `at` on as bytes, when what was asked for before is done.
    pub(in crate::cuda) fn read_bytes(&self, stream: &Stream, at: usize, to: &mut [u8]) -> Result<(), Error> {
        let from = self.range("what is read", at, to.len())?;
        // SAFETY: the range was checked.
        Ok(checked(unsafe { ffi::loam_device_read(stream.raw, to.as_mut_ptr().cast(), from, to.len()) })?)
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

    /// All values, when what was asked for before is done.
    pub fn read<T: Element>(&self, stream: &Stream) -> Result<Vec<T>, LaunchError> {
        assert!(T::DTYPE == self.dtype, "values are read as what they are");
        let mut values = vec![T::default(); self.len];
        // SAFETY: `values` has room for all, and any bits are a value of an `Element`.
        checked(unsafe {
            ffi::loam_device_read(stream.raw, values.as_mut_ptr().cast(), self.at, size_of_val(values.as_slice()))
        })?;
        Ok(values)
    }

    /// Copies all of another memory to the beginning of this one.
    pub fn copy_from(&mut self, stream: &Stream, from: &Self) -> Result<(), LaunchError> {
        // SAFETY: the device looks whether both ranges are inside.
        checked(unsafe { ffi::loam_device_copy(stream.raw, self.at, from.at, from.len * from.dtype.bytes()) })
    }

    /// Sets every byte.
    pub fn fill(&mut self, stream: &Stream, value: u8) -> Result<(), LaunchError> {
        // SAFETY: all of it, and no more.
        checked(unsafe { ffi::loam_device_fill(stream.raw, self.at, value.into(), self.len * self.dtype.bytes()) })
    }

    /// Its address on the device, for launchers.
    pub(in crate::cuda) fn address(&self) -> *mut c_void {
        GIVEN.with_borrow_mut(|given| given.iter_mut().for_each(|given| given.push(Arc::downgrade(&self.life))));
        self.at
    }
}

impl Drop for DeviceMemory {
    fn drop(&mut self) {
        // SAFETY: allocated by `new`, freed once.
        unsafe { ffi::loam_device_free(self.at) };
    }
}

/// Work in the order it was asked for. The default one is the device's first.
#[derive(Debug)]
pub struct Stream {
    raw: RawStream,
    /// A stream belongs to the thread that captures it.
    here: PhantomData<*const ()>,
}

impl Default for Stream {
    fn default() -> Self {
        Self { raw: ptr::null_mut(), here: PhantomData }
    }
}

impl Stream {
    /// Another stream.
    pub fn new() -> Result<Self, LaunchError> {
        let mut raw = ptr::null_mut();
        // SAFETY: room for an address.
        checked(unsafe { ffi::loam_stream_create(&raw mut raw) })?;
        Ok(Self { raw, here: PhantomData })
    }

    /// Waits until all is done.
    pub fn synchronize(&self) -> Result<(), LaunchError> {
        // SAFETY: a stream that lives.
        checked(unsafe { ffi::loam_stream_synchronize(self.raw) })
    }

    /// What is asked for after this waits for the event. If that was recorded in a capture, so is what follows here.
    pub fn wait(&self, event: &Event) -> Result<(), LaunchError> {
        // SAFETY: both live.
        checked(unsafe { ffi::loam_stream_wait(self.raw, event.raw) })
    }

    /// Notes down what `work` asks of this stream, and of those it forks to, as a graph; runs nothing.
    pub fn capture(&self, work: impl FnOnce() -> Result<(), LaunchError>) -> Result<Graph, LaunchError> {
        assert!(!self.raw.is_null(), "the first stream is never captured");
        // SAFETY: a stream that lives.
        checked(unsafe { ffi::loam_capture_begin(self.raw) })?;
        let worked = work();
        let mut raw = ptr::null_mut();
        // SAFETY: room for an address.
        let ended = checked(unsafe { ffi::loam_capture_end(self.raw, &raw mut raw) });
        let graph = Graph { raw };
        worked.and(ended).map(|()| graph)
    }

    pub(in crate::cuda) const fn raw(&self) -> RawStream {
        self.raw
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if !self.raw.is_null() {
            // SAFETY: made by `new`, ended once.
            unsafe { ffi::loam_stream_destroy(self.raw) };
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
        let mut raw = ptr::null_mut();
        // SAFETY: room for an address.
        checked(unsafe { ffi::loam_event_create(&raw mut raw) })?;
        Ok(Self { raw })
    }

    /// The place after all that was asked of the stream so far.
    pub fn record(&self, stream: &Stream) -> Result<(), LaunchError> {
        // SAFETY: both live.
        checked(unsafe { ffi::loam_event_record(self.raw, stream.raw) })
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: made by `new`, ended once.
        unsafe { ffi::loam_event_destroy(self.raw) };
    }
}

/// A captured graph: the list of its nodes.
#[derive(Debug)]
pub struct Graph {
    raw: *mut c_void,
}

impl Graph {
    /// Runs every node.
    pub fn launch(&self, stream: &Stream) -> Result<(), LaunchError> {
        // SAFETY: both live.
        checked(unsafe { ffi::loam_graph_launch(self.raw, stream.raw) })
    }

    /// Each node's name (its kernel's, or `copy`, or `fill`), with how many nodes it waits for itself.
    pub fn nodes(&self) -> Vec<(String, usize)> {
        // SAFETY: nodes below their number; names live as long as the graph.
        unsafe {
            let nodes = 0..ffi::loam_graph_nodes(self.raw);
            let name = |node| CStr::from_ptr(ffi::loam_graph_node(self.raw, node)).to_string_lossy().into_owned();
            nodes.map(|node| (name(node), ffi::loam_graph_waits(self.raw, node))).collect()
        }
    }
}

// SAFETY: a list that is read by one launch at a time: who holds it launches it under a lock.
unsafe impl Send for Graph {}

impl Drop for Graph {
    fn drop(&mut self) {
        // SAFETY: made by a capture, or null after one that failed; ended once.
        unsafe { ffi::loam_graph_destroy(self.raw) };
    }
}
