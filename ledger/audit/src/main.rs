//! loam-audit: checks what a Loam ledger says, offline, trusting nothing but the keys that are given.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    loam_audit::run()
}
