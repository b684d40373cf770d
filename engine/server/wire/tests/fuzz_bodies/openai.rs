//! Bodies of OpenAI's requests, and the answers that they would get.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use loam_engine::event::{PromptScores, Started, StoppedBy};
use loam_engine::executor::{Chosen, Sampled};
use loam_engine::json::Json;
use loam_engine::request::Generate;
use loam_engine::tokenizer::Tokenizer;
use loam_engine::{Event, Finished, TokensEvent};
use loam_ledger_core::Hash;
use loam_ledger_core::row::{Finish, Tokens};
use loam_wire::openai::{Answer, Call, Endpoint, PROMPTS_MAX, REQUEST_ID_BYTES_MAX, error_body, read};
use loam_wire::{Kind, Problem};
use serde_json::Value;

use super::{REFUSAL_BYTES_MAX, soon};

/// Choices of a request that are answered here.
const CHOICES: u32 = 3;

/// Bodies of `/v1/chat/completions`.
pub(crate) fn openai_chat(data: &[u8]) {
    body(Endpoint::Chat, data);
}

/// Bodies of `/v1/completions`.
pub(crate) fn openai_completion(data: &[u8]) {
    body(Endpoint::Completion, data);
}

fn body(endpoint: Endpoint, data: &[u8]) {
    soon(|| match read(endpoint, data, &bases()) {
        Ok(call) => {
            is_sound(endpoint, &call);
            is_read_alike(endpoint, data);
            is_answered(call);
        }
        Err(problem) => is_refused(&problem),
    });
}

fn bases() -> [String; 1] {
    ["base".to_owned()]
}

/// A refusal is the client's to mend, short, and of JSON.
fn is_refused(problem: &Problem) {
    assert_eq!(problem.kind, Kind::Invalid, "{}", problem.message);
    assert!(problem.message.len() <= REFUSAL_BYTES_MAX, "a refusal of {} bytes", problem.message.len());
    json(&error_body(problem));
}

/// Whatever was read can be asked for.
fn is_sound(endpoint: Endpoint, call: &Call) {
    assert_eq!(call.endpoint, endpoint);
    assert!((1..=PROMPTS_MAX).contains(&call.requests.len()), "{} requests", call.requests.len());
    call.requests.iter().for_each(|request| request.check().expect("what was read was checked"));
    assert!(call.stream || !call.usage_in_stream && !call.continuous_usage);
    if let Some(id) = &call.request_id {
        assert!((1..=REQUEST_ID_BYTES_MAX).contains(&id.len()) && id.is_ascii(), "{id:?}");
    }
}

/// The fields in another order ask for the same.
fn is_read_alike(endpoint: Endpoint, data: &[u8]) {
    let text = core::str::from_utf8(data).expect("what was read is a text");
    let Ok(Json::Object(mut fields)) = Json::parse(text) else { panic!("a request is an object") };
    let mut spelled = || {
        fields.reverse();
        let text = serde_json::to_string(&Json::Object(fields.clone())).expect("a value has a JSON form");
        read(endpoint, text.as_bytes(), &bases()).expect("another spelling of the same")
    };
    assert_eq!(spelled(), spelled());
}

/// A stream and a body say the same.
fn is_answered(mut call: Call) {
    call.requests.truncate(4);
    call.requests.iter_mut().for_each(|request| request.n = request.n.min(CHOICES));
    let events: Vec<(usize, Event)> = call.requests.iter().enumerate().flat_map(events).collect();
    let fresh = || Answer::new(&call, "id".to_owned(), 7, Some(tokenizer()));
    let (mut streamed, mut whole) = (fresh(), fresh());
    let mut chunks: Vec<String> = events.iter().flat_map(|(at, event)| streamed.chunks(*at, event)).collect();
    events.into_iter().for_each(|(at, event)| whole.collect(at, event));
    for answer in [&mut streamed, &mut whole] {
        answer.receipt(0, 0, "proof");
    }
    chunks.extend(streamed.last_chunks());
    let body = json(&whole.whole().expect("nothing failed"));
    let choices = body["choices"].as_array().expect("there are choices");
    let mut texts = vec![String::new(); choices.len()];
    for chunk in &chunks {
        for choice in json(chunk)["choices"].as_array().expect("there are choices") {
            let index = choice["index"].as_u64().expect("a number") as usize;
            let text = choice["text"].as_str().or_else(|| choice["delta"]["content"].as_str());
            texts[index].push_str(text.unwrap_or_default());
        }
    }
    for (choice, text) in choices.iter().zip(texts) {
        let whole = choice["text"].as_str().or_else(|| choice["message"]["content"].as_str());
        assert_eq!(whole, Some(text.as_str()));
        assert!(choice["finish_reason"].is_string());
    }
}

/// What an engine could say to a request: tokens with and without text, and numbers that are none.
fn events((at, request): (usize, &Generate)) -> Vec<(usize, Event)> {
    let chosen = |token, log_probability| Chosen { token, log_probability, rank: u32::MAX };
    let started = Started { name: Some(Hash::ZERO), prompt: [0, 413, 5].into(), adapters: Vec::new() };
    let score = |token, log_probability| Sampled { chosen: chosen(token, log_probability), top: vec![(9_999, -1.5)] };
    let scores = PromptScores { tokens: vec![score(413, -0.5), score(5, f32::NAN)], logits: None };
    let mut events = vec![Event::Started(started), Event::Prompt(scores)];
    for choice in 0..request.n {
        let sampled = |token, log_probability| Sampled {
            chosen: chosen(token, log_probability),
            top: vec![(token, f32::NEG_INFINITY), (9_999, -1.5)],
        };
        let tokens = vec![sampled(413, -0.5), sampled(200, f32::INFINITY)];
        events.push(Event::Tokens(TokensEvent { choice, tokens, text: " fox\u{1f642}".to_owned() }));
        events.push(Event::Tokens(TokensEvent { choice, tokens: vec![sampled(1, 0.0)], text: String::new() }));
        let finish = [Finish::STOP, Finish::STOP_SEQUENCE, Finish::DEADLINE][choice as usize % 3];
        let tokens = Tokens { reused: u64::MAX, ..Tokens::default() };
        let stopped_by = (finish == Finish::STOP_SEQUENCE).then_some(StoppedBy::Text(choice as usize));
        let last = choice + 1 == request.n;
        events.push(Event::Finished(Finished { choice, finish, stopped_by, tokens, entry: None, last }));
    }
    events.into_iter().map(|event| (at, event)).collect()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("answers are JSON")
}

/// Read once for all inputs.
fn tokenizer() -> Arc<Tokenizer> {
    const BYTES: &[u8] = include_bytes!("../../../../testdata/golden/llama-gqa/base/tokenizer.json");
    static TOKENIZER: OnceLock<Arc<Tokenizer>> = OnceLock::new();
    let read = || Arc::new(Tokenizer::from_bytes(Path::new("tokenizer.json"), BYTES).expect("it is a tokenizer"));
    Arc::clone(TOKENIZER.get_or_init(read))
}
