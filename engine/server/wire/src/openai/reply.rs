//! One request's part of an answer, as far as it has come.

use std::sync::Arc;

use loam_engine::event::{PromptScores, Started, StoppedBy};
use loam_engine::executor::Sampled;
use loam_engine::request::{Generate, Prompt};
use loam_engine::{Finished, TokensEvent};
use loam_ledger_core::row::Finish;

use super::answer::Form;
use super::logprobs::{Logprobs, Offsets, finite};
use super::shape::{
    ChatChoice, End, LoamAdapter, LoamReceipt, LoamRequest, Message, PromptScore, PromptToken, StopReason, TextChoice,
};

/// One request of the call, as far as it is answered.
pub(super) struct Reply {
    /// Its place in the call, where there are several.
    pub(super) place: Option<usize>,
    /// The index of its first choice.
    pub(super) first: u64,
    /// How many of the most probable tokens beside each; absent, no log-probabilities.
    pub(super) logprobs: Option<u32>,
    skip_special: bool,
    stop: Vec<String>,
    /// The prompt's text, where the answer begins with it.
    pub(super) echoed: String,
    pub(super) prompt: Arc<[u32]>,
    scores: Vec<Sampled>,
    receipt_id: Option<String>,
    adapters: Vec<LoamAdapter>,
    receipts: Vec<LoamReceipt>,
    cached: u64,
    pub(super) choices: Vec<Choice>,
    /// Whether a chunk of it was sent.
    pub(super) begun: bool,
}

/// One choice, as far as it has come.
#[derive(Default)]
pub(super) struct Choice {
    pub(super) text: String,
    pub(super) token_ids: Vec<u32>,
    pub(super) tokens: u64,
    pub(super) logprobs: Option<Logprobs>,
    pub(super) offsets: Option<Offsets>,
    finish: Option<Finish>,
    stopped_by: Option<StoppedBy>,
    entry: Option<u64>,
    /// Whether a chunk of it was sent.
    pub(super) begun: bool,
}

impl Reply {
    pub(super) fn new(place: Option<usize>, first: u64, request: &Generate, echo: bool) -> Self {
        let echoed = match &request.prompt {
            Prompt::Text(text) if echo => text.clone(),
            _ => String::new(),
        };
        Self {
            place,
            first,
            logprobs: request.logprobs,
            skip_special: request.skip_special_tokens,
            stop: request.stop.clone(),
            echoed,
            prompt: Arc::default(),
            scores: Vec::new(),
            receipt_id: None,
            adapters: Vec::new(),
            receipts: Vec::new(),
            cached: 0,
            choices: (0..request.n).map(|_| Choice::default()).collect(),
            begun: false,
        }
    }

    pub(super) fn start(&mut self, started: &Started, form: &Form) {
        self.prompt = Arc::clone(&started.prompt);
        self.receipt_id = started.name.map(|name| name.to_hex());
        let adapter = |(generation, weight): &(loam_engine::adapter::Generation, i64)| LoamAdapter {
            generation: generation.0.to_hex(),
            weight_millionths: *weight,
        };
        self.adapters = started.adapters.iter().map(adapter).collect();
        if let Some(tokenizer) = &form.spelling.tokenizer
            && form.echo
            && self.echoed.is_empty()
        {
            self.echoed = tokenizer.decode(&self.prompt, self.skip_special);
        }
    }

    pub(super) fn collect(&mut self, tokens: &TokensEvent, form: &Form) {
        let logprobs = self.count(tokens, form);
        let Some(choice) = self.choices.get_mut(tokens.choice as usize) else { return };
        choice.text.push_str(&tokens.text);
        if form.token_ids {
            choice.token_ids.extend(tokens.tokens.iter().map(|sampled| sampled.chosen.token));
        }
        choice.logprobs = logprobs;
    }

    /// Counts tokens of a choice; their log-probabilities, after those that the choice has kept.
    pub(super) fn count(&mut self, tokens: &TokensEvent, form: &Form) -> Option<Logprobs> {
        let offsets = || {
            let chars = self.echoed.chars().count() as u64;
            Offsets::new(form.spelling.tokenizer.as_ref(), self.skip_special, chars)
        };
        let choice = self.choices.get_mut(tokens.choice as usize)?;
        choice.tokens += tokens.tokens.len() as u64;
        let top = self.logprobs?;
        let offsets = choice.offsets.get_or_insert_with(offsets);
        let mut logprobs = choice.logprobs.take().unwrap_or_else(|| form.logprobs());
        logprobs.add(&tokens.tokens, top, &form.spelling, offsets);
        Some(logprobs)
    }

    pub(super) fn finish(&mut self, finished: &Finished) {
        if finished.choice == 0 {
            self.cached = finished.tokens.reused.min(self.prompt.len() as u64);
        }
        if let Some(choice) = self.choices.get_mut(finished.choice as usize) {
            choice.finish = Some(finished.finish);
            choice.stopped_by = finished.stopped_by;
            choice.entry = finished.entry;
        }
    }

