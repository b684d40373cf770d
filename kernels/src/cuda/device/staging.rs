//! Memory of the host that a GPU reads itself, through which everything is sent to it.
//!
//! A copy from other memory is at the driver's pace: it may wait for the stream before it takes the bytes. Here who sends
//! goes on at once, and a step's numbers are on their way while the step before still runs. There are two halves; before
//! one is filled again, its last copies are waited for.

use std::ffi::c_void;
use std::{ptr, slice};

use cudarc::driver::result::{DriverError, event, malloc_host, memcpy_htod_async};
use cudarc::driver::sys;

/// More than any step's numbers in one copy, and few enough that sixteen of them fit into locked memory anywhere.
const HALF_BYTES: usize = 8 << 20;

/// Staging memory of one stream.
#[derive(Debug)]
pub(super) struct Staging {
    stream: sys::CUstream,
    halves: [Half; 2],
    turn: usize,
}

#[derive(Debug)]
struct Half {
    at: *mut c_void,
    used: usize,
    /// After the last copy out of it.
    copied: sys::CUevent,
}

// SAFETY: memory and handles that any thread may use, one at a time.
unsafe impl Send for Staging {}

impl Staging {
    pub(super) fn new(stream: sys::CUstream) -> Result<Self, DriverError> {
        let half = || -> Result<Half, DriverError> {
            // SAFETY: nobody looks at what is there before it was written.
            let at = unsafe { malloc_host(HALF_BYTES, 0) }?;
            Ok(Half { at, used: 0, copied: event::create(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING)? })
        };
        Ok(Self { stream, halves: [half()?, half()?], turn: 0 })
    }

    pub(super) const fn stream(&self) -> sys::CUstream {
        self.stream
    }

    /// Copies in the stream's order; `from` is nobody's any more when this returns.
    ///
    /// # Safety
    ///
    /// At `to` there is room for so many bytes.
    pub(super) unsafe fn send(&mut self, mut to: sys::CUdeviceptr, mut from: &[u8]) -> Result<(), DriverError> {
        while !from.is_empty() {
            if self.halves[self.turn].used == HALF_BYTES {
                self.turn_over()?;
            }
            let half = &mut self.halves[self.turn];
            let (now, later) = from.split_at(from.len().min(HALF_BYTES - half.used));
            let at = half.at.wrapping_byte_add(half.used).cast::<u8>();
            half.used += now.len();
            // SAFETY: the half has room for `now`, and no copy reads there: `turn_over` waited for those that did.
            unsafe {
                ptr::copy_nonoverlapping(now.as_ptr(), at, now.len());
                memcpy_htod_async(to, slice::from_raw_parts(at, now.len()), self.stream)?;
            }
            to += now.len() as sys::CUdeviceptr;
            from = later;
        }
        Ok(())
    }

    /// Goes on in the other half, when nothing of it is under way any more.
    fn turn_over(&mut self) -> Result<(), DriverError> {
        // SAFETY: events and a stream that live as long as the process.
        unsafe {
            event::record(self.halves[self.turn].copied, self.stream)?;
            self.turn = 1 - self.turn;
            // An event that was never recorded is over.
            event::synchronize(self.halves[self.turn].copied)?;
        }
        self.halves[self.turn].used = 0;
        Ok(())
    }
}
