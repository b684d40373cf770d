//! One call's requests while they are answered: what the engine says of them, in order, until all have ended.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use loam_engine::constraint::CompiledForm;
use loam_engine::recorder::RequestFacts;
use loam_engine::request::Generate;
use loam_engine::{Event, Failure, Handle};
use loam_ledger_core::Hash;
use loam_ledger_core::row::Finish;
use loam_wire::{Kind, Problem};
use tokio::sync::mpsc;

use super::guard::Admitted;
use super::node::Node;
use crate::access::{Caller, Permit};
use crate::metrics::finished_reason;

/// Messages that may wait for a client that reads slowly. Whoever is further behind is cut off: an engine that many share
/// waits for nobody, and memory has an end.
const EVENTS_WAITING_MAX: usize = 8_192;

/// The same of each answer that can run at one time, where there are many in one call: a step says something of each.
const EVENTS_WAITING_PER_CHOICE: usize = 1_024;

/// Bytes that may wait so for one call, whatever its messages hold.
const BYTES_WAITING_MAX: usize = 8 << 20;

/// Requests on their way. Dropping it cancels what still runs.
pub(crate) struct Answering {
    node: Arc<Node>,
    events: mpsc::Receiver<(usize, Event)>,
    bytes_waiting: Arc<AtomicUsize>,
    handles: Vec<Handle>,
    requests: Vec<OneRequest>,
    /// Whether the answer's first words have left: what fails then has no status that would tell.
    pub(crate) is_streaming: bool,
    /// Where the log says how it ended.
    span: tracing::Span,
    /// Of the key that asks; given back when the call is over.
    _permits: (Admitted, Vec<Permit>),
}

/// What is known of one request.
struct OneRequest {
    began: Instant,
    /// Of each choice, its last token's time and how many there were; of those that have one.
    last_tokens: BTreeMap<u32, (Instant, u64)>,
    /// Why its choices ended, as far as they have.
    ends: Vec<&'static str>,
    tokens: u64,
    /// The last token of those choices that ended.
    last_token: Option<Instant>,
    /// The name by which its receipts are asked for.
    name: Option<Hash>,
    prompt_tokens: u64,
    /// Choices that have not ended.
    choices_open: u32,
    over: bool,
}

/// Asks the engine for everything at once; one refusal refuses all.
pub(crate) async fn begin(
    node: &Arc<Node>,
    (caller, admitted): (&Caller, Admitted),
    mut requests: Vec<Generate>,
    facts: RequestFacts,
) -> Result<Answering, Problem> {
    node.ready()?;
    // The call has a place already: the first request's.
    let permits = requests.iter().skip(1).map(|_| caller.admit()).collect::<Result<Vec<_>, _>>()?;
    let one = |generate: &Generate| OneRequest {
        began: Instant::now(),
        last_tokens: BTreeMap::new(),
        ends: Vec::new(),
        tokens: 0,
        last_token: None,
        name: None,
        prompt_tokens: 0,
        choices_open: generate.n,
        over: false,
    };
    let asked: Vec<OneRequest> = requests.iter().map(one).collect();
    for generate in &mut requests {
        generate.tenant = caller.tenant().to_string();
        if node.settings.log.prompts {
            tracing::info!(prompt = ?generate.prompt, "asked");
        }
    }
    let sizes: Vec<_> = requests.iter().map(|generate| (generate.n, generate.max_tokens)).collect();
    let choices: u32 = requests.iter().map(|generate| generate.n).sum();
    let running = usize::try_from(choices).unwrap_or(usize::MAX).min(node.settings.answers_running_max());
    let (sender, events) = mpsc::channel(EVENTS_WAITING_MAX.max(EVENTS_WAITING_PER_CHOICE * running));
    // Tokenising a long prompt and compiling a schema take their time.
    let bytes_waiting = Arc::new(AtomicUsize::new(0));
    let waiting = Arc::clone(&bytes_waiting);
    let begun = node.blocking_long(facts.request_bytes.len(), move |node| {
        let mut form = CompiledForm::default();
        let submit = |(number, generate): (usize, Generate)| {
            if sender.is_closed() {
                return Err(gone());
            }
            let (sender, waiting) = (sender.clone(), Arc::clone(&waiting));
            let sink = Box::new(move |event: Event| {
                let bytes = bytes_of(&event);
                // An empty queue takes even what is too large: one message is bounded by what was asked.
                let before = waiting.fetch_add(bytes, Ordering::AcqRel);
                (before == 0 || before + bytes <= BYTES_WAITING_MAX) && sender.try_send((number, event)).is_ok()
            });
            Ok(Cancelling(Some(node.engine.submit_recorded(generate, facts.clone(), &mut form, sink)?)))
        };
        // The key's further places go with the work, as its first does, and come back with what came of it.
        let handles = requests.into_iter().enumerate().map(submit).collect::<Result<Vec<_>, Problem>>()?;
        Ok((handles, permits))
    });
    let (mut begun, permits) = begun.await?;
    let handles = begun.iter_mut().filter_map(|it| it.0.take()).collect();
    sizes.into_iter().for_each(|(choices, max_tokens)| node.meters.began(choices, max_tokens));
    Ok(Answering {
        node: Arc::clone(node),
        events,
        bytes_waiting,
        handles,
        requests: asked,
        is_streaming: false,
        span: tracing::Span::current(),
        _permits: (admitted, permits),
    })
}

/// Nobody reads it.
fn gone() -> Problem {
    Problem::new(Kind::Deadline, "the client has gone")
}

