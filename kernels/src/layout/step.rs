//! What one step computes, laid flat: checked here once, sent to a device in one call.

use std::collections::HashMap;

use super::pairs::{Pair, PairList};
use super::{KV_SPLIT_TOKENS, KvShape};
use crate::error::{Error, expect_below};

/// A step as its caller lays it out. Rows are the tokens to compute, request after request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepInputs {
    /// Token of each row.
    pub tokens: Vec<u32>,
    /// Rows whose token the step before draws, in order: what stands for them in `tokens` is no matter, see
    /// [`TakeTokens`](crate::backend::TakeTokens).
    pub taken: Vec<Taken>,
    /// Requests, in order of their rows; together they cover all rows. One without rows is allowed.
    pub segments: Vec<Segment>,
    /// Page tables of all segments, one after the other.
    pub pages: Vec<u32>,
    /// Rows whose logits are wanted, any number per request, also repeatedly (one for each sample drawn).
    pub sampled: Vec<u32>,
    /// Rows of which the log-probability of a given next token is wanted.
    pub scored: Vec<Scored>,
    /// Uses of adapters, grouped by adapter in order of generation, rows ascending within a group.
    pub pairs: Vec<Pair>,
}

/// One request's rows: tokens at neighbouring positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// First row.
    pub first_row: u32,
    /// How many rows; 1 in decode.
    pub rows: u32,
    /// Position of the first row in its sequence; what lies before was written by earlier steps.
    pub first_position: u32,
    /// First page of its table in [`StepInputs::pages`].
    pub first_page: u32,
    /// Pages in its table; page `i` holds positions `i * page_tokens ..`.
    pub pages: u32,
}

/// A row and where its token comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The row.
    pub row: u32,
    /// Which of the sampled rows of the step before draws its token.
    pub place: u32,
}

/// A row and the token whose log-probability is wanted there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scored {
    /// The row.
    pub row: u32,
    /// The token that follows it.
    pub token: u32,
}

/// What a step's numbers must stay below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepLimits {
    /// Tokens that the embedding has rows for.
    pub vocabulary: usize,
    /// Positions that the table of angles has rows for.
    pub positions: usize,
    /// Pages that exist.
    pub pages: usize,
    /// Positions in a page.
    pub page_tokens: usize,
    /// Slots for adapters.
    pub slots: usize,
}

impl StepInputs {
    /// Appends rows of nobody's until there are `rows`, so that a few sizes of steps serve all: each is a request of
    /// one row in a page of those given, which nobody else may have, and sees what such rows write in this step alone.
    /// Where each row is sampled once, so are they.
    pub fn pad(&mut self, rows: usize, pages: &[u32], page_tokens: usize) -> Result<(), Error> {
        let own = self.tokens.len();
        let is_sampled = self.sampled.iter().copied().eq(0..own as u32);
        let padding = rows.saturating_sub(own);
        let held = pages.len().saturating_mul(page_tokens);
        expect_below("a row of padding, counted in positions of its pages,", padding, held + 1)?;
        for (row, place) in (own..rows).zip(0..) {
            let (first_row, first_page) = (row as u32, self.pages.len() as u32);
            let first_position = (place % page_tokens) as u32;
            self.tokens.push(0);
            self.segments.push(Segment { first_row, rows: 1, first_position, first_page, pages: 1 });
            self.pages.push(pages[place / page_tokens]);
            self.sampled.extend(is_sampled.then_some(first_row));
        }
        Ok(())
    }
}

/// Positions that can be counted, with room to look a tile ahead.
const POSITIONS_MAX: usize = u32::MAX as usize / 2;

impl StepLimits {
    fn check(&self) -> Result<(), Error> {
        if self.page_tokens == 0 {
            let found = self.page_tokens.to_string();
            return Err(Error::Unsupported { what: "a page's number of positions", found, allowed: "16, 32 or 64" });
        }
        expect_below("a page's number of positions", self.page_tokens, POSITIONS_MAX)?;
        expect_below("the number of positions", self.positions, POSITIONS_MAX)
    }
}

