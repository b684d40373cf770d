//! `loam serve` as a child process, and what its threads have computed: for the demo, and for the benches.

mod programs;
mod server;
mod thread_times;

/// The examples in README.md are compiled with the tests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

pub use programs::{folder_of, own_folder};
pub use server::Server;
pub use thread_times::{Spent, ThreadTimes};
