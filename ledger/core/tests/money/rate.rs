//! How fast an epoch settles: completion rows from their bytes, with little memory.
//!
//! `LOAM_TEST_TIER=long cargo test --release -p loam-ledger-core --test money rate -- --nocapture` settles ten million.

use std::time::Instant;

use loam_ledger_core::Hash;
use loam_ledger_core::epoch::{Carried, Settlement};
use loam_ledger_core::hash::row_leaf_hash;
use loam_ledger_core::record::{Access, MILLION};
use loam_ledger_core::row::{Pair, Row};

use super::town::{Town, Usage, add, named, place, salt};
use super::{check_sums, tier};

#[test]
fn ten_million_rows() {
    let rows: u64 = if tier::times(1) == 1 { 50_000 } else { 10_000_000 };
    let mut town = Town::of(&["trainer", "gatherer"]);
    town.set_policy();
    let dataset = town.dataset(&["gatherer"], Access::Open);
    let work = town.propose(&["gatherer"], dataset, None, &[add("a")]).unwrap();
    let revision = town.commit(&[("gatherer", MILLION)], dataset, None, &[work]).unwrap();
    let generations: Vec<Hash> =
        (0..100).map(|n| town.publish(&["trainer"], &format!("g {n}"), &[], &[(revision, MILLION)])).collect();
    // A thousand different rows, over and over: what differs between them matters, what is equal does not.
    let mut usage = Usage::default();
    for n in 0..1_000_usize {
        let pair = |n: usize, weight| Pair { generation: generations[n % 100], weight_millionths: weight };
        let mut pairs =
            if n % 4 == 0 { vec![pair(n, 700_000), pair(n + 1, 300_000)] } else { vec![pair(n, 1_000_000)] };
        pairs.sort_unstable();
        usage.request(&town, pairs, n as u64);
    }
    let bytes: Vec<Vec<u8>> =
        usage.used.iter().map(|used| Row::Completion(Box::new(used.row.clone())).encode()).collect();
    let began = Instant::now();
    let mut settlement = Settlement::new(&town.registry, named("seed"), Carried::default());
    let salt = salt(0);
    for index in 0..rows {
        let kind = usize::try_from(index % 1_000).unwrap();
        settlement.entry(&usage.used[kind].entry);
        let leaf = row_leaf_hash(&salt, &bytes[kind]);
        let Ok(Row::Completion(row)) = Row::decode(&bytes[kind]) else { panic!("it is a completion row") };
        settlement.completion(place(index), &leaf, &row);
    }
    let settled = settlement.finish();
    let seconds = began.elapsed().as_secs_f64();
    eprintln!("{rows} completion rows in {seconds:.2} s: {:.0} a second", rows as f64 / seconds);
    assert_eq!(settled.usage.count, rows);
    assert_eq!(settled.findings.count, 0);
    check_sums(&settled);
}

#[test]
fn a_hundred_thousand_rows_in_one_commit() {
    let rows = if tier::times(1) == 1 { 2_000 } else { 100_000 };
    let mut town = Town::of(&["gatherer"]);
    let dataset = town.dataset(&["gatherer"], Access::Open);
    let operations: Vec<_> = (0..rows).map(|n| add(&format!("row {n}"))).collect();
    let began = Instant::now();
    let work = town.propose(&["gatherer"], dataset, None, &operations).unwrap();
    town.commit(&[("gatherer", MILLION)], dataset, None, &[work]).unwrap();
    eprintln!("{rows} rows proposed and committed in {:.2} s", began.elapsed().as_secs_f64());
}
