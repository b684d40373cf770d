//! `loam-bench rewards`, small: what it measures is an epoch that `loam-audit` settles again to the same.

use std::process::Command;

#[test]
fn rewards_are_measured_over_an_epoch_that_holds() {
    if std::env::var_os("LOAM_BIN").is_none() {
        eprintln!("skipped: loam-audit is not asked (run through `make test`)");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    // No whole number of entries: the last one is not full.
    let mut bench = Command::new(env!("CARGO_BIN_EXE_loam-bench"));
    let output = bench.args(["rewards", "--rows", "1000", "--at"]).arg(folder.path()).output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    for figure in [
        "completion rows appended",
        "epoch drafted",
        "draft, memory",
        "epoch closed",
        "statement",
        "exported for settlement",
        "export read and hashed once",
        "loam-audit rewards",
        "loam-audit rewards, memory",
        "loam-audit trace",
        "loam-audit trace, memory",
    ] {
        assert!(said.lines().any(|line| line.starts_with(&format!("rewards: {figure}  "))), "{figure}: {said}");
    }
    let left = std::fs::read_dir(folder.path()).expect("the folder is there").count();
    assert_eq!(left, 0, "the ledger and its export are gone");
}
