//! Steps: every number is looked at before anything is sent to a device.

use loam_kernels::backend::Device;
use loam_kernels::layout::{DecodeWork, KvShape, RowSet, Scored, StepInputs, StepPlan, Taken};
use loam_kernels::{Cpu, Error};

use crate::given::{LIMITS, cpu, error, inputs, limit, unsupported};

/// Refused by the plan itself, and by the device that would have it.
#[track_caller]
fn check(change: impl FnOnce(&mut StepInputs), expected: Error, says: &str) {
    let mut changed = inputs();
    change(&mut changed);
    error(StepPlan::new(changed.clone(), LIMITS), &expected, says);
    error(Device::step(&cpu(), changed, LIMITS), expected, says);
}

#[test]
fn a_step_as_it_should_be() {
    Cpu::step(&cpu(), inputs(), LIMITS).unwrap();
}

#[test]
fn token_beyond_the_vocabulary() {
    check(|it| it.tokens[3] = 40, limit("a token", 40, 40), "a token 40 is not below 40");
}

#[test]
fn page_that_is_none() {
    check(|it| it.pages[2] = 4, limit("a page", 4, 4), "a page 4 is not below 4");
}

#[test]
fn row_that_takes_a_token_and_is_none() {
    let what = "a row that takes a token";
    check(|it| it.taken[0].row = 4, limit(what, 4, 4), "a row that takes a token 4 is not below 4");
}

#[test]
fn row_that_takes_two_tokens() {
    let error = unsupported("rows that take tokens", "row 1 after row 1", "each once, in order");
    check(|it| it.taken.push(Taken { row: 1, place: 0 }), error, "row 1 after row 1");
}

#[test]
fn sampled_row_that_is_none() {
    check(|it| it.sampled.push(4), limit("a sampled row", 4, 4), "a sampled row 4 is not below 4");
}

#[test]
fn scored_row_that_is_none() {
    let scored = Scored { row: 9, token: 0 };
    check(|it| it.scored.push(scored), limit("a scored row", 9, 4), "a scored row 9 is not below 4");
}

#[test]
fn scored_token_beyond_the_vocabulary() {
    check(|it| it.scored[0].token = 41, limit("a token", 41, 40), "a token 41 is not below 40");
}

#[test]
fn segments_out_of_order() {
    let expected = Error::SegmentOrder { segment: 0, expected: 0, found: 3 };
    check(|it| it.segments.swap(0, 1), expected, "segment 0 begins at row 3 where row 0 is next");
}

#[test]
fn segments_with_a_gap() {
    let expected = Error::SegmentOrder { segment: 1, expected: 2, found: 3 };
    check(|it| it.segments[0].rows = 2, expected, "segment 1 begins at row 3 where row 2 is next");
}

#[test]
fn segments_that_overlap() {
    let expected = Error::SegmentOrder { segment: 1, expected: 3, found: 2 };
    check(|it| it.segments[1].first_row = 2, expected, "segment 1 begins at row 2 where row 3 is next");
}

#[test]
fn rows_of_no_segment() {
    let expected = Error::SegmentOrder { segment: 2, expected: 4, found: 5 };
    check(|it| it.tokens.push(0), expected, "segment 2");
}

#[test]
fn segment_beyond_the_rows() {
    check(|it| it.segments[1].rows = 2, limit("a segment's end", 5, 5), "a segment's end 5 is not below 5");
}

#[test]
fn segment_of_countless_rows() {
    let end = 3 + u32::MAX as usize;
    check(|it| it.segments[1].rows = u32::MAX, limit("a segment's end", end, 5), "a segment's end");
}

#[test]
fn page_table_beyond_the_pages() {
    let expected = limit("the end of a segment's page table", 5, 5);
    check(|it| it.segments[1].pages = 3, expected, "the end of a segment's page table 5 is not below 5");
}

#[test]
fn page_table_far_beyond_the_pages() {
    let expected = limit("the end of a segment's page table", u32::MAX as usize + 2, 5);
    check(|it| it.segments[1].first_page = u32::MAX, expected, "the end of a segment's page table");
}

#[test]
fn position_beyond_the_angles() {
    check(|it| it.segments[1].first_position = 64, limit("a position", 64, 64), "a position 64 is not below 64");
}

#[test]
fn position_far_beyond_the_angles() {
    let expected = limit("a position", u32::MAX as usize, 64);
    check(|it| it.segments[1].first_position = u32::MAX, expected, "a position 4294967295 is not below 64");
}

