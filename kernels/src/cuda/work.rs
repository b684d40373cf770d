//! A step's tables on the device: sent once, read by every layer's kernels.
//!
//! Lists of work are made here, from what a step says of itself and nothing else: no model's sizes are in them.
//! Launches are given a list's place and its room, never its length, which stands in the tables: so that a recorded
//! launch serves every step whose lists fit.

use std::sync::Arc;

use super::backend::CudaMode;
use super::device::{DeviceMemory, Stream};
use super::ffi::{LoamPairs, LoamSequences};
use crate::backend::Adapted;
use crate::error::Error;
use crate::layout::{ADAPTERS_PER_ROW_MAX, DType, KV_SPLIT_TOKENS, PairList, RowSet, StepPlan};

/// Pairs of one adapter, or rows with the same adapters, that a block takes together.
const TOGETHER: usize = 16;
/// Lengths of splits that decode attention has in fast mode where there are no more than so many of them in a step.
const SHORT_SPLITS: [usize; 2] = [128, 256];
const SHORT_SPLITS_MAX: usize = 32;
/// Words that are rather sent in vain than in a copy of their own.
const GAP_MAX: usize = 4096;

/// Lists, in the order in which they lie; those of pairs are there for each set of rows.
const TOKENS: usize = 0;
const TAKEN: usize = 1;
const SAMPLED: usize = 2;
const SCORED: usize = 3;
const SCORED_TOKENS: usize = 4;
const POSITIONS: usize = 5;
const SEGMENT_OF_ROW: usize = 6;
const SEGMENTS: usize = 7;
const SPLIT_TOKENS: usize = 8;
const SPLIT_OF_ROW: usize = 9;
const OF_PAIRS: usize = 10;
/// The longest come last: what of them is in use ends a copy.
const ROW_OF_SPLIT: usize = OF_PAIRS + 3 * PAIR_LISTS;
const PAGES: usize = ROW_OF_SPLIT + 1;
const LISTS: usize = PAGES + 1;

/// Of one set's lists of pairs.
const USED: usize = 0;
const PAIRS: usize = 1;
const OF_ROW: usize = 2;
const SHRINKS: usize = 3;
const EXPANDS: usize = 4;
const ROWS_ALIKE: usize = 5;
const SLOTS: usize = 6;
const USES: usize = 7;
const PAIR_LISTS: usize = 8;

const SETS: [RowSet; 3] = [RowSet::Batch, RowSet::Sampled, RowSet::Scored];
/// Words of a `LoamSegment`, a `LoamPair`, a `LoamShrink`, a `LoamExpand`, a `LoamUse`.
const SEGMENT_WORDS: usize = 5;
const PAIR_WORDS: usize = 3;
const SHRINK_WORDS: usize = 3;
const EXPAND_WORDS: usize = 5;
const USE_WORDS: usize = 2;

/// Where a row takes no token: `kNone` of take_tokens.cu.
const NONE: u32 = u32::MAX;

/// What a step's lists hold, in words.
#[derive(Debug)]
pub(super) struct Lists([Vec<u32>; LISTS]);

/// How many words each list may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rooms([usize; LISTS]);

/// Lists in one memory, each with its room.
#[derive(Debug)]
pub(super) struct StepTables {
    memory: Arc<DeviceMemory>,
    rooms: Rooms,
    /// Where each list begins.
    places: [usize; LISTS],
}

impl Lists {
    pub(super) fn of(plan: &StepPlan, mode: CudaMode) -> Self {
        let mut lists = Self(std::array::from_fn(|_| Vec::new()));
        lists.0[TOKENS] = plan.tokens().to_vec();
        lists.0[TAKEN] = vec![NONE; plan.tokens().len()];
        plan.taken().iter().for_each(|it| lists.0[TAKEN][it.row as usize] = it.place);
        lists.0[SAMPLED] = plan.sampled().to_vec();
        lists.0[SCORED] = plan.scored().iter().map(|scored| scored.row).collect();
        lists.0[SCORED_TOKENS] = plan.scored().iter().map(|scored| scored.token).collect();
        lists.put_sequences(plan, split_tokens(plan, mode));
        for (lists, set) in lists.0[OF_PAIRS..ROW_OF_SPLIT].chunks_exact_mut(PAIR_LISTS).zip(SETS) {
            put_pairs(lists, plan.pairs(set));
        }
        lists
    }

