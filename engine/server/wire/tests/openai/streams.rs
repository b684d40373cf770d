//! Answers in chunks: which come, in which order, and what each says.

use loam_engine::event::StoppedBy;
use loam_engine::{Event, Failure};
use loam_ledger_core::row::Finish;
use loam_wire::openai::Endpoint::{Chat, Completion};
use serde_json::{Value, json};

use super::ask::{answer, call, finished, json as parse, started, stopped, stream, tokens, unrecorded};

fn short() -> Vec<(usize, Event)> {
    vec![
        (0, started(1, &[1, 2, 3])),
        (0, tokens(0, &[413], " fox")),
        // Half a character, or what could become a stop string.
        (0, tokens(0, &[405], "")),
        (0, tokens(0, &[405], "tiontion")),
        (0, finished(0, Finish::LENGTH)),
    ]
}

fn ours() -> Value {
    let generation = "ab".repeat(32);
    let adapters = json!([{"generation": generation, "weight_millionths": 1_500_000}]);
    json!({"receipt_id": "01".repeat(32), "adapters": adapters})
}

/// A chunk of a chat with one choice, and what else it has.
fn chat(delta: Value, finish_reason: Value, more: Value) -> Value {
    let choice = json!({
        "index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason, "stop_reason": null
    });
    frame("chat.completion.chunk", json!([choice]), more)
}

fn completion(text: &str, finish_reason: Value, more: Value) -> Value {
    let choice = json!({
        "index": 0, "text": text, "logprobs": null, "finish_reason": finish_reason, "stop_reason": null
    });
    frame("text_completion", json!([choice]), more)
}

fn frame(object: &str, choices: Value, more: Value) -> Value {
    let mut chunk = json!({
        "id": "id-1", "object": object, "created": 7, "model": "base", "system_fingerprint": null, "choices": choices
    });
    let Value::Object(more) = more else { panic!("an object") };
    chunk.as_object_mut().unwrap().extend(more);
    chunk
}

