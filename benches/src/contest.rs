//! Contests: several things timed in turn, round after round, so that what else the machine does meets all of them.

use std::time::Instant;

use crate::counts::float;

/// Something to time. It is told the round, and says how much it did: bytes, linears, steps.
pub(crate) type Contestant<'a> = &'a mut dyn FnMut(usize) -> anyhow::Result<usize>;

/// Seconds for one of what each contestant does, by contestant and round.
pub(crate) struct Times {
    seconds: Vec<Vec<f64>>,
}

/// Times all in turn, so many rounds, after one round that is not counted.
pub(crate) fn contest(rounds: usize, contestants: &mut [Contestant<'_>]) -> anyhow::Result<Times> {
    let mut seconds = vec![Vec::with_capacity(rounds); contestants.len()];
    for round in 0..=rounds {
        for (contestant, seconds) in contestants.iter_mut().zip(&mut seconds) {
            let began = Instant::now();
            let done = contestant(round)?;
            let time = began.elapsed().as_secs_f64() / float(done);
            if round > 0 {
                seconds.push(time);
            }
        }
    }
    Ok(Times { seconds })
}

impl Times {
    /// Seconds for one.
    pub(crate) fn median(&self, contestant: usize) -> f64 {
        median(self.seconds[contestant].clone())
    }

    /// Seconds for one in the round that went best.
    pub(crate) fn best(&self, contestant: usize) -> f64 {
        self.seconds[contestant].iter().copied().fold(f64::INFINITY, f64::min)
    }

    /// The first's time over the second's, in the same round.
    pub(crate) fn ratio(&self, first: usize, second: usize) -> f64 {
        self.of_rounds(first, second, |first, second| first / second)
    }

    /// The first's time less the second's, in the same round.
    pub(crate) fn difference(&self, first: usize, second: usize) -> f64 {
        self.of_rounds(first, second, |first, second| first - second)
    }

    fn of_rounds(&self, first: usize, second: usize, of: impl Fn(f64, f64) -> f64) -> f64 {
        let rounds = self.seconds[first].iter().zip(&self.seconds[second]);
        median(rounds.map(|(first, second)| of(*first, *second)).collect())
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

#[test]
fn medians_are_of_rounds() {
    let times = Times { seconds: vec![vec![1.0, 8.0, 3.0], vec![2.0, 2.0, 2.0]] };
    assert_eq!((times.median(0), times.best(0)), (3.0, 1.0));
    assert_eq!((times.ratio(0, 1), times.difference(0, 1)), (1.5, 1.0));
    assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
}
