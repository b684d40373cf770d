//! Adapters, claims and money: lineage without cycles, states in order, judges without a part, policies with notice.

use loam_ledger_core::Hash;
use loam_ledger_core::record::{
    Access, Act, AdapterState, BondPosted, BondReleased, ClaimMade, ClaimResolved, DisputeOpened, DisputeResolved,
    Gate, GrantGiven, GrantRevoked, GrantUse, PolicyChanged, SubsidyInjected,
};
use loam_ledger_core::registry::Refusal;

use super::check;
use super::town::{OPERATOR, Town, add, named};

/// A trainer's adapter `g`, a revision under it, and a policy that names the evaluator and asks for a gate.
fn workshop() -> (Town, Hash, Hash) {
    let mut town = Town::of(&["trainer", "evaluator", "rival"]);
    let evaluators = vec![town.id("evaluator")];
    let policy = PolicyChanged { evaluators, gate_required: true, ..town.policy() };
    town.say(&[OPERATOR], Act::PolicyChanged(policy)).expect("the town keeps the rules");
    let dataset = town.dataset(&["trainer"], Access::Open);
    let rows = town.propose(&["trainer"], dataset, None, &[add("a")]).expect("the town keeps the rules");
    let revision = town.commit(&[("trainer", 1_000_000)], dataset, None, &[rows]).expect("the town keeps the rules");
    let generation = town.publish(&["trainer"], "g", &[], &[(revision, 1_000_000)]);
    (town, generation, revision)
}

fn gate(generation: Hash, evaluation: Hash) -> Act {
    Act::Gate(Gate { generation, evaluation, passed: true, blocked_by: Vec::new() })
}

#[test]
fn generation_that_is_its_own_ancestor() {
    let (mut town, first, revision) = workshop();
    let second = town.publish(&["trainer"], "h", &[(first, 500_000)], &[(revision, 1_000_000)]);
    let back = town.training(first, &[second], &[(revision, 1_000_000)]);
    let run = Act::TrainRunFinished(back);
    check(town, |town| town.say(&["trainer"], run), &Refusal::LineageCycle(first));
}

#[test]
fn parent_that_nobody_published() {
    let (town, ..) = workshop();
    let act = Act::AdapterPublished(town.publication(named("h"), None, &[(named("unknown"), 1)]));
    check(town, |town| town.say(&["trainer"], act), &Refusal::UnknownGeneration(named("unknown")));
}

#[test]
fn published_twice() {
    let (town, generation, _) = workshop();
    let act = Act::AdapterPublished(town.publication(generation, None, &[]));
    check(town, |town| town.say(&["rival"], act), &Refusal::DoneAlready);
}

#[test]
fn what_others_trained() {
    let (mut town, _, revision) = workshop();
    let training = town.training(named("h"), &[], &[(revision, 1_000_000)]);
    let run = town.say(&["trainer"], Act::TrainRunFinished(training)).unwrap();
    let act = Act::AdapterPublished(town.publication(named("h"), Some(run), &[]));
    check(town, |town| town.say(&["rival"], act), &Refusal::NotTrainer);
}

#[test]
fn what_others_trained_and_nobody_names() {
    let (mut town, _, revision) = workshop();
    let training = town.training(named("h"), &[], &[(revision, 1_000_000)]);
    town.say(&["trainer"], Act::TrainRunFinished(training)).unwrap();
    let act = Act::AdapterPublished(town.publication(named("h"), None, &[]));
    check(town, |town| town.say(&["rival"], act), &Refusal::NotTrainer);
}

/// Whoever records a run of what another made takes nothing from them: they name their own.
#[test]
fn run_that_a_rival_recorded() {
    let (mut town, _, revision) = workshop();
    let training = town.training(named("h"), &[], &[(revision, 1_000_000)]);
    town.say(&["rival"], Act::TrainRunFinished(training.clone())).unwrap();
    let run = town.say(&["trainer"], Act::TrainRunFinished(training)).unwrap();
    let act = Act::AdapterPublished(town.publication(named("h"), Some(run), &[]));
    town.say(&["trainer"], act).unwrap();
}