/// What an event holds in memory, about.
fn bytes_of(event: &Event) -> usize {
    let more = match event {
        Event::Tokens(tokens) => {
            let top: usize = tokens.tokens.iter().map(|sampled| size_of_val(&sampled.top[..])).sum();
            size_of_val(&tokens.tokens[..]) + top + tokens.text.len()
        }
        Event::Prompt(scores) => {
            size_of_val(&scores.tokens[..]) + scores.logits.as_ref().map_or(0, |logits| size_of_val(&logits[..]))
        }
        Event::Started(started) => size_of_val(&started.prompt[..]),
        Event::Finished(_) | Event::Failed(_) => 0,
    };
    size_of::<Event>() + more
}

/// A request that is cancelled where those beside it are refused.
struct Cancelling(Option<Handle>);

impl Drop for Cancelling {
    fn drop(&mut self) {
        if let Some(handle) = self.0.take() {
            handle.cancel();
        }
    }
}

impl Answering {
    /// The next message, and which request it is of; none when all have ended.
    pub(crate) async fn next(&mut self) -> Option<(usize, Event)> {
        if self.requests.iter().all(|request| request.over) {
            return None;
        }
        let (number, mut event) = match self.events.recv().await {
            Some(next) => next,
            // Everybody who could speak is gone: the engine broke off, or it cut a slow reader off.
            None => {
                let open = self.requests.iter().position(|request| !request.over)?;
                return Some(self.lost(open));
            }
        };
        self.bytes_waiting.fetch_sub(bytes_of(&event), Ordering::AcqRel);
        if let (Event::Finished(finished), None) = (&mut event, &self.node.ledger) {
            // Its number is of a record that nobody keeps.
            finished.entry = None;
        }
        self.count(number, &event);
        Some((number, event))
    }

    fn lost(&mut self, number: usize) -> (usize, Event) {
        let event = Event::Failed(Failure::Lost);
        self.count(number, &event);
        (number, event)
    }

    /// The name of a request's receipts.
    pub(crate) fn name(&self, number: usize) -> Option<Hash> {
        self.requests.get(number)?.name
    }

    /// A receipt is there: counts how long it took since the last token.
    pub(crate) fn receipt_made(&self, number: usize) {
        if let Some(last) = self.requests.get(number).and_then(|request| request.last_token) {
            self.node.meters.receipt(last.elapsed().as_secs_f64());
        }
    }

    fn count(&mut self, number: usize, event: &Event) {
        let (request, meters) = (&mut self.requests[number], &self.node.meters);
        match event {
            Event::Started(started) => {
                request.name = started.name;
                request.prompt_tokens = started.prompt.len() as u64;
            }
            Event::Prompt(_) => {}
            Event::Tokens(tokens) => {
                let now = Instant::now();
                if self.node.settings.log.prompts {
                    tracing::info!(request = number, choice = tokens.choice, text = tokens.text, "answered so far");
                }
                let count = tokens.tokens.len() as u64;
                let before = request.last_tokens.get(&tokens.choice).copied();
                let all = before.map_or(0, |(_, count)| count) + count;
                request.last_tokens.insert(tokens.choice, (now, all));
                request.tokens += count;
                match before {
                    None => meters.first_token((now - request.began).as_secs_f64()),
                    Some((last, _)) => meters.tokens(count, (now - last).as_secs_f64()),
                }
            }
            Event::Finished(finished) => {
                request.choices_open = request.choices_open.saturating_sub(1);
                request.over = finished.last;
                request.last_token =
                    request.last_tokens.remove(&finished.choice).map(|(at, _)| at).max(request.last_token);
                request.ends.push(finished_reason(finished.finish));
                let took = request.began.elapsed().as_secs_f64();
                meters.finished(finished.finish, request.prompt_tokens, finished.tokens.emitted, took);
            }
            Event::Failed(failure) => {
                request.over = true;
                request.ends.push("error");
                let kind = Problem::from(failure).kind;
                if self.is_streaming {
                    meters.refused(kind);
                }
                // The fault is here, and the client is told less.
                if matches!(
                    (failure, kind),
                    (Failure::Adapter(_) | Failure::Step(_), Kind::Unavailable | Kind::Internal)
                ) {
                    tracing::warn!(parent: &self.span, request = number, "{failure}");
                }
            }
        }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        for (handle, _) in self.handles.iter().zip(&self.requests).filter(|(_, request)| !request.over) {
            handle.cancel();
        }
        for request in &mut self.requests {
            request.end(&self.node, &self.span);
        }
    }
}

impl OneRequest {
    /// Counts what nobody waits for any more, and logs how it all ended: with the name of its receipts, and without a
    /// word of what was said.
    fn end(&mut self, node: &Node, span: &tracing::Span) {
        let took = self.began.elapsed();
        if !self.over {
            let begun = self.last_tokens.values().map(|(_, tokens)| *tokens);
            let open = begun.chain(std::iter::repeat(0)).take(self.choices_open as usize);
            for tokens in open {
                node.meters.finished(Finish::CANCELLED, self.prompt_tokens, tokens, took.as_secs_f64());
                self.ends.push(finished_reason(Finish::CANCELLED));
            }
        }
        self.ends.dedup();
        let (ends, tokens, prompt_tokens) = (self.ends.join(","), self.tokens, self.prompt_tokens);
        let (receipt_id, ms) =
            (self.name.map(|name| name.to_hex()), u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        tracing::info!(parent: span, ends, prompt_tokens, tokens, receipt_id, ms, "ended");
    }
}

/// A failure, as a client is told of it.
pub(crate) fn failed(failure: &Failure) -> Problem {
    match failure {
        Failure::Lost => Problem::new(
            Kind::Unavailable,
            "the answer broke off: the engine ended, or the client read too slowly; ask again",
        ),
        failure => Problem::from(failure),
    }
}