/// Which rows an operation's matrices are over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowSet {
    /// All rows of the step.
    Batch,
    /// [`StepInputs::sampled`].
    Sampled,
    /// [`StepInputs::scored`].
    Scored,
}

/// One item of decode attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeWork {
    /// Which segment.
    pub segment: u32,
    /// Which head of keys and values.
    pub kv_head: u32,
    /// Positions `split * KV_SPLIT_TOKENS ..`.
    pub split: u32,
}

/// A step that was checked, and what follows from it.
#[derive(Clone, Debug, PartialEq)]
pub struct StepPlan {
    inputs: StepInputs,
    limits: StepLimits,
    positions: Vec<u32>,
    segment_of_row: Vec<u32>,
    batch: PairList,
    sampled: PairList,
    scored: PairList,
}

impl StepPlan {
    /// Checks every number of a step.
    pub fn new(mut inputs: StepInputs, limits: StepLimits) -> Result<Self, Error> {
        limits.check()?;
        let rows = inputs.tokens.len();
        let vocabulary = |token: u32| expect_below("a token", token as usize, limits.vocabulary);
        inputs.tokens.iter().copied().try_for_each(vocabulary)?;
        inputs.pages.iter().try_for_each(|page| expect_below("a page", *page as usize, limits.pages))?;
        let (positions, segment_of_row) = lay_rows(&inputs, &limits)?;
        refuse_shared_positions(&inputs, &limits, &positions, &segment_of_row)?;
        check_taken(&inputs.taken, rows)?;
        inputs.sampled.iter().try_for_each(|row| expect_below("a sampled row", *row as usize, rows))?;
        inputs.scored.iter().try_for_each(|scored| expect_below("a scored row", scored.row as usize, rows))?;
        inputs.scored.iter().map(|scored| scored.token).try_for_each(vocabulary)?;
        let batch = PairList::new(std::mem::take(&mut inputs.pairs), rows, limits.slots)?;
        let sampled = batch.chosen(inputs.sampled.iter().copied());
        let scored = batch.chosen(inputs.scored.iter().map(|scored| scored.row));
        Ok(Self { inputs, limits, positions, segment_of_row, batch, sampled, scored })
    }

    /// Token of each row.
    pub fn tokens(&self) -> &[u32] {
        &self.inputs.tokens
    }

    /// Rows whose token the step before draws.
    pub fn taken(&self) -> &[Taken] {
        &self.inputs.taken
    }

    /// Position of each row in its sequence.
    pub fn positions(&self) -> &[u32] {
        &self.positions
    }

    /// Segment of each row.
    pub fn segment_of_row(&self) -> &[u32] {
        &self.segment_of_row
    }

    /// Requests, in order of their rows.
    pub fn segments(&self) -> &[Segment] {
        &self.inputs.segments
    }

    /// A segment's page table.
    pub fn pages(&self, segment: &Segment) -> &[u32] {
        &self.inputs.pages[segment.first_page as usize..][..segment.pages as usize]
    }

    /// Rows whose logits are wanted.
    pub fn sampled(&self) -> &[u32] {
        &self.inputs.sampled
    }

    /// Rows of which a given token's log-probability is wanted.
    pub fn scored(&self) -> &[Scored] {
        &self.inputs.scored
    }

    /// How many rows a set has.
    pub fn rows(&self, set: RowSet) -> usize {
        match set {
            RowSet::Batch => self.inputs.tokens.len(),
            RowSet::Sampled => self.inputs.sampled.len(),
            RowSet::Scored => self.inputs.scored.len(),
        }
    }

    /// Uses of adapters by a set's rows.
    pub const fn pairs(&self, set: RowSet) -> &PairList {
        match set {
            RowSet::Batch => &self.batch,
            RowSet::Sampled => &self.sampled,
            RowSet::Scored => &self.scored,
        }
    }

    /// What the step was checked against.
    pub const fn limits(&self) -> &StepLimits {
        &self.limits
    }

    /// Whether every request has at most one row.
    pub fn is_decode(&self) -> bool {
        self.inputs.segments.iter().all(|segment| segment.rows <= 1)
    }

