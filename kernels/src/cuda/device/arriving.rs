//! Values on their way from a GPU, into memory of the host that it writes itself: who asked goes on at once, and waits for
//! the copy alone.

use std::ffi::c_void;
use std::slice;
use std::sync::{Arc, Mutex, PoisonError};

use cudarc::driver::result::{DriverError, event, malloc_host, memcpy_dtoh_async};
use cudarc::driver::sys;

/// What a place holds: all that is said of 256 rows and their most probable tokens.
pub(super) const PLACE_BYTES: usize = 64 << 10;

/// Places that nobody waits for. There are never more than somebody waited for at once.
#[derive(Debug, Default)]
pub(super) struct Places(Arc<Mutex<Vec<Place>>>);

/// Memory for one copy at a time, and the event after the last one.
#[derive(Debug)]
struct Place {
    at: *mut c_void,
    copied: sys::CUevent,
}

// SAFETY: memory and a handle that any thread may use, one at a time.
unsafe impl Send for Place {}

/// A copy that was asked for. Its place is free again when nobody waits any more: the next copy into it is of the same
/// stream, and so comes after this one.
pub(super) struct Arriving {
    place: Option<Place>,
    bytes: usize,
    places: Arc<Mutex<Vec<Place>>>,
}

impl Places {
    /// Begins to copy so many bytes, at most [`PLACE_BYTES`], in the stream's order; all of a device's in the same one.
    ///
    /// # Safety
    ///
    /// At `from` there are so many bytes.
    pub(super) unsafe fn begin(
        &self,
        stream: sys::CUstream,
        from: sys::CUdeviceptr,
        bytes: usize,
    ) -> Result<Arriving, DriverError> {
        assert!(bytes <= PLACE_BYTES, "more bytes than a place holds");
        let free = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let place = free.map_or_else(Place::new, Ok)?;
        // SAFETY: as who calls says; the place has room, and what was copied there before nobody reads.
        unsafe {
            memcpy_dtoh_async(slice::from_raw_parts_mut(place.at.cast::<u8>(), bytes), from, stream)?;
            event::record(place.copied, stream)?;
        }
        Ok(Arriving { place: Some(place), bytes, places: Arc::clone(&self.0) })
    }
}

impl Place {
    fn new() -> Result<Self, DriverError> {
        // SAFETY: nobody looks at what is there before it was written.
        let at = unsafe { malloc_host(PLACE_BYTES, 0) }?;
        Ok(Self { at, copied: event::create(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING)? })
    }
}

impl Arriving {
    /// Waits for the bytes.
    pub(super) fn wait(self) -> Result<Vec<u8>, DriverError> {
        let place = self.place.as_ref().expect("its place is there until it ends");
        // SAFETY: an event that lives; after it, so many bytes are there.
        unsafe {
            event::synchronize(place.copied)?;
            Ok(slice::from_raw_parts(place.at.cast::<u8>(), self.bytes).to_vec())
        }
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        let place = self.place.take();
        self.places.lock().unwrap_or_else(PoisonError::into_inner).extend(place);
    }
}
