//! `/v1/chat/completions` and `/v1/completions`: whole, or as server-sent events.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use loam_engine::Event;
use loam_engine::recorder::RequestFacts;
use loam_wire::openai::{self, Endpoint, Names};
use loam_wire::{Kind, Problem};
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;

use super::{Answer, body, json, nonce};
use crate::access::{Caller, Scope};
use crate::serve::answering::{self, Answering};
use crate::serve::guard::{Admitted, RequestId};
use crate::serve::node::Node;
use crate::serve::{now_s, patience};

/// The header that names a request's receipts.
const RECEIPT_ID: &str = "x-loam-receipt-id";

/// Payloads on their way to one client, beside the messages that wait for it.
const PAYLOADS_MAX: usize = 16;

/// After how long a silent stream says that it lives, for those in between that close what is silent.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

pub(super) async fn chat(State(node): State<Arc<Node>>, request: Request) -> Answer {
    answer(node, Endpoint::Chat, request).await
}

pub(super) async fn completion(State(node): State<Arc<Node>>, request: Request) -> Answer {
    answer(node, Endpoint::Completion, request).await
}

async fn answer(node: Arc<Node>, endpoint: Endpoint, request: Request) -> Answer {
    let (caller, id) = (caller(&request)?, request.extensions().get::<RequestId>().cloned());
    let admitted = request.extensions().get::<Admitted>().cloned().ok_or_else(unknown)?;
    caller.need(Scope::Infer)?;
    let headers = request.headers().clone();
    let body = body(&node, request).await?;
    let read = {
        let bytes = body.clone();
        // Long bodies take their time.
        node.blocking(move |node| openai::read(endpoint, &bytes, &node.names)).await
    };
    let mut call = read?;
    call.nonce = merged(&headers, call.nonce)?;
    call.receipt |= call.nonce.is_some();
    if call.receipt {
        node.ledger()?;
    }
    let facts =
        RequestFacts { client_nonce: call.nonce, request_bytes: body.as_ref().into(), ..RequestFacts::default() };
    let id = one_id(id, call.request_id.as_deref())?;
    let prefix = if endpoint == Endpoint::Chat { "chatcmpl" } else { "cmpl" };
    let tokenizer = node.engine.text().tokenizer().cloned();
    let answer = openai::Answer::new(&call, format!("{prefix}-{}", id.id), now_s(), tokenizer);
    let names = call.names;
    let choices: Vec<u32> = call.requests.iter().map(|generate| generate.n).collect();
    let answering = answering::begin(&node, (&caller, admitted), call.requests, facts).await;
    let mut answering = answering.map_err(|problem| names.of(problem))?;
    // Nothing is said before the engine has taken the requests in: a refusal then still has its status.
    let first = first_events(&mut answering, choices.len()).await.map_err(|problem| names.of(problem))?;
    let name = answering.name(0);
    let one = OneAnswer { node, answering, first, answer, choices, receipts: call.receipt, names };
    let mut response = if call.stream { one.streamed() } else { one.whole().await? };
    response.extensions_mut().insert(id);
    if let Some(name) = name {
        let value = HeaderValue::from_str(&name.to_hex()).expect("hexadecimal digits");
        response.headers_mut().insert(RECEIPT_ID, value);
    }
    Ok(response)
}

/// The nonce from the header or the body; both must be one.
fn merged(headers: &HeaderMap, given: Option<[u8; 32]>) -> Result<Option<[u8; 32]>, Problem> {
    match (nonce(headers)?, given) {
        (Some(one), Some(other)) if one != other => {
            Err(Problem::field("loam.nonce", "`loam.nonce` differs from the header `x-loam-nonce`; give one of them"))
        }
        (one, other) => Ok(one.or(other)),
    }
}

/// The id from the header or the body; both must be one. What the body says is logged beside what the request began as.
fn one_id(header: Option<RequestId>, body: Option<&str>) -> Result<RequestId, Problem> {
    match (header, body) {
        (Some(header), Some(body)) if header.is_given && &*header.id != body => {
            let message = "`request_id` differs from the header `x-request-id`; give one of them";
            Err(Problem::field("request_id", message))
        }
        (_, Some(body)) => {
            tracing::Span::current().record("named", body);
            Ok(RequestId { id: body.into(), is_given: true })
        }
        (header, None) => header.ok_or_else(|| Problem::new(Kind::Internal, "the request has no id")),
    }
}

