//! Which combinations of parameters are tried: in the fast tier every pair of values, in the long one all of them.

use std::collections::BTreeSet;

use crate::random::Random;

/// Combinations that the long tier tries of one operation at most: full products of ten parameters have millions, and
/// would run for days. Of a larger product it takes so many, drawn by seed, beside the pairwise cover.
const LONG_CASES_MAX: usize = 300;

/// Whether this is the long tier.
pub(crate) fn long() -> bool {
    std::env::var("LOAM_TEST_TIER").is_ok_and(|tier| tier == "long")
}

/// For parameters with so many values each, the combinations to try, as one index for each parameter.
pub(crate) fn cover(counts: &[usize]) -> Vec<Vec<usize>> {
    if !long() {
        return pairwise(counts);
    }
    let all: usize = counts.iter().product();
    if all <= LONG_CASES_MAX {
        return (0..all).map(|place| combination(counts, place)).collect();
    }
    let mut random = Random::new(all as u64);
    let drawn = (0..LONG_CASES_MAX).map(|_| combination(counts, random.below(all)));
    pairwise(counts).into_iter().chain(drawn).collect()
}

/// The combination at a place of the full product.
fn combination(counts: &[usize], mut place: usize) -> Vec<usize> {
    let digit = |count: &usize| {
        let digit = place % count;
        place /= count;
        digit
    };
    counts.iter().map(digit).collect()
}

/// A parameter's value together with another's.
type PairOfValues = ((usize, usize), (usize, usize));

/// Greedy: each combination begins with a pair not tried yet and takes, parameter after parameter, the value that
/// covers most of the pairs that are left.
fn pairwise(counts: &[usize]) -> Vec<Vec<usize>> {
    let mut open: BTreeSet<PairOfValues> = BTreeSet::new();
    for (a, a_count) in counts.iter().enumerate() {
        for (b, b_count) in counts.iter().enumerate().skip(a + 1) {
            open.extend((0..*a_count).flat_map(|x| (0..*b_count).map(move |y| ((a, x), (b, y)))));
        }
    }
    let mut combinations = Vec::new();
    while let Some(&((a, x), (b, y))) = open.first() {
        let mut chosen: Vec<Option<usize>> = vec![None; counts.len()];
        (chosen[a], chosen[b]) = (Some(x), Some(y));
        for parameter in 0..counts.len() {
            if chosen[parameter].is_some() {
                continue;
            }
            let gain = |value: usize| {
                let covered = |(other, set): (usize, &Option<usize>)| {
                    set.is_some_and(|set| open.contains(&ordered((parameter, value), (other, set))))
                };
                chosen.iter().enumerate().filter(|it| covered(*it)).count()
            };
            // Where values gain alike they take turns.
            let turn = combinations.len();
            let best = (0..counts[parameter]).map(|value| (value + turn) % counts[parameter]).max_by_key(|v| gain(*v));
            chosen[parameter] = best;
        }
        let chosen: Vec<usize> = chosen.into_iter().map(|value| value.expect("each was chosen")).collect();
        for (a, x) in chosen.iter().enumerate() {
            for (b, y) in chosen.iter().enumerate().skip(a + 1) {
                open.remove(&((a, *x), (b, *y)));
            }
        }
        combinations.push(chosen);
    }
    combinations
}

fn ordered(a: (usize, usize), b: (usize, usize)) -> PairOfValues {
    if a < b { (a, b) } else { (b, a) }
}

/// Cases over lists of values, one list for each field; `seed` is the case's number.
macro_rules! cases {
    ($case:ident { $($field:ident: $values:expr),+ $(,)? }) => {{
        let cover = $crate::cover::cover(&[$($values.len()),+]);
        (1..).zip(cover).map(|(seed, choice)| {
            let mut choice = choice.into_iter();
            $case { seed, $($field: $values[choice.next().expect("a choice for each field")].clone()),+ }
        }).collect::<Vec<_>>()
    }};
}
pub(crate) use cases;

#[test]
fn every_pair_of_values_is_covered() {
    let counts = [6, 5, 4, 3, 2, 2];
    let combinations = pairwise(&counts);
    assert!(combinations.len() < 60, "{} combinations for 720", combinations.len());
    for (a, a_count) in counts.iter().enumerate() {
        for (b, b_count) in counts.iter().enumerate().skip(a + 1) {
            for (x, y) in (0..*a_count).flat_map(|x| (0..*b_count).map(move |y| (x, y))) {
                assert!(combinations.iter().any(|it| it[a] == x && it[b] == y), "{a}={x} with {b}={y}");
            }
        }
    }
}
