//! README's commands and programs, run as a newcomer runs them: one after the other, in one shell, and what they print
//! is held against what README shows of it.

#[path = "../../engine/server/tests/clients/python.rs"]
mod python;

use std::fmt::Write as _;
use std::io::Read as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Commands that no test runs, by how they begin, and why.
const NOT_RUN: [(&str, &str); 3] = [
    ("make ", "it makes the programs that this test runs, and this test is part of it"),
    ("tar ", "`make dist` makes the archive, and MODEL_DIR is a folder of the reader's own"),
    ("python3 -m venv ", "the test has these packages already, in versions that are pinned"),
];

/// The beginning of the command that goes on for ever.
const SERVES: &str = "loam serve ";

/// The end of a line that must fail, and says so.
const REFUSED: &str = "# refused";

/// Before what each fence prints.
const MARK: &str = "== fence ";

const ALL: &str = "all of README has run";

/// What a newcomer does with two terminals: the server goes on beside what is typed next, once it says that it serves.
/// Settings that somebody has in the environment are not README's.
const BEGIN: &str = r#"
set -euo pipefail
for name in ${!LOAM_@}; do unset "$name"; done
export LOAM_URL=http://127.0.0.1:$PORT
trap 'kill ${server-} 2>/dev/null || true' EXIT
loam() {
    if [ "${1-}" != serve ]; then command loam "$@"; return; fi
    command loam "$@" --port "$PORT" >"$TMPDIR/server.out" 2>"$TMPDIR/server.log" </dev/null &
    server=$!
    until grep -q '^loam: serving' "$TMPDIR/server.out"; do kill -0 $server; sleep 0.1; done
    cat "$TMPDIR/server.out"
}
"#;

/// The server is told to end, and ends well.
const END: &str = r#"
if [ "${server-}" ]; then kill $server; wait $server; server=; fi
"#;

/// What stands between two lines of backticks.
struct Fence<'a> {
    language: &'a str,
    text: &'a str,
    /// How many headings stand above it.
    section: usize,
}

impl Fence<'_> {
    fn is_run(&self) -> bool {
        ["sh", "python"].contains(&self.language)
    }
}

/// Where README is read for a test: a folder for /tmp, and a port that nobody else has.
struct Place<'a> {
    folder: &'a Path,
    port: u16,
}

impl Place<'_> {
    fn localised(&self, text: &str) -> String {
        text.replace("/tmp/", &format!("{}/", self.folder.display())).replace(":8000", &format!(":{}", self.port))
    }

    /// One script of all fences, in order. Programs in Python are written beside it.
    fn script(&self, fences: &[Fence<'_>]) -> String {
        let mut script = BEGIN.to_owned();
        for (number, fence) in fences.iter().enumerate().filter(|(_, fence)| fence.is_run()) {
            let _ = writeln!(script, "echo; echo '{MARK}{number}'");
            let text = self.localised(fence.text);
            if fence.language == "python" {
                let program = self.folder.join(format!("fence-{number}.py"));
                std::fs::write(&program, text).expect("a program");
                let _ = writeln!(script, "\"$TMPDIR/python/bin/python\" '{}'", program.display());
            } else {
                text.lines().filter(|line| not_run(line).is_none()).for_each(|line| script += &command(line));
            }
        }
        format!("{script}{END}echo '{ALL}'\n")
    }

    /// What the script printed, in order; an error where it did not come to its end.
    fn run(&self, script: &str) -> Result<String, String> {
        let (mut said, writer) = std::io::pipe().expect("a pipe");
        let mut bash = Command::new("bash");
        bash.args(["-c", script]).current_dir(top()).stdin(Stdio::null());
        bash.env("TMPDIR", self.folder).env("HOME", self.folder).env("PORT", self.port.to_string());
        bash.env("PYTHONDONTWRITEBYTECODE", "1");
        bash.stdout(writer.try_clone().expect("a pipe")).stderr(writer);
        let mut child = bash.spawn().expect("bash");
        drop(bash);
        let mut text = String::new();
        said.read_to_string(&mut text).expect("text");
        let well = child.wait().expect("it ends").success() && text.contains(ALL);
        if well { Ok(text) } else { Err(text) }
    }
}

