//! Engines for long: thousands of adapters, names that change under traffic, disks that fail, crowds that never rest.
//!
//! Seconds in the fast tier, minutes with `LOAM_TEST_TIER=long`.
#![expect(clippy::unwrap_used, reason = "in a test, a panic is the report")]

#[path = "../whole/ask.rs"]
#[expect(dead_code, reason = "shared with another test program, each of which uses what it needs")]
mod ask;
#[path = "../whole/audit.rs"]
mod audit;
mod blocking;
mod broken_disks;
mod churn;
mod crowd;
mod failing_steps;
mod made;
mod parts;
mod thousands;
