//! One answer while it grows: tokens come in, what can be shown and recorded comes out.

use loam_ledger_core::row::{Finish, Tokens};

use crate::constraint::ConstraintState;
use crate::delivery::Delivered;
use crate::detokenizer::Detokenizer;
use crate::event::TokensEvent;
use crate::executor::Sampled;
use crate::recorder::{CompletionRecord, UsageRecord};
use crate::sampler::SequenceSampler;
use crate::scheduler::SequenceId;
use crate::stops::Stops;
use crate::usage::{Account, Contents};

/// One of a request's answers.
pub(crate) struct Answer {
    pub(crate) sequence: SequenceId,
    pub(crate) choice: u32,
    pub(crate) account: Account,
    pub(crate) sampler: SequenceSampler,
    pub(crate) stops: Stops,
    /// None where the model has no tokenizer.
    pub(crate) detokenizer: Option<Detokenizer>,
    pub(crate) gate: Gate,
    pub(crate) output: Vec<u32>,
    pub(crate) text: String,
    /// Prompt tokens that were found in the cache, until a step counts them.
    pub(crate) reused: u64,
}

/// Where the form of an answer is looked after.
pub(crate) enum Gate {
    /// Nobody asked for one.
    Free,
    /// It begins as all of its request do, which keeps the first mask.
    Beginning,
    /// The next token's mask is being made elsewhere.
    Away,
    /// The next token may be one of these.
    Open { state: Box<ConstraintState>, mask: Vec<u32> },
}

/// What a token made of its answer.
pub(crate) struct Taken {
    pub(crate) event: TokensEvent,
    pub(crate) finish: Option<Finish>,
}

impl Answer {
    /// Takes the next token.
    pub(crate) fn take(&mut self, sampled: Sampled) -> Taken {
        let token = sampled.chosen.token;
        self.sampler.accept(token);
        self.output.push(token);
        let progress = self.stops.push(token, self.detokenizer.as_mut());
        self.text.push_str(&progress.text);
        let event = TokensEvent { choice: self.choice, tokens: vec![sampled], text: progress.text };
        Taken { event, finish: progress.finish }
    }

    /// Text that was held back, where it ends by other means than a token.
    pub(crate) fn release(&mut self) -> String {
        let text = self.stops.flush(self.detokenizer.as_mut());
        self.text.push_str(&text);
        text
    }

    /// Counts what a step did for it.
    pub(crate) fn count(&mut self, sequence: u64, mut tokens: Tokens, now_ms: u64) {
        tokens.reused += std::mem::take(&mut self.reused);
        self.account.count(sequence, &tokens, now_ms);
    }

    /// Its last rows: what is open, then the whole.
    pub(crate) fn complete(
        &mut self,
        finish: Finish,
        contents: Contents,
        cut: Option<Delivered>,
    ) -> (Option<UsageRecord>, CompletionRecord) {
        let usage = self.account.row();
        let mut contents = contents;
        contents.output = std::mem::take(&mut self.output);
        contents.text = std::mem::take(&mut self.text);
        if let Some(delivered) = cut {
            contents.output.truncate(delivered.tokens);
            contents.text.truncate(delivered.text_bytes);
        }
        (usage, self.account.completion(finish, contents))
    }
}
