//! What people try, and what it brings them.

use loam_ledger_core::Hash;
use loam_ledger_core::division::{Part, divide, tie};
use loam_ledger_core::epoch::{Carried, Finding, Reason, Settlement};
use loam_ledger_core::record::{
    Access, Act, MILLION, Operation, PolicyChanged, RecordId, Review, SumRoot, SumStep, Verdict,
};
use loam_ledger_core::sum_tree::{Builder, Kind, SumProof, sum_leaf_hash, sum_node_hash};
use proptest::prelude::*;

use super::town::{OPERATOR, Town, Usage, add, correct, named, one, place, row};
use super::{check, settle, tier};

/// A gatherer's dataset and revision; a trainer's adapter of it.
fn market(roles: &[&str]) -> (Town, RecordId, RecordId) {
    let mut town = Town::of(&[&["trainer", "gatherer"], roles].concat());
    town.set_policy();
    let dataset = town.dataset(&["gatherer"], Access::Open);
    let rows = town.propose(&["gatherer"], dataset, None, &["a", "b"].map(add)).expect("it fits");
    let revision = town.commit(&[("gatherer", MILLION)], dataset, None, &[rows]).expect("it fits");
    (town, dataset, revision)
}

fn used(town: &Town, generation: Hash) -> Usage {
    let mut usage = Usage::default();
    (0..7).for_each(|_| usage.request(town, one(generation), 1_000));
    usage
}

#[test]
fn review_ring_earns_nothing() {
    let ring = ["ring 1", "ring 2", "ring 3"];
    let (mut town, dataset, revision) = market(&ring);
    let g = town.publish(&["trainer"], "g", &[], &[(revision, MILLION)]);
    let before = settle(&town, &used(&town, g));
    // Each offers something, and the others praise it.
    for (n, role) in ring.iter().enumerate() {
        let work = town.propose(&[role], dataset, Some(revision), &[add(&format!("padding {n}"))]).unwrap();
        for other in ring.iter().filter(|other| *other != role) {
            let praise = Review { target: work, verdict: Verdict::Accept, probability: MILLION };
            town.say(&[other], Act::Review(praise)).unwrap();
        }
    }
    let after = settle(&town, &used(&town, g));
    assert_eq!(after.accounts, before.accounts);
    check(&town, &after, &ring.map(|role| (role, 0)), &[]);
}

#[test]
fn flood_of_duplicates_earns_nothing() {
    let (mut town, dataset, revision) = market(&["flooder"]);
    let g = town.publish(&["trainer"], "g", &[], &[(revision, MILLION)]);
    let before = settle(&town, &used(&town, g));
    // A thousand copies of one row, offered, and in a dataset of the flooder's own.
    let copies: Vec<Operation> =
        (0..1_000).map(|n| Operation { to: vec![row(&format!("copy {n}"), "a")], ..add("a") }).collect();
    town.propose(&["flooder"], dataset, Some(revision), &copies).unwrap();
    let own = town.dataset(&["flooder"], Access::Open);
    let work = town.propose(&["flooder"], own, None, &copies).unwrap();
    town.commit(&[("flooder", MILLION)], own, None, &[work]).unwrap();
    let after = settle(&town, &used(&town, g));
    assert_eq!(after.accounts, before.accounts);
    check(&town, &after, &[("flooder", 0)], &[]);
}

#[test]
fn rows_are_not_what_is_paid() {
    // The same two people, the same shares; one revision has two rows, the other a copy of each as well.
    let paid = |copies: &[&str]| {
        let (mut town, dataset, first) = market(&["corrector"]);
        let fix = [vec![correct("a", "a", "A")], copies.iter().map(|copy| add(copy)).collect()].concat();
        let fix = town.propose(&["corrector"], dataset, Some(first), &fix).unwrap();
        let shares = [("gatherer", 700_000), ("corrector", 300_000)];
        let second = town.commit(&[("gatherer", MILLION)], dataset, Some(first), &[fix]).unwrap();
        town.agree(&shares, second).unwrap();
        let g = town.publish(&["trainer"], "g", &[], &[(second, MILLION)]);
        let settled = settle(&town, &used(&town, g));
        (town.paid(&settled, "gatherer"), town.paid(&settled, "corrector"))
    };
    let (plain, copied) = (paid(&[]), paid(&["copy 1", "copy 2", "copy 3"]));
    assert_eq!(plain.0 + plain.1, copied.0 + copied.1, "the revision's sum does not grow with rows");
    assert!(plain.1.abs_diff(copied.1) <= 1, "nor does a share, but for the unit that the seed decides");
}

