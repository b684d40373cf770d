//! `loam-demo` as a script runs it: no terminal, a model of the tests, and an end of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const ADAPTERS: [&str; 3] = ["qv-r8", "all-r16", "last-layer"];

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../engine/testdata/golden/llama-gqa")
}

/// The demo over the model, where `make` put the programs that it starts (it names the folder in LOAM_BIN).
fn demo(arguments: &[&str]) -> Option<Output> {
    if std::env::var_os("LOAM_BIN").is_none() {
        eprintln!("skipped: there is no server to show (run through `make test`)");
        return None;
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_loam-demo"));
    command.arg("--model").arg(golden().join("base")).args(arguments).args([
        "--",
        "--threads",
        "2",
        "--kv-cache-mib",
        "16",
    ]);
    Some(command.stdin(Stdio::null()).output().expect("the demo starts"))
}

fn printed(output: &Output) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let (said, complained) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{}\n{said}\n{complained}", output.status);
    said
}

fn lines_with<'a>(said: &'a str, words: &str) -> Vec<&'a str> {
    said.lines().filter(|line| line.contains(words)).collect()
}

#[test]
fn demo_proves_what_it_shows_and_ends_by_itself() {
    let source = |name: &str| format!("{name}={}", golden().join("adapters").join(name).display());
    let sources = ADAPTERS.map(source);
    let adapters: Vec<&str> = sources.iter().flat_map(|source| ["--adapter", source]).collect();
    let Some(output) = demo(&[adapters.as_slice(), &["--max-tokens", "24"]].concat()) else { return };
    let said = printed(&output);
    let everybody = ["base"].into_iter().chain(ADAPTERS);
    let answers = everybody.clone().map(|name| {
        let begins =
            |line: &&str| line.trim_start().strip_prefix(name).is_some_and(|rest| rest.trim_start().starts_with('|'));
        let line = said.lines().find(begins).unwrap_or_else(|| panic!("no answer of {name}: {said}"));
        line.split_once('|').expect("a bar").1.trim().to_owned()
    });
    let answers: std::collections::BTreeSet<String> = answers.collect();
    assert!(answers.len() == 4 && !answers.contains(""), "four different answers: {said}");

    let valid = lines_with(&said, "receipt: VALID");
    assert_eq!(valid.len(), 4, "{said}");
    for (name, line) in everybody.zip(valid) {
        assert!(line.contains(name) && line.contains("nonce, request, output, 24 tokens"), "{line}");
        assert_eq!(line.ends_with("adapter"), name != "base", "{line}");
    }
    let invalid = lines_with(&said, "receipt: INVALID");
    assert!(invalid.len() == 2 && invalid[0].contains("answer") && invalid[0].contains("output: "), "{said}");
    assert_eq!(invalid[1].split_whitespace().nth(2), Some("receipt"), "{said}");
    assert!(lines_with(&said, "log:     VALID").iter().any(|line| line.contains("4 answers, 96 tokens")), "{said}");
    assert_eq!(
        (lines_with(&said, "tokens/s").len(), lines_with(&said, "% of the server's CPU time").len()),
        (1, 1),
        "{said}"
    );
    assert!(!said.contains('\x1b'), "no terminal, no colours: {said}");
}

#[test]
fn demo_gives_any_model_adapters_and_says_that_they_mean_nothing() {
    let Some(output) = demo(&["--max-tokens", "8"]) else { return };
    let said = printed(&output);
    assert!(said.contains("random weights"), "{said}");
    assert_eq!(lines_with(&said, "receipt: VALID").len(), 4, "{said}");
}

#[test]
fn demo_says_where_to_look_when_the_server_does_not_start() {
    let Some(output) = demo(&["--adapter", "clay=/nowhere"]) else { return };
    let complained = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{complained}");
    let log = complained.split("server's log, ").nth(1).and_then(|rest| rest.split(';').next());
    let log = PathBuf::from(log.unwrap_or_else(|| panic!("no log is named: {complained}")));
    assert!(std::fs::read_to_string(&log).expect("the log stays").contains("/nowhere"), "{complained}");
    std::fs::remove_dir_all(log.parent().expect("a folder")).expect("the demo's folder");
}
