//! Kernels that do one thing, over and over: how fast the emulation is.

use super::device::{DeviceMemory, LaunchError, checked};
use super::ffi::emulated::loam_rate;
use crate::layout::{DType, Memory};

/// What a thread does in each turn.
#[derive(Clone, Copy, Debug)]
pub enum Turn {
    /// Comes to a barrier of the block.
    Barrier = 0,
    /// Gives a value to another lane.
    Shuffle,
    /// Takes part in a product of 16 by 8 by 16.
    Multiply,
    /// Reads a value from memory.
    Load,
    /// Reads a value from shared memory.
    SharedLoad,
}

/// Runs one block of `threads`, each of which takes `turns`.
pub fn run(turn: Turn, threads: u16, turns: u32, values: &mut DeviceMemory) -> Result<(), LaunchError> {
    assert!(values.dtype() == DType::F32 && values.len() >= 1024, "the kernels read 1,024 values");
    // SAFETY: as many values as the kernels use.
    checked(unsafe { loam_rate(turn as i32, threads.into(), turns as i32, values.address().cast()) })
}
