//! Epochs: closed one after another, each with what waited before it; and what its record may not say.

use std::collections::BTreeMap;

use loam_ledger_core::Hash;
use loam_ledger_core::audit::{Answer, Difference, Left, Rewards, TraceFinding, check_usage, fold_records, trace};
use loam_ledger_core::entry::Entry;
use loam_ledger_core::epoch::{Carried, ErasedRows, Finding, Reason, Simulated};
use loam_ledger_core::record::{
    Access, Act, Covered, EpochClosed, PayoutSettled, PerLane, PolicyChanged, RecordId, SubsidyInjected, SumRoot,
    Totals,
};
use loam_ledger_core::registry::Refusal;
use loam_ledger_core::sum_tree::Kind;

use super::town::{OPERATOR, ORIGIN, Town, Usage, add, correct, leaf, named, one, place, seed_after};
use super::{account, check, check_sums};

const FEE: u128 = 11_030;

/// An adapter of a revision whose two contributors have not agreed, used three times.
fn season() -> (Town, Usage, RecordId) {
    let mut town = Town::of(&["trainer", "gatherer", "corrector"]);
    town.set_policy();
    let dataset = town.dataset(&["gatherer"], Access::Open);
    let rows = town.propose(&["gatherer"], dataset, None, &["a", "b"].map(add)).expect("it fits");
    let first = town.commit(&[("gatherer", 1_000_000)], dataset, None, &[rows]).expect("it fits");
    let fix = town.propose(&["corrector"], dataset, Some(first), &[correct("a", "a", "A")]).expect("it fits");
    let second = town.commit(&[("gatherer", 1_000_000)], dataset, Some(first), &[fix]).expect("it fits");
    let g = town.publish(&["trainer"], "g", &[], &[(second, 1_000_000)]);
    let mut usage = Usage::default();
    (0..3).for_each(|_| usage.request(&town, one(g), 1_000));
    (town, usage, second)
}

#[test]
fn later_evidence_settles_as_an_adjustment() {
    let (mut town, mut usage, revision) = season();
    let first = town.close(&mut usage, Carried::default());
    check(&town, &first, &[("gatherer", 0)], &[(Reason::SharesOpen, 3 * 5_515)]);
    let before = first.clone();
    town.agree(&[("gatherer", 500_000), ("corrector", 500_000)], revision).unwrap();
    usage.request(&town, one(named("g")), 1_000);
    let second = town.close(&mut usage, first.carried());
    assert_eq!(first, before, "an epoch that was closed stays as it was");
    assert_eq!(second.totals.opening, first.sum_waiting());
    check(&town, &second, &[], &[(Reason::SharesOpen, 0)]);
    let paid = town.paid(&second, "gatherer") + town.paid(&second, "corrector");
    assert_eq!(paid, 4 * 5_515);
    let lines: Vec<_> = second.accounts.of(&account(&town, "gatherer")).unwrap().lines().collect();
    assert_eq!(lines.iter().map(|line| line.reason).collect::<Vec<_>>(), [Reason::Data, Reason::DataLater]);
    assert_eq!(town.paid(&second, "trainer"), 2_206, "what was paid is not paid again");
}

/// What waits in a settled epoch.
trait Waiting {
    fn sum_waiting(&self) -> u128;
}

impl Waiting for loam_ledger_core::epoch::Settled {
    fn sum_waiting(&self) -> u128 {
        self.carried().waiting.iter().map(|(_, amount)| amount).sum()
    }
}

/// A close that was changed before it was signed: it is refused so.
#[track_caller]
fn check_refused(change: impl FnOnce(&mut EpochClosed), expected: &Refusal) {
    let (mut town, usage, _) = season();
    town.note_head(&usage);
    let settled = usage.settle(&town, &Hash::ZERO, Carried::default());
    let mut act = town.closing(&usage, &settled);
    change(&mut act);
    assert_eq!(town.try_close(act).as_ref(), Err(expected));
}

#[test]
fn sums_that_contradict_each_other() {
    let totals = |what| Refusal::EpochTotals(what);
    check_refused(|act| act.totals.paid += 1, &totals("what came in is not what went out"));
    check_refused(|act| act.payouts.sum += 1, &totals("the accounts' tree has another sum"));
    check_refused(|act| act.usage.sum -= 1, &totals("the usage tree has another sum than the fees"));
    check_refused(|act| act.lanes.0[0] += 1, &totals("the lanes do not sum to the fees"));
    let given = |act: &mut EpochClosed| {
        act.totals.subsidies += 7;
        act.totals.subsidies_waiting += 7;
        act.payouts.sum += 7;
    };
    check_refused(given, &totals("other subsidies were injected"));
    let opened = |act: &mut EpochClosed| {
        act.totals.opening += 7;
        act.totals.lanes += 7;
        act.payouts.sum += 7;
    };
    check_refused(opened, &totals("something else waited when the last epoch was closed"));
    let overflow = |act: &mut EpochClosed| act.totals = Totals { fees: u128::MAX, erased: u128::MAX, ..act.totals };
    check_refused(overflow, &totals("what came in is not what went out"));
}

