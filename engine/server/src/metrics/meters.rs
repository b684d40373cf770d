//! What the server counts as requests go.

use std::sync::atomic::{AtomicU64, Ordering};

use loam_ledger_core::row::Finish;
use loam_wire::Kind;

use super::histogram::Histogram;

/// vLLM's buckets, so that its dashboards and alerts mean the same here.
const FIRST_TOKEN_SECONDS: &[f64] = &[
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
    160.0, 640.0, 2560.0,
];
const NEXT_TOKEN_SECONDS: &[f64] =
    &[0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0];
const REQUEST_SECONDS: &[f64] = &[
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0,
    1920.0, 7680.0,
];
const CHOICES: &[f64] = &[1.0, 2.0, 5.0, 10.0, 20.0];

/// From a fast disk's sync to one that hangs.
const RECORD_SECONDS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// Tokens of the longest request that has a bucket of its own. The same for every model, so that the pages of several
/// servers can be added up.
const REQUEST_TOKENS: usize = 1_000_000;

/// vLLM's words for why an answer ended.
const REASONS: [&str; 4] = ["stop", "length", "abort", "error"];

/// Every kind of refusal, so that each is on the page before it first happens.
pub(super) const KINDS: [Kind; 12] = [
    Kind::Invalid,
    Kind::ContextFull,
    Kind::Unauthenticated,
    Kind::Forbidden,
    Kind::NotFound,
    Kind::Conflict,
    Kind::TooLarge,
    Kind::Busy,
    Kind::Unavailable,
    Kind::Deadline,
    Kind::Unsupported,
    Kind::Internal,
];

/// What is counted as requests go. Shared by all threads; nothing in it is locked.
pub(crate) struct Meters {
    pub(super) first_token: Histogram,
    pub(super) next_token: Histogram,
    pub(super) whole: Histogram,
    pub(super) prompt_tokens: Histogram,
    pub(super) generation_tokens: Histogram,
    pub(super) choices: Histogram,
    pub(super) max_tokens: Histogram,
    pub(super) commit: Histogram,
    pub(super) receipt: Histogram,
    refused: [AtomicU64; KINDS.len()],
    finished: [AtomicU64; REASONS.len()],
}

impl Default for Meters {
    fn default() -> Self {
        let tokens = || Histogram::one_two_five(REQUEST_TOKENS);
        Self {
            first_token: Histogram::new(FIRST_TOKEN_SECONDS),
            next_token: Histogram::new(NEXT_TOKEN_SECONDS),
            whole: Histogram::new(REQUEST_SECONDS),
            prompt_tokens: tokens(),
            generation_tokens: tokens(),
            choices: Histogram::new(CHOICES),
            max_tokens: tokens(),
            commit: Histogram::new(RECORD_SECONDS),
            receipt: Histogram::new(RECORD_SECONDS),
            refused: [const { AtomicU64::new(0) }; KINDS.len()],
            finished: [const { AtomicU64::new(0) }; REASONS.len()],
        }
    }
}

impl Meters {
    /// A request was taken: for so many choices, of so many tokens at most where it said so.
    pub(crate) fn began(&self, choices: u32, max_tokens: Option<u32>) {
        self.choices.observe(f64::from(choices), 1);
        if let Some(max_tokens) = max_tokens {
            self.max_tokens.observe(f64::from(max_tokens), 1);
        }
    }

    /// A request's first token left, so long after the request came.
    pub(crate) fn first_token(&self, seconds: f64) {
        self.first_token.observe(seconds, 1);
    }

    /// Some more tokens of an answer left together, so long after those before them: each took its part of that.
    pub(crate) fn tokens(&self, count: u64, gap_seconds: f64) {
        if count > 0 {
            #[expect(clippy::cast_precision_loss, reason = "tokens of one message")]
            self.next_token.observe(gap_seconds / count as f64, count);
        }
    }

    /// An answer ended, so long after its request came.
    #[expect(clippy::cast_precision_loss, reason = "tokens of one answer")]
    pub(crate) fn finished(&self, finish: Finish, prompt_tokens: u64, generation_tokens: u64, seconds: f64) {
        let reason = finished_reason(finish);
        let place = REASONS.iter().position(|known| *known == reason).unwrap_or(REASONS.len() - 1);
        self.finished[place].fetch_add(1, Ordering::Relaxed);
        self.whole.observe(seconds, 1);
        self.prompt_tokens.observe(prompt_tokens as f64, 1);
        self.generation_tokens.observe(generation_tokens as f64, 1);
    }

    /// A request was refused, or failed.
    pub(crate) fn refused(&self, kind: Kind) {
        self.refused[place(kind)].fetch_add(1, Ordering::Relaxed);
    }

    /// A step's entry became durable, so long after it was appended.
    pub(crate) fn committed(&self, seconds: f64) {
        self.commit.observe(seconds, 1);
    }

    /// A receipt left, so long after its answer's last token.
    pub(crate) fn receipt(&self, seconds: f64) {
        self.receipt.observe(seconds, 1);
    }

    /// How many answers ended, by vLLM's words for why.
    pub(super) fn endings(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        REASONS.into_iter().zip(self.finished.iter().map(|count| count.load(Ordering::Relaxed)))
    }

    /// How many requests were refused, by kind.
    pub(super) fn refusals(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let counts = self.refused.iter().map(|count| count.load(Ordering::Relaxed));
        KINDS.into_iter().map(word).zip(counts)
    }
}

/// Where a kind is counted. One that the list lacks is counted with the last: a page must not stop a server.
fn place(kind: Kind) -> usize {
    KINDS.iter().position(|known| *known == kind).unwrap_or(KINDS.len() - 1)
}

/// A kind as a label. Whoever adds one here adds it to the list as well.
pub(crate) fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Invalid => "invalid",
        Kind::ContextFull => "context_full",
        Kind::Unauthenticated => "unauthenticated",
        Kind::Forbidden => "forbidden",
        Kind::NotFound => "not_found",
        Kind::Conflict => "conflict",
        Kind::TooLarge => "too_large",
        Kind::Busy => "busy",
        Kind::Unavailable => "unavailable",
        Kind::Deadline => "deadline",
        Kind::Unsupported => "unsupported",
        Kind::Internal => "internal",
    }
}

/// vLLM's word for why an answer ended.
pub(crate) fn finished_reason(finish: Finish) -> &'static str {
    match finish {
        Finish::STOP | Finish::STOP_SEQUENCE => "stop",
        Finish::LENGTH => "length",
        Finish::CANCELLED | Finish::DEADLINE => "abort",
        _ => "error",
    }
}
