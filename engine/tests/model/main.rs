//! Models: what configurations mean, which files are refused and by which name, what runs do at their bounds.
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report, also in what tests share")]

mod configs;
mod digests;
mod fields;
mod folder;
mod runs;
mod tensors;
