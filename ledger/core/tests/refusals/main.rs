//! Bad input: what each parser refuses, and the name under which it does.

mod epochs;
mod notes;
mod policies;
mod records;
#[path = "../world/mod.rs"]
mod world;

use std::fmt::Debug;

use loam_ledger_core::Error;

/// Reads every input of a table, and lists those that were not refused as they should be.
#[track_caller]
fn check<I: ?Sized, T: Debug>(read: impl Fn(&I) -> Result<T, Error>, table: &[(&str, Box<I>, Error)]) {
    let wrong = table.iter().filter_map(|(name, input, expected)| match read(input) {
        Err(error) if error == *expected => None,
        other => Some(format!("{name}: expected {expected:?}, found {other:?}")),
    });
    let wrong: Vec<String> = wrong.collect();
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}