#[test]
fn places_that_do_not_follow() {
    check_refused(|act| act.epoch = 2, &Refusal::EpochNumber(1));
    check_refused(|act| act.covered[0].from = 1, &Refusal::EpochCovers);
    check_refused(|act| act.covered[0].to = 2, &Refusal::EpochCovers);
    check_refused(|act| act.covered[0].root = named("another"), &Refusal::EpochCovers);
    check_refused(|act| act.covered[0].shard = 2, &Refusal::EpochCovers);
    check_refused(|act| act.policy = named("another"), &Refusal::PolicyInForce);
    check_refused(|act| act.seed = named("ground"), &Refusal::EpochSeed);
}

#[test]
fn records_that_come_while_an_epoch_is_settled() {
    let (mut town, mut usage, revision) = season();
    town.note_head(&usage);
    let settled = usage.settle(&town, &Hash::ZERO, Carried::default());
    let act = town.closing(&usage, &settled);
    // Settling takes its time. Shares are agreed and a subsidy comes meanwhile: both are the next epoch's.
    town.agree(&[("gatherer", 500_000), ("corrector", 500_000)], revision).unwrap();
    town.say(&[OPERATOR], Act::SubsidyInjected(SubsidyInjected { amount_nano: 9 })).unwrap();
    let early = EpochClosed { records: 0, ..act.clone() };
    assert_eq!(town.try_close(early), Err(Refusal::EpochRecords));
    let ahead = EpochClosed { records: town.entries.len() as u64 + 1, ..act.clone() };
    assert_eq!(town.try_close(ahead), Err(Refusal::EpochRecords));
    town.try_close(act).unwrap();
    usage.from = usage.used.len();
    let next = town.close(&mut usage, settled.carried());
    assert_eq!((next.totals.subsidies, town.paid(&next, "gatherer") + town.paid(&next, "corrector")), (9, 3 * 5_515));
    assert_eq!(recompute(&town, &usage), []);
}

#[test]
fn seed_that_was_not_committed_to() {
    let (mut town, mut usage, _) = season();
    let first = town.close(&mut usage, Carried::default());
    usage.request(&town, one(named("g")), 1_000);
    town.note_head(&usage);
    let settled = usage.settle(&town, &named("ground"), first.carried());
    let mut act = town.closing(&usage, &settled);
    act.seed = named("ground");
    assert_eq!(town.try_close(act.clone()), Err(Refusal::EpochSeed));
    act.seed = seed_after(1);
    town.try_close(act).unwrap();
}

#[test]
fn next_shard_only_when_the_last_is_frozen_and_covered() {
    let (mut town, mut usage, _) = season();
    town.close(&mut usage, Carried::default());
    let settled = Usage { from: usage.used.len(), ..usage.clone() }.settle(&town, &seed_after(1), Carried::default());
    let mut act = town.closing(&usage, &settled);
    act.covered[0] = Covered { shard: 2, from: 0, to: 0, root: Hash::EMPTY_TREE };
    assert_eq!(town.try_close(act), Err(Refusal::EpochCovers), "shard 1 may still grow");
}

