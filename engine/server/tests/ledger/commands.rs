//! The commands as a person meets them: what they print, what they write, how they refuse.

use std::fs;

use loam_ledger::ExportFolder;
use loam_ledger_core::audit::{Options, audit_ledger};
use loam_ledger_core::note::VerifierKey;
use loam_ledger_core::receipt::{Held, Receipt};

use super::{benched, refused, run, text};

#[test]
fn init_signs_an_empty_shard() {
    let top = tempfile::tempdir().expect("a temporary folder");
    let data = top.path().join("data");
    let said = run(&["init", "--data", text(&data), "--origin", "test.example/first"]);
    assert!(said.contains("records: 1 entries") && said.contains("usage/1: 0 entries"), "{said}");
    let key = run(&["key", "show", "--data", text(&data)]);
    assert!(key.starts_with("test.example/first/usage/1+") && key.lines().count() == 1, "{key}");
    let records = run(&["key", "show", "--data", text(&data), "--log", "records"]);
    assert!(records.starts_with("test.example/first/records+"), "{records}");
    run(&["export", "--data", text(&data), "--out", text(&top.path().join("out"))]);
    let checkpoint = fs::read_to_string(top.path().join("out/checkpoint")).expect("a checkpoint");
    assert!(checkpoint.starts_with("test.example/first/usage/1\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n\n"));
    let (code, why) = refused(&["init", "--data", text(&data)]);
    assert!(code == 1 && why.contains("is not empty"), "{why}");
}

#[test]
fn init_draws_a_name_of_its_own() {
    let top = tempfile::tempdir().expect("a temporary folder");
    let said = run(&["init", "--data", text(&top.path().join("data"))]);
    let name = said.lines().next().and_then(|line| line.split(' ').nth(1)).expect("a name");
    let digits = name.strip_prefix("loam.local/").expect("a local name");
    assert!(digits.len() == 8 && digits.chars().all(|c| c.is_ascii_hexdigit()), "{name}");
}

#[test]
fn bench_appends_exactly_what_it_is_asked() {
    let top = tempfile::tempdir().expect("a temporary folder");
    let data = top.path().join("data");
    let mut expected = 0;
    for entries in [0, 1, 2, 17, 256] {
        for writers in ["1", "3"] {
            let count = entries.to_string();
            run(&["bench", "--data", text(&data), "--entries", &count, "--rows", "2", "--writers", writers]);
            expected += entries;
            let status = run(&["status", "--data", text(&data), "--json"]);
            let status: serde_json::Value = serde_json::from_str(&status).expect("JSON");
            assert_eq!(status["logs"][1]["size"], expected);
        }
    }
    assert!(run(&["fsck", "--data", text(&data)]).ends_with("whole\n"));
}

#[test]
fn a_receipt_says_what_was_served() {
    let top = tempfile::tempdir().expect("a temporary folder");
    let (data, request) = benched(top.path(), 30, 4);
    let (request, out) = (request.expect("a request"), top.path().join("receipt.tlog-proof"));
    run(&["receipt", "--data", text(&data), &request, "--out", text(&out)]);
    let bytes = fs::read(&out).expect("a receipt");
    assert!(bytes.len() < 4000, "{} bytes", bytes.len());
    let key = run(&["key", "show", "--data", text(&data)]);
    let key = VerifierKey::parse(key.trim_end()).expect("a key");
    let held = Held { request: Some(b"a synthetic request"), output: Some(b"a synthetic answer"), ..Held::default() };
    let checked = Receipt::parse(&bytes).expect("a receipt").check(&key, &held);
    assert_eq!(checked.refused(), None);
    assert!(checked.bound());

    run(&["erase", "--data", text(&data), &request]);
    let (_, why) = refused(&["receipt", "--data", text(&data), &request, "--out", text(&out)]);
    assert!(why.contains("erased"), "{why}");
    let (_, why) = refused(&["receipt", "--data", text(&data), &"0".repeat(64), "--out", text(&out)]);
    assert!(why.contains("no request of this name"), "{why}");
}

