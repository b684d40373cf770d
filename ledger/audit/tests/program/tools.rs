//! `loam-audit consistency`, `show` and `trust`.

use std::process::Command;

use loam_ledger_core::Hash;
use loam_ledger_core::entry::Entry;
use loam_ledger_core::record::{Act, Author, AuthorKey, Body, BondPosted, sign_record};

use crate::story::{Lie, ledger};
use crate::world::World;

#[test]
fn consistency_of_sizes() {
    World::new().check("consistency-sizes", &["consistency", "100", "300", "--log", "all/usage/1"]);
}

#[test]
fn consistency_of_notes() {
    let [old, new] = ["all/usage/1/checkpoints/100", "all/usage/1/checkpoint"];
    let arguments = ["consistency", old, new, "--log", "all/usage/1", "--vkey", "usage-1.vkey"];
    let world = World::new();
    world.check("consistency-notes", &arguments);
    world.check("consistency-json", &[&arguments[..], &["--json"]].concat());
}

#[test]
fn consistency_of_every_pair() {
    let world = World::new();
    let sizes = ["0", "1", "2", "3", "100", "255", "256", "257", "313"];
    for (place, old) in sizes.iter().enumerate() {
        for new in &sizes[place..] {
            let output = world.run(&["consistency", old, new, "--log", "all/usage/1"]);
            assert_eq!(output.status.code(), Some(0), "{old} {new}: {output:?}");
        }
    }
}

#[test]
fn consistency_backwards() {
    World::new().check("consistency-backwards", &["consistency", "300", "100", "--log", "all/usage/1"]);
}

#[test]
fn consistency_beyond_the_export() {
    World::new().check("consistency-beyond", &["consistency", "100", "1000", "--log", "all/usage/1"]);
}

#[test]
fn consistency_with_a_fork() {
    let world = World::new();
    let [_, mut other, _] = ledger(Lie::None);
    other.entries.swap(40, 41);
    world.write("forked", &other.checkpoint(100));
    let arguments = ["consistency", "forked", "300", "--log", "all/usage/1", "--vkey", "usage-1.vkey"];
    world.check("consistency-fork", &arguments);
}

#[test]
fn consistency_with_another_log() {
    let other = "all/usage/2/checkpoint";
    World::new().check("consistency-other-log", &["consistency", other, "300", "--log", "all/usage/1"]);
}

#[test]
fn consistency_with_a_bad_signature() {
    let world = World::new();
    world.change("all/usage/1/checkpoints/100", 110);
    let arguments =
        ["consistency", "all/usage/1/checkpoints/100", "300", "--log", "all/usage/1", "--vkey", "usage-1.vkey"];
    world.check("consistency-bad-signature", &arguments);
}

#[test]
fn consistency_with_a_missing_file() {
    World::new().check("consistency-no-file", &["consistency", "nowhere", "300", "--log", "all/usage/1"]);
}

#[test]
fn consistency_with_a_missing_tile() {
    let world = World::new();
    world.remove("all/usage/1/tile/0/001.p/57");
    world.check("consistency-no-tile", &["consistency", "100", "300", "--log", "all/usage/1"]);
}

#[test]
fn files_are_shown() {
    let world = World::new();
    let files = [
        ("receipt", "receipt"),
        ("proof", "proof"),
        ("checkpoint", "cosigned/checkpoint"),
        ("key", "usage-1.vkey"),
        ("policy", "policy"),
        ("entry", "entry"),
    ];
    for (kind, path) in files {
        world.check(&format!("show-{kind}"), &["show", path]);
    }
    world.check("show-receipt-json", &["show", "receipt", "--json"]);
    world.check("show-unknown", &["show", "output"]);
    world.check("show-missing", &["show", "nowhere"]);
}

