//! Datasets: whose they are, what operations give, who reviews, who may train.

use loam_ledger_core::record::{
    Access, Act, ActKind, Body, GrantGiven, GrantRevoked, GrantUse, ListRoot, Operation, OperationFault, OwnersChanged,
    RedactionReason, Review, RevisionCommitted, RowRedacted, Verdict, rows_root,
};
use loam_ledger_core::registry::{Lists, Refusal};
use loam_ledger_core::sum_tree::{Builder, Kind, empty_hash};

use super::check;
use super::town::{OPERATOR, Town, add, correct, named, row};

/// A gatherer's dataset with one revision of three rows; a corrector and a reviewer live there too.
fn village() -> (Town, [loam_ledger_core::Hash; 3]) {
    let mut town = Town::of(&["gatherer", "corrector", "reviewer"]);
    let dataset = town.dataset(&["gatherer"], Access::ByGrant);
    let rows = ["a", "b", "c"].map(add);
    let contribution = town.propose(&["gatherer"], dataset, None, &rows).expect("the town keeps the rules");
    let revision =
        town.commit(&[("gatherer", 1_000_000)], dataset, None, &[contribution]).expect("the town keeps the rules");
    (town, [dataset, contribution, revision])
}

fn review(target: loam_ledger_core::Hash) -> Act {
    Act::Review(Review { target, verdict: Verdict::Accept, probability: 900_000 })
}

#[test]
fn a_list_of_no_rows() {
    let none = ListRoot { root: empty_hash(Kind::Rows), count: 0 };
    assert_eq!(rows_root(&loam_ledger_core::record::Rows::new()), none);
    // An empty revision is one: the registry knows the root of no rows by heart.
    let mut town = Town::of(&["gatherer"]);
    let dataset = town.dataset(&["gatherer"], Access::Open);
    town.commit(&[("gatherer", 1_000_000)], dataset, None, &[]).unwrap();
}

#[test]
fn review_of_ones_own_work() {
    let (town, [_, contribution, _]) = village();
    check(town, |town| town.say(&["gatherer"], review(contribution)), &Refusal::OwnWork);
}

#[test]
fn review_of_ones_own_work_through_a_share() {
    let (mut town, [dataset, _, revision]) = village();
    let shared = town.shared(
        &[("corrector", 999_999), ("reviewer", 1)],
        Act::ContributionProposed(town.proposal(dataset, Some(revision), &[correct("a", "a", "A")])),
    );
    let id = town.record(&shared, None).unwrap();
    check(town, |town| town.say(&["reviewer"], review(id)), &Refusal::OwnWork);
}

#[test]
fn review_of_a_revision_that_holds_ones_work() {
    let (mut town, [dataset, _, first]) = village();
    let fix = town.propose(&["corrector"], dataset, Some(first), &[correct("a", "a", "A")]).unwrap();
    let second = town.commit(&[("gatherer", 1_000_000)], dataset, Some(first), &[fix]).unwrap();
    assert!(town.say(&["reviewer"], review(second)).is_ok());
    check(town, |town| town.say(&["corrector"], review(second)), &Refusal::OwnWork);
}

#[test]
fn review_attested_for_the_author() {
    let (town, [_, contribution, _]) = village();
    let body = Body { attested_for: Some(town.id("gatherer")), ..town.body(&[OPERATOR], review(contribution)) };
    check(town, |town| town.record(&body, None), &Refusal::OwnWork);
}

#[test]
fn review_of_what_is_no_work() {
    let (town, [dataset, ..]) = village();
    check(town, |town| town.say(&["reviewer"], review(dataset)), &Refusal::WrongRecord(dataset));
}

#[test]
fn revision_by_a_stranger() {
    let (town, [dataset, _, revision]) = village();
    let commit = |town: &mut Town| town.commit(&[("corrector", 1_000_000)], dataset, Some(revision), &[]);
    check(town, commit, &Refusal::NotOwner);
}

#[test]
fn contribution_committed_twice() {
    let (town, [dataset, contribution, revision]) = village();
    let (act, _) = town.revision(dataset, None, &[contribution]);
    let act = RevisionCommitted { parents: vec![revision], ..act };
    let commit = |town: &mut Town| town.say(&["gatherer"], Act::RevisionCommitted(act));
    check(town, commit, &Refusal::CommittedAlready(contribution));
}

#[test]
fn operations_of_no_contribution() {
    let (town, [dataset, _, revision]) = village();
    let (act, _) = town.revision(dataset, Some(revision), &[]);
    let act = RevisionCommitted { operations: ListRoot { root: named("more"), count: 7 }, ..act };
    check(town, |town| town.say(&["gatherer"], Act::RevisionCommitted(act)), &Refusal::Operations);
}

#[test]
fn rows_that_change_without_operations() {
    let (town, [dataset, _, revision]) = village();
    let (act, _) = town.revision(dataset, Some(revision), &[]);
    let act = RevisionCommitted { rows: ListRoot { root: named("more"), count: 4 }, ..act };
    check(town, |town| town.say(&["gatherer"], Act::RevisionCommitted(act)), &Refusal::RowsChanged);
}

/// A contribution whose list is at hand: it is refused for this fault.
#[track_caller]
fn check_operations(operations: &[Operation], expected: OperationFault) {
    let (town, [dataset, _, revision]) = village();
    let propose = |town: &mut Town| town.propose(&["corrector"], dataset, Some(revision), operations);
    check(town, propose, &Refusal::OperationFault(expected));
}

