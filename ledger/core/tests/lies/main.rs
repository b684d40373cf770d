//! Lies: an honest ledger in which one thing is changed, each refused by the audit with its class and its reason.

/// One test for each lie: its name, the class of its fault, words of the reason, and the lie.
macro_rules! lies {
    ($($name:ident: $class:ident, $why:literal, $lie:expr;)*) => {$(
        #[test]
        fn $name() {
            $crate::check(&$lie, $crate::Class::$class, $why);
        }
    )*};
}

mod bytes;
mod chains;
mod files;
mod records;
mod rows;
#[path = "../tier/mod.rs"]
mod tier;
#[path = "../world/mod.rs"]
mod world;

use std::collections::BTreeSet;

use loam_ledger_core::Hash;
use loam_ledger_core::audit::{Class, Failure, Options, audit_ledger};
use loam_ledger_core::entry::Entry;
use loam_ledger_core::origin::LogId;

use world::{Files, Grant, Leaf, World, key};

/// Where a lie is told. What is made from it afterwards is true to it: hashed, and signed by the right keys.
enum Lie {
    /// By an engine, of its steps.
    Said(fn(&mut World)),
    /// In stored entries and their rows, after hashes were drawn; the records log then holds the heads of these.
    Stored(fn(&mut [Vec<Leaf>])),
    /// In the records log.
    Recorded(fn(&mut Vec<Entry>)),
    /// In the files.
    Filed(fn(&mut Files)),
}

use Lie::{Filed, Recorded, Said, Stored};

/// Where the first shard of the ledger ends; the second one begins in the middle of boots and requests.
const CUT: usize = 300;

/// Audits the ledger with this lie in it.
fn audit(lie: Option<&Lie>) -> Result<(), Failure> {
    let mut world = World::new(700);
    let erased = a_small_request(&world);
    if let Some(Said(lie)) = lie {
        lie(&mut world);
    }
    let mut sealed = world.seal_in(&[CUT], &BTreeSet::from([erased]));
    if let Some(Stored(lie)) = lie {
        lie(&mut sealed.shards);
        sealed.record();
    }
    if let Some(Recorded(lie)) = lie {
        lie(&mut sealed.records);
    }
    let mut files = sealed.export(Grant::All);
    if let Some(Filed(lie)) = lie {
        lie(&mut files);
    }
    let key = key(LogId::Records);
    audit_ledger(&files, key.verifier(), Options::default(), &mut |_, _, _| ()).map(|_| ())
}

/// A request that ended within the first shard and has few enough rows to be erased.
fn a_small_request(world: &World) -> Hash {
    let rows = |id| world.rows_where(|row| row.request() == id);
    let small = world.requests.iter().map(|request| request.id());
    let mut small = small.filter(|&id| (2..=3).contains(&rows(id).len()) && rows(id).iter().all(|row| row.0 < CUT));
    small.next().expect("some request is small")
}

#[track_caller]
fn check(lie: &Lie, class: Class, why: &str) {
    match audit(Some(lie)) {
        Err(Failure::Invalid(fault)) if fault.class == class && fault.why.contains(why) => {}
        other => panic!("expected a {class:?} fault that says {why:?}, found {other:?}"),
    }
}

#[test]
fn the_ledger_without_a_lie_passes() {
    assert_eq!(audit(None), Ok(()));
}
