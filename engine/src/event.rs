//! What a request's stream says, in order: started, the prompt's scores, tokens, finished for each choice.

use std::sync::Arc;

use loam_ledger_core::Hash;
use loam_ledger_core::row::{Finish, Tokens};
use thiserror::Error as ThisError;

use crate::adapter::Generation;
use crate::error::Error;
use crate::executor::Sampled;

/// One message of a request's stream.
#[derive(Clone, Debug)]
pub enum Event {
    /// The request was taken in and its adapters are known.
    Started(Started),
    /// What was asked for of the prompt; only of the first choice.
    Prompt(PromptScores),
    /// More of an answer.
    Tokens(TokensEvent),
    /// An answer is whole. Nothing more of this choice follows.
    Finished(Finished),
    /// The request ended without being whole. Nothing follows.
    Failed(Failure),
}

/// What is known when a request begins.
#[derive(Clone, Debug)]
pub struct Started {
    /// The name by which its receipt can be asked for; none where the record has no receipts.
    pub name: Option<Hash>,
    /// The rendered prompt.
    pub prompt: Arc<[u32]>,
    /// The adapters that answer, in order of generation, each with its weight in millionths.
    pub adapters: Vec<(Generation, i64)>,
}

/// Log-probabilities of a prompt's tokens, and the logits after it.
#[derive(Clone, Debug, Default)]
pub struct PromptScores {
    /// One for each prompt token after the first, with the most probable token beside it.
    pub tokens: Vec<Sampled>,
    /// The logits after the prompt's last token, where asked for.
    pub logits: Option<Vec<f32>>,
}

/// Tokens of one choice, and the text that can be shown for them and those before.
#[derive(Clone, Debug, Default)]
pub struct TokensEvent {
    /// Which answer, from 0.
    pub choice: u32,
    /// The tokens, in order.
    pub tokens: Vec<Sampled>,
    /// Text that is whole: never half a character, never what could still be a stop sequence.
    pub text: String,
}

/// How an answer ended.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Which answer, from 0.
    pub choice: u32,
    /// Why.
    pub finish: Finish,
    /// Where a stop of the request's own ended it: which.
    pub stopped_by: Option<StoppedBy>,
    /// What it used.
    pub tokens: Tokens,
    /// Where the entry with its completion row is in the log.
    pub entry: Option<u64>,
    /// Whether it was the request's last answer.
    pub last: bool,
}

/// A stop of a request's own, which an answer met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoppedBy {
    /// A stop string, by its place among the request's.
    Text(usize),
    /// A stop token.
    Token(u32),
}

/// Why a request could not be finished.
#[derive(Clone, Debug, ThisError)]
#[expect(missing_docs, reason = "each variant's message is its documentation")]
pub enum Failure {
    #[error("{0}")]
    Adapter(Arc<Error>),
    #[error("{0}")]
    Request(Arc<Error>),
    #[error("the request's adapters are larger, beside those that are pinned, than adapters may be: raise the budgets")]
    AdaptersTooLarge,
    #[error("a step failed: {0}")]
    Step(Arc<Error>),
    #[error("the request was cancelled before it began")]
    Cancelled,
    #[error("the request's time ran out before it began")]
    Deadline,
    #[error("DEVICE_LOST: {0}")]
    Device(Arc<Error>),
    #[error("LEDGER_FAILED: {0}")]
    Ledger(crate::recorder::RecordFailed),
    #[error("the ledger takes no new requests for now: {reason}")]
    Refused { reason: String },
    #[error("the engine broke off before the request was done; ask again")]
    Lost,
    #[error("the engine is stopping; ask another one")]
    Stopping,
}

impl Failure {
    /// Whether the same request can succeed elsewhere, or here after a restart.
    pub fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::Step(_) | Self::Device(_) | Self::Ledger(_) | Self::Refused { .. } | Self::Lost | Self::Stopping
        )
    }
}

/// What takes a stream's messages, on the engine's threads: it must be quick, and does not stop the engine, whose end waits
/// for it. False says that nobody listens any more.
pub type Sink = Box<dyn FnMut(Event) -> bool + Send>;
