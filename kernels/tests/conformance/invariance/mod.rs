//! Bit-equality: an output row depends on its own inputs alone, and two runs agree.
//!
//! Everything here compares raw bits: on the CPU at every level of instructions that the processor has, with one, two
//! and three threads; on the emulated GPU; and on a real one. Rows that an operation must not read hold NaN, so that reading them shows.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report, also in what tests share")]
#![cfg_attr(
    any(feature = "cuda", feature = "emulate"),
    expect(clippy::duplicate_mod, reason = "the same tests, of two kinds of machines")
)]

mod machines;

#[path = "."]
mod cpu {
    pub(crate) use super::machines::cpu::{ALONE_EVERY, CROWDS, Machine, each_level};

    mod adapters;
    mod attention;
    mod crowd;
    mod dense;
    mod forward;
    mod machine;
    mod model;
    mod sampling;
    mod schedule;
}

/// Sequences and whole models take the emulation minutes; `tests/emulation/sequence.rs` compares some of the former.
#[cfg(feature = "emulate")]
#[path = "."]
mod emulated {
    pub(crate) use super::machines::emulated::{ALONE_EVERY, CROWDS, Machine, each_level};

    mod adapters;
    mod crowd;
    mod dense;
    mod machine;
    mod sampling;
    #[expect(dead_code, reason = "schedules are those of sequences")]
    mod schedule;
}

#[cfg(feature = "cuda")]
#[path = "."]
mod gpu {
    pub(crate) use super::machines::gpu::{ALONE_EVERY, CROWDS, Machine, each_level};

    mod adapters;
    mod attention;
    mod crowd;
    mod dense;
    mod forward;
    mod machine;
    mod model;
    mod sampling;
    mod schedule;
}
