//! A Python with the packages of `requirements.txt`, for tests that run other people's clients.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Its folder, made once for all checkouts and named by what is in it. `clients` is the folder of this file.
pub(crate) fn environment(clients: &Path) -> PathBuf {
    let requirements = clients.join("requirements.txt");
    let wanted = fs::read(&requirements).expect("requirements.txt");
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").expect("HOME")).join(".cache"));
    let folder = cache.join("loam/clients");
    fs::create_dir_all(&folder).expect("a folder in the user's cache");
    let name = loam_ledger_core::hash::digest(&wanted).to_hex();
    let (made, fresh) = (folder.join(&name[..16]), folder.join(format!("{}.fresh", &name[..16])));
    // Tests run side by side, in other processes too: the first makes it, the others wait.
    let lock = File::create(folder.join("lock")).expect("a file to lock");
    lock.lock().expect("the lock");
    if !made.exists() {
        let _ = fs::remove_dir_all(&fresh);
        done(
            Command::new("python3").args(["-m", "venv", "--copies"]).arg(&fresh),
            "python3 with venv (Debian: python3-venv)",
        );
        let mut pip = Command::new(fresh.join("bin/python"));
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"]);
        done(pip.arg(requirements), "pip, and a registry that it reaches");
        // Nothing in it that we run knows its own path.
        fs::rename(&fresh, &made).expect("a name for what was made");
    }
    made
}

fn done(command: &mut Command, needed: &str) {
    let output = command.output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}; this test needs {needed}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} needs {needed}: {said}");
}
