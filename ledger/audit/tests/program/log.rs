//! `loam-audit log`: exports that are right, and each class of what can be wrong.

use std::process::Command;

use crate::story::{Lie, ledger};
use crate::world::World;

const SHARD: &[&str] = &["log", "all/usage/1", "--vkey", "usage-1.vkey"];
const LYING_SHARD: &[&str] = &["log", "lie/usage/1", "--vkey", "usage-1.vkey"];
const LYING_LEDGER: &[&str] = &["log", "lie", "--vkey", "records.vkey"];

fn with<'a>(arguments: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    [arguments, more].concat()
}

#[test]
fn a_shard_with_its_rows() {
    World::new().check("log-shard", SHARD);
}

#[test]
fn a_shard_for_programs() {
    World::new().check("log-shard-json", &with(SHARD, &["--json"]));
}

#[test]
fn a_shard_without_rows() {
    World::new().check("log-public", &["log", "public/usage/1", "--vkey", "usage-1.vkey"]);
}

#[test]
fn a_later_shard_alone() {
    World::new().check("log-later-shard", &["log", "all/usage/2", "--vkey", "usage-2.vkey"]);
}

#[test]
fn a_records_log() {
    World::new().check("log-records", &["log", "all/records", "--vkey", "records.vkey"]);
}

#[test]
fn a_whole_ledger() {
    World::new().check("log-ledger", &["log", "all", "--vkey", "records.vkey"]);
}

#[test]
fn a_ledger_without_rows() {
    World::new().check("log-ledger-public", &["log", "public", "--vkey", "records.vkey"]);
}

#[test]
fn a_ledger_without_a_shard() {
    let world = World::new();
    std::fs::remove_dir_all(world.path("all/usage/1")).unwrap();
    world.check("log-ledger-without-shard", &["log", "all", "--vkey", "records.vkey"]);
}

#[test]
fn an_empty_log() {
    let world = World::new();
    let [_, mut first, _] = ledger(Lie::None);
    (first.entries, first.rows, first.signed) = Default::default();
    world.write_log("empty", &first, true);
    world.check("log-empty", &["log", "empty", "--vkey", "usage-1.vkey"]);
}

#[test]
fn entries_of_anybody() {
    World::new().check("log-opaque", &with(SHARD, &["--opaque"]));
}

