//! README's commands, run as a newcomer runs them: one after the other, in one shell, with what they print looked at.

use std::io::Read as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The commands that a test does not run: what they do is what runs it.
const OF_MAKE: &str = "make ";

/// The command that goes on for ever.
const SERVES: &str = "loam serve ";

/// The end of a line that must fail, and says so.
const REFUSED: &str = "# refused";

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the repository")
}

/// README's fences for a shell, in order.
fn fences(readme: &str) -> Vec<&str> {
    let after = readme.split("\n```sh\n").skip(1);
    after.map(|text| text.split_once("\n```").expect("a fence ends").0).collect()
}

/// One script of all of them, with a folder for /tmp and a port that nobody else has.
fn script(readme: &str, folder: &Path, port: u16) -> String {
    let mut script = String::from("set -euo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n");
    for line in fences(readme).into_iter().flat_map(str::lines) {
        let line = line.replace("/tmp/", &format!("{}/", folder.display())).replace(":8000", &format!(":{port}"));
        if line.starts_with(OF_MAKE) {
            continue;
        } else if line.starts_with(SERVES) {
            script += &format!("{line} --port {port} 2>\"$TMPDIR/server.log\" &\n");
            script += &format!(
                "for _ in $(seq 600); do curl -sf http://127.0.0.1:{port}/health >/dev/null && break; sleep 0.1; done\n"
            );
        } else if line.contains(REFUSED) {
            script += &format!("if {line}\nthen echo 'it was to be refused' >&2; exit 1; fi\n");
        } else {
            script += &format!("{line}\n");
        }
    }
    script + "echo all of README has run\n"
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

/// Runs a script; what it printed, and whether it ended well.
fn ran(script: &str, folder: &Path, port: u16) -> (String, bool) {
    let (mut said, writer) = std::io::pipe().expect("a pipe");
    let mut bash = Command::new("bash");
    bash.args(["-c", script]).current_dir(top()).stdin(Stdio::null());
    bash.env("TMPDIR", folder).env("HOME", folder).env("LOAM_URL", format!("http://127.0.0.1:{port}"));
    bash.env_remove("LOAM_BIN").stdout(writer.try_clone().expect("a pipe")).stderr(writer);
    let mut child = bash.spawn().expect("bash");
    drop(bash);
    let mut text = String::new();
    said.read_to_string(&mut text).expect("text");
    (text, child.wait().expect("it ends").success())
}

#[test]
fn what_readme_says_can_be_typed() {
    if std::env::var_os("LOAM_BIN").is_none() {
        eprintln!("skipped: the programs are in .bin/ once they were made (run through `make test`)");
        return;
    }
    let readme = std::fs::read_to_string(top().join("README.md")).expect("README.md");
    assert!(fences(&readme).len() >= 7, "README has lost fences, or this test no longer finds them");
    let folder = tempfile::tempdir().expect("a folder");
    let port = free_port();
    let (said, well) = ran(&script(&readme, folder.path(), port), folder.path(), port);
    let log = std::fs::read_to_string(folder.path().join("server.log")).unwrap_or_default();
    assert!(well && said.contains("all of README has run"), "{said}\n{log}");
    // The receipt that is taken apart says what README shows of it.
    for line in readme.lines().filter(|line| line.starts_with("  ") && line.contains("  ok  ")) {
        let subject = line.get(..24).expect("a subject and a verdict");
        assert!(said.contains(subject), "no line {subject:?} came: {said}");
    }
    assert_eq!(said.matches("INVALID").count(), 1, "one byte was changed: {said}");
}

#[test]
fn a_broken_command_is_found() {
    let folder = tempfile::tempdir().expect("a folder");
    let readme = "\n```sh\nfalse\necho on\n```\n";
    let (said, well) = ran(&script(readme, folder.path(), 1), folder.path(), 1);
    assert!(!well && !said.contains("on"), "{said}");
}
