//! A row alone against the same row in crowds.

use loam_kernels::Cpu;

use crate::machine::{THREADS, each_level, same};

/// Rows of the largest crowd.
pub(crate) const ROWS: usize = 64;

/// Runs an operation over chosen rows, which it makes from their numbers, and compares the bits of each row with those
/// in the whole crowd: alone, in crowds of 2 to 40 at changing places, in another order, with more threads, and again.
///
/// `operation` returns each chosen row's bits, in order of choice.
#[track_caller]
pub(crate) fn check_rows(what: &str, operation: impl Fn(&Cpu, &[usize]) -> Vec<Vec<u32>>) {
    each_level(|level, cpus| {
        let all: Vec<usize> = (0..ROWS).collect();
        let expected = operation(&cpus[0], &all);
        assert!(expected.iter().any(|row| row != &expected[0]), "{what}: rows must differ for this to prove anything");
        let compare = |index: usize, chosen: &[usize]| {
            let found = operation(&cpus[index], chosen);
            for (place, &row) in chosen.iter().enumerate() {
                same(&expected[row], &found[place], || {
                    let (crowd, threads) = (chosen.len(), THREADS[index]);
                    format!("{what}, {level}, {threads} threads: row {row} at place {place} of {crowd}")
                });
            }
        };
        for index in 0..cpus.len() {
            compare(index, &all);
        }
        // Every third row: what rows are made of repeats in other steps.
        for row in (0..ROWS).step_by(3) {
            compare(row % cpus.len(), &[row]);
        }
        for count in (2..=20).chain([23, 29, 31, 32, 33, 37, 40]) {
            // An odd stride walks a power of two without meeting a row twice.
            let chosen: Vec<usize> = (0..count).map(|place| (count * 7 + place * (2 * count + 1)) % ROWS).collect();
            compare(count % cpus.len(), &chosen);
        }
    });
}