fn command(line: &str) -> String {
    if line.contains(REFUSED) {
        format!("if {line}\nthen echo 'it was to be refused' >&2; exit 1; fi\n")
    } else {
        format!("{line}\n")
    }
}

/// Which of those that no test runs.
fn not_run(line: &str) -> Option<usize> {
    NOT_RUN.iter().position(|(begin, _)| line.starts_with(begin))
}

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the repository")
}

/// README's fences in order.
fn fences(readme: &str) -> Vec<Fence<'_>> {
    let mut section = 0;
    let mut fences = Vec::new();
    let mut parts = readme.split("\n```");
    while let Some(prose) = parts.next() {
        section += prose.matches("\n## ").count();
        if let Some((language, text)) = parts.next().and_then(|fence| fence.split_once('\n')) {
            fences.push(Fence { language, text, section });
        }
    }
    fences
}

/// For each text that README shows of what was printed: which fence printed it, and the text.
fn shown<'a>(fences: &[Fence<'a>]) -> Vec<(usize, &'a str)> {
    let texts = fences.iter().enumerate().filter(|(_, fence)| fence.language == "text");
    let by = |at: usize| (0..at).rev().find(|before| fences[*before].is_run());
    let of_its_section = |(at, text): (usize, &Fence<'a>)| {
        by(at).filter(|by| fences[*by].section == text.section).map(|by| (by, text.text))
    };
    texts.filter_map(of_its_section).collect()
}

/// The part of a text that does not change from run to run: one digest is like another, and one number; so is all space.
fn stable(text: &str) -> String {
    let spaced = text.split_whitespace().map(|spaced| {
        let pieces = spaced.split_inclusive(|c: char| !c.is_ascii_alphanumeric());
        pieces.map(stable_word).collect::<String>()
    });
    spaced.collect::<Vec<_>>().join(" ")
}

/// A word, and perhaps one character that is none of a word.
fn stable_word(piece: &str) -> String {
    let word = piece.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
    let end = &piece[word.len()..];
    if word.len() >= 8 && word.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f')) {
        return format!("#{end}");
    }
    let mut stable = String::new();
    for c in word.chars() {
        match c {
            '0'..='9' if stable.ends_with('#') => {}
            '0'..='9' => stable.push('#'),
            _ => stable.push(c),
        }
    }
    stable + end
}

/// The first piece of what is shown that was not said after the pieces before it. Three dots stand for anything.
fn missing(shown: &str, said: &str) -> Option<String> {
    let said = stable(said);
    let mut rest = said.as_str();
    let mut pieces = shown.lines().flat_map(|line| line.split("...")).map(stable).filter(|piece| !piece.is_empty());
    pieces.find(|piece| match rest.find(piece.as_str()) {
        Some(at) => {
            rest = &rest[at + piece.len()..];
            false
        }
        None => true,
    })
}

