//! The stand-in for NVIDIA's driver: that it does what it may as late as it may, and sees who relies on more.
//!
//! `cargo nextest run -p loam-kernels --features rehearse --test rehearsal`

use std::ffi::{c_int, c_uint, c_void};
use std::process::Command;
use std::ptr;

use loam_kernels::backend::Device;
use loam_kernels::cuda::device::Stream;
use loam_kernels::cuda::{Cuda, CudaMode};
use loam_kernels::layout::DType;

unsafe extern "C" {
    fn cuStreamCreate(out: *mut *mut c_void, flags: c_uint) -> c_int;
    fn cuStreamSynchronize(stream: *mut c_void) -> c_int;
    fn cuStreamWaitEvent(stream: *mut c_void, event: *mut c_void, flags: c_uint) -> c_int;
    fn cuStreamBeginCapture_v2(stream: *mut c_void, mode: c_int) -> c_int;
    fn cuStreamEndCapture(stream: *mut c_void, out: *mut *mut c_void) -> c_int;
    fn cuEventCreate(out: *mut *mut c_void, flags: c_uint) -> c_int;
    fn cuEventRecord(event: *mut c_void, stream: *mut c_void) -> c_int;
    fn cuMemAllocAsync(out: *mut u64, bytes: usize, stream: *mut c_void) -> c_int;
    fn cuMemFreeAsync(at: u64, stream: *mut c_void) -> c_int;
    fn cuMemHostAlloc(out: *mut *mut c_void, bytes: usize, flags: c_uint) -> c_int;
    fn cuMemcpyHtoDAsync_v2(to: u64, from: *const c_void, bytes: usize, stream: *mut c_void) -> c_int;
    fn cuMemcpyDtoHAsync_v2(to: *mut c_void, from: u64, bytes: usize, stream: *mut c_void) -> c_int;
    fn cuMemcpyDtoDAsync_v2(to: u64, from: u64, bytes: usize, stream: *mut c_void) -> c_int;
    fn cuMemsetD8Async(at: u64, value: u8, bytes: usize, stream: *mut c_void) -> c_int;
}

const BYTES: usize = 64;
const INVALID_VALUE: c_int = 1;
const INVALID_CONTEXT: c_int = 201;
const CAPTURE_UNSUPPORTED: c_int = 900;
const CAPTURE_INVALIDATED: c_int = 901;
const CAPTURE_UNJOINED: c_int = 904;

#[track_caller]
fn done(code: c_int) {
    assert_eq!(code, 0, "the stand-in refused");
}

#[derive(Clone, Copy)]
struct Raw(*mut c_void);

/// A stream of a thread with a context.
fn stream() -> Raw {
    Cuda::open(0, CudaMode::Deterministic).expect("the stand-in, which is always there");
    // Has this thread know the context.
    drop(Stream::default());
    let mut stream = ptr::null_mut();
    // SAFETY: room for a handle, as in all that follows; addresses are such as the stand-in gave.
    done(unsafe { cuStreamCreate(&raw mut stream, 1) });
    Raw(stream)
}

fn event() -> Raw {
    let mut event = ptr::null_mut();
    // SAFETY: as above.
    done(unsafe { cuEventCreate(&raw mut event, 2) });
    Raw(event)
}

fn memory(stream: Raw) -> u64 {
    let mut at = 0;
    // SAFETY: as above.
    done(unsafe { cuMemAllocAsync(&raw mut at, BYTES, stream.0) });
    at
}

/// Locked memory, all of one value.
fn locked(value: u8) -> &'static mut [u8] {
    let mut at = ptr::null_mut();
    // SAFETY: as above; it is never freed.
    unsafe {
        done(cuMemHostAlloc(&raw mut at, BYTES, 0));
        let bytes = std::slice::from_raw_parts_mut(at.cast::<u8>(), BYTES);
        bytes.fill(value);
        bytes
    }
}

/// Set where a test runs in a process of its own.
const ALONE: &str = "LOAM_REHEARSAL_ALONE";

