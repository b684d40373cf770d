//! What a GPU noted down of a stream, to be launched again as a whole.

use std::ffi::CStr;
use std::ptr;

use cudarc::driver::result::{graph, stream};
use cudarc::driver::sys;

use super::driver::{first_stream, gpu};
use super::{LaunchError, Stream};
use crate::cuda::ffi::RawStream;

/// What other threads do meanwhile is none of the capture's.
pub(super) unsafe fn begin_capture(stream: RawStream) -> Result<(), LaunchError> {
    let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
    // SAFETY: as who calls says.
    Ok(unsafe { stream::begin_capture(stream.cast(), mode) }?)
}

pub(super) unsafe fn end_capture(stream: RawStream) -> Result<Graph, LaunchError> {
    // SAFETY: as who calls says. A graph that cannot be made ready is ended with `captured`.
    unsafe {
        let captured = Graph { graph: stream::end_capture(stream.cast())?, ready: ptr::null_mut() };
        let ready = graph::instantiate(captured.graph, sys::CUgraphInstantiate_flags(0))?;
        let graph = Graph { graph: captured.graph, ready };
        std::mem::forget(captured);
        graph::upload(ready, first_stream().cast())?;
        Ok(graph)
    }
}

/// A captured graph, and what of it is ready to be launched.
#[derive(Debug)]
pub struct Graph {
    graph: sys::CUgraph,
    ready: sys::CUgraphExec,
}

impl Graph {
    /// Runs every node.
    pub fn launch(&self, stream: &Stream) -> Result<(), LaunchError> {
        gpu()?;
        // SAFETY: both live.
        Ok(unsafe { graph::launch(self.ready, stream.raw().cast()) }?)
    }

    /// Each node's name (its kernel's as the compiler wrote it, or its kind), with how many nodes it waits for itself.
    pub fn nodes(&self) -> Vec<(String, usize)> {
        // SAFETY: a graph that lives; each function is asked for a count before it is given room for so many.
        unsafe {
            let mut count = 0;
            if sys::cuGraphGetNodes(self.graph, ptr::null_mut(), &raw mut count).result().is_err() {
                return Vec::new();
            }
            let mut nodes = vec![ptr::null_mut(); count];
            if sys::cuGraphGetNodes(self.graph, nodes.as_mut_ptr(), &raw mut count).result().is_err() {
                return Vec::new();
            }
            nodes.truncate(count);
            nodes.into_iter().map(|node| (name_of(node), waits_of(node))).collect()
        }
    }
}

/// # Safety
///
/// A node of a graph that lives.
unsafe fn name_of(node: sys::CUgraphNode) -> String {
    let mut kind = sys::CUgraphNodeType::CU_GRAPH_NODE_TYPE_EMPTY;
    // SAFETY: as who calls says; room for what is asked, and names live as long as their functions.
    unsafe {
        if sys::cuGraphNodeGetType(node, &raw mut kind).result().is_err() {
            return String::new();
        }
        if kind != sys::CUgraphNodeType::CU_GRAPH_NODE_TYPE_KERNEL {
            return format!("{kind:?}").trim_start_matches("CU_GRAPH_NODE_TYPE_").to_lowercase();
        }
        let mut launch = std::mem::zeroed();
        let mut name = ptr::null();
        let asked = sys::cuGraphKernelNodeGetParams_v2(node, &raw mut launch).result().and_then(|()| {
            let is_kernel = launch.func.is_null();
            if is_kernel {
                sys::cuKernelGetName(&raw mut name, launch.kern).result()
            } else {
                sys::cuFuncGetName(&raw mut name, launch.func).result()
            }
        });
        if asked.is_err() || name.is_null() {
            return String::new();
        }
        CStr::from_ptr(name).to_string_lossy().into_owned()
    }
}

/// # Safety
///
/// A node of a graph that lives.
unsafe fn waits_of(node: sys::CUgraphNode) -> usize {
    let mut count = 0;
    // SAFETY: as who calls says; a count alone is asked for.
    let asked = unsafe { sys::cuGraphNodeGetDependencies_v2(node, ptr::null_mut(), ptr::null_mut(), &raw mut count) };
    asked.result().map_or(0, |()| count)
}

// SAFETY: handles that any thread may name; who holds it launches it under a lock.
unsafe impl Send for Graph {}

impl Drop for Graph {
    fn drop(&mut self) {
        // SAFETY: made by a capture, ended once. What fails here has failed before, and was said.
        unsafe {
            if !self.ready.is_null() {
                let _ = graph::exec_destroy(self.ready);
            }
            let _ = graph::destroy(self.graph);
        }
    }
}
