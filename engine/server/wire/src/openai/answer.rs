//! An answer, made of what the engine says: whole, or chunk by chunk (`stream`).

use std::sync::Arc;

use loam_engine::request::Generate;
use loam_engine::tokenizer::Tokenizer;
use loam_engine::{Event, Failure};

use super::logprobs::{Logprobs, Spelling};
use super::reply::Reply;
use super::request::{Call, Endpoint, Names};
use super::shape::{Body, Loam, LoamRequest, Usage, text};
use crate::problem::Problem;

/// Builds the body of an answer, or the payloads of its stream.
pub struct Answer {
    pub(super) form: Form,
    pub(super) requests: Vec<Reply>,
    pub(super) failure: Option<Problem>,
}

/// What all parts of an answer have in common.
pub(super) struct Form {
    pub(super) endpoint: Endpoint,
    pub(super) id: String,
    pub(super) created_s: u64,
    pub(super) model: String,
    pub(super) spelling: Spelling,
    pub(super) echo: bool,
    pub(super) prompt_logprobs: Option<u32>,
    pub(super) token_ids: bool,
    pub(super) usage_in_stream: bool,
    pub(super) continuous_usage: bool,
    pub(super) names: Names,
}

impl Answer {
    /// Of a call, before anything was said. `tokenizer` spells tokens in log-probabilities and prompts of token ids.
    pub fn new(call: &Call, id: String, created_s: u64, tokenizer: Option<Arc<Tokenizer>>) -> Self {
        let several = call.requests.len() > 1;
        let mut first = 0;
        let mut reply = |(place, request): (usize, &Generate)| {
            let reply = Reply::new(several.then_some(place), first, request, call.echo);
            first += u64::from(request.n);
            reply
        };
        Self {
            requests: call.requests.iter().enumerate().map(&mut reply).collect(),
            form: Form {
                endpoint: call.endpoint,
                id,
                created_s,
                model: call.model.clone(),
                spelling: Spelling { tokenizer, as_ids: call.tokens_as_ids },
                echo: call.echo,
                prompt_logprobs: call.prompt_logprobs,
                token_ids: call.return_token_ids,
                usage_in_stream: call.usage_in_stream,
                continuous_usage: call.continuous_usage,
                names: call.names,
            },
            failure: None,
        }
    }

    /// Takes an event of the request in this place of the call, for the body.
    pub fn collect(&mut self, request: usize, event: Event) {
        let Self { form, requests, failure } = self;
        let Some(reply) = requests.get_mut(request) else { return };
        match event {
            Event::Started(started) => reply.start(&started, form),
            Event::Prompt(scores) => reply.scores(scores),
            Event::Tokens(tokens) => reply.collect(&tokens, form),
            Event::Finished(finished) => reply.finish(&finished),
            Event::Failed(failed) => note(failure, &failed, form),
        }
    }

    /// Takes the receipt of a choice of a request, as text.
    pub fn receipt(&mut self, request: usize, choice: u32, tlog_proof: &str) {
        if let Some(reply) = self.requests.get_mut(request) {
            reply.receipt(choice, tlog_proof);
        }
    }

    /// The body, or why there is none: the first request that failed says so for all.
    pub fn whole(mut self) -> Result<String, Problem> {
        if let Some(problem) = self.failure {
            return Err(problem);
        }
        self.requests.iter_mut().for_each(|reply| reply.seal(&self.form));
        let usage = Some(Some(self.usage()));
        let loam = self.loam(|reply| reply.loam(true, true));
        let Self { form, requests, .. } = &self;
        Ok(match form.endpoint {
            Endpoint::Chat => {
                let choices = requests.iter().flat_map(|reply| reply.chat_choices(form)).collect();
                let first = requests.first();
                let prompt_token_ids = first.map(|reply| &*reply.prompt).filter(|_| form.token_ids);
                let prompt_logprobs = first.and_then(|reply| reply.prompt_logprobs(form));
                text(&Body { usage, prompt_token_ids, prompt_logprobs, loam, ..form.body("chat.completion", choices) })
            }
            Endpoint::Completion => {
                let choices = requests.iter().flat_map(|reply| reply.text_choices(form)).collect();
                text(&Body { usage, loam, ..form.body("text_completion", choices) })
            }
        })
    }

    /// Prompts once each, however many choices they have.
    pub(super) fn usage(&self) -> Usage {
        let sum = |count: fn(&Reply) -> u64| self.requests.iter().map(count).sum();
        Usage::new(sum(Reply::prompt_tokens), sum(Reply::cached_tokens), sum(Reply::tokens))
    }

    /// What is ours of each request, if there is anything.
    pub(super) fn loam(&self, part: impl Fn(&Reply) -> LoamRequest) -> Option<Loam> {
        let mut parts: Vec<LoamRequest> = self.requests.iter().map(part).filter(|part| !part.is_empty()).collect();
        match (self.requests.len(), parts.pop()) {
            (_, None) => None,
            (1, Some(part)) => Some(Loam::One(part)),
            (_, Some(last)) => {
                parts.push(last);
                Some(Loam::Several { requests: parts })
            }
        }
    }
}

/// Keeps the first failure.
pub(super) fn note(failure: &mut Option<Problem>, failed: &Failure, form: &Form) {
    failure.get_or_insert_with(|| form.names.of(Problem::from(failed)));
}

impl Form {
    /// Log-probabilities of no tokens yet.
    pub(super) const fn logprobs(&self) -> Logprobs {
        match self.endpoint {
            Endpoint::Chat => Logprobs::chat(),
            Endpoint::Completion => Logprobs::completion(),
        }
    }

    pub(super) fn body<C>(&self, object: &'static str, choices: Vec<C>) -> Body<'_, C> {
        Body {
            id: &self.id,
            object,
            created: self.created_s,
            model: &self.model,
            system_fingerprint: None,
            choices,
            usage: None,
            prompt_token_ids: None,
            prompt_logprobs: None,
            loam: None,
        }
    }
}
