//! A GPU, through its driver.
//!
//! A process uses one GPU. It has three streams of its own: the *first*, in which steps run; one *beside* it, in which
//! adapters and weights come while steps run; and one for *allocating*, on which nothing else is ever waited for. Memory is
//! of the driver's pool and stays there when it is freed, so that no adapter that comes or goes makes the GPU wait: a
//! free is one more thing in the first stream's order, after all steps that may still read.
//!
//! cudarc's own tracking of events is never on, since nothing here is made through its safe half.

use std::cell::Cell;
use std::ffi::{CStr, c_int, c_void};
use std::fmt::Write as _;
use std::ptr;
use std::sync::{Mutex, OnceLock, PoisonError};

use cudarc::driver::result::{
    DriverError, ctx, device, event, free_async, init, malloc_async, mem_get_info, mem_pool, memcpy_dtod_async,
    memcpy_dtoh_async, memset_d8_async, primary_ctx, stream,
};
use cudarc::driver::sys;
use cudarc::driver::sys::CUdevice_attribute_enum as Attribute;
use cudarc::driver::sys::CUmemPool_attribute_enum as PoolAttribute;

use super::LaunchError;
use super::arriving::{PLACE_BYTES, Places};
pub use super::captured::Graph;
pub(super) use super::captured::{begin_capture, end_capture};
pub(in crate::cuda) use super::library::Library;
use super::staging::Staging;
use crate::backend::Reading;
use crate::cuda::ffi::{RawStream, cudaGetErrorName, cudaGetErrorString};
use crate::error::Error;

/// What the kernels were compiled for: the toolkit's version as the driver counts, and the first driver that has it.
const DRIVER_NEEDED: (c_int, &str) = (13_000, "580");
/// The least compute capability that they were compiled for.
const CAPABILITY_NEEDED: (c_int, c_int) = (8, 0);

/// The GPU of this process.
#[derive(Debug)]
pub(super) struct Gpu {
    ordinal: usize,
    device: sys::CUdevice,
    name: String,
    capability: (c_int, c_int),
    multiprocessors: usize,
    shared_bytes_max: usize,
    driver: c_int,
    context: Raw,
    first: Raw,
    allocating: Raw,
    to_first: Mutex<Staging>,
    beside: Mutex<Staging>,
    arriving: Places,
}

/// The driver's handle of something, which any thread may name.
#[derive(Clone, Copy, Debug)]
struct Raw(*mut c_void);

// SAFETY: a name; the driver's functions may be called by any thread.
unsafe impl Send for Raw {}
// SAFETY: as above.
unsafe impl Sync for Raw {}

static GPU: OnceLock<Gpu> = OnceLock::new();
/// Held by who opens one.
static OPENING: Mutex<()> = Mutex::new(());

thread_local! {
    static IS_BOUND: Cell<bool> = const { Cell::new(false) };
}

impl From<DriverError> for LaunchError {
    fn from(error: DriverError) -> Self {
        let words = |found: Result<&CStr, DriverError>| {
            found.map_or_else(|_| "an error without a name".to_owned(), |words| words.to_string_lossy().into_owned())
        };
        let report = format!("{}: {}", words(error.error_name()), words(error.error_string()));
        Self { code: error.0 as i32, report }
    }
}

/// A kernel's or a launch's code, with what CUDA says of it.
pub(super) fn failed(code: c_int) -> LaunchError {
    // SAFETY: for any number there are strings, which live as long as the process.
    let words = |at| unsafe { CStr::from_ptr(at) }.to_string_lossy();
    // SAFETY: as above.
    let (name, sentence) = unsafe { (cudaGetErrorName(code), cudaGetErrorString(code)) };
    LaunchError { code, report: format!("{}: {}", words(name), words(sentence)) }
}

/// Names of the GPUs that there are, in the driver's order; refused where none can be used.
pub fn gpus() -> Result<Vec<String>, Error> {
    start()?;
    (0..count()?).map(|ordinal| named(device::get(ordinal).and_then(device::get_name))).collect()
}

fn unusable<T>(reason: String) -> Result<T, Error> {
    Err(Error::Gpu { reason })
}

/// A refusal of the driver before there is anything to serve with.
fn named<T>(result: Result<T, DriverError>) -> Result<T, Error> {
    result.or_else(|error| unusable(LaunchError::from(error).to_string()))
}