#[test]
fn operations_that_cannot_be_applied() {
    check_operations(&[correct("a", "old", "new")], OperationFault::RowNotThere { at: 0 });
    check_operations(&[add("d"), add("a")], OperationFault::RowTaken { at: 1 });
    check_operations(&[correct("z", "z", "new")], OperationFault::RowNotThere { at: 0 });
    let shapeless = Operation { kind: ActKind::Merge, from: vec![row("a", "a")], to: vec![row("a", "b")] };
    check_operations(&[shapeless], OperationFault::Shape { at: 0 });
    let keeps_its_row = Operation { kind: ActKind::Correct, from: vec![row("a", "a")], to: vec![row("d", "a")] };
    check_operations(&[keeps_its_row], OperationFault::Shape { at: 0 });
    let invents =
        Operation { kind: ActKind::Dedupe, from: vec![row("a", "a"), row("b", "b")], to: vec![row("d", "d")] };
    check_operations(&[invents], OperationFault::Shape { at: 0 });
}

#[test]
fn operations_that_are_not_those_signed() {
    let (town, [dataset, _, revision]) = village();
    let act = Act::ContributionProposed(town.proposal(dataset, Some(revision), &[add("d")]));
    let body = town.body(&["corrector"], act);
    let rows = town.rows[&revision].clone();
    let other = [vec![add("e")]];
    let propose = |town: &mut Town| town.record(&body, Some(Lists { operations: &other, rows: &rows }));
    check(town, propose, &Refusal::OperationFault(OperationFault::Root));
}

#[test]
fn operations_that_do_not_give_the_rows() {
    let (mut town, [dataset, _, revision]) = village();
    let fix = town.propose(&["corrector"], dataset, Some(revision), &[add("d")]).unwrap();
    let (act, _) = town.revision(dataset, Some(revision), &[fix]);
    let act = RevisionCommitted { rows: ListRoot { root: named("others"), ..act.rows }, ..act };
    let body = town.body(&["gatherer"], Act::RevisionCommitted(act));
    let rows = town.rows[&revision].clone();
    let lists = [town.operations[&fix].clone()];
    let commit = |town: &mut Town| town.record(&body, Some(Lists { operations: &lists, rows: &rows }));
    check(town, commit, &Refusal::OperationFault(OperationFault::RowsRoot));
}

#[test]
fn another_licence() {
    let (town, [dataset, _, revision]) = village();
    let mut act = town.proposal(dataset, Some(revision), &[add("d")]);
    act.licence = named("mine alone");
    check(town, |town| town.say(&["corrector"], Act::ContributionProposed(act)), &Refusal::Licence);
}

#[test]
fn owners_changed_by_some() {
    let (mut town, _) = village();
    let dataset = town.dataset(&["gatherer", "corrector"], Access::Open);
    let seized = || Act::OwnersChanged(OwnersChanged { dataset, owners: vec![named_owner("gatherer")] });
    let named_owner_id = town.id("gatherer");
    assert_eq!(named_owner("gatherer"), named_owner_id);
    check(town, |town| town.say(&["gatherer"], seized()), &Refusal::NotOwner);
}

fn named_owner(role: &str) -> loam_ledger_core::Hash {
    loam_ledger_core::record::AuthorKey::from_seed(&named(role).0).contributor()
}

#[test]
fn row_redacted_by_a_stranger_or_twice() {
    let (mut town, [dataset, ..]) = village();
    let act = || Act::RowRedacted(RowRedacted { dataset, row: named("a"), reason: RedactionReason::Asked });
    assert_eq!(town.say(&["corrector"], act()), Err(Refusal::NotOwner));
    town.say(&["gatherer"], act()).unwrap();
    check(town, |town| town.say(&[OPERATOR], act()), &Refusal::DoneAlready);
}

#[test]
fn proofs_hold_after_a_redaction() {
    let (mut town, [dataset, _, revision]) = village();
    let mut builder = Builder::seeking(Kind::Rows, &named("a").0);
    town.rows[&revision].iter().for_each(|(row, content)| builder.push(&row.0, content, 1));
    let (root, proof) = builder.finish_with_proof();
    let act = RowRedacted { dataset, row: named("a"), reason: RedactionReason::Asked };
    town.say(&["gatherer"], Act::RowRedacted(act)).unwrap();
    assert_eq!(town.registry.datasets().revision(&revision).unwrap().rows.root, root.hash);
    proof.unwrap().check_member(Kind::Rows, &root).unwrap();
    assert!(town.registry.datasets().dataset(&dataset).unwrap().redacted.contains(&named("a")));
}

#[test]
fn training_without_a_grant() {
    let (mut town, [dataset, _, revision]) = village();
    let mut training = town.training(named("g"), &[], &[(revision, 1_000_000)]);
    let run = Act::TrainRunFinished(training.clone());
    assert_eq!(town.say(&["corrector"], run), Err(Refusal::NoGrant(dataset)));
    let given = GrantGiven { dataset, grantee: town.id("corrector"), allows: GrantUse::Train };
    let grant = town.say(&["gatherer"], Act::GrantGiven(given)).unwrap();
    training.grants = vec![grant];
    town.say(&["corrector"], Act::TrainRunFinished(training.clone())).unwrap();
    town.say(&["gatherer"], Act::GrantRevoked(GrantRevoked { grant })).unwrap();
    let run = Act::TrainRunFinished(training);
    check(town, |town| town.say(&["corrector"], run), &Refusal::NoGrant(dataset));
}
