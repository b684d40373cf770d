//! Clients that are not ours, from the ordinary package registry: Python's `openai` and `grpcio`, and curl.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::running::{Server, golden};

/// A folder of the scripts' own.
fn clients() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

/// A Python with the packages of `requirements.txt`, made once for all checkouts and named by what is in it.
fn python() -> PathBuf {
    let wanted = fs::read(clients().join("requirements.txt")).unwrap();
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache"));
    let folder = cache.join("loam/clients");
    fs::create_dir_all(&folder).unwrap();
    let name = loam_ledger_core::hash::digest(&wanted).to_hex();
    let (made, fresh) = (folder.join(&name[..16]), folder.join(format!("{}.fresh", &name[..16])));
    // Tests run side by side, in other processes too: the first makes it, the others wait.
    let lock = File::create(folder.join("lock")).unwrap();
    lock.lock().unwrap();
    if !made.exists() {
        let _ = fs::remove_dir_all(&fresh);
        done(
            Command::new("python3").args(["-m", "venv", "--copies"]).arg(&fresh),
            "python3 with venv (Debian: python3-venv)",
        );
        let mut pip = Command::new(fresh.join("bin/python"));
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"]);
        done(pip.arg(clients().join("requirements.txt")), "pip, and a registry that it reaches");
        // Nothing in it that we run knows its own path.
        fs::rename(&fresh, &made).unwrap();
    }
    made.join("bin/python")
}

fn done(command: &mut Command, needed: &str) {
    let output = command.output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}; this test needs {needed}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} needs {needed}: {said}");
}

/// Runs a client over a server, which must end well after it.
fn check(run: impl FnOnce(&Server) -> Command) {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &["--adapter-root", &golden("adapters")]);
    let mut command = run(&server);
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{}", server.log());
    server.stop();
}

#[test]
fn python_openai_is_served() {
    check(|server| {
        let mut command = Command::new(python());
        command.arg(clients().join("openai_client.py")).arg(format!("http://{}", server.address));
        command
    });
}

#[test]
fn python_grpcio_is_served() {
    check(|server| {
        let mut command = Command::new(python());
        command.arg(clients().join("grpc_client.py")).arg(&server.address);
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto"));
        command
    });
}

#[test]
fn curl_is_served() {
    check(|server| {
        let mut command = Command::new("bash");
        command.arg(clients().join("curl.sh")).arg(format!("http://{}", server.address)).arg(golden("adapters"));
        command
    });
}
