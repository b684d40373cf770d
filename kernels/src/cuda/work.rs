//! A step's tables on the device: sent once, read by every layer's kernels.
//!
//! Lists of work are made here, from what a step says of itself and nothing else: no model's sizes are in them.

use super::device::{DeviceMemory, LaunchError, Stream};
use super::ffi::{LoamPairs, LoamSequences};
use crate::layout::{DType, KV_SPLIT_TOKENS, PairList, RowSet, StepPlan};

/// Pairs of one adapter, or rows with the same adapters, that a block takes together.
const TOGETHER: usize = 16;

/// Tables of 32-bit words in one memory.
#[derive(Debug)]
pub(super) struct StepTables {
    memory: DeviceMemory,
    tokens: usize,
    sampled: usize,
    scored: usize,
    scored_tokens: usize,
    sequences: SequenceTables,
    /// Of each set of rows.
    pairs: [PairTables; 3],
}

/// Where each table of sequences begins, in words.
#[derive(Debug)]
struct SequenceTables {
    positions: usize,
    segment_of_row: usize,
    segments: usize,
    pages: usize,
    split_of_row: usize,
    row_of_split: usize,
    counts: [usize; 4],
}

/// Where each table of pairs begins, in words.
#[derive(Debug)]
struct PairTables {
    pairs: usize,
    of_row: usize,
    by_row: usize,
    shrinks: usize,
    expands: usize,
    rows_alike: usize,
    used: usize,
    counts: [usize; 4],
}

/// Tables that are being laid one after the other.
#[derive(Default)]
struct Words(Vec<u32>);

impl Words {
    fn put(&mut self, values: impl IntoIterator<Item = u32>) -> usize {
        let at = self.0.len();
        self.0.extend(values);
        at
    }
}

impl StepTables {
    /// Sends a step's tables.
    pub(super) fn new(stream: &Stream, plan: &StepPlan) -> Result<Self, LaunchError> {
        let mut words = Words::default();
        let tokens = words.put(plan.tokens().iter().copied());
        let sampled = words.put(plan.sampled().iter().copied());
        let scored = words.put(plan.scored().iter().map(|scored| scored.row));
        let scored_tokens = words.put(plan.scored().iter().map(|scored| scored.token));
        let sequences = SequenceTables::lay(&mut words, plan);
        let pairs =
            [RowSet::Batch, RowSet::Sampled, RowSet::Scored].map(|set| PairTables::lay(&mut words, plan.pairs(set)));
        let mut memory = DeviceMemory::new("a step's tables", DType::U32, words.0.len())?;
        memory.write(stream, &words.0)?;
        Ok(Self { memory, tokens, sampled, scored, scored_tokens, sequences, pairs })
    }

    fn at(&self, word: usize) -> *const u32 {
        self.memory.address().cast::<u32>().wrapping_add(word)
    }

    /// Token of each row.
    pub(super) fn tokens(&self) -> *const u32 {
        self.at(self.tokens)
    }

    /// Row of the batch that each row of a set is; the batch's own are themselves.
    pub(super) fn rows(&self, set: RowSet) -> *const u32 {
        match set {
            RowSet::Batch => std::ptr::null(),
            RowSet::Sampled => self.at(self.sampled),
            RowSet::Scored => self.at(self.scored),
        }
    }

    /// Token of each scored row.
    pub(super) fn scored_tokens(&self) -> *const u32 {
        self.at(self.scored_tokens)
    }

    /// What attention reads.
    pub(super) fn sequences(&self) -> LoamSequences {
        let it = &self.sequences;
        let [rows, segment_count, page_count, split_count] = it.counts.map(|count| count as i32);
        LoamSequences {
            positions: self.at(it.positions),
            segment_of_row: self.at(it.segment_of_row),
            segments: self.at(it.segments).cast(),
            pages: self.at(it.pages),
            split_of_row: self.at(it.split_of_row),
            row_of_split: self.at(it.row_of_split),
            rows,
            segment_count,
            page_count,
            split_count,
        }
    }