    /// Segments that have rows, each with the pages that these see.
    fn put_sequences(&mut self, plan: &StepPlan, split_tokens: usize) {
        let lists = &mut self.0;
        lists[SPLIT_TOKENS].push(split_tokens as u32);
        lists[POSITIONS] = plan.positions().to_vec();
        lists[SPLIT_OF_ROW].push(0);
        for (index, it) in (0..).zip(plan.segments().iter().filter(|it| it.rows > 0)) {
            let last = (it.first_position + it.rows - 1) as usize;
            let pages = &plan.pages(it)[..=last / plan.limits().page_tokens];
            let first_page = lists[PAGES].len() as u32;
            lists[SEGMENTS].extend([it.first_row, it.rows, it.first_position, first_page, pages.len() as u32]);
            lists[PAGES].extend(pages);
            for row in it.rows() {
                lists[SEGMENT_OF_ROW].push(index);
                if it.rows == 1 {
                    lists[ROW_OF_SPLIT].extend(std::iter::repeat_n(row as u32, last / split_tokens + 1));
                }
                let splits = lists[ROW_OF_SPLIT].len() as u32;
                lists[SPLIT_OF_ROW].push(splits);
            }
        }
    }
}

/// How many positions a split has. In fast mode splits are short where a step has few of them, so that those of all heads
/// are enough for a device, and no more than it holds at once; where one arithmetic is asked for they are as long as
/// everywhere. It is a step's own, so that one graph serves all contexts.
fn split_tokens(plan: &StepPlan, mode: CudaMode) -> usize {
    let decoding = || plan.segments().iter().filter(|it| it.rows == 1);
    let splits = |tokens: usize| decoding().map(|it| it.first_position as usize / tokens + 1).sum::<usize>();
    match mode {
        CudaMode::Deterministic => KV_SPLIT_TOKENS,
        CudaMode::Fast => {
            SHORT_SPLITS.into_iter().find(|tokens| splits(*tokens) <= SHORT_SPLITS_MAX).unwrap_or(KV_SPLIT_TOKENS)
        }
    }
}

fn put_pairs(lists: &mut [Vec<u32>], list: &PairList) {
    let pairs = list.pairs();
    lists[PAIRS].extend(pairs.iter().flat_map(|pair| [pair.row, pair.slot, pair.weight.to_bits()]));
    lists[OF_ROW].push(0);
    let mut end = 0;
    lists[OF_ROW].extend((0..list.rows()).map(|row| {
        end += list.of_row(row).len() as u32;
        end
    }));
    for group in list.groups() {
        let runs = (group.from..group.to).step_by(TOGETHER);
        let run = |from: usize| [from as u32, (from + TOGETHER).min(group.to) as u32, group.slot];
        lists[SHRINKS].extend(runs.flat_map(run));
    }
    put_expands(lists, list);
    let used = [lists[SHRINKS].len() / SHRINK_WORDS, lists[EXPANDS].len() / EXPAND_WORDS, pairs.len()];
    lists[USED].extend(used.map(|count| count as u32));
}

/// Rows that use the same adapters side by side, and runs of them: each of their adapters is read once. What a run needs to
/// know of its rows lies together, so that little is read before the adapters are.
fn put_expands(lists: &mut [Vec<u32>], list: &PairList) {
    let pair = |index: &u32| &list.pairs()[*index as usize];
    let slots = |row: u32| list.of_row(row as usize).iter().map(|index| pair(index).slot);
    let mut rows: Vec<u32> = (0..list.rows() as u32).filter(|row| !list.of_row(*row as usize).is_empty()).collect();
    rows.sort_by(|one, other| slots(*one).cmp(slots(*other)));
    let mut from = 0;
    while from < rows.len() {
        let is_alike = |row: &&u32| slots(**row).eq(slots(rows[from]));
        let to = from + rows[from..].iter().take(TOGETHER).take_while(is_alike).count();
        let adapters = list.of_row(rows[from] as usize).len();
        let places = [lists[SLOTS].len(), lists[USES].len() / USE_WORDS];
        lists[EXPANDS].extend([from, to, adapters, places[0], places[1]].map(|count| count as u32));
        lists[SLOTS].extend(slots(rows[from]));
        for each in 0..adapters {
            let uses = rows[from..to].iter().map(|row| &list.of_row(*row as usize)[each]);
            lists[USES].extend(uses.flat_map(|index| [*index, pair(index).weight.to_bits()]));
        }
        from = to;
    }
    lists[ROWS_ALIKE] = rows;
}

