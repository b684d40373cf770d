//! Gains: what each generation of a lineage added to a score, measured by evaluators who have no part in it.

use std::collections::BTreeSet;

use crate::record::{Generation, RecordId};
use crate::registry::Registry;

/// What a lineage added, generation by generation, on one suite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measured {
    /// The suite.
    pub suite: RecordId,
    /// Each generation from the first after the base model to the newest, with its gain: `max(0, score - score before)`.
    pub gains: Vec<(Generation, u64)>,
}

/// Measures a lineage that is a single line down to its base model. The policy in force at the registry's last entry names
/// whose evaluations count.
///
/// Every generation on it, and the base itself, must be evaluated on one suite; among several suites, that on which the
/// newest generation was evaluated last. None where no suite has all, or no generation added anything: then nothing is
/// divided, and what there is waits.
pub fn measure(registry: &Registry, generation: &Generation) -> Option<Measured> {
    let time_ms = registry.time_ms();
    let (adapters, people, money) = (registry.adapters(), registry.people(), registry.money());
    let mut line = vec![*generation];
    let mut base = adapters.adapter(generation)?.base;
    loop {
        let adapter = adapters.adapter(line.last().expect("it begins with one"))?;
        base = if adapter.base == base { base } else { return None };
        match adapter.parents[..] {
            [] => break,
            [parent] => line.push(parent.generation),
            _ => return None,
        }
    }
    line.reverse();
    let score = |subject: &Generation, suite: &RecordId| {
        let evaluations = adapters.evaluations_of(subject);
        // Whoever has a part in the newest generation measures none of the line: a low score below lifts those above.
        let parties: Vec<_> = adapters.parties(generation).into_iter().collect();
        let counted = evaluations.filter(|it| {
            let independent = !it.authors.iter().any(|author| people.is_among(author, &parties));
            it.suite == *suite && independent && adapters.counts(people, money, time_ms, it)
        });
        counted.max_by_key(|it| it.index).map(|it| it.score)
    };
    let mut suites: Vec<(u64, RecordId)> =
        adapters.evaluations_of(generation).map(|evaluation| (evaluation.index, evaluation.suite)).collect();
    suites.sort_unstable();
    let mut tried = BTreeSet::new();
    for (_, suite) in suites.into_iter().rev().filter(|(_, suite)| tried.insert(*suite)) {
        let scores: Option<Vec<i64>> = [base].iter().chain(&line).map(|subject| score(subject, &suite)).collect();
        let Some(scores) = scores else { continue };
        let gain = |pair: &[i64]| u64::try_from(pair[1].saturating_sub(pair[0])).unwrap_or(0);
        let gains: Vec<(Generation, u64)> = line.iter().copied().zip(scores.windows(2).map(gain)).collect();
        return gains.iter().any(|(_, gain)| *gain > 0).then_some(Measured { suite, gains });
    }
    None
}
