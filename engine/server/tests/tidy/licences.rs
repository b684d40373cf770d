//! Every dependency's licence is one that Apache-2.0 may be shipped with.

use super::check;
use super::dependencies::{cargo, metadata};

/// They ask for a notice at most, or, as MPL, for changes to their own files.
const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

#[test]
fn licences_are_allowed() {
    // What other platforms need was never fetched here, so cargo could not read it offline.
    let version = cargo(&["-vV"]);
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).expect("cargo -vV names its host");
    let metadata = metadata(&["--filter-platform", host]);
    let packages = metadata["packages"].as_array().expect("cargo metadata lists packages").iter();
    let found = packages.filter(|package| !package["source"].is_null()).filter_map(|package| {
        let licence = package["license"].as_str().unwrap_or("none stated");
        (!allowed(licence)).then(|| format!("{} {}: {licence}", package["name"], package["version"]))
    });
    check("a dependency's licence is in ALLOWED: one alternative of OR, each part of AND", found);
}

/// Reads an SPDX expression, and the old form that writes OR as a slash. AND binds closer than OR.
fn allowed(expression: &str) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    any_allowed(&mut rest) && rest.is_empty()
}

fn any_allowed(rest: &mut &[&str]) -> bool {
    let mut allowed = all_allowed(rest);
    while take(rest, "OR") {
        allowed |= all_allowed(rest);
    }
    allowed
}

fn all_allowed(rest: &mut &[&str]) -> bool {
    let mut allowed = one_allowed(rest);
    while take(rest, "AND") {
        allowed &= one_allowed(rest);
    }
    allowed
}

fn one_allowed(rest: &mut &[&str]) -> bool {
    if take(rest, "(") {
        return any_allowed(rest) & take(rest, ")");
    }
    let licence = next(rest).to_owned();
    let whole = if take(rest, "WITH") { format!("{licence} WITH {}", next(rest)) } else { licence };
    ALLOWED.contains(&whole.as_str())
}

fn next<'a>(rest: &mut &[&'a str]) -> &'a str {
    let (first, after) = rest.split_first().unwrap_or((&"", &[]));
    *rest = after;
    first
}

fn take(rest: &mut &[&str], word: &str) -> bool {
    let taken = rest.first() == Some(&word);
    *rest = &rest[usize::from(taken)..];
    taken
}

#[test]
fn expressions_are_read_as_spdx_means_them() {
    let cases = [
        ("MIT OR GPL-3.0", true),
        ("MIT AND GPL-3.0", false),
        ("GPL-3.0/MIT", true),
        ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
        ("(GPL-3.0 OR LGPL-3.0) AND MIT", false),
        ("GPL-3.0 OR MIT AND ISC", true),
        ("Apache-2.0 WITH LLVM-exception OR GPL-3.0", true),
        ("MIT WITH strings-attached", false),
        ("(MIT", false),
        ("MIT MIT", false),
        ("none stated", false),
        ("", false),
    ];
    for (expression, expected) in cases {
        assert_eq!(allowed(expression), expected, "{expression:?}");
    }
}