#[test]
fn an_epoch_may_end_in_a_later_shard() {
    let (mut town, usage, _) = season();
    town.shard_opened(1);
    let frozen = town.head(1, 3, usage.root());
    town.note(Entry::ShardFrozen(frozen));
    town.shard_opened(2);
    let settled = usage.settle(&town, &Hash::ZERO, Carried::default());
    let closing = town.closing(&usage, &settled);
    let second = |from, to, root| Covered { shard: 2, from, to, root };
    let none = second(0, 0, Hash::EMPTY_TREE);
    let with = |covered: &[Covered]| EpochClosed { covered: covered.to_vec(), ..closing.clone() };
    assert_eq!(town.try_close(with(&[none])), Err(Refusal::EpochCovers), "shard 1 is left out");
    let part = Covered { to: 0, root: Hash::EMPTY_TREE, ..closing.covered[0] };
    assert_eq!(town.try_close(with(&[part, none])), Err(Refusal::EpochCovers), "shard 1 is left before its end");
    town.try_close(with(&[closing.covered[0], none])).unwrap();
    // The next one goes on in shard 2, and nowhere else.
    let head = town.head(2, 5, named("shard 2 at 5"));
    town.note(Entry::ShardClosed(head));
    let later = Usage { from: 3, ..usage.clone() };
    let settled = later.settle(&town, &seed_after(1), settled.carried());
    let closing = town.closing(&later, &settled);
    let with = |covered: Covered| EpochClosed { covered: vec![covered], ..closing.clone() };
    let five = second(0, 5, named("shard 2 at 5"));
    assert_eq!(town.try_close(with(closing.covered[0])), Err(Refusal::EpochCovers));
    assert_eq!(town.try_close(with(Covered { from: 1, ..five })), Err(Refusal::EpochCovers));
    town.try_close(with(five)).unwrap();
}

#[test]
fn payout_is_settled_once_with_its_proof() {
    let (mut town, mut usage, _) = season();
    let settled = town.close(&mut usage, Carried::default());
    let statement = settled.statement(&town.registry, &town.id("trainer"));
    let proof = statement.proof.unwrap();
    let act = PayoutSettled {
        epoch: 1,
        contributor: town.id("trainer"),
        amount_nano: proof.amount,
        statement: statement.paid.digest(),
        path: proof.path,
        reference: named("a transfer"),
    };
    let say = |town: &mut Town, act: PayoutSettled| town.say(&[OPERATOR], Act::PayoutSettled(act));
    let more = PayoutSettled { amount_nano: act.amount_nano + 1, ..act.clone() };
    assert_eq!(say(&mut town, more), Err(Refusal::PayoutProof));
    let other = PayoutSettled { contributor: town.id("gatherer"), ..act.clone() };
    assert_eq!(say(&mut town, other), Err(Refusal::PayoutProof));
    assert_eq!(say(&mut town, PayoutSettled { epoch: 2, ..act.clone() }), Err(Refusal::PayoutProof));
    say(&mut town, act.clone()).unwrap();
    assert_eq!(say(&mut town, act), Err(Refusal::DoneAlready));
}

#[test]
fn statement_names_what_waits() {
    let (town, usage, revision) = season();
    let settled = super::settle(&town, &usage);
    for role in ["gatherer", "corrector"] {
        let statement = settled.statement(&town.registry, &town.id(role));
        assert_eq!(statement.paid.sum_nano(), 0);
        let proof = statement.proof.unwrap();
        proof.check_absent(Kind::Payouts, &settled.payouts, &town.id(role).0).unwrap();
        let [(_, waits)] = &statement.waiting[..] else { panic!("{role}: {:?}", statement.waiting) };
        let lines: Vec<_> = waits.lines().collect();
        assert_eq!(
            (lines[0].reason, lines[0].subject, lines[0].amount_nano),
            (Reason::SharesOpen, revision, 3 * 5_515)
        );
    }
}

#[test]
fn subsidies_stay_apart() {
    let (mut town, mut usage, _) = season();
    let plain = super::settle(&town, &usage);
    town.say(&[OPERATOR], Act::SubsidyInjected(SubsidyInjected { amount_nano: 1_000_000 })).unwrap();
    let settled = town.close(&mut usage, Carried::default());
    check(&town, &settled, &[("trainer", town.paid(&plain, "trainer"))], &[(Reason::Subsidy, 1_000_000)]);
    assert_eq!(settled.lanes, plain.lanes);
    let next = usage.settle(&town, &seed_after(1), settled.carried());
    check(&town, &next, &[], &[(Reason::Subsidy, 1_000_000)]);
}

#[test]
fn erased_rows_are_settled_by_what_is_left_of_them() {
    let (town, mut usage, _) = season();
    let whole = super::settle(&town, &usage);
    let gone = usage.used.pop().unwrap();
    usage.erased.push(ErasedRows {
        pairs: gone.row.pairs,
        policy: gone.row.price_policy,
        emitted_tokens: 1_000,
        delivered_tokens: 1_000,
        fee_nano: gone.row.fee_nano,
    });
    let settled = super::settle(&town, &usage);
    assert_eq!((settled.totals.fees, settled.totals.erased, settled.usage.count), (2 * FEE, FEE, 2));
    assert_eq!(settled.lanes, whole.lanes);
    check(&town, &settled, &[("trainer", 3 * 2_206)], &[]);
}

