//! The emulated GPU: that it sees what it is for, computes what a GPU would, and raises no false alarm.
//!
//! `cargo nextest run -p loam-kernels --features emulate`

mod decoder;
mod faults;
mod gemm;
mod graphs;
mod rates;
mod replays;
mod sequence;
