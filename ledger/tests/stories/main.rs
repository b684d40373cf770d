//! Bugs that were found, each with its story. None of them comes back.

mod appending;
mod hooked;
mod opening;
mod requests;
#[path = "../support/mod.rs"]
mod support;

use loam_ledger::Ledger;
use loam_ledger::home::{Home, MemoryHome};
use loam_ledger_core::origin::LogId;

use support::options;

const SHARD: LogId = LogId::Usage(1);

fn in_memory() -> (MemoryHome, Ledger) {
    let home = MemoryHome::default();
    let ledger = Ledger::create(&home, "test.example/stories", options()).expect("a new ledger");
    (home, ledger)
}

fn whole(home: &dyn Home) {
    assert_eq!(Ledger::examine(home, &[]).expect("it can be read").wrong, Vec::<String>::new());
}
