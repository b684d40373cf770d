//! What cannot be done is refused by name, before any work: outputs stay as they were.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report, also in what tests share")]

mod adapters;
mod attention;
mod dense;
mod files;
mod given;
mod memory;
mod pairs;
mod rope;
mod sampling;
mod slabs;
mod step;