    /// Why a choice ended, and which of the request's own stops it met.
    pub(super) fn end<'a>(&'a self, choice: &Choice) -> End<'a> {
        let Some(finish) = choice.finish else { return End::default() };
        let finish_reason = match finish {
            Finish::STOP | Finish::STOP_SEQUENCE => "stop",
            Finish::LENGTH => "length",
            _ => "abort",
        };
        let stop_reason = choice.stopped_by.and_then(|by| match by {
            StoppedBy::Text(place) => self.stop.get(place).map(|text| StopReason::Text(text)),
            StoppedBy::Token(token) => Some(StopReason::Token(token)),
        });
        End { finish_reason: Some(finish_reason), stop_reason }
    }

    /// The parts of what is ours that are wanted.
    pub(super) fn loam(&self, begin: bool, end: bool) -> LoamRequest {
        let entries = || self.choices.iter().map(|choice| choice.entry).collect();
        let recorded = self.choices.iter().any(|choice| choice.entry.is_some());
        LoamRequest {
            prompt: self.place,
            receipt_id: self.receipt_id.clone().filter(|_| begin),
            adapters: if begin { self.adapters.clone() } else { Vec::new() },
            entries: if end && recorded { entries() } else { Vec::new() },
            receipts: if end { self.receipts.clone() } else { Vec::new() },
        }
    }

    /// Takes what was asked for of the prompt.
    pub(super) fn scores(&mut self, scores: PromptScores) {
        self.scores = scores.tokens;
    }

    pub(super) fn receipt(&mut self, choice: u32, tlog_proof: &str) {
        let index = self.first + u64::from(choice);
        self.receipts.push(LoamReceipt { index, tlog_proof: tlog_proof.to_owned() });
    }

    pub(super) fn prompt_tokens(&self) -> u64 {
        self.prompt.len() as u64
    }

    pub(super) const fn cached_tokens(&self) -> u64 {
        self.cached
    }

    /// Of all choices.
    pub(super) fn tokens(&self) -> u64 {
        self.choices.iter().map(|choice| choice.tokens).sum()
    }

    /// Puts before each choice what goes there: the prompt, where it is repeated.
    pub(super) fn seal(&mut self, form: &Form) {
        for choice in &mut self.choices {
            if form.echo {
                choice.text.insert_str(0, &self.echoed);
            }
            let Some(top) = self.logprobs else { continue };
            let mut logprobs = form.logprobs();
            if form.echo {
                let mut offsets = Offsets::new(form.spelling.tokenizer.as_ref(), self.skip_special, 0);
                logprobs.add_prompt(&self.prompt, (&self.scores, top), &form.spelling, &mut offsets);
            }
            logprobs.append(choice.logprobs.take());
            choice.logprobs = Some(logprobs);
        }
    }

    pub(super) fn has_receipts(&self) -> bool {
        !self.receipts.is_empty()
    }

    pub(super) fn prompt_logprobs(&self, form: &Form) -> Option<Vec<Option<PromptToken>>> {
        let most = form.prompt_logprobs? as usize;
        let said = |token, logprob, rank: u32| {
            let decoded_token = form.spelling.text(token);
            (token, PromptScore { logprob: finite(logprob), rank: rank.saturating_add(1), decoded_token })
        };
        let token = |Sampled { chosen, top }: &Sampled| {
            let own = said(chosen.token, chosen.log_probability, chosen.rank);
            let others = (0..).zip(top).take(most).filter(|(_, (token, _))| *token != chosen.token);
            let others = others.map(|(rank, (token, logprob))| said(*token, *logprob, rank));
            Some(PromptToken(std::iter::once(own).chain(others).collect()))
        };
        Some(std::iter::once(None).chain(self.scores.iter().map(token)).collect())
    }

    pub(super) fn chat_choices<'a>(&'a self, form: &Form) -> Vec<ChatChoice<'a>> {
        let token_ids = form.token_ids;
        let choice = move |(index, choice): (u64, &'a Choice)| ChatChoice {
            index,
            message: Message { role: "assistant", content: &choice.text, refusal: None },
            logprobs: choice.logprobs.as_ref(),
            end: self.end(choice),
            token_ids: token_ids.then_some(&choice.token_ids),
        };
        (self.first..).zip(&self.choices).map(choice).collect()
    }

    pub(super) fn text_choices<'a>(&'a self, form: &Form) -> Vec<TextChoice<'a>> {
        let token_ids = form.token_ids;
        let choice = |(index, choice): (u64, &'a Choice)| TextChoice {
            index,
            text: &choice.text,
            logprobs: choice.logprobs.as_ref(),
            end: self.end(choice),
            token_ids: token_ids.then_some(&choice.token_ids),
            prompt_token_ids: token_ids.then_some(&self.prompt),
            prompt_logprobs: self.prompt_logprobs(form),
        };
        (self.first..).zip(&self.choices).map(choice).collect()
    }
}
