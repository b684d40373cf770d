//! The device: a GPU, or host memory and an emulation of one.
//!
//! `driver` and `host` have the same signatures, and one of them is compiled. So far `host` is there.

mod host;

pub(in crate::cuda) use host::{checked, multiprocessors, watched};

pub use host::{DeviceMemory, Emulation, Event, Graph, LaunchError, Stream};