#[test]
fn position_beyond_its_pages() {
    let expected = Error::SegmentPages { segment: 1, position: 32, held: 32 };
    let says = "segment 1 reaches position 32 and has pages for 32 positions";
    check(|it| it.segments[1].first_position = 32, expected, says);
}

#[test]
fn segment_without_pages() {
    let expected = Error::SegmentPages { segment: 0, position: 2, held: 0 };
    check(|it| it.segments[0].pages = 0, expected, "segment 0 reaches position 2 and has pages for 0 positions");
}

#[test]
fn position_written_by_two_segments() {
    let expected = Error::SharedPosition { page: 0, position: 2, first: 0, second: 1 };
    let share = |it: &mut StepInputs| {
        it.pages[2] = 0;
        it.segments[1].first_position = 2;
    };
    check(share, expected, "position 2 of page 0 would be written by segments 0 and 1");
}

#[test]
fn position_written_twice_by_one_segment() {
    let expected = Error::SharedPosition { page: 0, position: 0, first: 0, second: 0 };
    let share = |it: &mut StepInputs| {
        it.pages[1] = 0;
        it.segments[0].rows = 17;
        it.tokens = vec![0; 18];
        it.segments[1].first_row = 17;
    };
    check(share, expected, "position 0 of page 0 would be written by segments 0 and 0");
}

/// What many read nobody writes: a shared beginning is allowed.
#[test]
fn a_page_read_by_two_segments() {
    let mut shared = inputs();
    shared.pages[0] = 2;
    shared.segments[0].first_position = 16;
    let plan = StepPlan::new(shared, LIMITS).unwrap();
    assert_eq!(plan.positions(), [16, 17, 18, 20]);
    assert_eq!(plan.pages(&plan.segments()[0]), [2, 1]);
}

#[test]
fn what_follows_from_a_step() {
    let plan = StepPlan::new(inputs(), LIMITS).unwrap();
    assert_eq!(plan.positions(), [0, 1, 2, 20]);
    assert_eq!(plan.segment_of_row(), [0, 0, 0, 1]);
    assert_eq!(plan.pages(&plan.segments()[1]), [2, 3]);
    assert_eq!([RowSet::Batch, RowSet::Sampled, RowSet::Scored].map(|set| plan.rows(set)), [4, 2, 2]);
    assert_eq!(plan.limits(), &LIMITS);
    assert!(!plan.is_decode());
    let rows = |set| plan.pairs(set).pairs().iter().map(|pair| pair.row).collect::<Vec<_>>();
    assert_eq!(rows(RowSet::Batch), [0, 2, 3]);
    assert_eq!(rows(RowSet::Sampled), [0, 1], "rows 2 and 3 of the batch");
    assert_eq!(rows(RowSet::Scored), [0, 1], "rows 0 and 3 of the batch");
}

#[test]
fn work_of_decode() {
    let mut long = inputs();
    long.tokens = vec![0, 0];
    (long.sampled, long.scored, long.pairs) = (vec![0, 0, 1], Vec::new(), Vec::new());
    long.pages = (0..88).collect();
    (long.segments[0].rows, long.segments[0].first_position, long.segments[0].pages) = (1, 1030, 65);
    (long.segments[1].first_row, long.segments[1].first_page, long.segments[1].pages) = (1, 65, 2);
    let limits = loam_kernels::layout::StepLimits { positions: 2000, pages: 88, ..LIMITS };
    let plan = StepPlan::new(long, limits).unwrap();
    assert!(plan.is_decode());
    let shape = KvShape { layers: 1, kv_heads: 2, head_dim: 64, page_tokens: 16 };
    let work = |window| -> Vec<[u32; 3]> {
        let items = plan.decode_work(&shape, window).into_iter();
        items.map(|DecodeWork { segment, kv_head, split }| [segment, kv_head, split]).collect()
    };
    let all = [[0, 0, 0], [0, 0, 1], [0, 0, 2], [0, 1, 0], [0, 1, 1], [0, 1, 2], [1, 0, 0], [1, 1, 0]];
    assert_eq!(work(None), all);
    // Positions 1024 to 1030 are seven; one more reaches back into the split before.
    assert_eq!(work(Some(7)), [[0, 0, 2], [0, 1, 2], [1, 0, 0], [1, 1, 0]]);
    assert_eq!(work(Some(8)), [[0, 0, 1], [0, 0, 2], [0, 1, 1], [0, 1, 2], [1, 0, 0], [1, 1, 0]]);
    assert_eq!(work(Some(u32::MAX)), all);
}
