//! Splits: lanes, generations, lineages, revisions, shares; and what waits where nobody agreed.

use loam_ledger_core::division::{Part, divide, tie};
use loam_ledger_core::epoch::Reason;
use loam_ledger_core::fee::split_to_lanes;
use loam_ledger_core::record::{
    Access, Act, Body, DisputeOpened, DisputeResolved, LANES, PerLane, PolicyChanged, RecordId,
};
use loam_ledger_core::registry::Refusal;
use loam_ledger_core::row::Pair;
use proptest::prelude::*;

use super::town::{LANES as POINTS, OPERATOR, Town, Usage, add, correct, named, one};
use super::{check, settle, tier};

/// A policy, and one adapter by its trainer, of a gatherer's rows.
fn shop() -> (Town, Usage, RecordId) {
    let mut town = Town::of(&["trainer", "gatherer", "corrector", "evaluator", "other"]);
    town.set_policy();
    let dataset = town.dataset(&["gatherer"], Access::Open);
    let rows = town.propose(&["gatherer"], dataset, None, &["a", "b"].map(add)).expect("it fits");
    let revision = town.commit(&[("gatherer", 1_000_000)], dataset, None, &[rows]).expect("it fits");
    (town, Usage::default(), revision)
}

/// The fee of a request that delivers 1,000 tokens: 30 + 11,000.
const FEE: u128 = 11_030;

#[test]
fn one_adapter_of_one_revision() {
    let (mut town, mut usage, revision) = shop();
    let g = town.publish(&["trainer"], "g", &[], &[(revision, 1_000_000)]);
    usage.request(&town, one(g), 1_000);
    let waits =
        [(Reason::NoPayee, 1_103), (Reason::UpkeepWaits, 551), (Reason::BondLane, 221), (Reason::ReserveLane, 331)];
    let settled = settle(&town, &usage);
    assert_eq!(settled.totals.fees, FEE);
    check(&town, &settled, &[(OPERATOR, 1_103), ("trainer", 2_206), ("gatherer", 5_515)], &waits);
}

#[test]
fn no_adapter_or_only_zeros() {
    let (town, mut usage, _) = shop();
    usage.request(&town, Vec::new(), 1_000);
    usage.request(&town, vec![Pair { generation: named("g"), weight_millionths: 0 }], 1_000);
    // The adapter's and the data's lane go to the base, which has no payee here.
    check(&town, &settle(&town, &usage), &[(OPERATOR, 2_206)], &[(Reason::NoPayee, 2 * (1_103 + 2_206 + 5_515))]);
}

#[test]
fn negative_weights_count_by_their_size() {
    let (mut town, mut usage, revision) = shop();
    let g = town.publish(&["trainer"], "g", &[], &[(revision, 1_000_000)]);
    let h = town.publish(&["other"], "h", &[], &[(revision, 1_000_000)]);
    let mut pairs =
        vec![Pair { generation: g, weight_millionths: 750_000 }, Pair { generation: h, weight_millionths: -250_000 }];
    pairs.sort_unstable();
    (0..4).for_each(|_| usage.request(&town, pairs.clone(), 1_000));
    let settled = settle(&town, &usage);
    let (trainer, other) = (town.paid(&settled, "trainer"), town.paid(&settled, "other"));
    assert_eq!(trainer + other, 4 * 2_206);
    // A half unit remains of each request: it falls on the same side each time, by the epoch's seed.
    assert!(trainer.abs_diff(3 * 2_206) <= 4, "{trainer} and {other}");
    check(&town, &settled, &[("gatherer", 4 * 5_515)], &[]);
}

#[test]
fn generation_that_nobody_published() {
    let (town, mut usage, _) = shop();
    usage.request(&town, one(named("unknown")), 1_000);
    check(&town, &settle(&town, &usage), &[], &[(Reason::Unpublished, 2_206 + 5_515)]);
}

#[test]
fn shares_that_a_contributor_did_not_sign() {
    let (mut town, mut usage, first) = shop();
    let dataset = town.registry.datasets().revision(&first).unwrap().dataset;
    let fix = town.propose(&["corrector"], dataset, Some(first), &[correct("a", "a", "A")]).unwrap();
    let second = town.commit(&[("gatherer", 1_000_000)], dataset, Some(first), &[fix]).unwrap();
    let g = town.publish(&["trainer"], "g", &[], &[(second, 1_000_000)]);
    usage.request(&town, one(g), 1_000);
    check(&town, &settle(&town, &usage), &[("gatherer", 0), ("corrector", 0)], &[(Reason::SharesOpen, 5_515)]);
    // Evidence comes later: now it is divided as they agreed.
    town.agree(&[("gatherer", 600_000), ("corrector", 400_000)], second).unwrap();
    check(&town, &settle(&town, &usage), &[("gatherer", 3_309), ("corrector", 2_206)], &[(Reason::SharesOpen, 0)]);
}