/// What a test does, by itself in a process in which nothing is done before it must be: whether that ends well, and what it
/// says. In that process: does it.
fn late(test: &str, body: impl FnOnce()) -> Option<(bool, String)> {
    if std::env::var_os(ALONE).is_some() {
        body();
        return None;
    }
    let program = std::env::current_exe().expect("this program");
    let mut command = Command::new(program);
    let command = command.args(["--exact", test, "--nocapture"]).env(ALONE, "").env("LOAM_DRIVER_PACE", "late");
    let output = command.output().expect("it can be started");
    Some((output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned()))
}

#[track_caller]
fn passes_late(test: &str, body: impl FnOnce()) {
    if let Some((passes, said)) = late(test, body) {
        assert!(passes, "{said}");
    }
}

#[track_caller]
fn ends_with(why: &str, test: &str, fault: impl FnOnce()) {
    if let Some((passes, said)) = late(test, fault) {
        assert!(!passes && said.contains(why), "{said}");
    }
}

#[test]
fn locked_memory_is_read_and_written_late() {
    passes_late("locked_memory_is_read_and_written_late", || {
        let (stream, given, got) = (stream(), locked(1), locked(0));
        let at = memory(stream);
        // SAFETY: as above.
        unsafe {
            done(cuMemcpyHtoDAsync_v2(at, given.as_ptr().cast(), BYTES, stream.0));
            given.fill(2);
            done(cuMemcpyDtoHAsync_v2(got.as_mut_ptr().cast(), at, BYTES, stream.0));
            assert_eq!(got, [0; BYTES], "nobody has waited");
            done(cuStreamSynchronize(stream.0));
            assert_eq!(got, [2; BYTES], "what was there when it was copied");
        }
    });
}

#[test]
fn what_is_read_while_steps_go_on_is_waited_for() {
    passes_late("what_is_read_while_steps_go_on_is_waited_for", || {
        let gpu = Cuda::open(0, CudaMode::Deterministic).expect("the stand-in, which is always there");
        let mut memory = gpu.allocate(DType::U32, 4).expect("memory");
        let reads: Vec<_> = (0..4_u32)
            .map(|turn| {
                gpu.write(&mut memory, 0, bytes_of(&[turn; 4])).expect("it is written");
                gpu.begin_read(&memory, 0, 16).expect("a read")
            })
            .collect();
        for (turn, read) in reads.into_iter().enumerate() {
            assert_eq!(read.wait().expect("bytes"), bytes_of(&[turn as u32; 4]), "as it was when it was asked for");
        }
    });
}

fn bytes_of(values: &[u32; 4]) -> &[u8] {
    // SAFETY: any bits are bytes.
    unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) }
}

#[test]
fn other_memory_is_read_at_once_and_waited_for() {
    let (stream, mut given, mut got) = (stream(), vec![1_u8; BYTES], vec![0_u8; BYTES]);
    let at = memory(stream);
    // SAFETY: as above.
    unsafe {
        done(cuMemcpyHtoDAsync_v2(at, given.as_ptr().cast(), BYTES, stream.0));
        given.fill(2);
        done(cuMemcpyDtoHAsync_v2(got.as_mut_ptr().cast(), at, BYTES, stream.0));
    }
    assert_eq!(got, [1; BYTES]);
}

#[test]
fn streams_go_their_own_way_but_for_events() {
    passes_late("streams_go_their_own_way_but_for_events", || {
        let (one, two, is_written) = (stream(), stream(), event());
        let (at, other, got) = (memory(one), memory(one), locked(0));
        // SAFETY: as above.
        unsafe {
            done(cuMemsetD8Async(at, 1, BYTES, one.0));
            done(cuMemsetD8Async(other, 1, BYTES, one.0));
            done(cuStreamSynchronize(one.0));
            done(cuMemsetD8Async(at, 2, BYTES, one.0));
            done(cuEventRecord(is_written.0, one.0));
            done(cuMemsetD8Async(other, 2, BYTES, one.0));
            done(cuMemcpyDtoHAsync_v2(got.as_mut_ptr().cast(), other, BYTES, two.0));
            done(cuStreamSynchronize(two.0));
            assert_eq!(got, [1; BYTES], "the other stream has not come so far");
            done(cuStreamWaitEvent(two.0, is_written.0, 0));
            done(cuMemcpyDtoHAsync_v2(got.as_mut_ptr().cast(), at, BYTES, two.0));
            done(cuStreamSynchronize(two.0));
            assert_eq!(got, [2; BYTES], "the event was waited for");
        }
    });
}