#[test]
fn contributor_split_into_many_keys() {
    let keys: Vec<String> = (0..20).map(|n| format!("key {n}")).collect();
    let roles: Vec<&str> = keys.iter().map(String::as_str).collect();
    let paid = |parts: usize| {
        let (mut town, dataset, first) = market(&roles);
        let parts = &roles[..parts];
        let fix = town.propose(parts, dataset, Some(first), &[correct("a", "a", "A")]).unwrap();
        let each = 400_000 / u32::try_from(parts.len()).unwrap();
        let shares: Vec<(&str, u32)> =
            [("gatherer", 600_000)].into_iter().chain(parts.iter().map(|role| (*role, each))).collect();
        let second = town.commit(&shares, dataset, Some(first), &[fix]).unwrap();
        let g = town.publish(&["trainer"], "g", &[], &[(second, MILLION)]);
        let settled = settle(&town, &used(&town, g));
        parts.iter().map(|role| town.paid(&settled, role)).sum::<u128>()
    };
    let whole = paid(1);
    for parts in [2, 4, 20] {
        // Below a nano-unit a key is rounding, which falls where the seed has it; there is no part for a key.
        assert!(paid(parts) < whole + parts as u128, "{parts} keys");
    }
}

#[test]
fn edit_without_effect_changes_nobodys_credit() {
    let (mut town, dataset, first) = market(&["idler"]);
    let g = town.publish(&["trainer"], "g", &[], &[(first, MILLION)]);
    let before = settle(&town, &used(&town, g));
    // The owner takes an edit that leaves every row as it was, and an adapter is made of that revision.
    let nothing = town.propose(&["idler"], dataset, Some(first), &[correct("a", "a", "a")]).unwrap();
    let second = town.commit(&[("gatherer", MILLION)], dataset, Some(first), &[nothing]).unwrap();
    assert_eq!(town.registry.datasets().effective(&second), first);
    let h = town.publish(&["trainer"], "h", &[], &[(second, MILLION)]);
    let after = settle(&town, &used(&town, h));
    for role in ["gatherer", "trainer", "idler", OPERATOR] {
        assert_eq!(town.paid(&after, role), town.paid(&before, role), "{role}");
    }
}

#[test]
fn vanity_ids_win_no_remainders() {
    // Three equal parts of a unit that does not divide. The lowest id wins its third of the epochs and no more.
    let ids: Vec<Hash> = [0_u8, 0x80, 0xff].map(|first| Hash([first; 32])).to_vec();
    let mut wins = [0; 3];
    for epoch in 0..3_000 {
        let seed = named(&format!("epoch {epoch}"));
        let parts: Vec<Part> = ids.iter().map(|id| Part { weight: 1, tie: tie(&seed, id) }).collect();
        for (won, share) in wins.iter_mut().zip(divide(1, &parts).unwrap()) {
            *won += share;
        }
    }
    assert!(wins.iter().all(|won| (850..1_150).contains(won)), "{wins:?}");
}

#[test]
fn requests_bought_for_ones_own_rows() {
    let (mut town, _, _) = market(&["farmer"]);
    let dataset = town.dataset(&["farmer"], Access::Open);
    let work = town.propose(&["farmer"], dataset, None, &[add("mine")]).unwrap();
    let own = town.commit(&[("farmer", MILLION)], dataset, None, &[work]).unwrap();
    let g = town.publish(&["trainer"], "g", &[], &[(own, MILLION)]);
    let usage = used(&town, g);
    let settled = settle(&town, &usage);
    let spent = settled.totals.fees;
    let got = town.paid(&settled, "farmer");
    assert_eq!(got, settled.lanes.of(loam_ledger_core::record::Lane::Data));
    assert!(got <= spent * 5_000 / 10_000 + 7, "never more than the data lane of what was paid");
    // With the adapter their own too, and the whole lineage: still less than what was spent.
    let h = town.publish(&["farmer"], "h", &[], &[(own, MILLION)]);
    let settled = settle(&town, &used(&town, h));
    assert!(town.paid(&settled, "farmer") <= spent * 7_000 / 10_000 + 14);
}

#[test]
fn policy_that_rows_apply_before_its_time() {
    let (mut town, _, revision) = market(&[]);
    let g = town.publish(&["trainer"], "g", &[], &[(revision, MILLION)]);
    let next = PolicyChanged { host: town.id("trainer"), ..town.policy() };
    let id = town.say(&[OPERATOR], Act::PolicyChanged(next)).unwrap();
    let mut usage = used(&town, g);
    usage.used[3].row.price_policy = id;
    let settled = settle(&town, &usage);
    assert_eq!(settled.findings.first, [Finding::PolicyNotInForce { place: place(3), named: id }]);
    check(&town, &settled, &[("trainer", 6 * 2_206)], &[(Reason::PolicyNotInForce, 11_030)]);
}

