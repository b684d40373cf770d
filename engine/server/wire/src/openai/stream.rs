//! The chunks of a stream, in the order in which the engine speaks.

use loam_engine::{Event, Finished, TokensEvent};

use super::answer::{Answer, Form, note};
use super::error::error_body;
use super::logprobs::Logprobs;
use super::reply::Reply;
use super::request::Endpoint;
use super::shape::{Body, Delta, DeltaChoice, End, Loam, LoamRequest, TextChoice, Usage, text};

impl Answer {
    /// Takes an event of the request in this place of the call: the payloads that it gives rise to, each the data of
    /// one server-sent event. After a failure nothing follows.
    pub fn chunks(&mut self, request: usize, event: &Event) -> Vec<String> {
        let Self { form, requests, failure } = self;
        let several = requests.len() > 1;
        let Some(reply) = requests.get_mut(request) else { return Vec::new() };
        if failure.is_some() {
            return Vec::new();
        }
        let mut writer = Writer { form, several, reply };
        match event {
            Event::Started(started) => {
                writer.reply.start(started, form);
                writer.begin()
            }
            Event::Prompt(_) => Vec::new(),
            Event::Tokens(tokens) => writer.tokens(tokens).into_iter().collect(),
            Event::Finished(finished) => vec![writer.end(finished)],
            Event::Failed(failed) => {
                note(failure, failed, form);
                failure.iter().map(error_body).collect()
            }
        }
    }

    /// The payloads once everything has finished and every receipt was taken: receipts, then what was used, each with
    /// empty `choices`. `[DONE]` follows.
    pub fn last_chunks(&mut self) -> Vec<String> {
        if self.failure.is_some() {
            return Vec::new();
        }
        let mut chunks = Vec::new();
        if self.requests.iter().any(Reply::has_receipts) {
            let usage = self.form.usage_in_stream.then_some(None);
            let loam = self.loam(|reply| reply.loam(false, true));
            chunks.push(text(&Body { usage, loam, ..self.form.body::<()>(object(&self.form), Vec::new()) }));
        }
        if self.form.usage_in_stream {
            let usage = Some(Some(self.usage()));
            chunks.push(text(&Body { usage, ..self.form.body::<()>(object(&self.form), Vec::new()) }));
        }
        chunks
    }
}

const fn object(form: &Form) -> &'static str {
    match form.endpoint {
        Endpoint::Chat => "chat.completion.chunk",
        Endpoint::Completion => "text_completion",
    }
}

/// What one chunk says of one choice.
#[derive(Default)]
struct Part<'a> {
    role: Option<&'static str>,
    content: Option<&'a str>,
    logprobs: Option<&'a Logprobs>,
    token_ids: Option<&'a [u32]>,
    ended: bool,
}

struct Writer<'a> {
    form: &'a Form,
    several: bool,
    reply: &'a mut Reply,
}

impl Writer<'_> {
    /// A chat's choices begin with their role, and a completion's with the prompt where it is repeated.
    fn begin(&mut self) -> Vec<String> {
        let echoed = self.reply.echoed.clone();
        let part = || match self.form.endpoint {
            Endpoint::Chat => Some(Part { role: Some("assistant"), content: Some(""), ..Part::default() }),
            Endpoint::Completion if self.form.echo => Some(Part { content: Some(&echoed), ..Part::default() }),
            Endpoint::Completion => None,
        };
        let form = self.form;
        let several = self.several;
        let choices = 0..self.reply.choices.len();
        choices
            .filter_map(|choice| {
                let part = part()?;
                Some(Writer { form, several, reply: self.reply }.chunk(choice, &part))
            })
            .collect()
    }

    /// Nothing where a token has no text yet, and nothing else is said of it.
    fn tokens(&mut self, tokens: &TokensEvent) -> Option<String> {
        let choice = tokens.choice as usize;
        let logprobs = self.reply.count(tokens, self.form);
        let ids: Vec<u32> = tokens.tokens.iter().map(|sampled| sampled.chosen.token).collect();
        let token_ids = Some(&ids[..]).filter(|ids| self.form.token_ids && !ids.is_empty());
        let says = !tokens.text.is_empty() || token_ids.is_some() || logprobs.is_some() && !ids.is_empty();
        if !says || choice >= self.reply.choices.len() {
            return None;
        }
        let content = Some(&*tokens.text);
        Some(self.chunk(choice, &Part { content, logprobs: logprobs.as_ref(), token_ids, ..Part::default() }))
    }

    fn end(&mut self, finished: &Finished) -> String {
        self.reply.finish(finished);
        self.chunk(finished.choice as usize, &Part { ended: true, ..Part::default() })
    }

    fn chunk(&mut self, choice: usize, part: &Part<'_>) -> String {
        let form = self.form;
        let loam = self.loam();
        let choice_begins =
            self.reply.choices.get_mut(choice).is_some_and(|it| !std::mem::replace(&mut it.begun, true));
        let request_begins = !std::mem::replace(&mut self.reply.begun, true);
        let reply = &*self.reply;
        let index = reply.first + choice as u64;
        let end = reply.choices.get(choice).filter(|_| part.ended).map_or_else(End::default, |it| reply.end(it));
        let tokens = reply.choices.get(choice).map_or(0, |it| it.tokens);
        let usage = match (form.usage_in_stream, form.continuous_usage) {
            (_, true) => Some(Some(Usage::new(reply.prompt_tokens(), reply.cached_tokens(), tokens))),
            (true, false) => Some(None),
            (false, false) => None,
        };
        let Part { role, content, logprobs, token_ids, .. } = *part;
        let prompt = |begins: bool| Some(&*reply.prompt).filter(|_| form.token_ids && begins);
        match form.endpoint {
            Endpoint::Chat => {
                let choices = vec![DeltaChoice { index, delta: Delta { role, content }, logprobs, end, token_ids }];
                let prompt_token_ids = prompt(request_begins);
                text(&Body { usage, prompt_token_ids, loam, ..form.body(object(form), choices) })
            }
            Endpoint::Completion => {
                let prompt_token_ids = prompt(choice_begins);
                let text_of = content.unwrap_or_default();
                let choice = TextChoice {
                    index,
                    text: text_of,
                    logprobs,
                    end,
                    token_ids,
                    prompt_token_ids,
                    prompt_logprobs: None,
                };
                text(&Body { usage, loam, ..form.body(object(form), vec![choice]) })
            }
        }
    }

    /// What is ours and known from the beginning, in a request's first chunk.
    fn loam(&self) -> Option<Loam> {
        let part =
            Some(self.reply.loam(true, false)).filter(|part: &LoamRequest| !self.reply.begun && !part.is_empty())?;
        Some(if self.several { Loam::Several { requests: vec![part] } } else { Loam::One(part) })
    }
}
