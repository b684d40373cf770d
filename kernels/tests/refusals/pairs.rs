//! Uses of adapters: grouped, in order, few a row.

use loam_kernels::Error;
use loam_kernels::layout::{Group, Pair, PairList, StepPlan};

use crate::given::{LIMITS, error, inputs, limit};

const ROWS: usize = 5;
const SLOTS: usize = 6;

fn pairs(of: &[(u32, u32)]) -> Vec<Pair> {
    of.iter().map(|&(row, slot)| Pair { row, slot, weight: 1.0 }).collect()
}

/// Refused, with (row, slot) pairs.
#[track_caller]
fn check(of: &[(u32, u32)], expected: Error, says: &str) {
    error(PairList::new(pairs(of), ROWS, SLOTS), expected, says);
}

#[test]
fn ungrouped() {
    let expected = Error::PairOrder { pair: 2, row: 2, slot: 1 };
    let says = "pairs are not grouped by adapter with rows ascending: pair 2 (row 2, slot 1)";
    check(&[(0, 1), (1, 2), (2, 1)], expected, says);
}

#[test]
fn rows_descending() {
    check(&[(3, 1), (2, 1)], Error::PairOrder { pair: 1, row: 2, slot: 1 }, "pair 1 (row 2, slot 1)");
}

#[test]
fn row_twice_in_a_group() {
    check(&[(2, 0), (3, 1), (3, 1)], Error::PairOrder { pair: 2, row: 3, slot: 1 }, "pair 2 (row 3, slot 1)");
}

#[test]
fn five_adapters_of_a_row() {
    let of = [(4, 0), (4, 1), (4, 2), (4, 3), (4, 5)];
    check(&of, Error::PairsPerRow { row: 4, max: 4 }, "row 4 has more than 4 adapters");
    PairList::new(pairs(&of[..4]), ROWS, SLOTS).unwrap();
}

#[test]
fn slot_that_is_none() {
    check(&[(0, 6)], limit("a pair's slot", 6, 6), "a pair's slot 6 is not below 6");
}

#[test]
fn row_that_is_none() {
    check(&[(0, 1), (5, 1)], limit("a pair's row", 5, 5), "a pair's row 5 is not below 5");
}

#[test]
fn no_slots_at_all() {
    error(PairList::new(pairs(&[(0, 0)]), ROWS, 0), limit("a pair's slot", 0, 0), "a pair's slot 0 is not below 0");
}

#[test]
fn weights_that_are_no_numbers() {
    for weight in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let expected = Error::NotFinite { what: "a pair's weight", value: weight, also: "" };
        let says = format!("a pair's weight is {weight}, which is not a finite number");
        error(PairList::new(vec![Pair { row: 0, slot: 0, weight }], ROWS, SLOTS), expected, &says);
    }
}

/// A step hands its pairs on to be checked.
#[test]
fn in_a_step() {
    let mut changed = inputs();
    changed.pairs.swap(0, 2);
    let expected = Error::PairOrder { pair: 1, row: 2, slot: 1 };
    error(StepPlan::new(changed, LIMITS), expected, "pairs are not grouped by adapter");
}

#[test]
fn groups_and_the_way_back() {
    // Groups stand as given, in order of generation, whatever their slots.
    let list = PairList::new(pairs(&[(0, 4), (3, 4), (3, 1), (1, 2), (3, 2), (4, 2)]), ROWS, SLOTS).unwrap();
    let groups = [(4, 0, 2), (1, 2, 3), (2, 3, 6)].map(|(slot, from, to)| Group { slot, from, to });
    assert_eq!(list.groups(), groups);
    assert_eq!(list.rows(), ROWS);
    let of_rows: Vec<&[u32]> = (0..ROWS).map(|row| list.of_row(row)).collect();
    assert_eq!(of_rows, [&[0][..], &[3], &[], &[1, 2, 4], &[5]]);
    assert!(!list.is_empty());
}

#[test]
fn nobody() {
    let list = PairList::new(Vec::new(), ROWS, 0).unwrap();
    assert!(list.is_empty() && list.groups().is_empty());
    assert!((0..ROWS).all(|row| list.of_row(row).is_empty()));
}

/// Rows that are sampled several times, out of order, have their pairs each time, in order of their new rows.
#[test]
fn seen_from_sampled_rows() {
    let mut sampled = inputs();
    sampled.pairs = pairs(&[(0, 2), (3, 2), (1, 0), (3, 0)]);
    sampled.sampled = vec![3, 2, 0, 3];
    let plan = StepPlan::new(sampled, LIMITS).unwrap();
    let list = plan.pairs(loam_kernels::layout::RowSet::Sampled);
    assert_eq!(list.pairs(), pairs(&[(0, 2), (2, 2), (3, 2), (0, 0), (3, 0)]));
    assert_eq!(list.groups(), [(2, 0, 3), (0, 3, 5)].map(|(slot, from, to)| Group { slot, from, to }));
    assert_eq!(list.rows(), 4);
    assert_eq!([0, 1, 2, 3].map(|row| list.of_row(row).to_vec()), [vec![0, 3], vec![], vec![1], vec![2, 4]]);
}