#[test]
fn work_that_the_operator_attested_is_asked_for() {
    let (mut town, mut usage, first) = shop();
    let dataset = town.registry.datasets().revision(&first).unwrap().dataset;
    // Somebody without a key asked the operator to write their correction down.
    let fix = [correct("a", "a", "A")];
    let act = Act::ContributionProposed(town.proposal(dataset, Some(first), &fix));
    let body = Body { attested_for: Some(named("somebody's key")), ..town.body(&[OPERATOR], act) };
    let work = town.record(&body, None).unwrap();
    town.operations.insert(work, fix.to_vec());
    let second = town.commit(&[("gatherer", 1_000_000)], dataset, Some(first), &[work]).unwrap();
    let agree = |town: &mut Town| town.agree(&[("gatherer", 600_000), (OPERATOR, 400_000)], second);
    assert_eq!(agree(&mut town), Err(Refusal::SharesNotAgreed), "the operator's word is not theirs");
    let g = town.publish(&["trainer"], "g", &[], &[(second, 1_000_000)]);
    usage.request(&town, one(g), 1_000);
    check(&town, &settle(&town, &usage), &[(OPERATOR, 1_103), ("gatherer", 0)], &[(Reason::SharesOpen, 5_515)]);
}

#[test]
fn lineage_by_signed_shares() {
    let (mut town, mut usage, revision) = shop();
    let g = town.publish(&["trainer"], "g", &[], &[(revision, 1_000_000)]);
    let training = town.training(named("h"), &[g], &[(revision, 1_000_000)]);
    let run = town.say(&["other"], Act::TrainRunFinished(training)).unwrap();
    let publication = town.publication(named("h"), Some(run), &[(g, 250_000)]);
    // The parent's author signs too, and asks for nothing of what is the child's.
    let body = town.shared(&[("other", 1_000_000), ("trainer", 0)], Act::AdapterPublished(publication));
    town.record(&body, None).unwrap();
    usage.request(&town, one(named("h")), 1_000);
    let settled = settle(&town, &usage);
    let (trainer, other) = (town.paid(&settled, "trainer"), town.paid(&settled, "other"));
    assert_eq!(trainer + other, 2_206);
    assert!(trainer == 551 || trainer == 552, "a quarter of 2,206");
    check(&town, &settled, &[("gatherer", 5_515)], &[(Reason::LineageOpen, 0)]);
}

#[test]
fn lineage_that_the_parents_did_not_sign() {
    let (mut town, mut usage, revision) = shop();
    let g = town.publish(&["trainer"], "g", &[], &[(revision, 1_000_000)]);
    let h = town.publish(&["other"], "h", &[(g, 1)], &[(revision, 1_000_000)]);
    usage.request(&town, one(h), 1_000);
    check(&town, &settle(&town, &usage), &[("other", 0), ("trainer", 0)], &[(Reason::LineageOpen, 2_206 + 5_515)]);
}

#[test]
fn lineage_by_measured_gains() {
    let (mut town, mut usage, revision) = shop();
    let g = town.publish(&["trainer"], "g", &[], &[(revision, 1_000_000)]);
    let h = town.publish(&["other"], "h", &[(g, 1)], &[(revision, 1_000_000)]);
    usage.request(&town, one(h), 1_000);
    for (subject, score) in [(super::town::base(), 400_000), (g, 700_000), (h, 800_000)] {
        town.evaluate("evaluator", subject, revision, score);
    }
    // Nobody named the evaluator, so nothing is divided.
    check(&town, &settle(&town, &usage), &[], &[(Reason::LineageOpen, 2_206 + 5_515)]);
    let evaluators = vec![town.id("evaluator")];
    let policy = PolicyChanged { evaluators, ..town.policy() };
    town.say(&[OPERATOR], Act::PolicyChanged(policy)).unwrap();
    // It divides nothing before it is in force.
    check(&town, &settle(&town, &usage), &[], &[(Reason::LineageOpen, 2_206 + 5_515)]);
    town.later_ms += 7_200_000;
    town.dataset(&["other"], Access::Open);
    // 300,000 of 400,000 are the first one's.
    let settled = settle(&town, &usage);
    let (trainer, other) = (town.paid(&settled, "trainer"), town.paid(&settled, "other"));
    assert_eq!(trainer + other, 2_206);
    assert!(other == 551 || other == 552);
    check(&town, &settled, &[("gatherer", 5_515)], &[(Reason::LineageOpen, 0)]);
}

