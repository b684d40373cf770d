//! `loam ledger` as it is used: the program is run, killed, traced, and what it wrote is read by others.

mod commands;
mod datanet;
mod erasing;
mod forks;
mod kill;
mod lineage;
mod money;
mod outside;
mod papers;
mod readers;
mod syscalls;
mod village;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Whether every test runs at full size.
fn long_tier() -> bool {
    std::env::var("LOAM_TEST_TIER").is_ok_and(|tier| tier == "long")
}

/// The program, with the arguments of `loam ledger`.
fn loam(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loam"));
    command.arg("ledger").args(arguments).stdin(Stdio::null());
    command
}

/// Runs `loam ledger` to its end, which must be a good one, and returns what it printed.
fn run(arguments: &[&str]) -> String {
    let output = loam(arguments).output().expect("the program starts");
    assert!(output.status.success(), "loam ledger {arguments:?}: {}", said(&output));
    String::from_utf8(output.stdout).expect("text")
}

/// Runs `loam ledger` to its end, which must be a refusal, and returns the exit code and what it said.
fn refused(arguments: &[&str]) -> (i32, String) {
    let output = loam(arguments).output().expect("the program starts");
    assert!(!output.status.success(), "loam ledger {arguments:?} was not refused: {}", said(&output));
    (output.status.code().expect("it was not killed"), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A path as an argument.
fn text(path: &Path) -> &str {
    path.to_str().expect("temporary paths are text")
}

/// A ledger with entries in a temporary folder, and the request that its bench named.
fn benched(top: &Path, entries: u64, rows: u32) -> (PathBuf, Option<String>) {
    let data = top.join("data");
    let (entries, rows) = (entries.to_string(), rows.to_string());
    let said = run(&["bench", "--data", text(&data), "--entries", &entries, "--rows", &rows]);
    let request = said.lines().find_map(|line| line.strip_prefix("request "));
    (data, request.map(str::to_owned))
}