#[test]
fn rows_that_no_policy_explains() {
    let (town, mut usage, _) = season();
    usage.used[0].row.price_policy = named("another policy");
    usage.used[1].row.fee_nano += 1;
    let settled = super::settle(&town, &usage);
    let named_policy = named("another policy");
    let expected = [
        Finding::PolicyNotInForce { place: place(0), named: named_policy },
        Finding::FeeDiffers { place: place(1), recorded: 11_031, computed: Some(11_030) },
    ];
    assert_eq!(settled.findings.first, expected);
    check(&town, &settled, &[("trainer", 2 * 2_206)], &[(Reason::PolicyNotInForce, FEE)]);
}

/// What a town's logs come to, settled again by somebody who has only them.
fn recompute(town: &Town, usage: &Usage) -> Vec<Difference> {
    let recorded = fold_records(ORIGIN, &town.entries);
    assert_eq!(recorded.void, []);
    let none = BTreeMap::new();
    let mut rewards = Rewards::new(&recorded.closes, &none);
    for (index, used) in (0..).zip(&usage.used) {
        rewards.entry(1, index, &used.entry);
        rewards.completion(place(index), &leaf(index, &used.row), &used.row);
    }
    let report = rewards.finish();
    assert!(report.epochs.iter().all(|epoch| epoch.lanes_follow));
    report.epochs.into_iter().flat_map(|epoch| epoch.differences).collect()
}

#[test]
fn audit_settles_again() {
    let (mut town, mut usage, revision) = season();
    let first = town.close(&mut usage, Carried::default());
    town.agree(&[("gatherer", 500_000), ("corrector", 500_000)], revision).unwrap();
    (0..5).for_each(|_| usage.request(&town, one(named("g")), 77));
    town.close(&mut usage, first.carried());
    assert_eq!(recompute(&town, &usage), []);
    // One request that the close knew is gone: everybody with rows sees it.
    let mut fewer = usage.clone();
    fewer.used.remove(4);
    let found = recompute(&town, &fewer);
    assert!(matches!(found[..], [Difference::Usage { epoch: 2, .. }, ..]), "{found:?}");
}

#[test]
fn audit_settles_again_what_was_erased_since() {
    let (mut town, mut usage, _) = season();
    town.close(&mut usage, Carried::default());
    let recorded = fold_records(ORIGIN, &town.entries);
    let gone = &usage.used[1].row;
    let left = |fee_nano| ErasedRows {
        pairs: gone.pairs.clone(),
        policy: gone.price_policy,
        emitted_tokens: 1_000,
        delivered_tokens: 1_000,
        fee_nano,
    };
    let differences = |told: u64| {
        let left = BTreeMap::from([(1, Left { erased: Vec::new(), forgotten: vec![left(told)] })]);
        let mut rewards = Rewards::new(&recorded.closes, &left);
        for (index, used) in (0..).zip(&usage.used) {
            rewards.entry(1, index, &used.entry);
            let (place, leaf) = (place(index), leaf(index, &used.row));
            match index {
                1 => rewards.forgotten(place, &leaf, told),
                _ => rewards.completion(place, &leaf, &used.row),
            }
        }
        rewards.finish().epochs.swap_remove(0).differences
    };
    assert_eq!(differences(gone.fee_nano), []);
    assert!(!differences(gone.fee_nano - 1).is_empty(), "a fee that is told otherwise gives another root");
}

#[test]
fn audit_finds_a_changed_unit() {
    let (mut town, usage, _) = season();
    town.note_head(&usage);
    let settled = usage.settle(&town, &Hash::ZERO, Carried::default());
    let mut act = town.closing(&usage, &settled);
    // A unit from what waits to somebody, with all sums put right.
    act.totals.paid += 1;
    act.totals.awaiting_revisions -= 1;
    act.payouts = SumRoot { hash: named("another tree"), ..act.payouts };
    town.try_close(act).unwrap();
    let found = recompute(&town, &usage);
    assert!(matches!(found[..], [Difference::Payouts { epoch: 1, .. }, Difference::Totals { epoch: 1 }]), "{found:?}");
}

