//! Three readers of an export: the audit's own code, the program `loam-audit`, and a reader that others wrote.

use std::path::Path;
use std::process::Command;

use loam_ledger::ExportFolder;
use loam_ledger_core::audit::{Failure, LogReport, Options, audit_log};
use loam_ledger_core::note::VerifierKey;

use super::text;

pub(crate) fn audit(export: &Path, key: &str) -> Result<LogReport, Failure> {
    let key = VerifierKey::parse(key).expect("a key");
    audit_log(&ExportFolder::new(export), &key, Options::default(), &mut |_, _| ())
}

/// `loam-audit log`'s exit code, where `make` put the program (it names the folder in LOAM_BIN).
pub(crate) fn loam_audit(export: &Path, key: &str) -> Option<i32> {
    let Some(folder) = std::env::var_os("LOAM_BIN") else {
        eprintln!("skipped: loam-audit is not asked (run through `make test`)");
        return None;
    };
    let output =
        Command::new(Path::new(&folder).join("loam-audit")).args(["log", text(export), "--vkey", key]).output();
    output.expect("loam-audit starts").status.code()
}

/// A reader written from the formats' own texts, which shares no code with this project. It is not part of it: where it
/// does not lie beside the checkout, or Python lacks `cryptography`, it is not asked.
pub(crate) fn independent(export: &Path, key: &str, more: &[&str]) -> Option<bool> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/accept/tlog.py");
    let able = Command::new("python3").args(["-c", "import cryptography"]).output().is_ok_and(|o| o.status.success());
    if !script.exists() || !able {
        eprintln!("skipped: the independent reader is not at hand");
        return None;
    }
    let output = Command::new("python3").arg(script).arg(export).args(["--vkey", key]).args(more).output();
    let output = output.expect("python starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    match output.status.code() {
        Some(0) if said.starts_with("VALID: ") => Some(true),
        Some(1) if said.starts_with("INVALID: ") => Some(false),
        code => panic!("the independent reader ended with {code:?}: {said}"),
    }
}

/// All readers that are at hand call the export valid, or all call it invalid.
pub(crate) fn all_say(export: &Path, key: &str, valid: bool, what: &str) {
    let audited = audit(export, key);
    assert_eq!(audited.is_ok(), valid, "{what}: {audited:?}");
    if let Some(code) = loam_audit(export, key) {
        assert_eq!(code, i32::from(!valid), "{what}: loam-audit");
    }
    if let Some(said) = independent(export, key, &[]) {
        assert_eq!(said, valid, "{what}: the independent reader");
    }
}