#[test]
fn memory_ends_where_its_free_stands_in_its_stream() {
    ends_with("after its free", "memory_ends_where_its_free_stands_in_its_stream", || {
        let (one, two) = (stream(), stream());
        let (at, to) = (memory(one), memory(one));
        // SAFETY: what is planted is seen before anything else could happen.
        unsafe {
            done(cuStreamSynchronize(one.0));
            done(cuMemcpyDtoDAsync_v2(to, at, BYTES, one.0));
            done(cuMemFreeAsync(at, two.0));
            done(cuStreamSynchronize(two.0));
            done(cuStreamSynchronize(one.0));
        }
    });
}

#[test]
fn memory_begins_where_its_allocation_stands_in_its_stream() {
    ends_with("before its time", "memory_begins_where_its_allocation_stands_in_its_stream", || {
        let (one, two) = (stream(), stream());
        let at = memory(one);
        // SAFETY: as above.
        unsafe {
            done(cuMemsetD8Async(at, 0, BYTES, two.0));
            done(cuStreamSynchronize(two.0));
        }
    });
}

#[test]
fn memory_ends_where_it_ends() {
    ends_with("beyond its end", "memory_ends_where_it_ends", || {
        let stream = stream();
        let at = memory(stream);
        // SAFETY: as above.
        unsafe {
            done(cuStreamSynchronize(stream.0));
            ptr::with_exposed_provenance_mut::<u8>(at as usize + 4096).write_volatile(0);
        }
    });
}

#[test]
fn what_is_no_memory_of_the_devices_is_refused() {
    let stream = stream();
    let at = memory(stream);
    // SAFETY: as above.
    unsafe {
        assert_eq!(cuMemsetD8Async(at, 0, BYTES + 1, stream.0), INVALID_VALUE);
        assert_eq!(cuMemFreeAsync(at + 1, stream.0), INVALID_VALUE);
        done(cuMemFreeAsync(at, stream.0));
        assert_eq!(cuMemsetD8Async(at, 0, BYTES, stream.0), INVALID_VALUE);
        assert_eq!(cuMemFreeAsync(at, stream.0), INVALID_VALUE);
    }
}

#[test]
fn the_library_of_products_is_there() {
    let gpu = Cuda::open(0, CudaMode::Fast).expect("the stand-in, which is always there");
    assert_eq!(gpu.describe(), "cuda:0 stand-in, sm_90, 4 multiprocessors, driver of CUDA 13.0, fast, with cuBLASLt");
    assert!(!gpu.is_deterministic() && gpu.free_bytes().expect("a number").is_some());
}

#[test]
fn a_thread_needs_a_context_of_its_own() {
    stream();
    let refused = std::thread::spawn(|| {
        let mut stream = ptr::null_mut();
        // SAFETY: as above.
        unsafe { cuStreamCreate(&raw mut stream, 1) }
    });
    assert_eq!(refused.join().expect("a thread"), INVALID_CONTEXT);
}

#[test]
fn a_capture_holds_no_waits_and_no_loose_ends() {
    let (one, two, fork) = (stream(), stream(), event());
    let (at, mut graph, mut host) = (memory(one), ptr::null_mut(), ptr::null_mut());
    // SAFETY: as above.
    unsafe {
        done(cuStreamSynchronize(one.0));
        done(cuStreamBeginCapture_v2(one.0, 1));
        assert_eq!(cuMemHostAlloc(&raw mut host, BYTES, 0), CAPTURE_UNSUPPORTED);
        assert_eq!(cuStreamSynchronize(one.0), CAPTURE_UNSUPPORTED);
        assert_eq!(cuStreamEndCapture(one.0, &raw mut graph), CAPTURE_INVALIDATED);

        done(cuStreamBeginCapture_v2(one.0, 1));
        done(cuEventRecord(fork.0, one.0));
        done(cuStreamWaitEvent(two.0, fork.0, 0));
        done(cuMemsetD8Async(at, 0, BYTES, two.0));
        assert_eq!(cuStreamEndCapture(one.0, &raw mut graph), CAPTURE_UNJOINED);
    }
}