/// What is shown and was not printed, for each text of README's.
fn not_said(fences: &[Fence<'_>], said: &str) -> Vec<String> {
    let printed = |by: usize| {
        let after = said.split_once(&format!("{MARK}{by}\n")).map_or("", |(_, after)| after);
        after.split(MARK).next().unwrap_or_default()
    };
    let texts = shown(fences).into_iter();
    texts.filter_map(|(by, text)| Some(format!("{:?} in: {}", missing(text, printed(by))?, printed(by)))).collect()
}

/// Runs a README; an error says what is not so.
fn tried(readme: &str, place: &Place<'_>) -> Result<String, String> {
    let fences = fences(readme);
    let said = place.run(&place.script(&fences))?;
    let wrong = not_said(&fences, &said);
    if wrong.is_empty() { Ok(said) } else { Err(wrong.join("\n")) }
}

fn readme() -> String {
    std::fs::read_to_string(top().join("README.md")).expect("README.md")
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

#[test]
fn what_readme_says_can_be_typed() {
    if std::env::var_os("LOAM_BIN").is_none() {
        eprintln!("skipped: the programs are in .bin/ once they were made (run through `make test`)");
        return;
    }
    let readme = readme();
    let fences = fences(&readme);
    let known = |fence: &&Fence<'_>| fence.is_run() || ["text", "rust,no_run"].contains(&fence.language);
    assert_eq!(fences.iter().filter(known).count(), fences.len(), "a fence that no test reads");
    let count = |language| fences.iter().filter(|fence| fence.language == language).count();
    assert!(count("sh") >= 12 && count("python") >= 2, "README has lost fences, or this test no longer finds them");
    assert!(shown(&fences).len() >= 5, "README shows less than it did, or this test no longer finds it");

    let folder = tempfile::tempdir().expect("a folder");
    let environment = python::environment(&top().join("engine/server/tests/clients"));
    std::os::unix::fs::symlink(environment, folder.path().join("python")).expect("a link");
    let tried = tried(&readme, &Place { folder: folder.path(), port: free_port() });
    let log = std::fs::read_to_string(folder.path().join("server.log")).unwrap_or_default();
    tried.unwrap_or_else(|wrong| panic!("{wrong}\n{log}"));
}

#[test]
fn what_is_not_run_is_there_to_be_typed() {
    let readme = readme();
    let fences = fences(&readme);
    let lines: Vec<&str> = fences.iter().filter(|fence| fence.is_run()).flat_map(|fence| fence.text.lines()).collect();
    for (begin, why) in NOT_RUN {
        assert!(lines.iter().any(|line| line.starts_with(begin)), "no line begins with {begin:?} any more ({why})");
    }
    assert_eq!(lines.iter().filter(|line| line.starts_with(SERVES)).count(), 1, "one server is started, and ended");
}

/// A README of these fences, tried.
fn tried_fences(fences: &[(&str, &str)]) -> Result<String, String> {
    let fence = |(language, text): &(&str, &str)| format!("\n```{language}\n{text}\n```\n");
    let readme = format!("# A title\n\n## A section\n{}", fences.iter().map(fence).collect::<String>());
    let folder = tempfile::tempdir().expect("a folder");
    tried(&readme, &Place { folder: folder.path(), port: 1 })
}

#[test]
fn a_broken_snippet_is_found() {
    let broken = |fences: &[(&str, &str)]| tried_fences(fences).expect_err("it is broken");
    assert!(!broken(&[("sh", "false\necho on")]).contains("on"), "nothing runs after what failed");
    broken(&[("sh", "echo well"), ("sh", "false | cat")]);
    broken(&[("sh", "echo $unset")]);
    broken(&[("sh", "no-such-program --flag")]);
    assert!(broken(&[("sh", "true      # refused: never")]).contains("it was to be refused"));
    // There is no Python here at all.
    broken(&[("python", "print(1)")]);
    let wrong = broken(&[("sh", "echo 12 apples"), ("text", "12 pears")]);
    assert!(wrong.contains("# pears") && wrong.contains("12 apples"), "{wrong}");
    broken(&[("sh", "echo one; echo two"), ("text", "two\none")]);
    broken(&[("sh", "echo early"), ("sh", "echo late"), ("text", "early")]);
}

#[test]
fn a_snippet_that_holds_is_passed() {
    let said = tried_fences(&[
        ("sh", "make no-such-thing\ncat > /tmp/there <<'END'\nseen \\\n  here\nEND\ncat /tmp/there"),
        ("text", "seen ..."),
        ("sh", "false      # refused: always\necho receipt 206cc36da3b56274, 42 of v2\nprintf '%s' a\\\\b"),
        ("text", "receipt 0d48bd23..., 48 of v3"),
    ]);
    said.unwrap_or_else(|wrong| panic!("{wrong}"));
}

#[test]
fn what_changes_from_run_to_run_is_not_compared() {
    let check = |text: &str, expected: &str| assert_eq!(stable(text), expected, "{text:?}");
    check("  at   size 43\n is", "at size # is");
    check("loam.local/346259dd/usage/1", "loam.local/#/usage/#");
    check("\"chatcmpl-775d28bd...\"", "\"chatcmpl-#...\"");
    check("2026-11-26 22:13:35.568 UTC", "#-#-# #:#:#.# UTC");
    check("c2sp v10x20 facade 1a 1,000", "c#sp v#x# facade #a #,#");
    check("\u{2014} 7", "\u{2014} #");
    assert_eq!(missing("one ... three\nfour", "zero one two\nthree four"), None);
    assert_eq!(missing("one\nthree 3", "one three").as_deref(), Some("three #"));
}
