//! What one step is to do, and what was decided on the way.

use super::SequenceId;
use crate::adapter::pool::Install;

/// One step: who computes which rows where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Rows to compute; one that draws comes before all that only read their prompt.
    pub chunks: Vec<Chunk>,
    /// Slots to fill, or to empty, before the rows are computed.
    pub installs: Vec<Install>,
    /// Pages to copy before the rows are computed: from, to. No page is copied to and copied from.
    pub copies: Vec<(u32, u32)>,
    /// Who ended without being asked to; the scheduler has forgotten them.
    pub ended: Vec<Ended>,
    /// Who gave up its pages and will go on later.
    pub preempted: Vec<SequenceId>,
    /// Who began, or went on.
    pub admitted: Vec<Admitted>,
}

impl Plan {
    /// Whether an executor has nothing to do. A plan of installs alone is a step without rows: what is emptied is only
    /// given to others once the step ran.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty() && self.installs.is_empty() && self.copies.is_empty()
    }

    /// How many rows it computes.
    pub fn rows(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.tokens.len()).sum()
    }
}

/// One sequence's rows of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Whose.
    pub id: SequenceId,
    /// Position of the first row.
    pub first_position: u32,
    /// A token for each row.
    pub tokens: Vec<u32>,
    /// Whether the row's token is the one that its sequence draws in the step before, which nobody knows yet: `tokens` holds
    /// another in its place.
    pub follows: bool,
    /// Its page table, from position 0 to the last row at least.
    pub pages: Vec<u32>,
    /// Where its adapters are, in order of its own list.
    pub slots: Vec<u32>,
    /// Whether the last row draws the next token.
    pub samples: bool,
    /// How many of the first rows were in pages once already, before a preemption.
    pub recomputed_rows: u32,
}

/// Somebody ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Who.
    pub id: SequenceId,
    /// Why.
    pub why: Why,
}

/// Why somebody ended without being asked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Its time was up.
    DeadlinePassed,
    /// Its adapters can never be resident together: too large for host memory or the device, beside what is pinned.
    AdaptersTooLarge,
}

/// Somebody begins, or goes on after a preemption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// Who.
    pub id: SequenceId,
    /// Rows that need not be computed, because pages hold them.
    pub reused_tokens: u32,
    /// Whether it ran before.
    pub resumed: bool,
}