/// Looks for a driver before anything is asked of it: where the library is absent, its callers panic.
fn start() -> Result<c_int, Error> {
    // SAFETY: opens a library and closes it again.
    if !unsafe { sys::is_culib_present() } {
        return unusable("there is no NVIDIA driver (no libcuda.so.1)".to_owned());
    }
    match init() {
        Ok(()) => {}
        Err(DriverError(sys::CUresult::CUDA_ERROR_NO_DEVICE)) => {
            return unusable("the NVIDIA driver finds no GPU".to_owned());
        }
        Err(error) => return named(Err(error)),
    }
    let mut version = 0;
    // SAFETY: room for a number.
    named(unsafe { sys::cuDriverGetVersion(&raw mut version) }.result())?;
    let (needed, first) = DRIVER_NEEDED;
    if version < needed {
        let [found, needed] = [version, needed].map(|version| format!("{}.{}", version / 1000, version % 1000 / 10));
        return unusable(format!(
            "the NVIDIA driver knows CUDA {found}; {needed} is needed: update it to {first} or later"
        ));
    }
    Ok(version)
}

fn count() -> Result<c_int, Error> {
    match named(device::get_count())? {
        ..=0 => unusable("the NVIDIA driver finds no GPU".to_owned()),
        count => Ok(count),
    }
}

