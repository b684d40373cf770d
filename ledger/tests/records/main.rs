//! Records as a ledger keeps them: offered, refused, redacted, priced by, settled by, and there again after a restart.

mod money;
mod people;
mod rows;
#[path = "../support/mod.rs"]
mod support;

use loam_ledger::Ledger;
use loam_ledger::home::{Home, MemoryHome};

fn whole(home: &dyn Home) {
    assert_eq!(Ledger::examine(home, &[]).expect("it can be read").wrong, Vec::<String>::new());
}

/// The same disk as a power cut would leave it, opened again.
fn after_power_cut(home: &MemoryHome) -> (MemoryHome, Ledger) {
    let after = MemoryHome { disk: home.disk.after_power_cut(), keys: home.keys.clone() };
    let ledger = Ledger::open(&after, support::options()).expect("it opens");
    (after, ledger)
}
