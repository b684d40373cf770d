//! Adapters that may be used: those that the ledger's records have as published, over this server's base model.

use std::sync::{Arc, Weak};

use loam_engine::adapter::{Generation, Permit};
use loam_ledger::{Error, Ledger};
use loam_ledger_core::Hash;
use loam_ledger_core::record::AdapterState;
use loam_ledger_core::registry::Registry;

/// What the catalog asks before each use: a look at what the records came to, so that a suspension holds as soon as it
/// is recorded.
pub(super) fn permit(ledger: &Arc<Ledger>, base: Hash) -> Result<Permit, Error> {
    // The records are folded here, and not while the first client waits.
    ledger.with_registry(|_| ())?;
    // The server ends by taking the ledger back from all who have it.
    let ledger: Weak<Ledger> = Arc::downgrade(ledger);
    Ok(Box::new(move |generation| {
        let ledger = ledger.upgrade().ok_or_else(|| "the ledger is closed".to_owned())?;
        let may = ledger.with_registry(|registry| may(registry, generation, &base));
        may.map_err(|error| error.to_string())?
    }))
}

/// Whether the records have it over this base, in whatever state.
pub(super) fn is_known(ledger: &Ledger, Generation(generation): &Generation, base: &Hash) -> Result<bool, Error> {
    ledger.with_registry(|registry| registry.adapters().adapter(generation).is_some_and(|it| it.base == *base))
}

fn may(registry: &Registry, Generation(generation): &Generation, base: &Hash) -> Result<(), String> {
    let Some(adapter) = registry.adapters().adapter(generation) else {
        return Err("it is not in this ledger's records; `loam adapter publish` publishes it".to_owned());
    };
    if adapter.base != *base {
        return Err(format!("it is published over base model {}, and {base} is served here", adapter.base));
    }
    match adapter.state {
        AdapterState::Published => Ok(()),
        AdapterState::Draft | AdapterState::Gated => Err(format!(
            "it is {} in this ledger's records, and not published; its authors can say so with `loam adapter state`",
            adapter.state.word()
        )),
        AdapterState::Suspended if adapter.suspended_by_operator => Err("the operator suspended it".to_owned()),
        AdapterState::Suspended => Err("its authors suspended it".to_owned()),
        AdapterState::Retired => Err("it is retired".to_owned()),
    }
}
