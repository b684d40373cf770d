//! What runs kernels where no GPU does.

use crate::cuda::ffi::emulated as ffi;

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

    /// So far, in launches of this thread's: thread barriers, collectives, matrix products (each lane counted), accesses looked at.
    pub fn counts() -> [u64; 4] {
        let mut counts = [0; 4];
        // SAFETY: room for four.
        unsafe { ffi::loam_emulation_counts(counts.as_mut_ptr()) };
        counts
    }
}