    /// What adapters read.
    pub(super) fn pairs(&self, set: RowSet) -> LoamPairs {
        let it = &self.pairs[set as usize];
        let [rows, pair_count, shrink_count, expand_count] = it.counts.map(|count| count as i32);
        LoamPairs {
            pairs: self.at(it.pairs).cast(),
            of_row: self.at(it.of_row),
            by_row: self.at(it.by_row),
            shrinks: self.at(it.shrinks).cast(),
            expands: self.at(it.expands).cast(),
            rows_alike: self.at(it.rows_alike),
            counts: self.at(it.used),
            rows,
            pair_count,
            shrink_count,
            expand_count,
        }
    }
}

impl SequenceTables {
    fn lay(words: &mut Words, plan: &StepPlan) -> Self {
        let rows = plan.positions().len();
        let (mut split_of_row, mut row_of_split) = (vec![0], Vec::new());
        let mut page_count = 0;
        for segment in plan.segments() {
            page_count = page_count.max((segment.first_page + segment.pages) as usize);
            for row in segment.rows() {
                if segment.rows == 1 {
                    let splits = segment.first_position as usize / KV_SPLIT_TOKENS + 1;
                    row_of_split.extend(std::iter::repeat_n(row as u32, splits));
                }
                split_of_row.push(row_of_split.len() as u32);
            }
        }
        let segment = |it: &crate::layout::Segment| [it.first_row, it.rows, it.first_position, it.first_page, it.pages];
        // Tables of segments lie one after the other in the step's list, with gaps where it has any.
        let mut pages = vec![0; page_count];
        for it in plan.segments() {
            pages[it.first_page as usize..][..it.pages as usize].copy_from_slice(plan.pages(it));
        }
        let counts = [rows, plan.segments().len(), page_count, row_of_split.len()];
        Self {
            positions: words.put(plan.positions().iter().copied()),
            segment_of_row: words.put(plan.segment_of_row().iter().copied()),
            segments: words.put(plan.segments().iter().flat_map(segment)),
            pages: words.put(pages),
            split_of_row: words.put(split_of_row),
            row_of_split: words.put(row_of_split),
            counts,
        }
    }
}

impl PairTables {
    fn lay(words: &mut Words, list: &PairList) -> Self {
        let pairs = list.pairs();
        let (mut of_row, mut by_row) = (vec![0], Vec::new());
        for row in 0..list.rows() {
            by_row.extend(list.of_row(row));
            of_row.push(by_row.len() as u32);
        }
        let mut shrinks = Vec::new();
        for group in list.groups() {
            let runs = (group.from..group.to).step_by(TOGETHER);
            shrinks.extend(runs.flat_map(|from| [from as u32, (from + TOGETHER).min(group.to) as u32]));
        }
        let (rows_alike, expands) = rows_alike(list);
        let counts = [list.rows(), pairs.len(), shrinks.len() / 2, expands.len() / 2];
        Self {
            pairs: words.put(pairs.iter().flat_map(|pair| [pair.row, pair.slot, pair.weight.to_bits()])),
            used: words.put([counts[2], counts[3], counts[1]].map(|count| count as u32)),
            of_row: words.put(of_row),
            by_row: words.put(by_row),
            shrinks: words.put(shrinks),
            expands: words.put(expands),
            rows_alike: words.put(rows_alike),
            counts,
        }
    }
}

/// Rows that use the same adapters side by side, and runs of them: a block reads each of their adapters once.
fn rows_alike(list: &PairList) -> (Vec<u32>, Vec<u32>) {
    let slots = |row: u32| list.of_row(row as usize).iter().map(|pair| list.pairs()[*pair as usize].slot);
    let mut rows: Vec<u32> = (0..list.rows() as u32).filter(|row| !list.of_row(*row as usize).is_empty()).collect();
    rows.sort_by(|one, other| slots(*one).cmp(slots(*other)));
    let mut runs = Vec::new();
    let mut from = 0;
    while from < rows.len() {
        let alike = rows[from..].iter().take(TOGETHER).take_while(|row| slots(**row).eq(slots(rows[from]))).count();
        runs.extend([from as u32, (from + alike) as u32]);
        from += alike;
    }
    (rows, runs)
}