#[test]
fn evaluators_of_their_own_adapter_divide_nothing() {
    let (mut town, _, revision) = market(&["other"]);
    let evaluators = {
        let mut ids = vec![town.id("trainer"), town.id("other")];
        ids.sort_unstable();
        ids
    };
    let g = town.publish(&["trainer"], "g", &[], &[(revision, MILLION)]);
    let h = town.publish(&["other"], "h", &[(g, 0)], &[(revision, MILLION)]);
    let policy = PolicyChanged { evaluators, ..town.policy() };
    let usage = used(&town, h);
    town.say(&[OPERATOR], Act::PolicyChanged(policy)).unwrap();
    town.later_ms += 7_200_000;
    // Both are evaluators by the policy, and both have a part: one says that all gain is the child's.
    for (subject, score) in [(super::town::base(), 0), (g, 0), (h, 900_000)] {
        town.evaluate("other", subject, revision, score);
    }
    let mut settlement = Settlement::new(&town.registry, named("seed"), Carried::default());
    usage.feed(&mut settlement);
    let waits = [(Reason::LineageOpen, 7 * (2_206 + 5_515))];
    check(&town, &settlement.finish(), &[("other", 0), ("trainer", 0)], &waits);
}

#[test]
fn payouts_with_the_greater_for_the_sum() {
    // Of two children a dishonest tree says the greater where the sum belongs, so that the total is too small.
    let leaf = |n: u8, amount: u128| sum_leaf_hash(Kind::Payouts, &[n; 32], &named("statement"), amount);
    let (a, b, c) = (leaf(0x00, 5), leaf(0x40, 7), leaf(0x80, 11));
    let left = sum_node_hash(1, (5, &a), (7, &b));
    let hash = sum_node_hash(0, (7, &left), (11, &c));
    let root = SumRoot { hash, sum: 18, count: 3 };
    let proof = |n: u8, amount, path: &[SumStep]| SumProof {
        key: vec![n; 32],
        value: named("statement"),
        amount,
        path: path.to_vec(),
    };
    let above = SumStep { bit: 0, sum: 11, hash: c };
    let of_a = proof(0x00, 5, &[SumStep { bit: 1, sum: 7, hash: b }, above]);
    let of_b = proof(0x40, 7, &[SumStep { bit: 1, sum: 5, hash: a }, above]);
    assert!(of_a.check_member(Kind::Payouts, &root).is_err(), "every payee below it sees that it is wrong");
    assert!(of_b.check_member(Kind::Payouts, &root).is_err());
    // Nor does another total help, under the same hash.
    for sum in [16, 18, 23] {
        assert!(of_a.check_member(Kind::Payouts, &SumRoot { sum, ..root }).is_err());
    }
}

#[test]
fn member_and_absent_by_other_bits() {
    // With bit numbers outside the hash this tree would show 0x40... both present and, by claiming that its node branches
    // elsewhere, absent.
    let leaves: Vec<(Vec<u8>, u128)> = [0x00_u8, 0x40, 0x80].iter().map(|n| (vec![*n; 32], 3)).collect();
    let key = vec![0x40_u8; 32];
    let build = |sought: &[u8]| {
        let mut builder = Builder::seeking(Kind::Payouts, sought);
        leaves.iter().for_each(|(key, amount)| builder.push(key, &named("statement"), *amount));
        builder.finish_with_proof()
    };
    let (root, member) = build(&key);
    member.unwrap().check_member(Kind::Payouts, &root).unwrap();
    for (other, _) in leaves.iter().filter(|(other, _)| *other != key) {
        let honest = build(other).1.unwrap();
        for first in 0..256 {
            for second in 0..256 {
                let mut forged = honest.clone();
                let bits = [first, second];
                forged.path.iter_mut().zip(bits).for_each(|(step, bit)| step.bit = bit);
                assert!(forged.check_absent(Kind::Payouts, &root, &key).is_err());
            }
        }
    }
}

proptest! {
    #![proptest_config(tier::cases())]

    #[test]
    fn members_are_there_and_others_are_not(
        keys in prop::collection::btree_map(any::<[u8; 2]>(), any::<u64>(), 1..40),
        sought in any::<[u8; 2]>(),
        other in any::<u64>(),
    ) {
        let long = |key: &[u8; 2]| [&key[..], &[0; 30]].concat();
        let mut builder = Builder::seeking(Kind::Payouts, &long(&sought));
        for (key, amount) in &keys {
            builder.push(&long(key), &named("statement"), u128::from(*amount));
        }
        let (root, proof) = builder.finish_with_proof();
        let proof = proof.expect("there are leaves");
        prop_assert_eq!(root.sum, keys.values().map(|amount| u128::from(*amount)).sum::<u128>());
        proof.check_member(Kind::Payouts, &root).expect("whichever leaf it is, it is in");
        let absent = proof.check_absent(Kind::Payouts, &root, &long(&sought));
        prop_assert_eq!(absent.is_ok(), !keys.contains_key(&sought));
        // Another amount, or a step that is left out, is in no such tree.
        let mut forged = proof.clone();
        forged.amount = u128::from(other);
        prop_assert_eq!(forged.check_member(Kind::Payouts, &root).is_ok(), forged.amount == proof.amount);
        let mut forged = proof;
        if forged.path.pop().is_some() {
            prop_assert!(forged.check_member(Kind::Payouts, &root).is_err());
        }
    }
}
