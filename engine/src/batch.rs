//! Lays a plan flat: rows, page tables, and uses of adapters sorted as kernels want them.

use std::collections::BTreeMap;
use std::ops::Range;

use loam_kernels::layout::{Pair, Scored, Segment, StepInputs, Taken};

use crate::adapter::Generation;
use crate::scheduler::{Plan, SequenceId};

/// What only requests know of their rows.
pub trait Requested {
    /// A sequence's adapters and weights, in order of generation, as its chunks' slots are.
    fn adapters(&self, id: SequenceId) -> &[(Generation, f32)];

    /// Tokens whose log-probabilities are wanted: where `tokens[p + 1]` exists, the row at position `p` says how
    /// probable it was. Empty where none are.
    fn scored(&self, id: SequenceId) -> &[u32];

    /// Positions whose logits are wanted as they are.
    fn logits(&self, id: SequenceId) -> Range<u32>;
}

/// A step, laid flat, and whose everything is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Laid {
    /// Rows, segments, pages, pairs.
    pub inputs: StepInputs,
    /// Whose each of [`StepInputs::sampled`] is.
    pub sampled: Vec<SampledRow>,
    /// Places in [`StepInputs::sampled`] whose logits are wanted.
    pub logits: Vec<u32>,
    /// Whose each of [`StepInputs::scored`] is, and at which position.
    pub scored: Vec<(SequenceId, u32)>,
}

/// A row whose logits are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampledRow {
    /// Whose.
    pub id: SequenceId,
    /// Where in its sequence; the token drawn stands one further.
    pub position: u32,
    /// Whether the token drawn is kept. If not, only logits were wanted.
    pub draws: bool,
}

/// Lays a plan flat. Rows that were computed before a preemption are not scored again, nor are their logits given.
pub fn lay(plan: &Plan, requested: &impl Requested) -> Laid {
    let mut laid = Laid::default();
    // By generation: whose deltas are added in which order must not depend on who else is in the step.
    let mut pairs: BTreeMap<(Generation, u32), Vec<Pair>> = BTreeMap::new();
    for chunk in &plan.chunks {
        let first_row = laid.inputs.tokens.len() as u32;
        let rows = chunk.tokens.len() as u32;
        let (first, end) = (chunk.first_position, chunk.first_position + rows);
        let row_at = |position: u32| first_row + position - first;
        laid.inputs.segments.push(Segment {
            first_row,
            rows,
            first_position: first,
            first_page: laid.inputs.pages.len() as u32,
            pages: chunk.pages.len() as u32,
        });
        laid.inputs.tokens.extend_from_slice(&chunk.tokens);
        laid.inputs.pages.extend_from_slice(&chunk.pages);
        let adapters = requested.adapters(chunk.id);
        assert_eq!(adapters.len(), chunk.slots.len(), "a sequence has a weight for each of its adapters");
        for (&(generation, weight), &slot) in adapters.iter().zip(&chunk.slots) {
            let group = pairs.entry((generation, slot)).or_default();
            group.extend((first_row..first_row + rows).map(|row| Pair { row, slot, weight }));
        }
        let new = first + chunk.recomputed_rows;
        let scored = requested.scored(chunk.id);
        for position in new..end.min(scored.len().saturating_sub(1) as u32) {
            laid.inputs.scored.push(Scored { row: row_at(position), token: scored[position as usize + 1] });
            laid.scored.push((chunk.id, position));
        }
        let logits = requested.logits(chunk.id);
        for position in new..end {
            let (draws, wanted) = (chunk.samples && position + 1 == end, logits.contains(&position));
            if wanted {
                laid.logits.push(laid.inputs.sampled.len() as u32);
            }
            if draws || wanted {
                laid.inputs.sampled.push(row_at(position));
                laid.sampled.push(SampledRow { id: chunk.id, position, draws });
            }
        }
    }
    laid.inputs.pairs = pairs.into_values().flatten().collect();
    laid
}

/// Lays a plan flat whose rows' tokens the step before draws, see [`Scheduler::schedule_ahead`].
///
/// [`Scheduler::schedule_ahead`]: crate::scheduler::Scheduler::schedule_ahead
pub fn lay_ahead(plan: &Plan, before: &Laid, requested: &impl Requested) -> Laid {
    let mut laid = lay(plan, requested);
    let drawn = (0..).zip(&before.sampled).filter(|(_, row)| row.draws);
    let places: BTreeMap<SequenceId, u32> = drawn.map(|(place, row)| (row.id, place)).collect();
    let following = plan.chunks.iter().zip(&laid.inputs.segments).filter(|(chunk, _)| chunk.follows);
    let taken = following.map(|(chunk, segment)| Taken { row: segment.first_row, place: places[&chunk.id] });
    laid.inputs.taken = taken.collect();
    laid
}
