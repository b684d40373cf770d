//! Bit-equality: an output row depends on its own inputs alone, and two runs agree.
//!
//! Everything here compares raw bits, at every level of instructions that the processor has, and with one thread, two
//! and three. Rows that an operation must not read hold NaN, so that reading them shows.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report, also in what tests share")]

mod adapters;
mod attention;
mod crowd;
mod dense;
mod forward;
mod machine;
mod model;
mod sampling;
mod schedule;