fn caller(request: &Request) -> Result<Caller, Problem> {
    request.extensions().get::<Caller>().cloned().ok_or_else(unknown)
}

fn unknown() -> Problem {
    Problem::new(Kind::Unauthenticated, "no key was presented; send `authorization: Bearer KEY`")
}

/// What is said until each request has begun, or the first has failed.
async fn first_events(answering: &mut Answering, requests: usize) -> Result<Vec<(usize, Event)>, Problem> {
    let mut first = Vec::new();
    let mut begun = vec![false; requests];
    while begun.contains(&false) {
        match answering.next().await {
            Some((_, Event::Failed(failure))) => return Err(answering::failed(&failure)),
            Some((number, event)) => {
                begun[number] = true;
                first.push((number, event));
            }
            None => break,
        }
    }
    Ok(first)
}

/// One call's answer on its way out.
struct OneAnswer {
    node: Arc<Node>,
    answering: Answering,
    first: Vec<(usize, Event)>,
    answer: openai::Answer,
    choices: Vec<u32>,
    receipts: bool,
    names: Names,
}

impl OneAnswer {
    async fn whole(mut self) -> Result<Response, Problem> {
        for (number, event) in std::mem::take(&mut self.first) {
            self.answer.collect(number, event);
        }
        while let Some((number, event)) = self.answering.next().await {
            if let Event::Failed(failure) = &event {
                return Err(self.names.of(answering::failed(failure)));
            }
            self.answer.collect(number, event);
        }
        self.add_receipts().await?;
        Ok(json(self.answer.whole()?))
    }

    fn streamed(mut self) -> Response {
        self.answering.is_streaming = true;
        let (sender, receiver) = mpsc::channel(PAYLOADS_MAX);
        tokio::spawn(self.tell(sender));
        let body = Body::from_stream(ReceiverStream::new(receiver).map(Ok::<Bytes, Infallible>));
        let headers = [
            (CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8")),
            (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        ];
        (headers, body).into_response()
    }

    /// Says everything. It ends at once when nobody listens any more, and what runs is cancelled.
    async fn tell(mut self, sender: mpsc::Sender<Bytes>) {
        let say = |line: Bytes| patience::say(&sender, line);
        for (number, event) in std::mem::take(&mut self.first) {
            for payload in self.answer.chunks(number, &event) {
                if say(line(&payload)).await.is_err() {
                    return;
                }
            }
        }
        loop {
            let next = tokio::select! {
                () = sender.closed() => return,
                next = tokio::time::timeout(KEEP_ALIVE, self.answering.next()) => next,
            };
            let payloads = match next {
                Err(_) => {
                    let _ = say(Bytes::from_static(b": still here\n\n")).await;
                    continue;
                }
                Ok(Some((_, Event::Failed(failure)))) => {
                    let _ = say(line(&openai::error_body(&self.names.of(answering::failed(&failure))))).await;
                    return;
                }
                Ok(Some((number, event))) => self.answer.chunks(number, &event),
                Ok(None) => break,
            };
            for payload in payloads {
                if say(line(&payload)).await.is_err() {
                    return;
                }
            }
        }
        if let Err(problem) = self.add_receipts().await {
            let _ = say(line(&openai::error_body(&problem))).await;
            return;
        }
        for payload in self.answer.last_chunks().into_iter().chain(["[DONE]".to_owned()]) {
            if say(line(&payload)).await.is_err() {
                return;
            }
        }
    }

    /// Waits for the receipts that are wanted.
    async fn add_receipts(&mut self) -> Result<(), Problem> {
        if !self.receipts {
            return Ok(());
        }
        for (number, choices) in self.choices.iter().enumerate() {
            let Some(name) = self.answering.name(number) else { continue };
            for choice in 0..*choices {
                let receipt = self.node.blocking(move |node| node.receipt_of(&name, choice)).await?;
                self.answering.receipt_made(number);
                let text =
                    String::from_utf8(receipt).map_err(|_| Problem::new(Kind::Internal, "a receipt is no text"))?;
                self.answer.receipt(number, choice, &text);
            }
        }
        Ok(())
    }
}

/// One server-sent event.
fn line(payload: &str) -> Bytes {
    Bytes::from(format!("data: {payload}\n\n"))
}
