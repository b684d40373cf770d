//! The emulated device: memory whose accesses can be looked at, streams that run at once, graphs that are lists.

use std::ffi::{CStr, CString, c_int, c_void};
use std::ptr;

use super::{LaunchError, Stream, checked};
use crate::backend::Reading;
use crate::cuda::ffi::{LoamLayer, LoamRows, LoamType, RawStream, emulated as ffi};
use crate::error::Error;

/// GPUs that can be opened: one.
pub fn gpus() -> Result<Vec<String>, Error> {
    Ok(vec![describe()])
}

/// There is nothing to open.
pub(in crate::cuda) fn open(_ordinal: usize) -> Result<(), Error> {
    Ok(())
}

/// What it is, for people.
pub(in crate::cuda) fn describe() -> String {
    "cuda, emulated".to_owned()
}

/// Its memory is the host's.
pub(in crate::cuda) const fn free_bytes() -> Result<Option<usize>, LaunchError> {
    Ok(None)
}

/// As many as this device has: few, so that matrices of a test's size have too few tiles for them, and enough.
pub(in crate::cuda) const fn multiprocessors() -> usize {
    4
}

/// Shared memory of a block: a data centre's GPU.
pub(in crate::cuda) const fn shared_bytes_max() -> usize {
    232_448
}

/// Products by a library: here there is none, and `gemm.cu` computes all.
#[derive(Debug)]
pub(in crate::cuda) enum Library {}

impl Library {
    pub(in crate::cuda) const fn open() -> Option<Self> {
        None
    }

    pub(in crate::cuda) const fn linear(
        &self,
        _x: LoamRows,
        _layers: (&[LoamLayer], LoamType),
        _out: LoamRows,
        _stream: RawStream,
        _ours: &mut dyn FnMut() -> Result<(), Error>,
    ) -> Result<(), Error> {
        match *self {}
    }
}

/// A code that is an error, with what the device says of it.
pub(super) fn failed(code: c_int) -> LaunchError {
    // SAFETY: the report is a string of this thread's that lives until the next call that can fail.
    let report = unsafe { CStr::from_ptr(ffi::loam_emulation_report()) };
    LaunchError { code, report: report.to_string_lossy().into_owned() }
}

pub(super) fn allocate(bytes: usize, what: &str) -> Result<*mut c_void, LaunchError> {
    let what = CString::new(what).unwrap_or_default();
    let mut at = ptr::null_mut();
    // SAFETY: a string, and room for an address.
    checked(unsafe { ffi::loam_device_allocate(bytes, what.as_ptr(), &raw mut at) })?;
    Ok(at)
}

pub(super) unsafe fn free(at: *mut c_void) {
    // SAFETY: as who calls says.
    unsafe { ffi::loam_device_free(at) };
}

pub(super) const fn first_stream() -> RawStream {
    ptr::null_mut()
}

pub(super) unsafe fn write(stream: RawStream, to: *mut c_void, from: &[u8]) -> Result<(), LaunchError> {
    // SAFETY: `from` is that many bytes; the device looks whether they fit.
    checked(unsafe { ffi::loam_device_write(stream, to, from.as_ptr().cast(), from.len()) })
}

/// The same as in the first stream, which runs at once.
pub(super) unsafe fn write_beside(to: *mut c_void, from: &[u8]) -> Result<(), LaunchError> {
    // SAFETY: as who calls says.
    unsafe { write(first_stream(), to, from) }
}

pub(super) unsafe fn read(stream: RawStream, to: &mut [u8], from: *const c_void) -> Result<(), LaunchError> {
    // SAFETY: `to` is that many bytes; the device looks whether they are there.
    checked(unsafe { ffi::loam_device_read(stream, to.as_mut_ptr().cast(), from, to.len()) })
}

/// All was done when it was asked for.
pub(super) unsafe fn begin_read(from: *const c_void, bytes: usize) -> Result<Reading, LaunchError> {
    let mut read = vec![0; bytes];
    // SAFETY: as who calls says.
    unsafe { self::read(first_stream(), &mut read, from) }?;
    Ok(Reading::done(read))
}

pub(super) unsafe fn copy(
    stream: RawStream,
    to: *mut c_void,
    from: *const c_void,
    bytes: usize,
) -> Result<(), LaunchError> {
    // SAFETY: the device looks whether both ranges are inside.
    checked(unsafe { ffi::loam_device_copy(stream, to, from, bytes) })
}

pub(super) unsafe fn fill(stream: RawStream, at: *mut c_void, value: u8, bytes: usize) -> Result<(), LaunchError> {
    // SAFETY: the device looks whether all are inside.
    checked(unsafe { ffi::loam_device_fill(stream, at, value.into(), bytes) })
}

pub(super) unsafe fn clear_beside(at: *mut c_void, bytes: usize) -> Result<(), LaunchError> {
    // SAFETY: as who calls says.
    unsafe { fill(first_stream(), at, 0, bytes) }
}

pub(super) fn create_stream() -> Result<RawStream, LaunchError> {
    let mut stream = ptr::null_mut();
    // SAFETY: room for an address.
    checked(unsafe { ffi::loam_stream_create(&raw mut stream) })?;
    Ok(stream)
}

pub(super) unsafe fn destroy_stream(stream: RawStream) {
    // SAFETY: as who calls says.
    unsafe { ffi::loam_stream_destroy(stream) };
}

pub(super) unsafe fn synchronize(stream: RawStream) -> Result<(), LaunchError> {
    // SAFETY: as who calls says.
    checked(unsafe { ffi::loam_stream_synchronize(stream) })
}

pub(super) fn create_event() -> Result<*mut c_void, LaunchError> {
    let mut event = ptr::null_mut();
    // SAFETY: room for an address.
    checked(unsafe { ffi::loam_event_create(&raw mut event) })?;
    Ok(event)
}

pub(super) unsafe fn destroy_event(event: *mut c_void) {
    // SAFETY: as who calls says.
    unsafe { ffi::loam_event_destroy(event) };
}

pub(super) unsafe fn record(event: *mut c_void, stream: RawStream) -> Result<(), LaunchError> {
    // SAFETY: as who calls says.
    checked(unsafe { ffi::loam_event_record(event, stream) })
}

pub(super) unsafe fn wait(stream: RawStream, event: *mut c_void) -> Result<(), LaunchError> {
    // SAFETY: as who calls says.
    checked(unsafe { ffi::loam_stream_wait(stream, event) })
}

pub(super) unsafe fn begin_capture(stream: RawStream) -> Result<(), LaunchError> {
    // SAFETY: as who calls says.
    checked(unsafe { ffi::loam_capture_begin(stream) })
}

pub(super) unsafe fn end_capture(stream: RawStream) -> Result<Graph, LaunchError> {
    let mut graph = ptr::null_mut();
    // SAFETY: as who calls says; room for an address.
    let ended = checked(unsafe { ffi::loam_capture_end(stream, &raw mut graph) });
    let graph = Graph { raw: graph };
    ended.map(|()| graph)
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
        checked(unsafe { ffi::loam_graph_launch(self.raw, stream.raw()) })
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
