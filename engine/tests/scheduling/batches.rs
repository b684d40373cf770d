//! Plans laid flat.

use std::collections::BTreeMap;
use std::ops::Range;

use loam_engine::adapter::Generation;
use loam_engine::batch::{Requested, SampledRow, lay, lay_ahead};
use loam_engine::scheduler::{Chunk, Plan, SequenceId};
use loam_kernels::layout::{Pair, Scored, Segment, StepLimits, StepPlan, Taken};
use loam_ledger_core::Hash;

/// What requests say, written down.
#[derive(Default)]
struct Sheet {
    adapters: BTreeMap<SequenceId, Vec<(Generation, f32)>>,
    scored: BTreeMap<SequenceId, Vec<u32>>,
    logits: BTreeMap<SequenceId, Range<u32>>,
}

impl Requested for Sheet {
    fn adapters(&self, id: SequenceId) -> &[(Generation, f32)] {
        self.adapters.get(&id).map_or(&[], Vec::as_slice)
    }
    fn scored(&self, id: SequenceId) -> &[u32] {
        self.scored.get(&id).map_or(&[], Vec::as_slice)
    }
    fn logits(&self, id: SequenceId) -> Range<u32> {
        self.logits.get(&id).cloned().unwrap_or(0..0)
    }
}

fn generation(byte: u8) -> Generation {
    Generation(Hash([byte; 32]))
}

fn chunk(number: u64, first_position: u32, tokens: &[u32], slots: &[u32]) -> Chunk {
    let pages =
        (0..(first_position + tokens.len() as u32).div_ceil(16)).map(|page| 10 * number as u32 + page).collect();
    let (id, tokens, slots) = (SequenceId(number), tokens.to_vec(), slots.to_vec());
    Chunk { id, first_position, tokens, follows: false, pages, slots, samples: true, recomputed_rows: 0 }
}

const LIMITS: StepLimits = StepLimits { vocabulary: 100, positions: 100, pages: 100, page_tokens: 16, slots: 8 };

#[test]
fn rows_follow_each_other_and_kernels_take_them() {
    let plan = Plan { chunks: vec![chunk(1, 17, &[5], &[]), chunk(2, 0, &[6, 7, 8], &[])], ..Plan::default() };
    let laid = lay(&plan, &Sheet::default());
    assert_eq!(laid.inputs.tokens, [5, 6, 7, 8]);
    assert_eq!(laid.inputs.pages, [10, 11, 20]);
    let first = Segment { first_row: 0, rows: 1, first_position: 17, first_page: 0, pages: 2 };
    assert_eq!(
        laid.inputs.segments,
        [first, Segment { first_row: 1, rows: 3, first_position: 0, first_page: 2, pages: 1 }]
    );
    assert_eq!(laid.inputs.sampled, [0, 3]);
    let last = |id, position| SampledRow { id: SequenceId(id), position, draws: true };
    assert_eq!(laid.sampled, [last(1, 17), last(2, 2)]);
    StepPlan::new(laid.inputs, LIMITS).expect("kernels take it");
}

#[test]
fn pairs_are_grouped_by_adapter_in_order_of_generation() {
    let (first, second) = (SequenceId(1), SequenceId(2));
    // Slots say nothing of generations: the later generation has the lower slot.
    let sheet = Sheet {
        adapters: [(first, vec![(generation(4), 1.0), (generation(9), 0.5)]), (second, vec![(generation(4), 0.25)])]
            .into(),
        ..Sheet::default()
    };
    let plan = Plan { chunks: vec![chunk(1, 0, &[1, 2], &[7, 3]), chunk(2, 0, &[3], &[7])], ..Plan::default() };
    let laid = lay(&plan, &sheet);
    let pair = |row, slot, weight| Pair { row, slot, weight };
    let pairs = [pair(0, 7, 1.0), pair(1, 7, 1.0), pair(2, 7, 0.25), pair(0, 3, 0.5), pair(1, 3, 0.5)];
    assert_eq!(laid.inputs.pairs, pairs);
    StepPlan::new(laid.inputs, LIMITS).expect("kernels take it");
}

#[test]
fn a_prompt_is_scored_across_chunks_and_each_row_once() {
    let id = SequenceId(1);
    let sheet = Sheet { scored: [(id, vec![10, 11, 12, 13, 14, 15])].into(), ..Sheet::default() };
    let mut second = chunk(1, 2, &[12, 13, 14, 15, 20], &[]);
    let plan = |chunk: &Chunk| Plan { chunks: vec![chunk.clone()], ..Plan::default() };
    let laid = lay(&plan(&chunk(1, 0, &[10, 11], &[])), &sheet);
    assert_eq!(
        laid.inputs.scored,
        [Scored { row: 0, token: 11 }, Scored { row: 1, token: 12 }],
        "the next chunk's token"
    );
    let laid = lay(&plan(&second), &sheet);
    assert_eq!(laid.scored, [(id, 2), (id, 3), (id, 4)], "after the prompt's last token comes what is drawn");
    second.recomputed_rows = 2;
    assert_eq!(lay(&plan(&second), &sheet).scored, [(id, 4)], "what was said before a preemption is not said again");
}

#[test]
fn logits_are_wanted_of_rows_that_draw_and_of_rows_that_do_not() {
    let id = SequenceId(1);
    let sheet = Sheet { logits: [(id, 1..3)].into(), ..Sheet::default() };
    let plan = Plan { chunks: vec![chunk(2, 0, &[1], &[]), chunk(1, 0, &[1, 2, 3], &[])], ..Plan::default() };
    let laid = lay(&plan, &sheet);
    assert_eq!(laid.inputs.sampled, [0, 2, 3]);
    assert_eq!(laid.logits, [1, 2], "places in the list before");
    assert_eq!(laid.sampled.iter().map(|row| row.draws).collect::<Vec<_>>(), [true, false, true]);
}

#[test]
fn rows_laid_ahead_take_what_their_sequences_draw() {
    let reads = Chunk { samples: false, ..chunk(2, 0, &[6, 7, 8], &[]) };
    let before = Plan { chunks: vec![chunk(1, 17, &[5], &[]), reads, chunk(3, 3, &[9], &[])], ..Plan::default() };
    let before = lay(&before, &Sheet::default());
    let follows = |number, first_position| Chunk { follows: true, ..chunk(number, first_position, &[0], &[]) };
    // In another order than before.
    let plan = Plan { chunks: vec![follows(3, 4), follows(1, 18)], ..Plan::default() };
    let laid = lay_ahead(&plan, &before, &Sheet::default());
    assert_eq!(laid.inputs.taken, [Taken { row: 0, place: 1 }, Taken { row: 1, place: 0 }]);
    StepPlan::new(laid.inputs, LIMITS).expect("kernels take it");
}