#[test]
fn given_completions_come_out_as_given() {
    let top = tempfile::tempdir().expect("a temporary folder");
    let (data, given) = (top.path().join("data"), top.path().join("given.jsonl"));
    let (clay, loess) = ("1".repeat(64), "2".repeat(64));
    let lines = [
        format!(
            r#"{{"generations": ["{loess}", "{clay}"], "weights": [250000, -750000], "fee": 77, "tenant": "ann"}}"#
        ),
        format!(r#"{{"generations": ["{clay}"], "weights": [1000000], "fee": 5, "tenant": "bob", "tokens": 9}}"#),
    ];
    fs::write(&given, lines.join("\n")).expect("a file");
    run(&["bench", "--data", text(&data), "--entries", "5", "--rows", "0", "--completions", text(&given)]);
    let out = top.path().join("out");
    run(&["export", "--data", text(&data), "--out", text(&out), "--log", "all", "--scope", "settlement"]);
    let key = run(&["key", "show", "--data", text(&data), "--log", "records"]);
    let key = VerifierKey::parse(key.trim_end()).expect("a key");
    let report =
        audit_ledger(&ExportFolder::new(&out), &key, Options::default(), &mut |_, _, _| ()).expect("it is whole");
    let usage = &report.logs[1].1;
    assert_eq!((usage.size, usage.rows_open, usage.completions, usage.emitted_tokens), (5, 4, 2, 10));

    fs::write(&given, r#"{"generations": ["11"], "weights": [1], "fee": 1, "tenant": "ann"}"#).expect("a file");
    let arguments = ["bench", "--data", text(&data), "--entries", "5", "--rows", "0", "--completions", text(&given)];
    let (_, why) = refused(&arguments);
    assert!(why.contains("line 1") && why.contains("generations"), "{why}");
}

#[test]
fn fsck_tells_whole_from_missing_from_unreadable() {
    let top = tempfile::tempdir().expect("a temporary folder");
    let (data, acks) = (top.path().join("data"), top.path().join("acks"));
    run(&["bench", "--data", text(&data), "--entries", "40", "--rows", "1", "--acks", text(&acks)]);
    let whole = fs::read_to_string(&acks).expect("acknowledgements");
    assert_eq!(whole.lines().count(), 40);
    let fsck = ["fsck", "--data", text(&data), "--acks", text(&acks)];
    assert!(run(&fsck).contains("40 acknowledgements looked up"));

    fs::write(&acks, format!("{whole}7 12ab")).expect("a torn last line");
    run(&fsck);
    fs::write(&acks, format!("{whole}40 {}\n", "a".repeat(64))).expect("one that is not there");
    assert_eq!(refused(&fsck).0, 1);
    let mut moved: Vec<&str> = whole.lines().collect();
    let other = format!("3 {}", &moved[4][2..]);
    moved[3] = &other;
    fs::write(&acks, moved.join("\n") + "\n").expect("one that moved");
    let (code, why) = refused(&fsck);
    assert!(code == 1 && why.contains("acknowledged entry 3"), "{why}");
    fs::write(&acks, "what is this\n").expect("no acknowledgements");
    assert_eq!(refused(&fsck).0, 2);
    assert_eq!(refused(&["fsck", "--data", text(&top.path().join("nowhere"))]).0, 2);
}

/// A store put back from yesterday, as an operator meets it.
#[test]
fn below_the_floor_both_heads_are_printed() {
    let top = tempfile::tempdir().expect("a temporary folder");
    let (data, _) = benched(top.path(), 10, 0);
    let yesterday = top.path().join("yesterday");
    run(&["snapshot", "--data", text(&data), "--out", text(&yesterday)]);
    run(&["bench", "--data", text(&data), "--entries", "10", "--rows", "0"]);
    fs::remove_dir_all(data.join("store")).expect("the store goes");
    fs::rename(&yesterday, data.join("store")).expect("and comes back old");

    let (code, why) = refused(&["bench", "--data", text(&data), "--entries", "1", "--rows", "0"]);
    assert_eq!(code, 1);
    for expected in ["reading only", "floor: ", "store: ", "Put back the store"] {
        assert!(why.contains(expected), "{expected} is not in: {why}");
    }
    let (code, why) = refused(&["fsck", "--data", text(&data)]);
    assert!(code == 1 && why.contains("floor: "), "{why}");
    // What was signed before can still be shown.
    run(&["export", "--data", text(&data), "--out", text(&top.path().join("out"))]);
}

#[test]
fn a_full_disk_refuses_before_a_write_fails() {
    let top = tempfile::tempdir().expect("a temporary folder");
    let (data, _) = benched(top.path(), 10, 0);
    let most = u64::MAX.to_string();
    let arguments = ["bench", "--data", text(&data), "--entries", "5", "--rows", "0", "--reserve-bytes", &most];
    let (_, why) = refused(&arguments);
    assert!(why.contains("below the reserve"), "{why}");
    assert!(run(&["fsck", "--data", text(&data)]).contains("usage/1: 10 entries"));
}

#[test]
fn a_frozen_shard_is_followed_by_the_next() {
    let top = tempfile::tempdir().expect("a temporary folder");
    let (data, _) = benched(top.path(), 10, 1);
    assert!(run(&["freeze", "--data", text(&data)]).contains("usage/1 is frozen at 10 entries; usage/2 is open"));
    run(&["bench", "--data", text(&data), "--entries", "7", "--rows", "1"]);
    let out = top.path().join("out");
    run(&["export", "--data", text(&data), "--out", text(&out), "--log", "all", "--scope", "settlement"]);
    let key = run(&["key", "show", "--data", text(&data), "--log", "records"]);
    let key = VerifierKey::parse(key.trim_end()).expect("a key");
    let report =
        audit_ledger(&ExportFolder::new(&out), &key, Options::default(), &mut |_, _, _| ()).expect("it is whole");
    let sizes: Vec<u64> = report.logs.iter().map(|(_, log)| log.size).collect();
    assert_eq!(sizes[1..], [10, 7]);
    assert!(run(&["key", "show", "--data", text(&data)]).contains("/usage/2+"));
}