#[test]
fn a_chat() {
    let mut answer = answer(&call(Chat, r#""stream": true"#), true);
    let expected = [
        chat(json!({"role": "assistant", "content": ""}), Value::Null, json!({"loam": ours()})),
        chat(json!({"content": " fox"}), Value::Null, json!({})),
        chat(json!({"content": "tiontion"}), Value::Null, json!({})),
        chat(json!({}), json!("length"), json!({})),
    ];
    assert_eq!(stream(&mut answer, &short()), expected);
    assert_eq!(answer.last_chunks(), Vec::<String>::new());
}

#[test]
fn a_completion() {
    let mut answer = answer(&call(Completion, r#""stream": true"#), true);
    let expected = [
        completion(" fox", Value::Null, json!({"loam": ours()})),
        completion("tiontion", Value::Null, json!({})),
        completion("", json!("length"), json!({})),
    ];
    assert_eq!(stream(&mut answer, &short()), expected);
    assert_eq!(answer.last_chunks(), Vec::<String>::new());
}

#[test]
fn a_completion_of_nothing_says_at_least_its_end() {
    let mut answer = answer(&call(Completion, r#""stream": true"#), true);
    let events = [(0, started(1, &[1])), (0, tokens(0, &[1], "")), (0, finished(0, Finish::STOP))];
    assert_eq!(stream(&mut answer, &events), [completion("", json!("stop"), json!({"loam": ours()}))]);
}

#[test]
fn an_echo_comes_first() {
    let mut answer = answer(&call(Completion, r#""stream": true, "echo": true"#), true);
    let chunks = stream(&mut answer, &short());
    assert_eq!(chunks[0], completion("hi", Value::Null, json!({"loam": ours()})));
    assert_eq!(chunks[1], completion(" fox", Value::Null, json!({})));
}

fn usage(completion_tokens: u64, cached_tokens: u64) -> Value {
    json!({
        "prompt_tokens": 3, "completion_tokens": completion_tokens, "total_tokens": 3 + completion_tokens,
        "prompt_tokens_details": {"cached_tokens": cached_tokens}
    })
}

#[test]
fn usage_comes_last_where_asked_for() {
    let options = r#""stream": true, "stream_options": {"include_usage": true}"#;
    for (endpoint, object) in [(Chat, "chat.completion.chunk"), (Completion, "text_completion")] {
        let mut answer = answer(&call(endpoint, options), true);
        for chunk in stream(&mut answer, &short()) {
            // As OpenAI has it: there, and null.
            assert_eq!(chunk.get("usage"), Some(&Value::Null));
        }
        let last: Vec<Value> = answer.last_chunks().iter().map(|text| parse(text)).collect();
        assert_eq!(last, [frame(object, json!([]), json!({"usage": usage(3, 2)}))]);
    }
}

#[test]
fn usage_comes_with_each_chunk_where_asked_for() {
    let options = r#""stream": true, "stream_options": {"include_usage": true, "continuous_usage_stats": true}"#;
    let mut answer = answer(&call(Chat, options), true);
    let chunks = stream(&mut answer, &short());
    let found: Vec<&Value> = chunks.iter().map(|chunk| &chunk["usage"]).collect();
    // The cache's part is known at the end.
    let expected = [usage(0, 0), usage(1, 0), usage(3, 0), usage(3, 2)];
    assert_eq!(found, expected.iter().collect::<Vec<_>>());
    assert_eq!(answer.last_chunks().len(), 1);
}

#[test]
fn receipts_come_before_the_usage() {
    let options = r#""stream": true, "stream_options": {"include_usage": true}, "loam": {"receipt": true}"#;
    let mut answer = answer(&call(Chat, options), true);
    stream(&mut answer, &short());
    answer.receipt(0, 0, "proof");
    let last: Vec<Value> = answer.last_chunks().iter().map(|text| parse(text)).collect();
    let loam = json!({"entries": [100], "receipts": [{"index": 0, "tlog_proof": "proof"}]});
    let object = "chat.completion.chunk";
    let expected = [
        frame(object, json!([]), json!({"usage": null, "loam": loam})),
        frame(object, json!([]), json!({"usage": usage(3, 2)})),
    ];
    assert_eq!(last, expected);
}

#[test]
fn each_choice_begins_with_its_role() {
    let mut answer = answer(&call(Chat, r#""stream": true, "n": 3"#), true);
    let chunks = stream(&mut answer, &[(0, started(1, &[1]))]);
    let begun: Vec<_> =
        chunks.iter().map(|it| (&it["choices"][0]["index"], it["choices"][0]["delta"].clone())).collect();
    let delta = json!({"role": "assistant", "content": ""});
    assert_eq!(begun, [(&json!(0), delta.clone()), (&json!(1), delta.clone()), (&json!(2), delta)]);
    let with_ours: Vec<bool> = chunks.iter().map(|chunk| chunk.get("loam").is_some()).collect();
    assert_eq!(with_ours, [true, false, false]);
}

#[test]
fn several_prompts_are_one_stream() {
    let fields = r#""prompt": ["x", "y"], "n": 2, "stream": true, "loam": {"receipt": true}"#;
    let mut answer = answer(&super::ask::bare(Completion, fields).unwrap(), true);
    let events = [
        (1, started(1, &[1])),
        (1, tokens(1, &[413], "d")),
        (0, started(1, &[1])),
        (0, tokens(0, &[413], "a")),
        (1, finished(1, Finish::STOP)),
    ];
    let chunks = stream(&mut answer, &events);
    let said: Vec<_> = chunks.iter().map(|it| (it["choices"][0]["index"].clone(), it["loam"].clone())).collect();
    let ours = |prompt: usize| {
        let mut one = ours();
        one["prompt"] = json!(prompt);
        json!({"requests": [one]})
    };
    assert_eq!(said, [(json!(3), ours(1)), (json!(0), ours(0)), (json!(3), Value::Null)]);
    answer.receipt(1, 1, "proof");
    let last: Vec<Value> = answer.last_chunks().iter().map(|text| parse(text)).collect();
    let receipts = json!([{"index": 3, "tlog_proof": "proof"}]);
    let expected = json!({"requests": [{"prompt": 1, "entries": [null, 101], "receipts": receipts}]});
    assert_eq!(last.iter().map(|chunk| &chunk["loam"]).collect::<Vec<_>>(), [&expected]);
}

#[test]
fn token_ids_come_with_their_chunks() {
    let fields = r#""stream": true, "return_token_ids": true"#;
    let mut chat = answer(&call(Chat, fields), true);
    let chunks = stream(&mut chat, &short());
    let prompts: Vec<_> = chunks.iter().map(|chunk| chunk.get("prompt_token_ids").cloned()).collect();
    assert_eq!(prompts, [Some(json!([1, 2, 3])), None, None, None, None]);
    let ids: Vec<_> = chunks.iter().map(|chunk| chunk["choices"][0].get("token_ids").cloned()).collect();
    // A token without text is told, too.
    assert_eq!(ids, [None, Some(json!([413])), Some(json!([405])), Some(json!([405])), None]);
    let mut completion = answer(&call(Completion, fields), true);
    let chunks = stream(&mut completion, &short());
    let prompts: Vec<_> = chunks.iter().map(|it| it["choices"][0].get("prompt_token_ids").cloned()).collect();
    assert_eq!(prompts, [Some(json!([1, 2, 3])), None, None, None]);
}

#[test]
fn stops_are_told_with_the_end() {
    let mut answer = answer(&call(Chat, r#""stream": true, "stop": "x""#), true);
    let events = [(0, unrecorded(&[1])), (0, tokens(0, &[413], "a")), (0, stopped(StoppedBy::Text(0)))];
    let chunks = stream(&mut answer, &events);
    let ends: Vec<_> = chunks.iter().map(|it| &it["choices"][0]["stop_reason"]).collect();
    assert_eq!(ends, [&Value::Null, &Value::Null, &json!("x")]);
}

#[test]
fn after_a_failure_nothing_follows() {
    let options = r#""stream": true, "stream_options": {"include_usage": true}"#;
    let mut answer = answer(&call(Chat, options), true);
    stream(&mut answer, &short()[..2]);
    let failed = stream(&mut answer, &[(0, Event::Failed(Failure::Stopping))]);
    let message = "the engine is stopping; ask another one";
    let error = json!({"message": message, "type": "service_unavailable_error", "param": null, "code": null});
    assert_eq!(failed, [json!({"error": error})]);
    assert_eq!(stream(&mut answer, &short()[2..]), Vec::<Value>::new());
    assert_eq!(stream(&mut answer, &[(0, Event::Failed(Failure::Lost))]), Vec::<Value>::new());
    assert_eq!(answer.last_chunks(), Vec::<String>::new());
}

#[test]
fn an_answer_that_was_cut_off_says_so() {
    let mut answer = answer(&call(Chat, r#""stream": true"#), true);
    let events = [(0, unrecorded(&[1])), (0, finished(0, Finish::DEADLINE))];
    let chunks = stream(&mut answer, &events);
    assert_eq!(chunks[1]["choices"][0]["finish_reason"], "abort");
}

#[test]
fn events_of_nobody_are_left_out() {
    let mut answer = answer(&call(Chat, r#""stream": true"#), true);
    let events = [(1, unrecorded(&[1])), (0, tokens(5, &[413], "x"))];
    assert_eq!(stream(&mut answer, &events), Vec::<Value>::new());
}