#[test]
fn a_key_given_as_text() {
    let world = World::new();
    let key = std::fs::read_to_string(world.path("usage-1.vkey")).unwrap();
    let output = world.run(&["log", "all/usage/1", "--vkey", key.trim()]);
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn a_quorum_that_is_met() {
    let arguments = ["log", "cosigned", "--vkey", "usage-1.vkey", "--policy", "policy"];
    World::new().check("log-witnessed", &arguments);
}

#[test]
fn a_quorum_that_is_not_met() {
    World::new().check("log-quorum-fault", &with(SHARD, &["--policy", "policy"]));
}

#[test]
fn a_policy_without_witnesses() {
    let output = World::new().run(&with(SHARD, &["--policy", "no-witnesses"]));
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn one_byte_of_an_entry() {
    let world = World::new();
    world.change("all/usage/1/tile/entries/000", 5_000).check("log-entry-changed", SHARD);
}

#[test]
fn one_byte_of_a_tile() {
    let world = World::new();
    world.change("all/usage/1/tile/0/001.p/57", 40).check("log-tile-changed", SHARD);
}

#[test]
fn one_byte_of_an_upper_tile() {
    let world = World::new();
    world.change("all/usage/1/tile/1/000.p/1", 31).check("log-upper-tile-changed", SHARD);
}

#[test]
fn any_byte_of_the_checkpoint() {
    let world = World::new();
    let length = std::fs::read(world.path("all/usage/1/checkpoint")).unwrap().len();
    for at in 0..length {
        let output = world.change("all/usage/1/checkpoint", at).run(SHARD);
        assert_eq!(output.status.code(), Some(1), "byte {at}");
        assert!(output.stderr.starts_with(b"INVALID: "), "byte {at}");
        world.change("all/usage/1/checkpoint", at);
    }
}

#[test]
fn the_checkpoint_changed() {
    let world = World::new();
    world.change("all/usage/1/checkpoint", 26).check("log-checkpoint-changed", SHARD);
}

#[test]
fn a_tile_that_is_missing() {
    let world = World::new();
    world.remove("all/usage/1/tile/0/000").check("log-tile-missing", SHARD);
}

#[test]
fn a_bundle_that_is_missing() {
    let world = World::new();
    world.remove("all/usage/1/tile/entries/001.p/57").check("log-bundle-missing", SHARD);
}

#[test]
fn a_bundle_that_is_cut() {
    let world = World::new();
    world.write("all/usage/1/tile/entries/000", b"\x00\x05abc");
    world.check("log-bundle-short", SHARD);
}

#[test]
fn a_fork() {
    let world = World::new();
    // The same log with another history, signed by the same key.
    let [_, mut other, _] = ledger(Lie::None);
    other.entries.swap(40, 41);
    world.write("all/usage/1/checkpoints/100", &other.checkpoint(100));
    world.check("log-fork", SHARD);
}

#[test]
fn a_file_that_the_manifest_does_not_list() {
    let world = World::new();
    world.write("all/usage/1/policy.txt", b"quorum none\n");
    world.check("log-manifest-fault", SHARD);
}

#[test]
fn a_file_where_a_folder_belongs() {
    let world = World::new();
    std::fs::remove_dir_all(world.path("all/usage/1/checkpoints")).unwrap();
    world.write("all/usage/1/checkpoints", b"");
    world.check("log-checkpoints-file", SHARD);
}

#[test]
fn a_gap() {
    World::lying(Lie::Gap).check("log-gap", LYING_SHARD);
}

#[test]
fn a_gap_for_programs() {
    World::lying(Lie::Gap).check("log-gap-json", &with(LYING_SHARD, &["--json"]));
}

#[test]
fn totals_that_do_not_agree() {
    World::lying(Lie::Totals).check("log-totals", LYING_SHARD);
}

#[test]
fn a_row_of_another_entry() {
    World::lying(Lie::OtherRow).check("log-other-row", LYING_SHARD);
}

#[test]
fn an_entry_that_is_not_loams() {
    World::lying(Lie::Gibberish).check("log-malformed-entry", LYING_SHARD);
}

#[test]
fn too_many_erased() {
    let world = World::lying(Lie::ErasedMany);
    world.check("log-erased", LYING_SHARD);
    world.check("log-erased-allowed", &with(LYING_SHARD, &["--allow-erased"]));
}

#[test]
fn erased_without_a_word() {
    World::lying(Lie::ErasedQuietly).check("log-erased-quietly", LYING_LEDGER);
}

#[test]
fn records_that_contradict_themselves() {
    World::lying(Lie::Thaw).check("log-records-fault", LYING_LEDGER);
}

#[test]
fn the_key_of_a_shard_for_a_whole_ledger() {
    World::new().check("log-shard-key-for-ledger", &["log", "all", "--vkey", "usage-1.vkey"]);
}

#[test]
fn the_key_of_the_records_for_a_shard() {
    World::new().check("log-records-key-for-shard", &["log", "all/usage/1", "--vkey", "records.vkey"]);
}

#[test]
fn no_folder() {
    World::new().check("log-no-folder", &["log", "nowhere", "--vkey", "usage-1.vkey"]);
}

#[test]
fn no_folder_for_programs() {
    World::new().check("log-no-folder-json", &["log", "nowhere", "--vkey", "usage-1.vkey", "--json"]);
}

#[test]
fn no_checkpoint() {
    let world = World::new();
    world.remove("all/usage/1/checkpoint").check("log-no-checkpoint", SHARD);
}

#[test]
fn no_key() {
    World::new().check("log-no-key", &["log", "all/usage/1", "--vkey", "nowhere.vkey"]);
}

#[test]
fn a_folder_where_a_file_belongs() {
    let world = World::new();
    world.remove("all/usage/1/tile/0/000");
    std::fs::create_dir(world.path("all/usage/1/tile/0/000")).unwrap();
    world.check("log-folder-for-file", SHARD);
}

#[cfg(unix)]
#[test]
fn a_link_that_leaves_the_folder() {
    let world = World::new();
    world.remove("all/usage/1/tile/0/000");
    let outside = world.path("public/usage/1/tile/0/000");
    std::os::unix::fs::symlink(outside, world.path("all/usage/1/tile/0/000")).unwrap();
    world.check("log-link", SHARD);
}

#[test]
fn a_file_that_is_absurdly_large() {
    let world = World::new();
    let file = std::fs::File::create(world.path("all/usage/1/tile/entries/000")).unwrap();
    // A hole: it takes no space.
    file.set_len(1 << 40).unwrap();
    world.check("log-large-file", SHARD);
}

#[test]
fn commands_that_make_no_sense() {
    let world = World::new();
    let senseless: [&[&str]; 6] = [
        &[],
        &["dig"],
        &["log"],
        &["log", "all/usage/1"],
        &["log", "all", "--vkey", "records.vkey", "--opaque"],
        &["log", "all/usage/1", "--vkey", "usage-1.vkey", "--policy", "request"],
    ];
    for arguments in senseless {
        assert_eq!(world.run(arguments).status.code(), Some(2), "{arguments:?}");
    }
}

#[cfg(unix)]
#[test]
fn a_reader_who_has_read_enough() {
    let world = World::new();
    let script = "\"$1\" log all/usage/1 --vkey usage-1.vkey | true; exit \"${PIPESTATUS[0]}\"";
    let mut shell = Command::new("bash");
    shell.args(["-c", script, "-", env!("CARGO_BIN_EXE_loam-audit")]).current_dir(world.path("."));
    let output = shell.output().unwrap();
    assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()));
}
