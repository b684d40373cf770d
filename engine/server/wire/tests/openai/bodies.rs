//! Answers that are whole.

use std::path::PathBuf;
use std::sync::Arc;

use loam_engine::adapter::Generation;
use loam_engine::event::StoppedBy;
use loam_engine::{Error, Event, Failure};
use loam_ledger_core::Hash;
use loam_ledger_core::row::Finish;
use loam_wire::openai::Endpoint::{Chat, Completion};
use loam_wire::{Kind, Problem};
use serde_json::{Value, json};

use super::ask::{answer, call, finished, scores, started, stopped, tokens, unrecorded, whole};

const NAME: &str = "0101010101010101010101010101010101010101010101010101010101010101";
const GENERATION: &str = "abababababababababababababababababababababababababababababababab";

/// A short answer to three prompt tokens.
fn short(finish: Finish) -> Vec<(usize, Event)> {
    vec![(0, unrecorded(&[1, 2, 3])), (0, tokens(0, &[413, 405], " foxtion")), (0, finished(0, finish))]
}

#[test]
fn a_chat() {
    let call = call(Chat, r#""model": "base""#);
    let mut answer = answer(&call, true);
    short(Finish::STOP).into_iter().for_each(|(request, event)| answer.collect(request, event));
    // Keys in their order, too.
    let expected = concat!(
        r#"{"id":"id-1","object":"chat.completion","created":7,"model":"base","system_fingerprint":null,"#,
        r#""choices":[{"index":0,"message":{"role":"assistant","content":" foxtion","refusal":null},"#,
        r#""logprobs":null,"finish_reason":"stop","stop_reason":null}],"usage":{"prompt_tokens":3,"#,
        r#""completion_tokens":2,"total_tokens":5,"prompt_tokens_details":{"cached_tokens":2}},"#,
        r#""loam":{"entries":[100]}}"#
    );
    assert_eq!(answer.whole().unwrap(), expected);
}

#[test]
fn a_completion() {
    let call = call(Completion, r#""model": "qv-r8""#);
    let mut answer = answer(&call, true);
    short(Finish::LENGTH).into_iter().for_each(|(request, event)| answer.collect(request, event));
    let expected = concat!(
        r#"{"id":"id-1","object":"text_completion","created":7,"model":"qv-r8","system_fingerprint":null,"#,
        r#""choices":[{"index":0,"text":" foxtion","logprobs":null,"finish_reason":"length","stop_reason":null}],"#,
        r#""usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5,"#,
        r#""prompt_tokens_details":{"cached_tokens":2}},"loam":{"entries":[100]}}"#
    );
    assert_eq!(answer.whole().unwrap(), expected);
}

#[test]
fn finish_reasons_are_openais() {
    for (finish, word) in [
        (Finish::STOP, "stop"),
        (Finish::STOP_SEQUENCE, "stop"),
        (Finish::LENGTH, "length"),
        (Finish::CANCELLED, "abort"),
        (Finish::DEADLINE, "abort"),
        (Finish::FAILED, "abort"),
    ] {
        for endpoint in [Chat, Completion] {
            let body = whole(answer(&call(endpoint, ""), true), short(finish));
            assert_eq!(body["choices"][0]["finish_reason"], word);
        }
    }
}

/// What `stop_reason` is when an answer ended so.
fn stop_reason(fields: &str, end: Event) -> Value {
    let events = vec![(0, unrecorded(&[1, 2, 3])), (0, tokens(0, &[413, 405], " foxtion")), (0, end)];
    whole(answer(&call(Chat, fields), true), events)["choices"][0]["stop_reason"].take()
}

#[test]
fn the_stop_that_was_met_is_named() {
    let two = r#""stop": ["a", "b"], "stop_token_ids": [405, 6]"#;
    assert_eq!(stop_reason(two, stopped(StoppedBy::Text(1))), "b");
    assert_eq!(stop_reason(two, stopped(StoppedBy::Token(405))), 405);
    assert_eq!(stop_reason(two, finished(0, Finish::STOP)), Value::Null);
    assert_eq!(stop_reason(two, finished(0, Finish::LENGTH)), Value::Null);
}

#[test]
fn several_choices_and_one_prompt() {
    let call = call(Chat, r#""n": 2"#);
    let events = vec![
        (0, unrecorded(&[1, 2, 3])),
        (0, tokens(1, &[413], "b")),
        (0, tokens(0, &[413], "a")),
        (0, tokens(1, &[413], "B")),
        (0, finished(1, Finish::LENGTH)),
        (0, finished(0, Finish::STOP)),
    ];
    let body = whole(answer(&call, true), events);
    let choice = |index: usize| {
        let choice = &body["choices"][index];
        (choice["index"].clone(), choice["message"]["content"].clone(), choice["finish_reason"].clone())
    };
    assert_eq!(choice(0), (json!(0), json!("a"), json!("stop")));
    assert_eq!(choice(1), (json!(1), json!("bB"), json!("length")));
    assert_eq!(body["usage"]["prompt_tokens"], 3);
    assert_eq!(body["usage"]["completion_tokens"], 3);
    assert_eq!(body["usage"]["total_tokens"], 6);
    assert_eq!(body["usage"]["prompt_tokens_details"]["cached_tokens"], 2);
    assert_eq!(body["loam"], json!({"entries": [100, 101]}));
}

#[test]
fn several_prompts_with_several_choices() {
    let call = super::ask::bare(Completion, r#""prompt": ["x", "y"], "n": 2"#).unwrap();
    let mut events = Vec::new();
    for request in [1, 0] {
        events.push((request, started(request as u8 + 1, &[1, 2])));
        for choice in [0, 1] {
            events.push((request, tokens(choice, &[413], &format!("{request}{choice}"))));
            events.push((request, finished(choice, Finish::STOP)));
        }
    }
    let mut answer = answer(&call, true);
    answer.receipt(1, 1, "proof");
    let body = whole(answer, events);
    let texts: Vec<_> = body["choices"].as_array().unwrap().iter().map(|it| (&it["index"], &it["text"])).collect();
    let expected = [(0, "00"), (1, "01"), (2, "10"), (3, "11")].map(|(index, text)| (json!(index), json!(text)));
    assert_eq!(texts, expected.iter().map(|(index, text)| (index, text)).collect::<Vec<_>>());
    assert_eq!(body["usage"]["prompt_tokens"], 4);
    assert_eq!(body["usage"]["completion_tokens"], 4);
    assert_eq!(body["usage"]["prompt_tokens_details"]["cached_tokens"], 4);
    let adapters = json!([{"generation": GENERATION, "weight_millionths": 1_500_000}]);
    let first = json!({"prompt": 0, "receipt_id": NAME, "adapters": adapters, "entries": [100, 101]});
    let second = json!({
        "prompt": 1, "receipt_id": NAME.replace('1', "2"), "adapters": adapters, "entries": [100, 101],
        // The choice as the body numbers it.
        "receipts": [{"index": 3, "tlog_proof": "proof"}]
    });
    assert_eq!(body["loam"], json!({"requests": [first, second]}));
}

#[test]
fn receipts() {
    let mut answer = answer(&call(Chat, r#""n": 2"#), true);
    answer.receipt(0, 0, "c2sp.org/tlog-proof@v1\n...\n");
    answer.receipt(0, 1, "second");
    answer.receipt(7, 0, "of nobody");
    let events = vec![(0, started(1, &[1])), (0, finished(0, Finish::STOP)), (0, finished(1, Finish::STOP))];
    let body = whole(answer, events);
    let expected = json!({
        "receipt_id": NAME,
        "adapters": [{"generation": GENERATION, "weight_millionths": 1_500_000}],
        "entries": [100, 101],
        "receipts": [{"index": 0, "tlog_proof": "c2sp.org/tlog-proof@v1\n...\n"}, {"index": 1, "tlog_proof": "second"}]
    });
    assert_eq!(body["loam"], expected);
}

#[test]
fn without_a_record_there_is_nothing_of_ours() {
    let mut events = short(Finish::STOP);
    if let Event::Finished(finished) = &mut events[2].1 {
        finished.entry = None;
    }
    let body = whole(answer(&call(Chat, ""), true), events);
    assert_eq!(body.get("loam"), None);
}

#[test]
fn cached_tokens_are_at_most_the_prompt() {
    let events = vec![(0, unrecorded(&[1])), (0, finished(0, Finish::STOP))];
    let body = whole(answer(&call(Chat, ""), true), events);
    assert_eq!(body["usage"]["prompt_tokens_details"]["cached_tokens"], 1);
}

#[test]
fn token_ids_of_a_chat() {
    let body = whole(answer(&call(Chat, r#""return_token_ids": true"#), true), short(Finish::STOP));
    assert_eq!(body["prompt_token_ids"], json!([1, 2, 3]));
    assert_eq!(body["choices"][0]["token_ids"], json!([413, 405]));
}

#[test]
fn token_ids_of_a_completion() {
    let body = whole(answer(&call(Completion, r#""return_token_ids": true"#), true), short(Finish::STOP));
    assert_eq!(body.get("prompt_token_ids"), None);
    assert_eq!(body["choices"][0]["prompt_token_ids"], json!([1, 2, 3]));
    assert_eq!(body["choices"][0]["token_ids"], json!([413, 405]));
}

#[test]
fn an_echo_of_a_text() {
    let body = whole(answer(&call(Completion, r#""echo": true"#), true), short(Finish::STOP));
    assert_eq!(body["choices"][0]["text"], "hi foxtion");
    assert_eq!(body["choices"][0]["logprobs"], Value::Null);
}

#[test]
fn an_echo_of_token_ids() {
    let call = super::ask::bare(Completion, r#""prompt": [0, 413, 412], "echo": true"#).unwrap();
    let events = vec![(0, unrecorded(&[0, 413, 412])), (0, tokens(0, &[413], " fox")), (0, finished(0, Finish::STOP))];
    assert_eq!(whole(answer(&call, true), events.clone())["choices"][0]["text"], " fox dog fox");
    assert_eq!(whole(answer(&call, false), events)["choices"][0]["text"], " fox");
}

#[test]
fn prompt_logprobs_are_vllms() {
    let events = |scored| vec![(0, unrecorded(&[0, 413, 412])), (0, scored), (0, finished(0, Finish::STOP))];
    let scored = || scores(&[(413, -0.25, 0), (412, f32::NEG_INFINITY, 435)]);
    let expected = json!([
        null,
        {"413": {"logprob": -0.25, "rank": 1, "decoded_token": " fox"}},
        {"412": {"logprob": -9999.0, "rank": 436, "decoded_token": " dog"}}
    ]);
    let chat = call(Chat, r#""prompt_logprobs": 0"#);
    assert!(chat.requests[0].prompt_logprobs);
    assert_eq!(whole(answer(&chat, true), events(scored()))["prompt_logprobs"], expected);
    let completion = call(Completion, r#""prompt_logprobs": 0"#);
    assert_eq!(whole(answer(&completion, true), events(scored()))["choices"][0]["prompt_logprobs"], expected);
    let chat = call(Chat, r#""prompt_logprobs": 1"#);
    let best = scores(&[(413, -0.25, 1), (405, -0.125, 0)]);
    let said = json!({"logprob": -0.125, "rank": 1, "decoded_token": "tion"});
    let expected = json!([
        null,
        {"413": {"logprob": -0.25, "rank": 2, "decoded_token": " fox"}, "405": said},
        // The best one is named once.
        {"405": said}
    ]);
    assert_eq!(whole(answer(&chat, true), events(best))["prompt_logprobs"], expected);
    let body = whole(answer(&call(Chat, ""), true), events(scored()));
    assert_eq!(body.get("prompt_logprobs"), None);
}

#[test]
fn a_failure_is_the_answers() {
    let of = |failure: Failure| {
        let call = super::ask::bare(Completion, r#""prompt": ["x", "y"]"#).unwrap();
        let mut answer = answer(&call, true);
        short(Finish::STOP).into_iter().for_each(|(request, event)| answer.collect(request, event));
        answer.collect(1, Event::Failed(failure));
        answer.collect(1, Event::Failed(Failure::Stopping));
        answer.whole().unwrap_err()
    };
    assert_eq!(of(Failure::Deadline).kind, Kind::Deadline);
    assert_eq!(of(Failure::Lost).kind, Kind::Unavailable);
    let unknown = Failure::Adapter(Arc::new(Error::AdapterUnknown { name: "qv".to_owned() }));
    let problem = of(unknown);
    assert_eq!((problem.kind, problem.field.as_deref()), (Kind::NotFound, Some("model")));
}

/// The server's own files are not the client's fault, nor its business.
#[test]
fn files_that_are_gone_are_not_told_to_whoever_asks() {
    let path = PathBuf::from("/srv/secret/adapter_config.json");
    let (expected, found) = (Generation(Hash([1; 32])), Generation(Hash([2; 32])));
    for error in [
        Error::File { path: path.clone(), source: std::io::ErrorKind::NotFound.into() },
        Error::Malformed { path, reason: "cut short".to_owned() },
        Error::AdapterChanged { origin: "/srv/secret".to_owned(), expected, found },
    ] {
        let problem = Problem::from(&Failure::Adapter(Arc::new(error)));
        assert_eq!((problem.kind, problem.field), (Kind::Unavailable, None));
        assert!(problem.message.starts_with("ADAPTER_UNREADABLE: "), "{}", problem.message);
        assert!(!problem.message.contains("secret"), "{}", problem.message);
    }
}

#[test]
fn events_of_nobody_are_left_out() {
    let mut events = short(Finish::STOP);
    events.extend([(1, unrecorded(&[9])), (0, tokens(1, &[413], "x")), (0, finished(9, Finish::STOP))]);
    let expected = whole(answer(&call(Chat, ""), true), short(Finish::STOP));
    assert_eq!(whole(answer(&call(Chat, ""), true), events), expected);
}