#[test]
fn states_out_of_order() {
    use AdapterState::{Draft, Gated, Published, Retired, Suspended};
    let (mut town, generation, revision) = workshop();
    assert_eq!(town.change("trainer", generation, Draft, Suspended), Err(Refusal::Transition));
    assert_eq!(town.change("trainer", generation, Gated, Published), Err(Refusal::Transition), "it is a draft");
    assert_eq!(town.change("trainer", generation, Draft, Published), Err(Refusal::GateRequired));
    assert_eq!(town.change("rival", generation, Draft, Retired), Err(Refusal::NotOperator));
    let evaluation = town.evaluate("evaluator", generation, revision, 900_000);
    town.say(&["evaluator"], gate(generation, evaluation)).unwrap();
    town.change("trainer", generation, Draft, Gated).unwrap();
    town.change("trainer", generation, Gated, Published).unwrap();
    town.change(OPERATOR, generation, Published, Suspended).unwrap();
    let lifted = town.change("trainer", generation, Suspended, Published);
    assert_eq!(lifted, Err(Refusal::NotOperator), "what the operator suspended, the operator lifts");
    town.change(OPERATOR, generation, Suspended, Published).unwrap();
    town.change("trainer", generation, Published, Retired).unwrap();
    check(town, |town| town.change("trainer", generation, Retired, Published), &Refusal::Transition);
}

#[test]
fn evaluator_of_their_own_adapter() {
    let (mut town, generation, revision) = workshop();
    let own = town.evaluate("trainer", generation, revision, 1_000_000);
    assert_eq!(town.say(&["evaluator"], gate(generation, own)), Err(Refusal::OwnWork));
    let theirs = town.evaluate("evaluator", generation, revision, 900_000);
    check(town, |town| town.say(&["trainer"], gate(generation, theirs)), &Refusal::OwnWork);
}

#[test]
fn evaluator_whom_the_policy_does_not_name() {
    let (mut town, generation, revision) = workshop();
    let evaluation = town.evaluate("rival", generation, revision, 0);
    check(town, |town| town.say(&["rival"], gate(generation, evaluation)), &Refusal::NotEvaluator);
}

#[test]
fn grant_revoked_under_an_adapter() {
    let (mut town, _, revision) = workshop();
    let dataset = town.dataset(&["rival"], Access::ByGrant);
    let rows = town.propose(&["rival"], dataset, None, &[add("r")]).unwrap();
    let lent = town.commit(&[("rival", 1_000_000)], dataset, None, &[rows]).unwrap();
    let given = GrantGiven { dataset, grantee: town.id("trainer"), allows: GrantUse::Train };
    let grant = town.say(&["rival"], Act::GrantGiven(given)).unwrap();
    let mut training = town.training(named("h"), &[], &[(lent, 1_000_000)]);
    training.grants = vec![grant];
    let run = town.say(&["trainer"], Act::TrainRunFinished(training)).unwrap();
    let act = town.publication(named("h"), Some(run), &[]);
    town.say(&["trainer"], Act::AdapterPublished(act)).unwrap();
    let child = town.publish(&["trainer"], "child of h", &[(named("h"), 400_000)], &[(revision, 1_000_000)]);
    let must =
        |town: &Town, generation: &Hash| town.registry.adapters().must_retrain(town.registry.datasets(), generation);
    assert!(!must(&town, &child));
    town.say(&["rival"], Act::GrantRevoked(GrantRevoked { grant })).unwrap();
    assert!(must(&town, &named("h")) && must(&town, &child), "descendants too");
    let evaluation = town.evaluate("evaluator", child, revision, 900_000);
    town.say(&["evaluator"], gate(child, evaluation)).unwrap();
    town.change("trainer", child, AdapterState::Draft, AdapterState::Gated).unwrap();
    let publish = |town: &mut Town| town.change("trainer", child, AdapterState::Gated, AdapterState::Published);
    check(town, publish, &Refusal::MustRetrain);
}

#[test]
fn claims_are_resolved_by_others_and_by_what_came_after() {
    let (mut town, subject, suite) = workshop();
    let before = town.evaluate("evaluator", subject, suite, 800_000);
    let made = ClaimMade { subject, suite, at_least: 700_000, probability: 900_000, deadline_epoch: 1, bond: None };
    let claim = town.say(&["rival"], Act::ClaimMade(made.clone())).unwrap();
    let resolve = |evaluation, held| Act::ClaimResolved(ClaimResolved { claim, evaluation, held });
    assert_eq!(town.say(&["evaluator"], resolve(before, true)), Err(Refusal::Outcome), "it was known when foretold");
    let after = town.evaluate("evaluator", subject, suite, 800_000);
    assert_eq!(town.say(&["rival"], resolve(after, true)), Err(Refusal::OwnWork));
    assert_eq!(town.say(&["evaluator"], resolve(after, false)), Err(Refusal::Outcome));
    town.say(&["evaluator"], resolve(after, true)).unwrap();
    let late = ClaimMade { deadline_epoch: 0, ..made };
    assert_eq!(town.say(&["rival"], Act::ClaimMade(late)), Err(Refusal::Deadline));
    check(town, |town| town.say(&["evaluator"], resolve(after, true)), &Refusal::DoneAlready);
}