#[test]
fn records_are_shown() {
    let world = World::new();
    let origin = "example.org/loam/records";
    let [mut person, mut operator] = [[0x0a; 32], [0x0b; 32]].map(|seed| AuthorKey::from_seed(&seed));
    let authors = [(&person, 1_000_000), (&operator, 0)];
    let authors = authors.map(|(key, share)| Author { contributor: key.contributor(), share }).to_vec();
    let act = Act::BondPosted(BondPosted { amount_nano: 5, backs: Hash([0x61; 32]) });
    let body =
        Body { authors, cites: vec![Hash([0x62; 32])], text: Some(Hash([0x63; 32])), ..Body::by(Hash::ZERO, act) };
    let record = sign_record(origin, 1_767_571_200_000, body, &mut [&mut person, &mut operator]);
    world.write("record", &Entry::Record(Box::new(record)).encode());
    world.check("show-record", &["show", "record"]);
    world.check("show-record-json", &["show", "record", "--json"]);
}

#[test]
fn terminals_are_not_told_what_to_do() {
    let world = World::new();
    world.write("policy", b"log \x1b]0;owned\x07\nwitness \x1b[2J\nquorum none\n");
    world.write("policy-of-words", b"# \x1b[2J\nquorum none\n");
    world.write("all/usage/1/MANIFEST.sha256", &[&b"0".repeat(64)[..], b"  \x1b[2J\n"].concat());
    for arguments in [
        &["show", "policy"][..],
        &["show", "policy-of-words"],
        &["log", "all/usage/1", "--vkey", "usage-1.vkey"],
        &["log", "all/\x1b[2J", "--vkey", "usage-1.vkey"],
    ] {
        let output = world.run(arguments);
        assert!(!output.stdout.contains(&0x1b) && !output.stderr.contains(&0x1b), "{output:?}");
    }
}

#[test]
fn exports_are_shown() {
    let world = World::new();
    world.check("show-log", &["show", "all/usage/1"]);
    world.check("show-ledger", &["show", "all"]);
    world.check("show-entry-with-rows", &["show", "all/usage/1", "--index", "24"]);
    world.check("show-entry-erased", &["show", "all", "--log", "usage/1", "--index", "6"]);
    world.check("show-boot", &["show", "public", "--log", "usage/1", "--index", "302"]);
    world.check("show-redaction", &["show", "all/records", "--index", "4"]);
    world.check("show-entry-json", &["show", "all/usage/1", "--index", "24", "--json"]);
    world.check("show-entry-of-no-log", &["show", "all", "--index", "1"]);
    world.check("show-entry-beyond", &["show", "all/usage/1", "--index", "313"]);
    world.check("show-no-export", &["show", "all/usage"]);
}

#[test]
fn trust_is_told() {
    let world = World::new();
    world.check("trust", &["trust"]);
    world.check("trust-json", &["trust", "--json"]);
}

#[test]
fn keys_of_json_are_documented() {
    let world = World::new();
    let commands: [&[&str]; 4] = [
        &["log", "all/usage/1", "--vkey", "usage-1.vkey"],
        &["receipt", "receipt", "--vkey", "usage-1.vkey", "--log", "all/usage/1"],
        &["consistency", "100", "300", "--log", "all/usage/1"],
        &["show", "receipt"],
    ];
    for arguments in commands {
        let help = world.run(&[arguments[0], "--help"]);
        let help = String::from_utf8(help.stdout).unwrap();
        let output = world.run(&[arguments, &["--json"]].concat());
        let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let log = told["logs"][0].as_object().into_iter().flatten();
        for (key, _) in told.as_object().unwrap().iter().chain(log) {
            assert!(help.contains(key.as_str()), "{}: {key} is not in the help", arguments[0]);
        }
    }
}

#[test]
fn the_version_is_told() {
    let output = World::new().run(&["--version"]);
    let version = format!("loam-audit {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!((output.status.code(), output.stdout), (Some(0), version.into_bytes()));
}

#[test]
fn an_answer_that_is_lost_is_no_good_one() {
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_loam-audit")).arg("trust").stdout(full).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && said.contains("the answer could not be written"), "{output:?}");
}
