//! How tests ask: a body of the few fields that matter, and events of an engine that is none.

use std::path::Path;
use std::sync::Arc;

use loam_engine::adapter::Generation;
use loam_engine::event::{PromptScores, Started, StoppedBy};
use loam_engine::executor::{Chosen, Sampled};
use loam_engine::tokenizer::Tokenizer;
use loam_engine::{Event, Finished, TokensEvent};
use loam_ledger_core::Hash;
use loam_ledger_core::row::{Finish, Tokens};
use loam_wire::Problem;
use loam_wire::openai::{Answer, Call, Endpoint, read};
use serde_json::Value;

/// What every request needs.
pub(crate) const fn smallest(endpoint: Endpoint) -> &'static str {
    match endpoint {
        Endpoint::Chat => r#""messages": [{"role": "user", "content": "hi"}]"#,
        Endpoint::Completion => r#""prompt": "hi""#,
    }
}

/// A body with exactly these fields.
pub(crate) fn bare(endpoint: Endpoint, fields: &str) -> Result<Call, Problem> {
    let bases = ["base".to_owned(), "base-2".to_owned()];
    read(endpoint, format!("{{{fields}}}").as_bytes(), &bases)
}

/// A body with these fields beside what every request needs.
pub(crate) fn with(endpoint: Endpoint, fields: &str) -> Result<Call, Problem> {
    let comma = if fields.is_empty() { "" } else { ", " };
    bare(endpoint, &format!("{}{comma}{fields}", smallest(endpoint)))
}

/// A body that is right.
#[track_caller]
pub(crate) fn call(endpoint: Endpoint, fields: &str) -> Call {
    with(endpoint, fields).unwrap_or_else(|problem| panic!("{fields}: {}", problem.message))
}

/// A field that is refused, in these words.
#[track_caller]
pub(crate) fn refused(result: Result<Call, Problem>, field: &str, words: &str) {
    let problem = result.expect_err("it is refused");
    assert!(problem.message.contains(words), "{}", problem.message);
    assert_eq!(problem.field.as_deref(), Some(field), "{}", problem.message);
    assert!(problem.message.contains(&format!("`{field}`")), "{}", problem.message);
}

/// The small model's tokenizer: "hi" is not one of its tokens, " fox" is 413.
pub(crate) fn tokenizer() -> Arc<Tokenizer> {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/golden/llama-gqa/base"));
    Arc::new(Tokenizer::read(folder).unwrap().unwrap())
}

/// Before anything was said; made at second 7.
pub(crate) fn answer(call: &Call, with_tokenizer: bool) -> Answer {
    Answer::new(call, "id-1".to_owned(), 7, with_tokenizer.then(tokenizer))
}

/// A request of these prompt tokens began, with a name of this byte.
pub(crate) fn started(name: u8, prompt: &[u32]) -> Event {
    let adapters = vec![(Generation(Hash([0xab; 32])), 1_500_000)];
    Event::Started(Started { name: Some(Hash([name; 32])), prompt: prompt.into(), adapters })
}

/// A request began of which nothing is recorded.
pub(crate) fn unrecorded(prompt: &[u32]) -> Event {
    Event::Started(Started { name: None, prompt: prompt.into(), adapters: Vec::new() })
}

/// Log-probabilities of a prompt's tokens but the first; 405 (-0.125) is the most probable everywhere.
pub(crate) fn scores(tokens: &[(u32, f32, u32)]) -> Event {
    let chosen = tokens.iter().map(|it| Chosen { token: it.0, log_probability: it.1, rank: it.2 });
    let tokens = chosen.map(|chosen| Sampled { chosen, top: vec![(405, -0.125)] }).collect();
    Event::Prompt(PromptScores { tokens, logits: None })
}

/// Tokens and their text; each with log-probability -0.5, and 413 (-0.5) and 405 (-1.5) as the most probable.
pub(crate) fn tokens(choice: u32, ids: &[u32], text: &str) -> Event {
    let sampled = |id: &u32| Sampled {
        chosen: Chosen { token: *id, log_probability: -0.5, rank: 0 },
        top: vec![(413, -0.5), (405, -1.5)],
    };
    Event::Tokens(TokensEvent { choice, tokens: ids.iter().map(sampled).collect(), text: text.to_owned() })
}

/// A choice ended, with two tokens from the cache, in the entry of 100 more than its number.
pub(crate) fn finished(choice: u32, finish: Finish) -> Event {
    let tokens = Tokens { reused: 2, ..Tokens::default() };
    let entry = Some(100 + u64::from(choice));
    Event::Finished(Finished { choice, finish, stopped_by: None, tokens, entry, last: false })
}

/// The first choice ended by one of the request's own stops.
pub(crate) fn stopped(by: StoppedBy) -> Event {
    let Event::Finished(finished) = finished(0, Finish::STOP_SEQUENCE) else { unreachable!("it was just made") };
    Event::Finished(Finished { stopped_by: Some(by), ..finished })
}

/// Everything that a stream says of these events.
pub(crate) fn stream(answer: &mut Answer, events: &[(usize, Event)]) -> Vec<Value> {
    events.iter().flat_map(|(request, event)| answer.chunks(*request, event)).map(|text| json(&text)).collect()
}

/// The body that these events make.
pub(crate) fn whole(mut answer: Answer, events: Vec<(usize, Event)>) -> Value {
    events.into_iter().for_each(|(request, event)| answer.collect(request, event));
    json(&answer.whole().unwrap())
}

pub(crate) fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}