#[test]
fn bond_that_a_claim_leans_on() {
    let (mut town, subject, suite) = workshop();
    let posted = Act::BondPosted(BondPosted { amount_nano: 5, backs: subject });
    assert_eq!(town.say(&["rival"], posted.clone()), Err(Refusal::NotOperator), "whoever holds the money says so");
    let bond = town.say(&["rival", OPERATOR], posted).unwrap();
    let made = ClaimMade { subject, suite, at_least: 1, probability: 900_000, deadline_epoch: 3, bond: Some(bond) };
    assert_eq!(town.say(&["evaluator"], Act::ClaimMade(made.clone())), Err(Refusal::Bond), "it is another's");
    town.say(&["rival"], Act::ClaimMade(made)).unwrap();
    check(town, |town| town.say(&[OPERATOR], Act::BondReleased(BondReleased { bond })), &Refusal::Bond);
}

#[test]
fn disputes_are_decided_by_who_has_no_part() {
    let (mut town, generation, _) = workshop();
    let target = town.registry.adapters().adapter(&generation).unwrap().record;
    let dispute = town.say(&["rival"], Act::DisputeOpened(DisputeOpened { target })).unwrap();
    let resolve = |dispute| Act::DisputeResolved(DisputeResolved { dispute, upheld: true });
    assert_eq!(town.say(&["rival"], resolve(dispute)), Err(Refusal::NotOperator));
    assert_eq!(town.say(&[OPERATOR, "rival"], resolve(dispute)), Err(Refusal::OwnWork));
    town.say(&[OPERATOR], resolve(dispute)).unwrap();
    assert!(town.registry.money().is_contested(&target));
    check(town, |town| town.say(&[OPERATOR], resolve(dispute)), &Refusal::Dispute);
}

#[test]
fn backdated_policy() {
    let (mut town, ..) = workshop();
    let policy = PolicyChanged { effective_ms: town.now_ms() - 1, notice_ms: 0, ..town.policy() };
    let say = |town: &mut Town, policy: PolicyChanged| town.say(&[OPERATOR], Act::PolicyChanged(policy));
    assert_eq!(say(&mut town, policy), Err(Refusal::PolicyBackwards));
    let hasty = PolicyChanged { effective_ms: town.now_ms() + 3_599_999, ..town.policy() };
    assert_eq!(say(&mut town, hasty), Err(Refusal::PolicyNotice(3_600_000)));
    let never = PolicyChanged { effective_ms: u64::MAX, ..town.policy() };
    assert_eq!(say(&mut town, never), Err(Refusal::PolicyFar), "no other could follow it");
    let locked = PolicyChanged { notice_ms: u64::MAX, ..town.policy() };
    assert_eq!(say(&mut town, locked), Err(Refusal::PolicyFar), "nor this one");
    let skipped = PolicyChanged { number: 3, ..town.policy() };
    assert_eq!(say(&mut town, skipped), Err(Refusal::PolicyNumber(2)));
    // One that promises no notice does not shorten the notice of the next, before it is in force itself.
    let careless = PolicyChanged { notice_ms: 0, ..town.policy() };
    let effective_ms = careless.effective_ms;
    say(&mut town, careless).unwrap();
    let sly = PolicyChanged { effective_ms: town.now_ms() + 3_599_000, ..town.policy() };
    assert!(sly.effective_ms > effective_ms - 3_600_000);
    let refused = say(&mut town, sly).unwrap_err();
    assert!(matches!(refused, Refusal::PolicyNotice(_) | Refusal::PolicyBackwards), "{refused}");
    let theirs = PolicyChanged { effective_ms: town.now_ms() + 7_200_000, ..town.policy() };
    check(town, |town| town.say(&["rival"], Act::PolicyChanged(theirs)), &Refusal::NotOperator);
}

#[test]
fn subsidy_by_anybody() {
    let (town, ..) = workshop();
    let act = Act::SubsidyInjected(SubsidyInjected { amount_nano: 1 });
    check(town, |town| town.say(&["rival"], act), &Refusal::NotOperator);
}
