//! Records and the registry: what is refused, by which name; and that what is refused changes nothing.

mod datasets;
mod models;
mod people;
#[path = "../town/mod.rs"]
mod town;

use loam_ledger_core::record::RecordId;
use loam_ledger_core::registry::Refusal;
use town::Town;

/// Tries something in a town: it is refused by this name, and the registry is what it was.
#[track_caller]
fn check(mut town: Town, attempt: impl FnOnce(&mut Town) -> Result<RecordId, Refusal>, expected: &Refusal) {
    let before = format!("{:?}", town.registry);
    let found = attempt(&mut town);
    assert_eq!(found.as_ref(), Err(expected));
    assert_eq!(format!("{:?}", town.registry), before, "what is refused changes nothing");
}