    /// Decode attention's items: every segment with a row, every head, every split its window reaches.
    pub fn decode_work(&self, shape: &KvShape, window: Option<u32>) -> Vec<DecodeWork> {
        let mut work = Vec::new();
        for (segment, it) in (0..).zip(&self.inputs.segments).filter(|(_, it)| it.rows == 1) {
            let splits = splits_seen(it.first_position, window);
            for kv_head in 0..shape.kv_heads as u32 {
                work.extend(splits.clone().map(|split| DecodeWork { segment, kv_head, split }));
            }
        }
        work
    }
}

impl Segment {
    /// Its rows.
    pub const fn rows(&self) -> std::ops::Range<usize> {
        self.first_row as usize..self.first_row as usize + self.rows as usize
    }
}

/// Splits that hold a position which a query at `position` attends to.
pub(crate) fn splits_seen(position: u32, window: Option<u32>) -> std::ops::RangeInclusive<u32> {
    let first = first_seen(position, window);
    first / KV_SPLIT_TOKENS as u32..=position / KV_SPLIT_TOKENS as u32
}

/// The first position that a query attends to: its own is the last, and a window counts both ends.
pub(crate) const fn first_seen(position: u32, window: Option<u32>) -> u32 {
    match window {
        Some(window) => (position + 1).saturating_sub(window),
        None => 0,
    }
}

/// A row takes one token, or has one.
fn check_taken(taken: &[Taken], rows: usize) -> Result<(), Error> {
    taken.iter().try_for_each(|it| expect_below("a row that takes a token", it.row as usize, rows))?;
    match taken.windows(2).find(|pair| pair[0].row >= pair[1].row) {
        None => Ok(()),
        Some(pair) => {
            let found = format!("row {} after row {}", pair[1].row, pair[0].row);
            Err(Error::Unsupported { what: "rows that take tokens", found, allowed: "each once, in order" })
        }
    }
}

/// Each row's position and segment.
fn lay_rows(inputs: &StepInputs, limits: &StepLimits) -> Result<(Vec<u32>, Vec<u32>), Error> {
    let (mut positions, mut segment_of_row) = (Vec::new(), Vec::new());
    for (index, segment) in inputs.segments.iter().enumerate() {
        let expected = positions.len();
        if segment.first_row as usize != expected {
            return Err(Error::SegmentOrder { segment: index, expected, found: segment.first_row as usize });
        }
        expect_below(
            "the end of a segment's page table",
            segment.first_page as usize + segment.pages as usize,
            inputs.pages.len() + 1,
        )?;
        expect_below("a segment's end", expected + segment.rows as usize, inputs.tokens.len() + 1)?;
        let end = segment.first_position as usize + segment.rows as usize;
        expect_below("a position", end.saturating_sub(1), limits.positions)?;
        let held = (segment.pages as usize).saturating_mul(limits.page_tokens);
        if end > held && segment.rows > 0 {
            return Err(Error::SegmentPages { segment: index, position: end - 1, held });
        }
        positions.extend((0..segment.rows).map(|row| segment.first_position + row));
        segment_of_row.extend((0..segment.rows).map(|_| index as u32));
    }
    if positions.len() != inputs.tokens.len() {
        let found = inputs.tokens.len();
        return Err(Error::SegmentOrder { segment: inputs.segments.len(), expected: positions.len(), found });
    }
    Ok((positions, segment_of_row))
}

/// Pages may be read by many; a position of one is written by one row.
fn refuse_shared_positions(
    inputs: &StepInputs,
    limits: &StepLimits,
    positions: &[u32],
    segment_of_row: &[u32],
) -> Result<(), Error> {
    let mut written = HashMap::with_capacity(positions.len());
    for (&position, &segment) in positions.iter().zip(segment_of_row) {
        let it = &inputs.segments[segment as usize];
        let page = inputs.pages[it.first_page as usize + position as usize / limits.page_tokens];
        let place = (page, position % limits.page_tokens as u32);
        if let Some(first) = written.insert(place, segment) {
            let (first, second) = (first as usize, segment as usize);
            return Err(Error::SharedPosition { page, position: place.1, first, second });
        }
    }
    Ok(())
}
