//! Lineage: blame of a row down to everybody on its chain of edits, and the way from a generation to people.

mod town;

use loam_ledger_core::lineage::{Blame, Link, Node, links};
use loam_ledger_core::record::{Access, ActKind, MILLION, Operation, RowContent};

use town::{Town, add, correct, named, row};

fn operation(kind: ActKind, from: &[RowContent], to: &[RowContent]) -> Operation {
    let sorted = |rows: &[RowContent]| {
        let mut rows = rows.to_vec();
        rows.sort_unstable();
        rows
    };
    Operation { kind, from: sorted(from), to: sorted(to) }
}

/// Contributions, named by numbers, and whose touches are on a row's chain at the end.
#[track_caller]
fn check(contributions: &[&[Operation]], on: &str, expected: &[(usize, ActKind)]) {
    let mut blame = Blame::default();
    for (number, operations) in contributions.iter().enumerate() {
        blame.follow(named(&number.to_string()), operations);
    }
    let found: Vec<_> = blame.of(&named(on)).iter().map(|touch| (touch.contribution, touch.kind)).collect();
    let expected: Vec<_> = expected.iter().map(|(number, kind)| (named(&number.to_string()), *kind)).collect();
    assert_eq!(found, expected);
}

#[test]
fn a_row_is_owed_to_everybody_who_changed_it() {
    let fix = [correct("a", "a", "A")];
    let label = [operation(ActKind::Relabel, &[row("a", "A")], &[row("a", "A, labelled")])];
    check(&[&[add("a")], &fix, &label], "a", &[(0, ActKind::Add), (1, ActKind::Correct), (2, ActKind::Relabel)]);
}

#[test]
fn an_edit_without_effect_is_nobodys() {
    check(&[&[add("a")], &[correct("a", "a", "a")]], "a", &[(0, ActKind::Add)]);
}

#[test]
fn split_merge_and_translation_keep_the_chain() {
    let split = [operation(ActKind::Split, &[row("a", "a")], &[row("a1", "x"), row("a2", "y")])];
    check(&[&[add("a")], &split], "a2", &[(0, ActKind::Add), (1, ActKind::Split)]);
    check(&[&[add("a")], &split], "a", &[]);
    let merge = [operation(ActKind::Merge, &[row("a", "a"), row("b", "b")], &[row("ab", "z")])];
    let mut both = [(0, ActKind::Add), (1, ActKind::Add), (2, ActKind::Merge)];
    if named("b") < named("a") {
        both.swap(0, 1);
    }
    check(&[&[add("a")], &[add("b")], &merge], "ab", &both);
    let translated = [operation(ActKind::Translate, &[row("a", "a")], &[row("a", "a"), row("a in French", "x")])];
    check(&[&[add("a")], &translated], "a in French", &[(0, ActKind::Add), (1, ActKind::Translate)]);
    check(&[&[add("a")], &translated], "a", &[(0, ActKind::Add)]);
}

#[test]
fn a_row_keeps_its_chain_when_copies_of_it_go() {
    let dedupe = [operation(ActKind::Dedupe, &[row("a", "a"), row("b", "b")], &[row("a", "a")])];
    check(&[&[add("a")], &[add("b")], &dedupe], "a", &[(0, ActKind::Add)]);
    check(&[&[add("a")], &[add("b")], &dedupe], "b", &[]);
}

#[test]
fn links_lead_from_a_generation_to_people() {
    let mut town = Town::of(&["gatherer", "corrector", "trainer"]);
    let dataset = town.dataset(&["gatherer"], Access::Open);
    let work = town.propose(&["gatherer"], dataset, None, &[add("a")]).unwrap();
    let first = town.commit(&[("gatherer", MILLION)], dataset, None, &[work]).unwrap();
    let fix = town.propose(&["corrector"], dataset, Some(first), &[correct("a", "a", "A")]).unwrap();
    let second = town.commit(&[("gatherer", MILLION)], dataset, Some(first), &[fix]).unwrap();
    let parent = town.publish(&["trainer"], "parent", &[], &[(first, MILLION)]);
    let child = town.publish(&["trainer"], "child", &[(parent, 400_000)], &[(second, MILLION)]);
    let found = links(&town.registry, &child);
    let link = |from, to, share, agreed| Link { from, to, share, agreed };
    for expected in [
        link(Node::Generation(child), Node::Generation(parent), Some(400_000), true),
        link(Node::Generation(parent), Node::Contributor(town.id("trainer")), Some(MILLION), true),
        link(Node::Revision(second), Node::Contribution(fix), None, true),
        link(Node::Revision(second), Node::Revision(first), None, true),
        link(Node::Contribution(fix), Node::Contributor(town.id("corrector")), Some(MILLION), true),
        link(Node::Contribution(work), Node::Contributor(town.id("gatherer")), Some(MILLION), true),
    ] {
        assert!(found.contains(&expected), "{expected:?} of {found:#?}");
    }
    assert!(links(&town.registry, &named("unknown")).is_empty());
}
