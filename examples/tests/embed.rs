//! The examples run as their first lines say.

use std::path::Path;
use std::process::Command;

#[test]
fn embed_answers_with_two_adapters() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../engine/testdata/golden/llama-gqa");
    let golden = golden.canonicalize().expect("the golden models are committed");
    let adapters = ["qv-r8", "all-r16"].map(|name| golden.join("adapters").join(name));
    let mut command = Command::new(env!("CARGO_BIN_EXE_embed"));
    let output = command.arg(golden.join("base")).args(&adapters).output().expect("the example starts");
    let said = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let answer = |adapter: &Path| said.split(&format!("{}: ", adapter.display())).nth(1).map(str::to_owned);
    let answers = adapters.map(|adapter| answer(&adapter).expect("each adapter answers"));
    assert!(answers.iter().all(|answer| !answer.trim().is_empty()), "{said}");
}

/// What went wrong was shown as Rust writes it, or not at all.
#[test]
fn embed_says_what_went_wrong() {
    let output = Command::new(env!("CARGO_BIN_EXE_embed")).arg("/nowhere").output().expect("the example starts");
    let said = String::from_utf8(output.stderr).expect("text");
    assert!(!output.status.success() && said.starts_with("/nowhere is no model's folder"), "{said}");
}

#[test]
fn embed_is_short_enough_to_follow() {
    let source = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("embed.rs")).expect("its source");
    assert!(source.lines().count() <= 40, "{} lines", source.lines().count());
}