impl Rooms {
    /// As much as these lists need.
    pub(super) fn exact(lists: &Lists) -> Self {
        Self(lists.0.each_ref().map(Vec::len))
    }

    /// As much as steps of one row a request need that have this one's numbers of rows and its limits.
    ///
    /// Of splits there is room for twice those of all pages and one more a row, and for no more: partial results are as
    /// many, and would be gigabytes if every row had the longest context. Rows that share more have no room. As many
    /// short splits as there may be have some.
    pub(super) fn of_decode(plan: &StepPlan, adapted: Adapted, mode: CudaMode) -> Self {
        let (limits, rows) = (plan.limits(), plan.rows(RowSet::Batch));
        let splits_of_pages = limits.pages.saturating_mul(limits.page_tokens).div_ceil(KV_SPLIT_TOKENS);
        let mut rooms = [0; LISTS];
        rooms[TOKENS] = rows;
        rooms[TAKEN] = rows;
        rooms[SAMPLED] = plan.rows(RowSet::Sampled);
        rooms[POSITIONS] = rows;
        rooms[SEGMENT_OF_ROW] = rows;
        rooms[SEGMENTS] = rows * SEGMENT_WORDS;
        rooms[SPLIT_TOKENS] = 1;
        rooms[SPLIT_OF_ROW] = rows + 1;
        let splits = (rows * limits.positions.div_ceil(KV_SPLIT_TOKENS)).min(2 * splits_of_pages + rows);
        rooms[ROW_OF_SPLIT] = if mode == CudaMode::Fast { splits.max(SHORT_SPLITS_MAX) } else { splits };
        rooms[PAGES] = rows.saturating_mul(limits.positions.div_ceil(limits.page_tokens));
        for (rooms, set) in rooms[OF_PAIRS..ROW_OF_SPLIT].chunks_exact_mut(PAIR_LISTS).zip(SETS) {
            let adapted = if adapted == Adapted::Nowhere { 0 } else { plan.rows(set) };
            let pairs = adapted * ADAPTERS_PER_ROW_MAX;
            rooms[USED] = 3;
            rooms[PAIRS] = pairs * PAIR_WORDS;
            rooms[OF_ROW] = plan.rows(set) + 1;
            rooms[SHRINKS] = pairs * SHRINK_WORDS;
            rooms[EXPANDS] = adapted * EXPAND_WORDS;
            rooms[ROWS_ALIKE] = adapted;
            rooms[SLOTS] = pairs;
            rooms[USES] = pairs * USE_WORDS;
        }
        Self(rooms)
    }

    pub(super) fn hold(&self, lists: &Lists) -> bool {
        self.0.iter().zip(&lists.0).all(|(room, list)| list.len() <= *room)
    }

    pub(super) fn words(&self) -> usize {
        self.0.iter().fold(0, |all, room| all.saturating_add(*room))
    }
}

impl StepTables {
    /// Tables of rooms that the memory has, at its beginning.
    pub(super) fn new(memory: Arc<DeviceMemory>, rooms: Rooms) -> Self {
        let mut end = 0;
        let places = rooms.0.map(|room| {
            end += room;
            end - room
        });
        Self { memory, rooms, places }
    }

    /// A step's tables in a memory of their own.
    pub(super) fn of(stream: &Stream, lists: &Lists) -> Result<Self, Error> {
        let rooms = Rooms::exact(lists);
        let tables = Self::new(Arc::new(DeviceMemory::new("a step's tables", DType::U32, rooms.words())?), rooms);
        tables.send(stream, lists)?;
        Ok(tables)
    }

    /// Overwrites what was there, after all that reads it. There is room for the lists.
    pub(super) fn send(&self, stream: &Stream, lists: &Lists) -> Result<(), Error> {
        let (mut words, mut from) = (Vec::new(), 0);
        for (list, (room, place)) in lists.0.iter().zip(self.rooms.0.iter().zip(self.places)) {
            words.extend_from_slice(list);
            if room - list.len() <= GAP_MAX {
                words.resize(place + room - from, 0);
            } else {
                self.memory.write_at(stream, from, &words)?;
                words.clear();
                from = place + room;
            }
        }
        self.memory.write_at(stream, from, &words)
    }

    fn at(&self, list: usize) -> *const u32 {
        self.memory.address().cast::<u32>().wrapping_add(self.places[list])
    }