#[test]
fn sources_that_the_owners_did_not_sign() {
    let (mut town, mut usage, revision) = shop();
    let dataset = town.dataset(&["other"], Access::Open);
    let rows = town.propose(&["other"], dataset, None, &[add("z")]).unwrap();
    let theirs = town.commit(&[("other", 1_000_000)], dataset, None, &[rows]).unwrap();
    let sources = [(revision, 1), (theirs, 999_999)];
    let g = town.publish(&["other"], "g", &[], &sources);
    usage.request(&town, one(g), 1_000);
    check(&town, &settle(&town, &usage), &[("gatherer", 0), ("other", 2_206)], &[(Reason::SourcesOpen, 5_515)]);
    // Signed by both owners it would be as they say.
    let h = named("h");
    let training = town.training(h, &[], &[(revision, 400_000), (theirs, 600_000)]);
    let body = town.shared(&[("other", 1_000_000), ("gatherer", 0)], Act::TrainRunFinished(training));
    let run = town.record(&body, None).unwrap();
    let act = Act::AdapterPublished(town.publication(h, Some(run), &[]));
    let body = town.shared(&[("other", 1_000_000), ("gatherer", 0)], act);
    town.record(&body, None).unwrap();
    let mut usage = Usage::default();
    usage.request(&town, one(h), 1_000);
    check(&town, &settle(&town, &usage), &[("gatherer", 2_206), ("other", 2_206 + 3_309)], &[]);
}

#[test]
fn contested_adapter() {
    let (mut town, mut usage, revision) = shop();
    let g = town.publish(&["trainer"], "g", &[], &[(revision, 1_000_000)]);
    usage.request(&town, one(g), 1_000);
    let target = town.registry.adapters().adapter(&g).unwrap().record;
    let dispute = town.say(&["other"], Act::DisputeOpened(DisputeOpened { target })).unwrap();
    check(&town, &settle(&town, &usage), &[("trainer", 2_206)], &[(Reason::Contested, 0)]);
    town.say(&[OPERATOR], Act::DisputeResolved(DisputeResolved { dispute, upheld: true })).unwrap();
    check(&town, &settle(&town, &usage), &[("trainer", 0)], &[(Reason::Contested, 2_206 + 5_515)]);
}

#[test]
fn heir_is_paid() {
    let (mut town, mut usage, revision) = shop();
    let heir = town.id("other");
    town.register("elder", loam_ledger_core::record::ContributorKind::Person, Some(heir)).unwrap();
    let g = town.publish(&["elder"], "g", &[], &[(revision, 1_000_000)]);
    let of = town.id("elder");
    town.say(&["other"], Act::Succession(loam_ledger_core::record::Succession { of })).unwrap();
    usage.request(&town, one(g), 1_000);
    check(&town, &settle(&town, &usage), &[("elder", 0), ("other", 2_206)], &[]);
}

#[test]
fn lanes_of_a_small_fee() {
    assert_eq!(split_to_lanes(0, &POINTS).0, [0; LANES]);
    assert_eq!(split_to_lanes(1, &POINTS).0, [0, 0, 0, 1, 0, 0, 0]);
    // From the published example: 1,000,001 units at 10, 20, 20 and 50 per cent.
    let lanes = PerLane([1_000, 2_000, 2_000, 5_000, 0, 0, 0]);
    assert_eq!(split_to_lanes(1_000_001, &lanes).0, [100_000, 200_000, 200_000, 500_001, 0, 0, 0]);
    assert_eq!(split_to_lanes(u64::MAX, &POINTS).0.iter().sum::<u64>(), u64::MAX);
}

proptest! {
    #![proptest_config(tier::cases())]

    #[test]
    fn parts_sum_to_the_whole(amount in any::<u128>(), weights in prop::collection::vec(any::<u64>(), 0..40)) {
        let amount = amount >> 20;
        let part = |(n, weight): (usize, &u64)| Part { weight: *weight, tie: tie(&named("seed"), &named(&n.to_string())) };
        let parts: Vec<Part> = weights.iter().enumerate().map(part).collect();
        let total: u128 = weights.iter().map(|weight| u128::from(*weight)).sum();
        match divide(amount, &parts) {
            None => prop_assert_eq!(total, 0),
            Some(shares) => {
                prop_assert_eq!(shares.iter().sum::<u128>(), amount);
                for (share, weight) in shares.iter().zip(&weights) {
                    prop_assert!(*weight > 0 || *share == 0, "no weight, no part");
                    if let Some(product) = amount.checked_mul(u128::from(*weight)) {
                        prop_assert!(share.abs_diff(product / total) <= 1);
                    }
                }
            }
        }
    }

    #[test]
    fn lanes_sum_to_the_fee(fee in any::<u64>()) {
        prop_assert_eq!(split_to_lanes(fee, &POINTS).0.iter().sum::<u64>(), fee);
    }
}
