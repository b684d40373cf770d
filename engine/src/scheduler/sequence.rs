//! One answer of a request: what was asked for, and how far it is.

use std::cmp::Reverse;
use std::sync::Arc;

use loam_ledger_core::Hash;

use crate::adapter::AdapterId;
use crate::fairness::{Line, Place};
use crate::kv_pages::page_key;

/// One answer (choice) of a request; never used again for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SequenceId(pub u64);

/// Who pays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantId(pub u32);

/// What is submitted.
#[derive(Clone, Debug)]
pub struct Sequence {
    /// Which answer.
    pub id: SequenceId,
    /// Whose.
    pub tenant: TenantId,
    /// For further samples of one prompt: who reads it. They wait until it was read, and use the same pages.
    pub leader: Option<SequenceId>,
    /// What it begins with.
    pub prompt: Arc<[u32]>,
    /// Tokens to draw at most; with 0 the prompt is only read.
    pub output_tokens_max: u32,
    /// What keys and values depend on beside tokens: base, (generation, weight) pairs, types, mode, tenant's salt.
    pub prefix_root: Hash,
    /// Whether pages that hold a part of the prompt may be used. If not, each of its rows is computed (once).
    pub reuse: bool,
    /// Each once, in order of generation.
    pub adapters: Vec<AdapterId>,
    /// Higher ones of a tenant go first.
    pub priority: i32,
    /// When it ends, done or not.
    pub deadline_ms: Option<u64>,
    /// When it came: what it waits is counted from here.
    pub arrived_ms: u64,
    /// Whether each draw waits for a gate to be opened.
    pub gated: bool,
}

/// A sequence between submission and end.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) asked: Sequence,
    pub(super) line: Line,
    pub(super) number: u64,
    pub(super) output: Vec<u32>,
    /// Keys of all full pages of prompt and output.
    keys: Vec<Hash>,
    pub(super) pages: Vec<u32>,
    /// Rows whose keys and values are in pages.
    pub(super) computed: u32,
    /// The most that ever were.
    pub(super) held: u32,
    pub(super) gate_open: bool,
    pub(super) state: State,
    /// Since when it waits.
    pub(super) queued_ms: u64,
    /// What its tenant was counted for rows that are still to come.
    pub(super) owed: u64,
    pub(super) ran: bool,
    /// Where its adapters are while it runs.
    pub(super) slots: Vec<u32>,
}

/// Where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// In its line.
    Waiting,
    /// Until somebody else has computed what it can use.
    Parked(SequenceId),
    /// Among those of whom steps are made, under a number in order of admission.
    Running { number: u64, since_ms: u64, drawn: u32 },
}

impl Live {
    pub(super) fn new(asked: Sequence, number: u64, page_tokens: u32, now_ms: u64) -> Self {
        let line = Line::from(asked.adapters.as_slice());
        let mut live = Self {
            line,
            number,
            output: Vec::new(),
            keys: Vec::new(),
            pages: Vec::new(),
            computed: 0,
            held: 0,
            gate_open: false,
            state: State::Waiting,
            queued_ms: asked.arrived_ms.min(now_ms),
            owed: 0,
            ran: false,
            slots: Vec::new(),
            asked,
        };
        live.extend_keys(page_tokens);
        live
    }

    pub(super) fn place(&self) -> Place {
        Place { priority: Reverse(self.asked.priority), number: self.number, id: self.asked.id }
    }

    pub(super) fn prompt_len(&self) -> u32 {
        self.asked.prompt.len() as u32
    }

    /// Prompt and output so far.
    pub(super) fn len(&self) -> u32 {
        self.prompt_len() + self.output.len() as u32
    }

    pub(super) fn token(&self, position: u32) -> u32 {
        let position = position as usize;
        match self.asked.prompt.get(position) {
            Some(token) => *token,
            None => self.output[position - self.asked.prompt.len()],
        }
    }

    /// Rows that can be computed now, if all of them are given: known tokens that are not in pages.
    pub(super) fn due(&self) -> u32 {
        if !self.output.is_empty() && !self.draws_more() {
            return 0;
        }
        self.len() - self.computed
    }

    /// The same, without a last row that would draw while the gate is closed.
    pub(super) fn due_now(&self) -> u32 {
        let held_back = self.draws_more() && self.asked.gated && !self.gate_open;
        self.due().saturating_sub(u32::from(held_back))
    }

    pub(super) fn draws_more(&self) -> bool {
        (self.output.len() as u64) < u64::from(self.asked.output_tokens_max)
    }

    pub(super) fn running(&self) -> Option<u64> {
        match self.state {
            State::Running { number, .. } => Some(number),
            State::Waiting | State::Parked(_) => None,
        }
    }

    /// When it may be made to give way: it has drawn, or waits at its gate, and has had its time. `None`: not yet
    /// known.
    pub(super) fn turn_ends_ms(&self, turn_ms_min: u64) -> Option<u64> {
        let State::Running { since_ms, drawn, .. } = self.state else { return None };
        let waits_at_gate = self.due() > 0 && self.due_now() == 0;
        (drawn > 0 || waits_at_gate).then(|| since_ms.saturating_add(turn_ms_min))
    }

    /// Rows of the prompt that its tenant was not counted for yet.
    pub(super) fn rows_unpaid(&self) -> u32 {
        self.prompt_len().saturating_sub(self.computed.max(self.held))
    }

    /// Rows that pages of others may stand for: never the last, from which the next token comes.
    pub(super) fn rows_reusable(&self) -> u32 {
        let before_last = self.len() - 1;
        if self.asked.reuse { before_last } else { before_last.min(self.held) }
    }

    pub(super) fn keys(&self) -> &[Hash] {
        &self.keys
    }

    pub(super) fn push(&mut self, token: u32, page_tokens: u32) {
        self.output.push(token);
        self.extend_keys(page_tokens);
    }

    fn extend_keys(&mut self, page_tokens: u32) {
        while (self.keys.len() as u32 + 1) * page_tokens <= self.len() {
            let first = self.keys.len() as u32 * page_tokens;
            let before = self.keys.last().copied().unwrap_or(self.asked.prefix_root);
            let key = page_key(&before, (first..first + page_tokens).map(|position| self.token(position)));
            self.keys.push(key);
        }
    }
}
