//! What each answer used: counted step by step, and due as rows.
//!
//! Pure: tokens, sequences and times come in, rows go out. Every token that a step computed is in exactly one row.

use loam_ledger_core::row::{Finish, Pair, Tokens};

use crate::recorder::{CompletionRecord, Key, UsageRecord};

/// Tokens of decode after which a row is due.
pub const ROW_TOKENS: u64 = 64;

/// Milliseconds of decode after which a row is due.
pub const ROW_MS: u64 = 1_000;

/// One answer's account.
#[derive(Clone, Debug)]
pub struct Account {
    request: Key,
    choice: u32,
    pairs: Vec<Pair>,
    /// In rows.
    rowed: Tokens,
    /// Not yet in a row.
    open: Tokens,
    /// The steps that `open` counts, and when the first of them ran.
    open_steps: Option<OpenSteps>,
    /// All steps so far.
    steps: Option<(u64, u64)>,
}

#[derive(Clone, Copy, Debug)]
struct OpenSteps {
    first: u64,
    last: u64,
    since_ms: u64,
    /// A chunk of a prompt is in a row at once.
    prefill: bool,
}

impl Account {
    /// An account of nothing yet.
    pub fn new(request: Key, choice: u32, pairs: Vec<Pair>) -> Self {
        let none = Tokens::default();
        Self { request, choice, pairs, rowed: none, open: none, open_steps: None, steps: None }
    }

    /// Counts what one step did.
    pub fn count(&mut self, sequence: u64, tokens: &Tokens, now_ms: u64) {
        let sum = self.open.checked_add(tokens).expect("an answer has fewer tokens than a u64 counts");
        self.open = sum;
        let prefill = tokens.prefilled + tokens.recomputed > 0;
        let open =
            self.open_steps.get_or_insert(OpenSteps { first: sequence, last: sequence, since_ms: now_ms, prefill });
        open.last = sequence;
        open.prefill |= prefill;
        self.steps = Some((self.steps.map_or(sequence, |(first, _)| first), sequence));
    }

    /// Whether tokens wait for a row.
    pub fn is_open(&self) -> bool {
        self.open != Tokens::default()
    }

    /// Whether a row should be written now.
    pub fn is_due(&self, now_ms: u64) -> bool {
        self.open_steps.is_some_and(|open| {
            open.prefill || self.open.emitted >= ROW_TOKENS || now_ms.saturating_sub(open.since_ms) >= ROW_MS
        })
    }

    /// The row over all that is open, if anything is.
    pub fn row(&mut self) -> Option<UsageRecord> {
        let open = self.open_steps.take()?;
        let tokens = std::mem::take(&mut self.open);
        self.rowed = self.rowed.checked_add(&tokens).expect("an answer has fewer tokens than a u64 counts");
        let (request, choice, pairs) = (self.request, self.choice, self.pairs.clone());
        Some(UsageRecord { request, choice, pairs, first_sequence: open.first, last_sequence: open.last, tokens })
    }

    /// Tokens in rows so far.
    pub fn rowed(&self) -> &Tokens {
        &self.rowed
    }

    /// Which of the request's answers.
    pub fn choice(&self) -> u32 {
        self.choice
    }

    /// The request it belongs to.
    pub fn request(&self) -> Key {
        self.request
    }

    /// The row of the whole answer. [`Account::row`] comes first, so that nothing is open.
    pub fn completion(&self, finish: Finish, contents: Contents) -> CompletionRecord {
        debug_assert!(!self.is_open(), "usage rows come before the completion");
        CompletionRecord {
            request: self.request,
            choice: self.choice,
            last_of_request: contents.last_of_request,
            pairs: self.pairs.clone(),
            steps: self.steps,
            tokens: self.rowed,
            delivered_tokens: contents.output.len() as u64,
            finish,
            prompt: contents.prompt,
            text: contents.text,
            output: contents.output,
            sampling: contents.sampling,
        }
    }
}

/// What a completion row commits to, beside its account.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    /// The rendered prompt.
    pub prompt: std::sync::Arc<[u32]>,
    /// The text delivered.
    pub text: String,
    /// The tokens delivered.
    pub output: Vec<u32>,
    /// Sampling parameters, seed, data type and mode.
    pub sampling: std::sync::Arc<[u8]>,
    /// Whether no other answer of the request is still to come.
    pub last_of_request: bool,
}
