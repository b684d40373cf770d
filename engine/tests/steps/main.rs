//! Single steps of a runner over a watched device: which operations they ask for, and what failures leave behind.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report, also in what tests share")]

mod ahead;
mod failures;
mod machine;
mod recorded;
mod steps;
mod watched;
