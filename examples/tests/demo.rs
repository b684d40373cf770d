//! `loam-demo` as a script runs it: no terminal, a model of the tests, and an end of its own.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const ADAPTERS: [&str; 3] = ["qv-r8", "all-r16", "last-layer"];

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../engine/testdata/golden/llama-gqa")
}

/// The demo over the model, where `make` put the programs that it starts (it names the folder in LOAM_BIN).
fn demo(arguments: &[&str]) -> Option<Output> {
    programs().map(|programs| demo_with(&programs, arguments))
}

fn programs() -> Option<PathBuf> {
    let Some(folder) = std::env::var_os("LOAM_BIN") else {
        eprintln!("skipped: there is no server to show (run through `make test`)");
        return None;
    };
    Some(Path::new(&folder).canonicalize().expect("LOAM_BIN is a folder"))
}

fn demo_with(programs: &Path, arguments: &[&str]) -> Output {
    let base = golden().join("base");
    let model = ["--model", base.to_str().expect("the checkout's path is text")];
    // Two threads: other tests run beside this one. The cache is small, for it is cleared at each start.
    let small = ["--", "--threads", "2", "--kv-cache-mib", "16"];
    run(programs, &[model.as_slice(), arguments, &small].concat())
}

fn run(programs: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loam-demo"));
    command.env("LOAM_BIN", programs).current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).args(arguments);
    command.stdin(Stdio::null()).output().expect("the demo starts")
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
fn demo_shows_the_bundled_model_where_none_is_given() {
    let Some(programs) = programs() else { return };
    let said = printed(&run(&programs, &["--", "--threads", "2"]));
    assert!(said.contains("examples/model/base") && !said.contains("random weights"), "{said}");
    assert_eq!(lines_with(&said, "receipt: VALID").len(), 4, "{said}");
}

/// What it complained of, and the server's log, whose folder is removed.
fn failed(output: &Output) -> (String, String) {
    let complained = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{complained}");
    let log = complained.split("server's log, ").nth(1).and_then(|rest| rest.split(';').next());
    let log = PathBuf::from(log.unwrap_or_else(|| panic!("no log is named: {complained}")));
    let text = std::fs::read_to_string(&log).expect("the log stays");
    std::fs::remove_dir_all(log.parent().expect("a folder")).expect("the demo's folder");
    (complained, text)
}

#[test]
fn demo_says_where_to_look_when_the_server_does_not_start() {
    let Some(output) = demo(&["--adapter", "clay=/nowhere"]) else { return };
    let (complained, log) = failed(&output);
    assert!(complained.contains("ended before it was ready") && log.contains("/nowhere"), "{complained}\n{log}");
}

/// The demo beside an auditor that always says the same.
fn demo_audited_by(script: &str) -> Option<Output> {
    let programs = programs()?;
    let folder = tempfile::tempdir().expect("a temporary folder");
    symlink(programs.join("loam"), folder.path().join("loam")).expect("a link");
    let auditor = folder.path().join("loam-audit");
    std::fs::write(&auditor, format!("#!/bin/sh\n{script}\n")).expect("a script");
    std::fs::set_permissions(&auditor, std::fs::Permissions::from_mode(0o755)).expect("a script may be run");
    Some(demo_with(folder.path(), &["--max-tokens", "4"]))
}

#[test]
fn a_changed_byte_that_nobody_sees_is_a_failure() {
    let holds = |subject| format!(r#"{{"subject":"{subject}","verdict":"holds"}}"#);
    let lines = ["nonce", "request bytes", "output", "tokens", "adapter"].map(holds).join(",");
    let script = format!(r#"echo '{{"verdict":"valid","lines":[{lines}]}}'"#);
    let Some(output) = demo_audited_by(&script) else { return };
    let (complained, _) = failed(&output);
    assert!(complained.contains("loam-audit did not see it"), "{complained}");
}

#[test]
fn a_receipt_that_is_silent_about_what_is_held_is_a_failure() {
    let Some(output) = demo_audited_by(r#"echo '{"verdict":"valid","lines":[]}'"#) else { return };
    let (complained, _) = failed(&output);
    assert!(complained.contains("a receipt that should hold does not: base"), "{complained}");
}

#[test]
fn a_receipt_that_is_refused_is_a_failure() {
    let Some(output) = demo_audited_by(r#"echo '{"verdict":"invalid","reason":"no","lines":[]}'; exit 1"#) else {
        return;
    };
    let (complained, _) = failed(&output);
    assert!(complained.contains("a receipt that should hold does not: base"), "{complained}");
}

#[test]
fn an_auditor_that_comes_to_no_verdict_is_a_failure() {
    let Some(output) = demo_audited_by("echo 'CANNOT CHECK: no' >&2; exit 2") else { return };
    let (complained, _) = failed(&output);
    assert!(complained.contains("CANNOT CHECK: no"), "{complained}");
}
