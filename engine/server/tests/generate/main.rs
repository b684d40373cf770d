//! `loam generate` as it is used: the program is run over a small real model, and its answers and refusals are read.

mod answers;
mod asking;
mod refusals;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// A folder of the model that everything here asks, with adapters that PEFT saved.
fn golden(part: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/golden/llama-gqa").join(part);
    folder.to_str().expect("the checkout's path is text").to_owned()
}

/// The program over the model, with the arguments of `loam generate`.
fn loam(arguments: &[&str]) -> Command {
    over(&golden("base"), arguments)
}

/// The program over any model.
fn over(model: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loam"));
    // Two threads: other tests run beside this one. The cache is small, for it is cleared at each start.
    command.args(["generate", "--model", model, "--threads", "2", "--kv-cache-mib", "16"]).args(arguments);
    command.stdin(Stdio::null());
    command
}

/// Runs it to its end, which must be a good one, and returns what it printed.
fn run(arguments: &[&str]) -> String {
    let output = loam(arguments).output().expect("the program starts");
    assert!(output.status.success(), "loam generate {arguments:?}: {}", said(&output));
    String::from_utf8(output.stdout).expect("text")
}

/// Runs it to its end, which must be a refusal and no panic, and returns what it said.
fn refused(arguments: &[&str]) -> String {
    let output = loam(arguments).output().expect("the program starts");
    assert!(!output.status.success(), "loam generate {arguments:?} was not refused: {}", said(&output));
    let told = String::from_utf8(output.stderr).expect("text");
    assert!(output.status.code().is_some_and(|code| code != 101) && !told.contains("panicked"), "{told}");
    told
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The lines that it printed, in the order of their ids and choices.
fn lines(printed: &str) -> Vec<Value> {
    let mut lines: Vec<Value> =
        printed.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect();
    let key = |line: &Value| (line["id"].as_str().expect("an id").to_owned(), line["choice"].as_u64());
    lines.sort_by_key(key);
    lines
}

/// The one line of one answer.
fn answer(arguments: &[&str]) -> Value {
    let mut lines = lines(&run(&[arguments, &["--json"]].concat()));
    assert_eq!(lines.len(), 1, "{lines:?}");
    lines.remove(0)
}

/// A file in a temporary folder.
struct Written {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl Written {
    fn new(name: &str, bytes: impl AsRef<[u8]>) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).expect("a temporary file");
        Self { _folder: folder, path }
    }

    fn text(&self) -> &str {
        self.path.to_str().expect("temporary paths are text")
    }
}

/// Answers to a file of these lines.
fn requests(text: &str) -> Vec<Value> {
    let file = Written::new("requests.jsonl", text);
    lines(&run(&["--requests", file.text()]))
}

/// The answer to a line of these fields.
fn request(fields: &str) -> Value {
    let mut answers = requests(&format!("{{\"id\": \"a\", {}}}\n", fields.replace('\n', " ")));
    assert_eq!(answers.len(), 1, "{answers:?}");
    answers.remove(0)
}
