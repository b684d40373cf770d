//! Log-probabilities in both shapes.

use loam_engine::executor::{Chosen, Sampled};
use loam_engine::{Event, TokensEvent};
use loam_ledger_core::row::Finish;
use loam_wire::openai::Endpoint::{Chat, Completion};
use serde_json::{Value, json};

use super::ask::{answer, bare, call, finished, scores, stream, tokens, unrecorded, whole};

fn short() -> Vec<(usize, Event)> {
    vec![
        (0, unrecorded(&[1])),
        (0, tokens(0, &[413], " fox")),
        (0, tokens(0, &[412, 405], " dogtion")),
        (0, finished(0, Finish::LENGTH)),
    ]
}

fn chat_token(token: &str, bytes: &[u8], top: Value) -> Value {
    json!({"token": token, "logprob": -0.5, "bytes": bytes, "top_logprobs": top})
}

fn top(count: usize) -> Value {
    let all = [
        json!({"token": " fox", "logprob": -0.5, "bytes": b" fox"}),
        json!({"token": "tion", "logprob": -1.5, "bytes": b"tion"}),
    ];
    json!(all[..count])
}

#[test]
fn a_chats() {
    for count in [0, 1, 2] {
        let call = call(Chat, &format!(r#""logprobs": true, "top_logprobs": {count}"#));
        let body = whole(answer(&call, true), short());
        let expected = json!({
            "content": [
                chat_token(" fox", b" fox", top(count)),
                chat_token(" dog", b" dog", top(count)),
                chat_token("tion", b"tion", top(count)),
            ],
            "refusal": null
        });
        assert_eq!(body["choices"][0]["logprobs"], expected);
    }
}

#[test]
fn a_completions() {
    let body = whole(answer(&call(Completion, r#""logprobs": 1"#), true), short());
    // The chosen token stands beside the most probable ones.
    let expected = json!({
        "tokens": [" fox", " dog", "tion"],
        "token_logprobs": [-0.5, -0.5, -0.5],
        "top_logprobs": [{" fox": -0.5}, {" dog": -0.5, " fox": -0.5}, {"tion": -0.5, " fox": -0.5}],
        "text_offset": [0, 4, 8]
    });
    assert_eq!(body["choices"][0]["logprobs"], expected);
}

#[test]
fn a_completions_without_others() {
    let body = whole(answer(&call(Completion, r#""logprobs": 0"#), true), short());
    assert_eq!(body["choices"][0]["logprobs"]["top_logprobs"], json!([{" fox": -0.5}, {" dog": -0.5}, {"tion": -0.5}]));
}

#[test]
fn none_where_none_are_asked_for() {
    for endpoint in [Chat, Completion] {
        assert_eq!(whole(answer(&call(endpoint, ""), true), short())["choices"][0]["logprobs"], Value::Null);
    }
}

#[test]
fn an_answer_of_no_tokens_has_empty_ones() {
    let events = || vec![(0, unrecorded(&[1])), (0, finished(0, Finish::LENGTH))];
    let body = whole(answer(&call(Chat, r#""logprobs": true"#), true), events());
    assert_eq!(body["choices"][0]["logprobs"], json!({"content": [], "refusal": null}));
    let body = whole(answer(&call(Completion, r#""logprobs": 1"#), true), events());
    assert_eq!(body["choices"][0]["logprobs"]["tokens"], json!([]));
}

#[test]
fn in_a_stream_each_chunk_has_its_own() {
    let mut chat = answer(&call(Chat, r#""stream": true, "logprobs": true"#), true);
    let chunks = stream(&mut chat, &short());
    let found: Vec<_> = chunks.iter().map(|chunk| chunk["choices"][0]["logprobs"]["content"].clone()).collect();
    let [fox, dog, tion] = ["fox", "dog", "tion"].map(|text| {
        let text = if text == "tion" { text.to_owned() } else { format!(" {text}") };
        chat_token(&text, text.as_bytes(), json!([]))
    });
    assert_eq!(found, [Value::Null, json!([fox]), json!([dog, tion]), Value::Null]);
    let mut completion = answer(&call(Completion, r#""stream": true, "logprobs": 0"#), true);
    let chunks = stream(&mut completion, &short());
    let found: Vec<_> = chunks.iter().map(|chunk| chunk["choices"][0]["logprobs"]["text_offset"].clone()).collect();
    assert_eq!(found, [json!([0]), json!([4, 8]), Value::Null]);
}

#[test]
fn a_token_without_text_has_one_too() {
    let mut answer = answer(&call(Chat, r#""stream": true, "logprobs": true"#), true);
    let chunks = stream(&mut answer, &[(0, unrecorded(&[1])), (0, tokens(0, &[405], ""))]);
    assert_eq!(chunks[1]["choices"][0]["delta"], json!({"content": ""}));
    assert_eq!(chunks[1]["choices"][0]["logprobs"]["content"].as_array().unwrap().len(), 1);
}

#[test]
fn an_echo_has_those_of_the_prompt() {
    let call = |logprobs: u32| {
        let fields = format!(r#""prompt": [0, 413, 412], "echo": true, "logprobs": {logprobs}"#);
        bare(Completion, &fields).unwrap()
    };
    let events = || {
        vec![
            (0, unrecorded(&[0, 413, 412])),
            (0, scores(&[(413, -0.25, 0), (412, -0.75, 3)])),
            (0, tokens(0, &[405], "tion")),
            (0, finished(0, Finish::LENGTH)),
        ]
    };
    let body = whole(answer(&call(0), true), events());
    assert_eq!(body["choices"][0]["text"], " fox dogtion");
    let expected = json!({
        "tokens": ["<s>", " fox", " dog", "tion"],
        "token_logprobs": [null, -0.25, -0.75, -0.5],
        "top_logprobs": [null, {" fox": -0.25}, {" dog": -0.75}, {"tion": -0.5}],
        // A special token leaves no text.
        "text_offset": [0, 0, 4, 8]
    });
    assert_eq!(body["choices"][0]["logprobs"], expected);
    // What harnesses ask for that score given texts.
    let body = whole(answer(&call(1), true), events());
    let expected = json!([
        null,
        {" fox": -0.25, "tion": -0.125},
        {" dog": -0.75, "tion": -0.125},
        {"tion": -0.5, " fox": -0.5}
    ]);
    assert_eq!(body["choices"][0]["logprobs"]["top_logprobs"], expected);
}

#[test]
fn half_a_character_has_its_bytes() {
    let tokenizer = super::ask::tokenizer();
    let half = (5..436).find(|id| std::str::from_utf8(&tokenizer.bytes(*id)).is_err()).unwrap();
    let events = || vec![(0, unrecorded(&[1])), (0, tokens(0, &[half, 413], "\u{fffd} fox"))];
    let body = whole(answer(&call(Chat, r#""logprobs": true"#), true), events());
    let token = &body["choices"][0]["logprobs"]["content"][0];
    assert_eq!(token["bytes"], json!(tokenizer.bytes(half)));
    assert!(token["token"].as_str().unwrap().contains('\u{fffd}'));
    // Where it begins is known, and where it ends when it is whole.
    let body = whole(answer(&call(Completion, r#""logprobs": 0"#), true), events());
    assert_eq!(body["choices"][0]["logprobs"]["text_offset"][0], 0);
}

#[test]
fn tokens_as_ids() {
    let fields = r#""logprobs": true, "top_logprobs": 1, "return_tokens_as_token_ids": true"#;
    let body = whole(answer(&call(Chat, fields), true), short());
    let token = &body["choices"][0]["logprobs"]["content"][0];
    assert_eq!((&token["token"], &token["bytes"]), (&json!("token_id:413"), &json!(b" fox")));
    assert_eq!(token["top_logprobs"][0]["token"], "token_id:413");
    // Without a tokenizer they have no other spelling.
    let body = whole(answer(&call(Completion, r#""logprobs": 0"#), false), short());
    let logprobs = &body["choices"][0]["logprobs"];
    assert_eq!(logprobs["tokens"], json!(["token_id:413", "token_id:412", "token_id:405"]));
    assert_eq!(logprobs["text_offset"], json!([0, 0, 0]));
    let body = whole(answer(&call(Chat, r#""logprobs": true"#), false), short());
    assert_eq!(body["choices"][0]["logprobs"]["content"][0]["bytes"], Value::Null);
}

#[test]
fn what_is_no_number_reaches_no_json() {
    for logprob in [f32::NEG_INFINITY, f32::INFINITY, f32::NAN] {
        let chosen = Chosen { token: 413, log_probability: logprob, rank: 0 };
        let sampled = Sampled { chosen, top: vec![(405, logprob)] };
        let event = Event::Tokens(TokensEvent { choice: 0, tokens: vec![sampled], text: "x".to_owned() });
        let events = || vec![(0, unrecorded(&[1])), (0, event.clone())];
        let body = whole(answer(&call(Chat, r#""logprobs": true, "top_logprobs": 1"#), true), events());
        let token = &body["choices"][0]["logprobs"]["content"][0];
        assert_eq!((&token["logprob"], &token["top_logprobs"][0]["logprob"]), (&json!(-9999.0), &json!(-9999.0)));
        let body = whole(answer(&call(Completion, r#""logprobs": 1"#), true), events());
        let logprobs = &body["choices"][0]["logprobs"];
        assert_eq!(logprobs["token_logprobs"], json!([-9999.0]));
        assert_eq!(logprobs["top_logprobs"], json!([{" fox": -9999.0, "tion": -9999.0}]));
    }
}

#[test]
fn tokens_of_one_text_are_one_key() {
    // Two ids that the vocabulary does not have: both leave no text.
    let chosen = Chosen { token: 9000, log_probability: -0.5, rank: 0 };
    let sampled = Sampled { chosen, top: vec![(9001, -1.5)] };
    let event = Event::Tokens(TokensEvent { choice: 0, tokens: vec![sampled], text: String::new() });
    let mut answer = answer(&call(Completion, r#""logprobs": 1"#), true);
    answer.collect(0, unrecorded(&[1]));
    answer.collect(0, event);
    let body = answer.whole().unwrap();
    assert!(body.contains(r#""top_logprobs":[{"":-0.5}]"#), "{body}");
}
