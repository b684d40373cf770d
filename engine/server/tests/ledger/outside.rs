//! What leaves a ledger, at the sizes where trees, tiles and bundles change shape, and with one byte changed.

use std::fs;
use std::path::{Path, PathBuf};

use super::readers::{all_say, audit, independent, loam_audit};
use super::{benched, long_tier, run, text};

fn exported(top: &Path, data: &Path) -> (PathBuf, String) {
    let out = top.join("out");
    run(&["export", "--data", text(data), "--out", text(&out)]);
    (out, run(&["key", "show", "--data", text(data)]).trim_end().to_owned())
}

/// An export of this many entries is valid to every reader, and so is a proof of its first, middle and last entry.
fn check(entries: u64) {
    let top = tempfile::tempdir().expect("a temporary folder");
    let (data, _) = benched(top.path(), entries, 1);
    let (out, key) = exported(top.path(), &data);
    all_say(&out, &key, true, &format!("{entries} entries"));
    assert_eq!(audit(&out, &key).expect("it is valid").size, entries);
    let indexes = if entries == 0 { vec![] } else { vec![0, entries / 2, entries - 1] };
    let mut more = Vec::new();
    for index in indexes {
        let (proof, entry) = (top.path().join(format!("proof{index}")), top.path().join(format!("entry{index}")));
        let number = index.to_string();
        run(&["prove", "--data", text(&data), "--index", &number, "--out", text(&proof)]);
        run(&["entry", "--data", text(&data), "--index", &number, "--out", text(&entry)]);
        more.extend(["--proof".to_owned(), text(&proof).to_owned(), "--entry".to_owned(), text(&entry).to_owned()]);
    }
    let more: Vec<&str> = more.iter().map(String::as_str).collect();
    if let Some(valid) = independent(&out, &key, &more) {
        assert!(valid, "{entries} entries, with proofs");
    }
}

#[test]
fn no_entries() {
    check(0);
}

#[test]
fn one_entry() {
    check(1);
}

#[test]
fn a_bundle_less_one() {
    check(255);
}

#[test]
fn a_bundle() {
    check(256);
}

#[test]
fn a_bundle_and_one() {
    check(257);
}

#[test]
fn a_full_tile_of_tiles() {
    check(65_536);
}

#[test]
fn and_some_more() {
    check(70_001);
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<_> =
        fs::read_dir(folder).expect("a folder").map(|each| each.expect("an entry").path()).collect();
    entries.sort();
    entries.into_iter().flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

/// One changed byte in any bundle, any tile or the checkpoint, and every reader says so.
#[test]
fn one_changed_byte() {
    let top = tempfile::tempdir().expect("a temporary folder");
    let (data, _) = benched(top.path(), 600, 1);
    let (out, key) = exported(top.path(), &data);
    let mut files = files_below(&out.join("tile"));
    files.push(out.join("checkpoint"));
    assert!(files.len() > 7, "tiles, bundles and the checkpoint: {files:?}");
    let places = if long_tier() { 16 } else { 3 };
    for path in files {
        let whole = fs::read(&path).expect("a file");
        for place in 0..places {
            let at = whole.len() * place / places;
            let mut changed = whole.clone();
            changed[at] ^= 1;
            fs::write(&path, changed).expect("a changed file");
            all_say(&out, &key, false, &format!("byte {at} of {}", path.display()));
        }
        fs::write(&path, whole).expect("the file as it was");
    }
    all_say(&out, &key, true, "everything as it was");
}

/// A missing bundle or tile is a fault of the log; a missing checkpoint leaves nothing to read.
#[test]
fn a_missing_file() {
    let top = tempfile::tempdir().expect("a temporary folder");
    let (data, _) = benched(top.path(), 300, 0);
    let (out, key) = exported(top.path(), &data);
    for (path, code) in [("tile/entries/000", 1), ("tile/1/000.p/1", 1), ("checkpoint", 2)] {
        let away = top.path().join("away");
        fs::rename(out.join(path), &away).expect("the file goes");
        assert!(audit(&out, &key).is_err(), "{path}");
        if let Some(said) = loam_audit(&out, &key) {
            assert_eq!(said, code, "{path}");
        }
        fs::rename(&away, out.join(path)).expect("the file comes back");
    }
}
