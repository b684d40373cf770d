//! A row alone against the same row in crowds.

use super::machine::{ALONE_EVERY, CROWDS, Machine, each_level, same};

/// Rows of the largest crowd.
pub(crate) const ROWS: usize = 64;

/// Runs an operation over chosen rows, which it makes from their numbers, and compares the bits of each row with those
/// in the whole crowd: alone, in smaller crowds at changing places, in another order, on other machines, and again.
///
/// `operation` returns each chosen row's bits, in order of choice.
#[track_caller]
pub(crate) fn check_rows(what: &str, operation: impl Fn(&Machine, &[usize]) -> Vec<Vec<u32>>) {
    each_level(|level, machines| {
        let all: Vec<usize> = (0..ROWS).collect();
        let expected = operation(&machines[0], &all);
        assert!(expected.iter().any(|row| row != &expected[0]), "{what}: rows must differ for this to prove anything");
        let compare = |index: usize, chosen: &[usize]| {
            let found = operation(&machines[index], chosen);
            for (place, &row) in chosen.iter().enumerate() {
                same(&expected[row], &found[place], || {
                    let crowd = chosen.len();
                    format!("{what}, {level}, machine {index}: row {row} at place {place} of {crowd}")
                });
            }
        };
        for index in 0..machines.len() {
            compare(index, &all);
        }
        // What rows are made of repeats in steps of powers of two, which this is none of.
        for row in (0..ROWS).step_by(ALONE_EVERY) {
            compare(row % machines.len(), &[row]);
        }
        for &count in CROWDS {
            // An odd stride walks a power of two without meeting a row twice.
            let chosen: Vec<usize> = (0..count).map(|place| (count * 7 + place * (2 * count + 1)) % ROWS).collect();
            compare(count % machines.len(), &chosen);
        }
    });
}