#[test]
fn trace_from_an_answer_to_its_payees() {
    let (mut town, mut usage, revision) = season();
    town.agree(&[("gatherer", 500_000), ("corrector", 500_000)], revision).unwrap();
    town.close(&mut usage, Carried::default());
    usage.request(&town, one(named("g")), 5);
    let recorded = fold_records(ORIGIN, &town.entries);
    let follow = |index: u64, dropped: Option<usize>| {
        let none = BTreeMap::new();
        let mut rewards = Rewards::new(&recorded.closes, &none).seeking(place(index));
        for (at, used) in (0..).zip(&usage.used).filter(|(at, _)| Some(*at as usize) != dropped) {
            rewards.entry(1, at, &used.entry);
            rewards.completion(place(at), &leaf(at, &used.row), &used.row);
        }
        let row = &usage.used[index as usize].row;
        let answer = Answer { place: place(index), leaf: leaf(index, row), row };
        trace(&answer, &recorded.closes, &rewards.finish().epochs, &recorded.registry)
    };
    let found = follow(1, None);
    assert_eq!((found.epoch, found.findings.as_slice()), (Some(1), &[][..]));
    assert_eq!(u128::from(found.lanes.0.iter().sum::<u64>()), FEE);
    let mut payees: Vec<Hash> = found.payees.iter().map(|payee| payee.contributor).collect();
    let mut expected = ["trainer", "gatherer", "corrector"].map(|role| town.id(role));
    payees.sort_unstable();
    expected.sort_unstable();
    assert_eq!(payees, expected);
    for payee in &found.payees {
        let known = town.people.values().find(|key| key.contributor() == payee.contributor).unwrap();
        assert_eq!(payee.public_key, known.public_key(), "from the payout to the author's key");
        let epoch = &recorded.closes[0].act;
        payee.proof.as_ref().unwrap().check_member(Kind::Payouts, &epoch.payouts).unwrap();
    }
    assert_eq!(follow(3, None).findings, [TraceFinding::NotSettled]);
    let dropped = follow(1, Some(1));
    assert!(dropped.findings.contains(&TraceFinding::UsageProof { epoch: 1 }), "{:?}", dropped.findings);
}

#[test]
fn dropped_request_is_caught_by_its_receipt_holder() {
    let (mut town, mut usage, _) = season();
    let kept = usage.used[1].clone();
    let mut settlement =
        loam_ledger_core::epoch::Settlement::new(&town.registry, named("seed"), Carried::default()).seeking(&place(1));
    for (index, used) in (0..).zip(&usage.used).filter(|(index, _)| *index != 1) {
        settlement.entry(&used.entry);
        settlement.completion(place(index), &leaf(index, &used.row), &used.row);
    }
    let settled = settlement.finish();
    town.note_head(&usage);
    let act = town.closing(&usage, &settled);
    town.try_close(act.clone()).unwrap();
    let answer = Answer { place: place(1), leaf: leaf(1, &kept.row), row: &kept.row };
    let found = check_usage(&act, &answer, settled.usage_proof.as_ref());
    assert_eq!(found, Err(TraceFinding::LeftOut { epoch: 1 }));
    // Nor can a proof of somebody else's row be passed off.
    usage.from = 0;
    let other = Answer { place: place(0), leaf: leaf(1, &kept.row), row: &kept.row };
    assert!(check_usage(&act, &other, settled.usage_proof.as_ref()).is_err());
}

#[test]
fn simulation_of_another_policy() {
    let (mut town, mut usage, _) = season();
    let settled = town.close(&mut usage, Carried::default());
    let generous = PolicyChanged { lanes: PerLane([0, 0, 10_000, 0, 0, 0, 0]), ..town.policy() };
    let recorded = fold_records(ORIGIN, &town.entries);
    let none = BTreeMap::new();
    let mut rewards = Rewards::new(&recorded.closes, &none).simulating(Simulated(&generous));
    for (index, used) in (0..).zip(&usage.used) {
        rewards.entry(1, index, &used.entry);
        rewards.completion(place(index), &leaf(index, &used.row), &used.row);
    }
    let report = rewards.finish();
    let simulated = &report.epochs[0].settled;
    check_sums(simulated);
    check(&town, simulated, &[("trainer", 3 * FEE), (OPERATOR, 0)], &[]);
    assert_eq!(town.paid(&settled, "trainer"), 3 * 2_206);
}

#[test]
fn void_close_settles_nothing() {
    let (mut town, mut usage, _) = season();
    town.close(&mut usage, Carried::default());
    // Whoever writes the log appends a close that its own rules refuse.
    let Some(Entry::Record(last)) = town.entries.last().cloned() else { panic!("the close is the last entry") };
    town.entries.push(Entry::Record(last));
    let recorded = fold_records(ORIGIN, &town.entries);
    assert_eq!((recorded.closes.len(), recorded.void.len()), (1, 1));
    assert!(matches!(recorded.void[0].1, Refusal::Replayed { .. }));
}
