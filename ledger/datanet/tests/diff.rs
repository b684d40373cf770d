//! Diffs and blame, as values and as people read them.

use std::collections::BTreeMap;

use loam_datanet::Row;
use loam_datanet::diff::{Behind, Diff, blame};
use loam_ledger_core::Hash;
use loam_ledger_core::hash::digest;
use loam_ledger_core::lineage::Touch;
use loam_ledger_core::record::{ActKind, Author, Rows};

fn id(first: u8) -> Hash {
    let mut hash = Hash::ZERO;
    hash.0[0] = first;
    hash
}

/// Rows by their first byte and what they say.
fn texts(rows: &[(u8, &str)]) -> BTreeMap<Hash, Row> {
    rows.iter().map(|(row, text)| (id(*row), Row::parse(text).expect("it is a row"))).collect()
}

#[track_caller]
fn check(before: &[(u8, &str)], after: &[(u8, &str)], expected: &str) {
    let (before, after) = (texts(before), texts(after));
    let rows = |texts: &BTreeMap<Hash, Row>| -> Rows {
        texts.iter().map(|(id, row)| (*id, digest(row.text().as_bytes()))).collect()
    };
    let diff = Diff::between(&rows(&before), &rows(&after));
    let shown =
        diff.render(|row| before.get(row).cloned(), |row| after.get(row).filter(|_| row.0[0] < 0xf0).cloned(), 2);
    let shown = shown.replace(&"0".repeat(62), "");
    assert_eq!(shown, expected);
    let back = Diff::between(&rows(&after), &rows(&before));
    assert_eq!((diff.added, diff.removed, diff.changed), (back.removed, back.added, back.changed));
}

#[test]
fn a_diff_shows_what_differs() {
    check(&[(1, r#"{"a":1}"#)], &[(1, r#"{"a":1}"#)], "0 added, 0 removed, 0 changed\n");
    check(
        &[(1, r#"{"a":1}"#), (2, r#"{"a":1,"b":2,"c":3}"#), (0xf1, r#"{"a":1}"#)],
        &[
            (2, r#"{"a":1,"b":"x","d":4}"#),
            (3, r#"{"n":1}"#),
            (0xf0, r#"{"a":1}"#),
            (0xf1, r#"{"a":2}"#),
            (0xf2, r#"{"a":1}"#),
        ],
        "3 added, 1 removed, 2 changed\n\
        + 03\n    + {\"n\":1}\n+ f0\n    + (can no longer be opened)\n+ and 1 more\n\
        - 01\n    - {\"a\":1}\n\
        ~ 02\n    - b: 2\n    + b: \"x\"\n    - c: 3\n    + d: 4\n\
        ~ f1\n    - {\"a\":1}\n    + (can no longer be opened)\n",
    );
}

#[test]
fn what_is_shown_cannot_move_the_cursor() {
    let row = format!("{{\"a\":\"\u{9b}2J\u{202e}{}\"}}", "x".repeat(300));
    let shown =
        format!("0 added, 1 removed, 0 changed\n- 01\n    - {{\"a\":\"\\u{{9b}}2J\\u{{202e}}{}...\n", "x".repeat(190));
    check(&[(1, &row)], &[], &shown);
}

#[test]
fn blame_names_everybody_on_the_chain() {
    let touch = |work: u8, operation, kind| Touch { contribution: id(work), operation, kind };
    let author = |who: u8, share| Author { contributor: id(who), share };
    let behind = |work: &Hash| match work.0[0] {
        1 => Behind { authors: vec![author(0xaa, 1_000_000)], attested: false },
        2 => Behind { authors: vec![author(0xbb, 666_667), author(0xcc, 333_333)], attested: false },
        _ => Behind { authors: vec![author(0xdd, 1_000_000)], attested: true },
    };
    let chain =
        [touch(1, 0, ActKind::Add), touch(2, 41, ActKind::RemoveHarmful), touch(3, 6, ActKind::DocumentDecision)];
    let shown = blame(&id(7), &chain, behind).replace(&"0".repeat(62), "").replace("0000000000", "");
    let expected = "row 07\n    \
        add               aa, contribution 01, operation 1\n    \
        remove-harmful    bb 66.6667%, cc 33.3333%, contribution 02, operation 42\n    \
        document-decision dd (attested by operator), contribution 03, operation 7\n";
    assert_eq!(shown, expected);
    assert!(blame(&id(7), &[], behind).ends_with("    is not there\n"));
}
