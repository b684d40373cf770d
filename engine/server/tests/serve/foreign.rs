//! Clients that are not ours, from the ordinary package registry: Python's `openai` and `grpcio`, and curl.

#[path = "../clients/python.rs"]
mod python;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::running::{Server, golden};

/// A folder of the scripts' own.
fn clients() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

/// Runs a script over a server, which must end well after it; what the script printed.
fn check(script: &str, more: &[&OsStr]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let limits = ["--adapter-root", &golden("adapters"), "--max-body-mib", "1"];
    let server = Server::start(folder.path(), &limits);
    let program =
        if script.ends_with(".py") { python::environment(&clients()).join("bin/python") } else { "bash".into() };
    let mut command = Command::new(program);
    command.arg(clients().join(script)).arg(format!("http://{}", server.address)).args(more);
    // Nothing between the two of them, and nothing left in the checkout.
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.envs([("PYTHONDONTWRITEBYTECODE", "1"), ("PYTHONUTF8", "1")]).stdin(Stdio::null());
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let refused = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{refused}\n{}", server.log());
    server.stop();
    said
}

#[test]
fn python_openai_is_served() {
    check("openai_client.py", &[]);
}

#[test]
fn python_grpcio_is_served() {
    check("grpc_client.py", &[]);
}

#[test]
fn python_grpcio_without_stubs_is_served() {
    check("reflection.py", &[]);
}

#[test]
fn curl_is_served() {
    check("curl.sh", &[]);
}

/// What a client that is not ours wrote down of an export, the auditor's program finds whole.
#[test]
fn python_exports_what_holds() {
    let folder = tempfile::tempdir().unwrap();
    let said = check("export.py", &[folder.path().as_os_str()]);
    let key = said.lines().last().unwrap();
    let programs = Path::new(env!("CARGO_BIN_EXE_loam")).parent().unwrap();
    let programs = std::env::var_os("LOAM_BIN").map_or_else(|| programs.to_owned(), PathBuf::from);
    let mut audit = Command::new(programs.join("loam-audit"));
    audit.arg("log").arg(folder.path()).args(["--vkey", key]);
    let output = audit.output().unwrap_or_else(|error| panic!("{audit:?}: {error}"));
    let judged = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{judged}{}", String::from_utf8_lossy(&output.stderr));
    assert!(judged.contains("VALID") && judged.contains("2 logs"), "{judged}");
}
