//! Many answers for programs: a file of requests in, one JSON line an answer out, as each is whole.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, mpsc};

use anyhow::Context as _;
use loam_engine::constraint::CompiledForm;
use loam_engine::recorder::RequestFacts;
use loam_engine::request::Generate;
use loam_engine::request_line::{self, AnswerLine, LINE_BYTES_MAX, TokenLine, UsageLine};
use loam_engine::{Engine, Event, Finished, TokensEvent};

/// A request, its id, and its bytes as they were read.
pub(super) struct Asked {
    pub(super) id: String,
    pub(super) request: Generate,
    pub(super) bytes: Arc<[u8]>,
}

/// Reads a file of requests, naming the line of the first that is refused.
pub(super) fn read(path: &Path) -> anyhow::Result<Vec<Asked>> {
    let file = std::fs::File::open(path).with_context(|| path.display().to_string())?;
    let mut reader = BufReader::new(file);
    let mut requests = Vec::new();
    for number in 1.. {
        let place = || format!("{}, line {number}", path.display());
        let mut line = Vec::new();
        // One byte more than a line can have: the parser says so by name.
        let read = reader.by_ref().take(LINE_BYTES_MAX as u64 + 2).read_until(b'\n', &mut line).with_context(place)?;
        if read == 0 {
            break;
        }
        let line = std::str::from_utf8(&line).with_context(place)?.trim();
        if !line.is_empty() {
            let (id, request) = request_line::parse(line).with_context(place)?;
            requests.push(Asked { id, request, bytes: line.as_bytes().into() });
        }
    }
    Ok(requests)
}

/// Asks for everything at once, and writes each answer when it is whole.
pub(super) fn answer(engine: &Engine, requests: Vec<Asked>) -> anyhow::Result<ExitCode> {
    let (sender, events) = mpsc::channel();
    let mut running = Vec::new();
    let (mut failed, mut form) = (0, CompiledForm::default());
    let mut out = std::io::stdout().lock();
    for (number, Asked { id, request, bytes }) in requests.into_iter().enumerate() {
        running.push(Collected::new(id, &request, engine.text().tokenizer().is_some()));
        let sender = sender.clone();
        let facts = RequestFacts { request_bytes: bytes, ..RequestFacts::default() };
        let sink = Box::new(move |event| sender.send((number, event)).is_ok());
        if let Err(error) = engine.submit_recorded(request, facts, &mut form, sink) {
            failed += 1;
            eprintln!("loam: request {}: {error}", running[number].id);
        }
    }
    drop(sender);
    for (number, event) in events {
        match running[number].take(event) {
            Ok(Some(line)) => {
                writeln!(out, "{}", line.to_line())?;
                out.flush()?;
            }
            Ok(None) => {}
            Err(failure) => {
                failed += 1;
                eprintln!("loam: request {}: {failure}", running[number].id);
            }
        }
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// One request's answers as they come in.
struct Collected {
    id: String,
    several: bool,
    with_logprobs: bool,
    with_text: bool,
    prompt: Vec<u32>,
    receipt: Option<String>,
    prompt_logprobs: Option<Vec<f32>>,
    logits_last: Option<Vec<f32>>,
    wants_prompt_logprobs: bool,
    answers: BTreeMap<u32, AnswerLine>,
}

impl Collected {
    fn new(id: String, request: &Generate, with_text: bool) -> Self {
        Self {
            id,
            several: request.n > 1,
            with_logprobs: request.logprobs.is_some(),
            with_text,
            prompt: Vec::new(),
            receipt: None,
            prompt_logprobs: None,
            logits_last: None,
            wants_prompt_logprobs: request.prompt_logprobs,
            answers: BTreeMap::new(),
        }
    }

    /// Takes an event; the answer that is whole with it.
    fn take(&mut self, event: Event) -> Result<Option<AnswerLine>, loam_engine::Failure> {
        match event {
            Event::Started(started) => {
                self.prompt = started.prompt.to_vec();
                self.receipt = started.name.map(|name| name.to_hex());
            }
            Event::Prompt(scores) => {
                let tokens = scores.tokens.iter().map(|it| it.chosen.log_probability);
                self.prompt_logprobs = self.wants_prompt_logprobs.then(|| tokens.collect());
                self.logits_last = scores.logits;
            }
            Event::Tokens(tokens) => self.grow(&tokens),
            Event::Finished(finished) => return Ok(Some(self.finish(&finished))),
            Event::Failed(failure) => return Err(failure),
        }
        Ok(None)
    }

    fn grow(&mut self, tokens: &TokensEvent) {
        let answer = self.answers.entry(tokens.choice).or_default();
        answer.text.get_or_insert_default().push_str(&tokens.text);
        for sampled in &tokens.tokens {
            let chosen = sampled.chosen;
            answer.tokens.push(chosen.token);
            if self.with_logprobs {
                let line = TokenLine {
                    token: chosen.token,
                    logprob: chosen.log_probability,
                    rank: chosen.rank,
                    top: sampled.top.clone(),
                };
                answer.logprobs.get_or_insert_default().push(line);
            }
        }
    }

    fn finish(&mut self, finished: &Finished) -> AnswerLine {
        let mut line = self.answers.remove(&finished.choice).unwrap_or_default();
        line.text = line.text.filter(|_| self.with_text);
        line.id.clone_from(&self.id);
        line.choice = self.several.then_some(finished.choice);
        line.prompt_tokens.clone_from(&self.prompt);
        line.receipt.clone_from(&self.receipt);
        line.finish_reason = request_line::finish_reason(finished.finish);
        if finished.choice == 0 {
            line.prompt_logprobs = self.prompt_logprobs.take();
            line.logits_last = self.logits_last.take();
        }
        line.usage = UsageLine {
            prompt_tokens: self.prompt.len() as u64,
            cached_tokens: finished.tokens.reused,
            completion_tokens: line.tokens.len() as u64,
        };
        line
    }
}
