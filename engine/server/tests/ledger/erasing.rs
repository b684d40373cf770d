//! Erasing as an operator meets it who looks at their own books.

use std::fs;
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use loam_ledger::{Folder, Ledger, Options};
use loam_ledger_core::Hash;

use crate::money::{audit, loam};
use crate::{benched, run, said, text};

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).expect("a new folder");
    for entry in fs::read_dir(from).expect("a folder").map(|entry| entry.expect("an entry")) {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(&from, &to).expect("a copy");
        }
    }
}

fn verified(data: &Path) -> Output {
    loam(&["epoch", "verify", "--data", text(data)])
}

/// The program was killed after it had overwritten the secret, and before it had signed what announces that.
#[test]
fn an_erasure_cut_short_is_no_fraud_in_the_books() {
    let top = tempfile::tempdir().expect("a temporary folder");
    let (data, request) = benched(top.path(), 30, 4);
    let (request, killed) = (request.expect("a request"), top.path().join("killed"));
    let options = Options { publish_interval: Duration::from_secs(3600), ..Options::default() };
    let ledger = Ledger::open(&Folder::new(&data, None), options).expect("it opens");
    ledger.erase(&Hash::from_hex(&request).expect("a name"), 1).expect("it is erased");
    copy(&data, &killed);

    let cut = verified(&killed);
    assert_eq!(cut.status.code(), Some(2), "{}", said(&cut));
    let why = said(&cut);
    assert!(why.starts_with("CANNOT CHECK: ") && why.contains("once more"), "{why}");
    run(&["erase", "--data", text(&killed), &request]);
    let signed = verified(&killed);
    assert!(signed.status.success(), "{}", said(&signed));
}

/// An owner who had to erase much is told that an auditor fails there, by both programs in the same words.
#[test]
fn more_erased_rows_than_an_auditor_allows_are_told() {
    let top = tempfile::tempdir().expect("a temporary folder");
    // So few rows that those of any request are more.
    let (data, request) = benched(top.path(), 3, 1);
    run(&["erase", "--data", text(&data), &request.expect("a request")]);
    let verified = verified(&data);
    assert!(verified.status.success(), "{}", said(&verified));
    let line = "rows are erased, more than one in 100; without --allow-erased an audit is INVALID for it";
    assert!(said(&verified).contains(line), "{}", said(&verified));

    let out = top.path().join("out");
    run(&["export", "--data", text(&data), "--out", text(&out), "--log", "all", "--scope", "settlement"]);
    let key = run(&["key", "show", "--data", text(&data), "--log", "records"]);
    let rewards = ["rewards", text(&out), "--vkey", key.trim_end()];
    let Some(strict) = audit(&rewards) else { return };
    assert!(strict.status.code() == Some(1) && said(&strict).contains("rows are erased, more than one in 100"));
    let allowed = audit(&[&rewards[..], &["--allow-erased"]].concat()).expect("it is built");
    assert_eq!((allowed.status.code(), said(&allowed)), (Some(0), said(&verified)));
}