/// Makes a GPU this process's. The same may be opened again.
pub(in crate::cuda) fn open(ordinal: usize) -> Result<(), Error> {
    let _alone = OPENING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(gpu) = GPU.get() {
        if gpu.ordinal != ordinal {
            return unusable(format!("this process uses GPU {} already, and a process uses one", gpu.ordinal));
        }
        return Ok(());
    }
    let driver = start()?;
    let count = count()?;
    let wanted = c_int::try_from(ordinal).ok().filter(|wanted| *wanted < count);
    let Some(wanted) = wanted else {
        return unusable(format!("there is no GPU {ordinal}; they are counted from 0, and there are {count}"));
    };
    let gpu = named(device::get(wanted))?;
    let name = named(device::get_name(gpu))?;
    // SAFETY: a device that the driver named.
    let attribute = |which| named(unsafe { device::get_attribute(gpu, which) });
    let capability = (
        attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
        attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
    );
    if capability < CAPABILITY_NEEDED {
        let ((major, minor), (major_needed, minor_needed)) = (capability, CAPABILITY_NEEDED);
        return unusable(format!(
            "GPU {ordinal} ({name}) has compute capability {major}.{minor}; {major_needed}.{minor_needed} is needed"
        ));
    }
    let count = |which| attribute(which).map(|count| usize::try_from(count).unwrap_or(0));
    let multiprocessors = count(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?.max(1);
    let shared_bytes_max = count(Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?;
    // SAFETY: a device that the driver named; its context is kept until the process ends.
    let context = named(unsafe { primary_ctx::retain(gpu) })?;
    // SAFETY: a context that was just given.
    named(unsafe { ctx::set_current(context) })?;
    IS_BOUND.set(true);
    named(keep_freed_memory(gpu))?;
    let create = || named(stream::create(stream::StreamKind::NonBlocking));
    let (first, allocating) = (create()?, create()?);
    let staging = |stream| named(Staging::new(stream)).map(Mutex::new);
    let gpu = Gpu {
        ordinal,
        device: gpu,
        name,
        capability,
        multiprocessors,
        shared_bytes_max,
        driver,
        context: Raw(context.cast()),
        first: Raw(first.cast()),
        allocating: Raw(allocating.cast()),
        to_first: staging(first)?,
        beside: staging(create()?)?,
        arriving: Places::default(),
    };
    GPU.set(gpu).expect("nobody else opens one meanwhile");
    Ok(())
}

/// What is freed stays the process's. Memory whose free still waits in a stream is given to nobody: that would make who
/// allocates wait with it.
fn keep_freed_memory(gpu: sys::CUdevice) -> Result<(), DriverError> {
    let (mut all, mut no) = (u64::MAX, c_int::from(false));
    // SAFETY: the pool of a device that the driver named, and values of the types that these attributes have.
    unsafe {
        let pool = device::get_default_mem_pool(gpu)?;
        let threshold = PoolAttribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
        mem_pool::set_attribute(pool, threshold, (&raw mut all).cast())?;
        let dependencies = PoolAttribute::CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES;
        mem_pool::set_attribute(pool, dependencies, (&raw mut no).cast())
    }
}

/// The process's GPU, which this thread may use from here on.
pub(super) fn gpu() -> Result<&'static Gpu, LaunchError> {
    let gpu = GPU.get().ok_or_else(|| LaunchError {
        code: sys::CUresult::CUDA_ERROR_NOT_INITIALIZED as i32,
        report: "no GPU was opened".to_owned(),
    })?;
    if !IS_BOUND.get() {
        // SAFETY: a context that is kept until the process ends.
        unsafe { ctx::set_current(gpu.context.0.cast()) }?;
        IS_BOUND.set(true);
    }
    Ok(gpu)
}

/// What it is, for people.
pub(in crate::cuda) fn describe() -> String {
    let Some(gpu) = GPU.get() else { return "cuda".to_owned() };
    let (major, minor) = gpu.capability;
    let mut line = format!("cuda:{} {}, sm_{major}{minor}", gpu.ordinal, gpu.name);
    let driver = (gpu.driver / 1000, gpu.driver % 1000 / 10);
    let _ = write!(line, ", {} multiprocessors, driver of CUDA {}.{}", gpu.multiprocessors, driver.0, driver.1);
    line
}

/// What the GPU has left, and what was freed here and stays this process's.
pub(in crate::cuda) fn free_bytes() -> Result<Option<usize>, LaunchError> {
    let gpu = gpu()?;
    let (free, _) = mem_get_info()?;
    let [mut reserved, mut used] = [0_u64; 2];
    // SAFETY: the pool of a device that the driver named, and room for numbers of the type that these attributes have.
    unsafe {
        let pool = device::get_default_mem_pool(gpu.device)?;
        let current = PoolAttribute::CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT;
        mem_pool::get_attribute(pool, current, (&raw mut reserved).cast())?;
        mem_pool::get_attribute(pool, PoolAttribute::CU_MEMPOOL_ATTR_USED_MEM_CURRENT, (&raw mut used).cast())?;
    }
    Ok(Some(free + usize::try_from(reserved.saturating_sub(used)).unwrap_or(0)))
}

pub(in crate::cuda) fn multiprocessors() -> usize {
    GPU.get().map_or(1, |gpu| gpu.multiprocessors)
}

/// Shared memory that a block can be given.
pub(in crate::cuda) fn shared_bytes_max() -> usize {
    GPU.get().map_or(0, |gpu| gpu.shared_bytes_max)
}

/// An address as the driver counts.
pub(super) fn pointer(at: *const c_void) -> sys::CUdeviceptr {
    at.addr() as sys::CUdeviceptr
}

pub(super) fn allocate(bytes: usize, _what: &str) -> Result<*mut c_void, LaunchError> {
    let gpu = gpu()?;
    if bytes == 0 {
        return Ok(ptr::null_mut());
    }
    let stream = gpu.allocating.0.cast();
    // SAFETY: streams that live. What comes back may be used in any order once the stream is through.
    unsafe {
        let at = match malloc_async(stream, bytes) {
            // What was freed may still wait behind steps, or lie in pieces.
            Err(DriverError(sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY)) => {
                stream::synchronize(gpu.first.0.cast())?;
                mem_pool::trim_to(device::get_default_mem_pool(gpu.device)?, 0)?;
                malloc_async(stream, bytes)?
            }
            other => other?,
        };
        stream::synchronize(stream)?;
        Ok(ptr::with_exposed_provenance_mut(at as usize))
    }
}

pub(super) unsafe fn free(at: *mut c_void) {
    if at.is_null() {
        return;
    }
    if let Ok(gpu) = gpu() {
        // SAFETY: as who calls says. What fails here has failed before, and was said.
        let _ = unsafe { free_async(pointer(at), gpu.first.0.cast()) };
    }
}

/// The stream in which steps run; this thread may launch in it from here on. Null before a GPU is opened.
pub(super) fn first_stream() -> RawStream {
    gpu().map_or(ptr::null_mut(), |gpu| gpu.first.0)
}

/// The first stream has its staging memory; the others, which tests make, go the driver's own way.
pub(super) unsafe fn write(stream: RawStream, to: *mut c_void, from: &[u8]) -> Result<(), LaunchError> {
    let gpu = gpu()?;
    if stream == gpu.first.0 {
        let mut staging = gpu.to_first.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: as who calls says.
        return Ok(unsafe { staging.send(pointer(to), from) }?);
    }
    // SAFETY: as who calls says; `from` may go when the stream is through.
    unsafe {
        cudarc::driver::result::memcpy_htod_async(pointer(to), from, stream.cast())?;
        Ok(stream::synchronize(stream.cast())?)
    }
}

/// Writes what no step reads yet, and waits for that alone.
pub(super) unsafe fn write_beside(to: *mut c_void, from: &[u8]) -> Result<(), LaunchError> {
    let mut staging = gpu()?.beside.lock().unwrap_or_else(PoisonError::into_inner);
    // SAFETY: as who calls says.
    unsafe { staging.send(pointer(to), from) }?;
    let stream = staging.stream();
    // Others may send meanwhile; what was sent here is done when all until now is.
    drop(staging);
    // SAFETY: a stream that lives as long as the process.
    Ok(unsafe { stream::synchronize(stream) }?)
}

pub(super) unsafe fn read(stream: RawStream, to: &mut [u8], from: *const c_void) -> Result<(), LaunchError> {
    gpu()?;
    if to.is_empty() {
        return synchronize_any(stream);
    }
    // SAFETY: as who calls says; `to` is whole when the stream is through.
    unsafe {
        memcpy_dtoh_async(to, pointer(from), stream.cast())?;
        Ok(stream::synchronize(stream.cast())?)
    }
}

/// What is more than a place holds is waited for here: logits, which are seldom asked for.
pub(super) unsafe fn begin_read(from: *const c_void, bytes: usize) -> Result<Reading, LaunchError> {
    let gpu = gpu()?;
    if bytes == 0 || bytes > PLACE_BYTES {
        let mut read = vec![0; bytes];
        // SAFETY: as who calls says.
        unsafe { self::read(gpu.first.0, &mut read, from) }?;
        return Ok(Reading::done(read));
    }
    // SAFETY: as who calls says.
    let arriving = unsafe { gpu.arriving.begin(gpu.first.0.cast(), pointer(from), bytes) }?;
    Ok(Reading::new(move || {
        self::gpu()?;
        Ok(arriving.wait().map_err(LaunchError::from)?)
    }))
}

pub(super) unsafe fn copy(
    stream: RawStream,
    to: *mut c_void,
    from: *const c_void,
    bytes: usize,
) -> Result<(), LaunchError> {
    gpu()?;
    if bytes == 0 {
        return Ok(());
    }
    // SAFETY: as who calls says.
    Ok(unsafe { memcpy_dtod_async(pointer(to), pointer(from), bytes, stream.cast()) }?)
}

pub(super) unsafe fn fill(stream: RawStream, at: *mut c_void, value: u8, bytes: usize) -> Result<(), LaunchError> {
    gpu()?;
    if bytes == 0 {
        return Ok(());
    }
    // SAFETY: as who calls says.
    Ok(unsafe { memset_d8_async(pointer(at), value, bytes, stream.cast()) }?)
}

pub(super) unsafe fn clear_beside(at: *mut c_void, bytes: usize) -> Result<(), LaunchError> {
    let stream = gpu()?.beside.lock().unwrap_or_else(PoisonError::into_inner).stream();
    // SAFETY: as who calls says.
    unsafe { fill(stream.cast(), at, 0, bytes) }?;
    synchronize_any(stream.cast())
}

fn synchronize_any(stream: RawStream) -> Result<(), LaunchError> {
    // SAFETY: a stream that lives, as who calls says.
    Ok(unsafe { stream::synchronize(stream.cast()) }?)
}

pub(super) fn create_stream() -> Result<RawStream, LaunchError> {
    gpu()?;
    Ok(stream::create(stream::StreamKind::NonBlocking)?.cast())
}

pub(super) unsafe fn destroy_stream(stream: RawStream) {
    // SAFETY: as who calls says. What fails here has failed before, and was said.
    let _ = unsafe { stream::destroy(stream.cast()) };
}

pub(super) unsafe fn synchronize(stream: RawStream) -> Result<(), LaunchError> {
    gpu()?;
    synchronize_any(stream)
}

pub(super) fn create_event() -> Result<*mut c_void, LaunchError> {
    gpu()?;
    Ok(event::create(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING)?.cast())
}

pub(super) unsafe fn destroy_event(event: *mut c_void) {
    // SAFETY: as who calls says. What fails here has failed before, and was said.
    let _ = unsafe { event::destroy(event.cast()) };
}

pub(super) unsafe fn record(event: *mut c_void, stream: RawStream) -> Result<(), LaunchError> {
    // SAFETY: as who calls says.
    Ok(unsafe { event::record(event.cast(), stream.cast()) }?)
}

pub(super) unsafe fn wait(stream: RawStream, event: *mut c_void) -> Result<(), LaunchError> {
    let flags = sys::CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT;
    // SAFETY: as who calls says.
    Ok(unsafe { stream::wait_event(stream.cast(), event.cast(), flags) }?)
}
