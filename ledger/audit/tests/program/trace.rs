//! `loam-audit trace`: from an answer to everybody who was paid, and what is wrong on the way.

use loam_ledger_core::epoch::LeafFile;

use crate::money::{Lie, Season};
use crate::world::World;

const TRACE: &[&str] = &["trace", "receipt", "all", "--vkey", "records.vkey"];
const PUBLIC: &[&str] = &["trace", "receipt", "public", "--vkey", "records.vkey"];

fn with<'a>(arguments: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    [arguments, more].concat()
}

fn lying(lie: Lie) -> World {
    Season::new(lie).write()
}

#[test]
fn from_an_answer_to_its_payees() {
    lying(Lie::None).check("trace", TRACE);
}

#[test]
fn from_an_answer_to_its_payees_for_programs() {
    lying(Lie::None).check("trace-json", &with(TRACE, &["--json"]));
}

#[test]
fn the_base_model_alone() {
    lying(Lie::None).check("trace-base", &["trace", "receipt-of-base", "all", "--vkey", "records.vkey"]);
}

#[test]
fn without_rows() {
    let world = lying(Lie::None);
    world.check("trace-public", PUBLIC);
    world.check("trace-public-usage", &with(PUBLIC, &["--usage", "usage"]));
}

#[test]
fn no_epoch_settled_it() {
    lying(Lie::None).check("trace-not-settled", &["trace", "receipt-late", "all", "--vkey", "records.vkey"]);
}

#[test]
fn left_out() {
    let world = lying(Lie::Dropped);
    world.check("trace-dropped", TRACE);
    world.check("trace-dropped-usage", &with(TRACE, &["--usage", "usage"]));
    world.check("trace-dropped-public", &with(PUBLIC, &["--usage", "usage"]));
}

#[test]
fn another_fee_than_the_policy_makes() {
    let world = lying(Lie::Fee);
    world.check("trace-fee", TRACE);
    world.check("trace-fee-public", PUBLIC);
}

#[test]
fn erased_before_it_was_settled() {
    lying(Lie::Erased).check("trace-erased", &["trace", "receipt-erased", "all", "--vkey", "records.vkey"]);
}

#[test]
fn a_unit_that_was_moved() {
    lying(Lie::Unit).check("trace-unit", TRACE);
}

/// A proof that shows something else.
#[track_caller]
fn refused(session: &str, change: impl FnOnce(&Season, &mut LeafFile)) {
    let season = Season::new(Lie::None);
    let world = season.write();
    let mut file =
        LeafFile::decode(&std::fs::read(world.path("usage")).expect("it was written")).expect("it is a proof");
    change(&season, &mut file);
    world.write("usage", &file.encode());
    world.check(session, &with(PUBLIC, &["--usage", "usage"]));
}

#[test]
fn proofs_of_something_else() {
    refused("trace-usage-fee", |_, file| file.proof.as_mut().unwrap().amount -= 1);
    refused("trace-usage-epoch", |season, file| file.close = season.closed[1].id);
    refused("trace-usage-other", |_, file| file.sought[15] ^= 1);
    refused("trace-usage-maximum", |_, file| {
        let proof = file.proof.as_mut().unwrap();
        let step = proof.path.last_mut().unwrap();
        step.sum -= proof.amount;
    });
}

#[test]
fn what_cannot_be_followed() {
    let world = lying(Lie::None);
    world.check("trace-is-none", &["trace", "usage", "all", "--vkey", "records.vkey"]);
    world.check("trace-usage-is-payout", &with(PUBLIC, &["--usage", "trainer-1"]));
    world.check("trace-missing", &["trace", "nowhere", "all", "--vkey", "records.vkey"]);
    // A receipt of another history, signed by the same key.
    let other = Season::new(Lie::Fee).write();
    world.write("receipt", &std::fs::read(other.path("receipt")).unwrap());
    world.check("trace-of-a-fork", TRACE);
}
