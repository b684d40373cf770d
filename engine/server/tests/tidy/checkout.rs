//! The files of the checkout, as the rules see them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A text file of the repository, by its path from the top.
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) text: String,
}

/// The text files with one of these extensions.
pub(crate) fn sources(extensions: &[&str]) -> impl Iterator<Item = Source> {
    let extension = |path: &str| Path::new(path).extension().and_then(|end| end.to_str()).unwrap_or("").to_owned();
    let mut files = files();
    files.retain(|path| extensions.contains(&extension(path).as_str()));
    files.into_iter().filter_map(Source::read)
}

/// What git has, or would after `git add`. Where there is no git, as in an unpacked archive: all but what is built.
pub(crate) fn files() -> Vec<String> {
    let mut files = if top().join(".git").exists() { listed_by_git() } else { found_below(&top(), "") };
    // git lists what was removed, until that is committed.
    files.retain(|path| top().join(path).is_file());
    assert!(files.iter().any(|path| path == "Cargo.toml"), "the repository's files are found from {:?}", top());
    files
}

pub(crate) fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn listed_by_git() -> Vec<String> {
    let list = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let output = Command::new("git").current_dir(top()).args(list).output().expect("a checkout with .git has git");
    assert!(output.status.success(), "git ls-files: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).split_terminator('\0').map(str::to_owned).collect()
}

fn found_below(folder: &Path, prefix: &str) -> Vec<String> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder of the checkout can be listed") {
        let entry = entry.expect("a folder of the checkout can be read");
        let name = entry.file_name().to_string_lossy().into_owned();
        if !entry.path().is_dir() {
            files.push(format!("{prefix}{name}"));
        } else if ![".bin", ".dist", ".gpu", "target"].contains(&name.as_str()) {
            files.extend(found_below(&entry.path(), &format!("{prefix}{name}/")));
        }
    }
    files
}

impl Source {
    /// None where it is not UTF-8: data, about which the rules say nothing.
    pub(crate) fn read(path: String) -> Option<Self> {
        let bytes = fs::read(top().join(&path)).expect("a listed file can be read");
        String::from_utf8(bytes).ok().map(|text| Self { path, text })
    }

    /// Lines that offend, each as `path:number: line`.
    pub(crate) fn lines_where(&self, offends: impl Fn(&str) -> bool) -> Vec<String> {
        let lines = (1..).zip(self.text.lines()).filter(|(_, line)| offends(line));
        lines.map(|(number, line)| format!("{}:{number}: {}", self.path, line.trim())).collect()
    }

    /// Functions as rustfmt writes them, (line, lines): from `fn` to the brace below the line's first letter. This is not
    /// a parser and need not be one: `make check` looks at the format first.
    pub(crate) fn functions(&self) -> Vec<(usize, usize)> {
        let lines: Vec<&str> = self.text.lines().collect();
        let opens = |line: &str| begins_function(line) && !line.ends_with(['}', ';']);
        let starts = lines.iter().enumerate().filter(|(_, line)| opens(line));
        let lengths = starts.map(|(start, first)| {
            let indent = &first[..first.len() - first.trim_start().len()];
            let last = lines[start..].iter().position(|line| line.strip_prefix(indent).is_some_and(ends_function));
            (start + 1, last.map_or(lines.len() - start, |last| last + 1))
        });
        lengths.collect()
    }
}

fn begins_function(line: &str) -> bool {
    let qualifies = |word: &str| {
        word.starts_with("pub") || ["const", "async", concat!("un", "safe"), "extern", "\"C\""].contains(&word)
    };
    line.split_whitespace().find(|word| !qualifies(word)) == Some("fn")
}

/// Its brace; or, of a trait's method without a body, the end of its arguments.
fn ends_function(line: &str) -> bool {
    line == "}" || (line.starts_with(')') && line.ends_with(';'))
}

pub(crate) fn is_code(line: &str) -> bool {
    !line.trim_start().starts_with("//")
}

/// The word, not a part of a longer one.
pub(crate) fn has_word(line: &str, word: &str) -> bool {
    let joins = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| !line[..at].ends_with(joins) && !line[at + word.len()..].starts_with(joins))
}

#[test]
fn functions_are_measured_from_signature_to_brace() {
    let text = "\
pub(crate) const fn one() {}
fn three(
    argument: u8,
) {}
trait T {
    fn none(&self);
    async fn five(&self) {
        if true {
            five();
        }
    }
    fn declared(
        &self,
    ) -> u8;
}
";
    let source = Source { path: String::new(), text: text.to_owned() };
    assert_eq!(source.functions(), [(2, 14), (7, 5), (12, 3)]);
}