    /// Token of each row.
    pub(super) fn tokens(&self) -> *const u32 {
        self.at(TOKENS)
    }

    /// Which place of the step before each row takes its token from.
    pub(super) fn taken(&self) -> *const u32 {
        self.at(TAKEN)
    }

    /// Row of the batch that each row of a set is; the batch's own are themselves.
    pub(super) fn rows(&self, set: RowSet) -> *const u32 {
        match set {
            RowSet::Batch => std::ptr::null(),
            RowSet::Sampled => self.at(SAMPLED),
            RowSet::Scored => self.at(SCORED),
        }
    }

    /// Token of each scored row.
    pub(super) fn scored_tokens(&self) -> *const u32 {
        self.at(SCORED_TOKENS)
    }

    /// What attention reads.
    pub(super) fn sequences(&self) -> LoamSequences {
        let rooms = &self.rooms.0;
        LoamSequences {
            positions: self.at(POSITIONS),
            segment_of_row: self.at(SEGMENT_OF_ROW),
            segments: self.at(SEGMENTS).cast(),
            pages: self.at(PAGES),
            split_of_row: self.at(SPLIT_OF_ROW),
            row_of_split: self.at(ROW_OF_SPLIT),
            split_tokens: self.at(SPLIT_TOKENS),
            rows: rooms[POSITIONS] as i32,
            segment_count: (rooms[SEGMENTS] / SEGMENT_WORDS) as i32,
            page_count: rooms[PAGES] as i32,
            split_count: rooms[ROW_OF_SPLIT] as i32,
        }
    }

    /// What adapters read.
    pub(super) fn pairs(&self, set: RowSet) -> LoamPairs {
        let first = OF_PAIRS + set as usize * PAIR_LISTS;
        let (at, room) = (|list| self.at(first + list), |list| self.rooms.0[first + list]);
        LoamPairs {
            pairs: at(PAIRS).cast(),
            of_row: at(OF_ROW),
            shrinks: at(SHRINKS).cast(),
            expands: at(EXPANDS).cast(),
            rows_alike: at(ROWS_ALIKE),
            slots: at(SLOTS),
            uses: at(USES).cast(),
            counts: at(USED),
            rows: room(OF_ROW) as i32 - 1,
            pair_count: (room(PAIRS) / PAIR_WORDS) as i32,
            shrink_count: (room(SHRINKS) / SHRINK_WORDS) as i32,
            expand_count: (room(EXPANDS) / EXPAND_WORDS) as i32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{CudaMode, split_tokens};
    use crate::layout::{Segment, StepInputs, StepLimits, StepPlan};

    const PAGE_TOKENS: usize = 64;

    /// Of a step of so many rows with so many positions each, and a prompt.
    fn split(rows: u32, positions: u32, mode: CudaMode) -> usize {
        let pages = positions.div_ceil(PAGE_TOKENS as u32);
        let mut inputs = StepInputs { tokens: vec![0; rows as usize + 40], ..StepInputs::default() };
        inputs.pages = (0..rows * pages + 1).collect();
        inputs.segments.extend((0..rows).map(|row| Segment {
            first_row: row,
            rows: 1,
            first_position: positions - 1,
            first_page: row * pages,
            pages,
        }));
        inputs.segments.push(Segment {
            first_row: rows,
            rows: 40,
            first_position: 0,
            first_page: rows * pages,
            pages: 1,
        });
        let pages = inputs.pages.len();
        let limits =
            StepLimits { vocabulary: 1, positions: positions as usize + 40, pages, page_tokens: PAGE_TOKENS, slots: 0 };
        split_tokens(&StepPlan::new(inputs, limits).expect("a step"), mode)
    }

    #[test]
    fn splits_are_short_where_there_are_few() {
        let fast = |rows, positions| split(rows, positions, CudaMode::Fast);
        assert_eq!([fast(1, 1), fast(1, 4096), fast(4, 1024), fast(32, 128)], [128; 4]);
        assert_eq!([fast(1, 4097), fast(8, 1024), fast(1, 8192)], [256; 3]);
        assert_eq!([fast(9, 1024), fast(1, 8193), fast(33, 1), fast(1, 1 << 17)], [512; 4]);
        assert_eq!([1, 17].map(|rows| split(rows, 1024, CudaMode::Deterministic)), [512; 2]);
    }
}
