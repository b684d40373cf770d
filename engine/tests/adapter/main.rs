//! Adapters: what is loaded, what is refused and by which name, and who may still use what.
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report, also in what tests share")]

mod catalog;
mod fields;
mod folder;
mod generation;
mod golden;
mod hostile;
mod loader;
mod roots;
mod targets;
