//! `loam-audit receipt`: each line that can hold, be refused, or not be held.

use crate::story::{Lie, ledger, receipt};
use crate::world::World;

const RECEIPT: &[&str] = &["receipt", "receipt", "--vkey", "usage-1.vkey"];
const NONCE: &str = "4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e";
const OTHER: &str = "4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f";
const GENERATION: &str = "6161616161616161616161616161616161616161616161616161616161616161";

#[track_caller]
fn check(world: &World, session: &str, more: &[&str]) {
    world.check(session, &[RECEIPT, more].concat());
}

#[test]
fn nothing_held() {
    check(&World::new(), "receipt-nothing-held", &[]);
}

#[test]
fn all_held() {
    let held = [
        "--nonce",
        NONCE,
        "--request",
        "request",
        "--output",
        "output",
        "--adapter",
        GENERATION,
        "--tokens",
        "3",
        "--log",
        "all/usage/1",
    ];
    check(&World::new(), "receipt-all-held", &held);
}

#[test]
fn all_held_for_programs() {
    let held = ["--nonce", NONCE, "--request", "request", "--tokens", "3", "--json"];
    check(&World::new(), "receipt-json", &held);
}

#[test]
fn a_client_without_a_nonce() {
    let world = World::new();
    let arguments = ["receipt", "receipt-without-nonce", "--vkey", "usage-1.vkey", "--output", "output"];
    world.check("receipt-without-nonce", &arguments);
    let output = world.run(&[&arguments[..], &["--nonce", NONCE]].concat());
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn another_nonce() {
    check(&World::new(), "receipt-other-nonce", &["--nonce", OTHER]);
}

#[test]
fn another_request() {
    check(&World::new(), "receipt-other-request", &["--request", "other"]);
}

#[test]
fn another_output() {
    check(&World::new(), "receipt-other-output", &["--output", "other"]);
}

#[test]
fn another_adapter() {
    check(&World::new(), "receipt-other-adapter", &["--adapter", OTHER]);
}

#[test]
fn another_count() {
    check(&World::new(), "receipt-other-count", &["--tokens", "4"]);
}

#[test]
fn another_key() {
    World::new().check("receipt-other-key", &["receipt", "receipt", "--vkey", "usage-2.vkey"]);
}

#[test]
fn another_request_refused_for_programs() {
    check(&World::new(), "receipt-refused-json", &["--request", "other", "--json"]);
}

#[test]
fn too_few_witnesses() {
    check(&World::new(), "receipt-quorum", &["--policy", "policy"]);
}

#[test]
fn in_its_log() {
    check(&World::new(), "receipt-in-log", &["--log", "public/usage/1"]);
}

#[test]
fn in_its_ledger() {
    let arguments = ["receipt", "receipt-of-shard-2", "--vkey", "usage-2.vkey", "--log", "all"];
    World::new().check("receipt-in-ledger", &arguments);
}

#[test]
fn in_a_log_that_is_broken() {
    let world = World::new();
    world.change("all/usage/1/tile/0/000", 7);
    check(&world, "receipt-in-broken-log", &["--log", "all/usage/1"]);
}

#[test]
fn in_a_log_that_was_forked() {
    let world = World::new();
    let [_, mut other, _] = ledger(Lie::Totals);
    other.signed.clear();
    world.write_log("forked", &other, false);
    world.write("receipt", &receipt(&ledger(Lie::None)[1], 7, 24, 313).to_bytes());
    check(&world, "receipt-of-a-fork", &["--log", "forked"]);
}

#[test]
fn in_an_export_that_is_too_old() {
    let world = World::new();
    let [_, mut log, _] = ledger(Lie::None);
    log.entries.truncate(100);
    log.rows.truncate(100);
    log.signed.clear();
    world.write_log("older", &log, false);
    check(&world, "receipt-in-older-export", &["--log", "older"]);
}

#[test]
fn in_no_folder() {
    check(&World::new(), "receipt-no-log", &["--log", "nowhere"]);
}

#[test]
fn not_a_receipt() {
    let world = World::new();
    world.check("receipt-is-a-proof", &["receipt", "proof", "--vkey", "usage-1.vkey"]);
    world.check("receipt-is-none", &["receipt", "request", "--vkey", "usage-1.vkey"]);
    world.check("receipt-is-missing", &["receipt", "nowhere", "--vkey", "usage-1.vkey"]);
}

#[test]
fn any_byte_of_a_receipt() {
    let world = World::new();
    let text = std::fs::read_to_string(world.path("receipt")).unwrap();
    // The keys of commitments, at the end of the extra, matter only to who holds what they open.
    let keys = text.find("\nindex ").unwrap();
    let keys = keys - 140..keys;
    for at in (0..text.len()).step_by(7) {
        let status = world.change("receipt", at).run(RECEIPT).status.code();
        let unseen = keys.contains(&at) && status == Some(0);
        assert!(unseen || status == Some(1), "byte {at}: {status:?}");
        world.change("receipt", at);
    }
}
