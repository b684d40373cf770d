//! What we write, read by somebody else's client.

use async_openai::types::chat::{CreateChatCompletionResponse, CreateChatCompletionStreamResponse, FinishReason};
use async_openai::types::completions::CreateCompletionResponse;
use async_openai::types::models::ListModelResponse;
use loam_ledger_core::row::Finish;
use loam_wire::openai::Endpoint::{Chat, Completion};
use loam_wire::openai::{ModelCard, models_body};
use serde::de::DeserializeOwned;

use super::ask::{answer, call, finished, started, tokens};

const STREAM: &str = r#""stream": true, "stream_options": {"include_usage": true}, "return_token_ids": true"#;

/// An answer with everything that it can hold.
fn body<T: DeserializeOwned>(endpoint: loam_wire::openai::Endpoint, fields: &str) -> T {
    let mut answer = answer(&call(endpoint, fields), true);
    answer.collect(0, started(1, &[1, 2, 3]));
    answer.collect(0, tokens(0, &[413, 405], " foxtion"));
    answer.collect(0, finished(0, Finish::STOP));
    answer.receipt(0, 0, "proof");
    serde_json::from_str(&answer.whole().unwrap()).unwrap()
}

fn chunks<T: DeserializeOwned>(endpoint: loam_wire::openai::Endpoint, fields: &str) -> Vec<T> {
    let mut answer = answer(&call(endpoint, fields), true);
    let events = [started(1, &[1, 2, 3]), tokens(0, &[413, 405], " foxtion"), finished(0, Finish::LENGTH)];
    let mut texts: Vec<String> = events.iter().flat_map(|event| answer.chunks(0, event)).collect();
    answer.receipt(0, 0, "proof");
    texts.extend(answer.last_chunks());
    texts.iter().map(|text| serde_json::from_str(text).unwrap()).collect()
}

#[test]
fn a_chat() {
    let fields = r#""logprobs": true, "top_logprobs": 2, "return_token_ids": true, "prompt_logprobs": 0"#;
    let response: CreateChatCompletionResponse = body(Chat, fields);
    let choice = &response.choices[0];
    assert_eq!(choice.message.content.as_deref(), Some(" foxtion"));
    assert_eq!(choice.finish_reason, Some(FinishReason::Stop));
    let logprobs = choice.logprobs.as_ref().unwrap().content.as_ref().unwrap();
    assert_eq!((logprobs.len(), logprobs[1].top_logprobs.len()), (2, 2));
    let usage = response.usage.unwrap();
    assert_eq!((usage.prompt_tokens, usage.completion_tokens, usage.total_tokens), (3, 2, 5));
    assert_eq!(usage.prompt_tokens_details.unwrap().cached_tokens, Some(2));
}

#[test]
fn a_chats_stream() {
    let fields = format!(r#"{STREAM}, "logprobs": true, "top_logprobs": 1"#);
    let chunks: Vec<CreateChatCompletionStreamResponse> = chunks(Chat, &fields);
    let text: String =
        chunks.iter().flat_map(|chunk| &chunk.choices).filter_map(|choice| choice.delta.content.clone()).collect();
    assert_eq!(text, " foxtion");
    assert!(chunks[0].choices[0].delta.role.is_some());
    assert_eq!(chunks[2].choices[0].finish_reason, Some(FinishReason::Length));
    assert_eq!(chunks.last().unwrap().usage.as_ref().unwrap().total_tokens, 5);
}

#[test]
fn a_completion() {
    let response: CreateCompletionResponse = body(Completion, r#""logprobs": 2, "return_token_ids": true"#);
    let choice = &response.choices[0];
    assert_eq!(choice.text, " foxtion");
    let logprobs = choice.logprobs.as_ref().unwrap();
    assert_eq!((&logprobs.tokens[..], &logprobs.text_offset[..]), (&[" fox".into(), "tion".into()][..], &[0, 4][..]));
}

#[test]
fn a_completions_stream() {
    let chunks: Vec<CreateCompletionResponse> = chunks(Completion, &format!(r#"{STREAM}, "logprobs": 1"#));
    let text: String = chunks.iter().flat_map(|chunk| &chunk.choices).map(|choice| choice.text.as_str()).collect();
    assert_eq!(text, " foxtion");
    assert_eq!(chunks.last().unwrap().usage.as_ref().unwrap().completion_tokens, 2);
}

#[test]
fn a_list_of_models() {
    let card = ModelCard {
        id: "base".to_owned(),
        created_s: 7,
        root: "/models/base".to_owned(),
        parent: None,
        generation: Some(loam_ledger_core::Hash::ZERO),
        max_model_len: 64,
    };
    let list: ListModelResponse = serde_json::from_str(&models_body(&[card])).unwrap();
    assert_eq!(list.data[0].id, "base");
}
