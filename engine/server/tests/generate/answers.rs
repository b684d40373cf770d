//! What a request can ask for, seen in its answer.

use serde_json::Value;

use super::{answer, request, requests};

fn texts(fields: &str) -> Vec<String> {
    let text = |line: &Value| line["text"].as_str().expect("a text").to_owned();
    requests(&format!("{{\"id\": \"a\", {fields}}}")).iter().map(text).collect()
}

#[test]
fn the_most_probable_token_is_the_same_twice() {
    let arguments = ["--prompt", "hello", "--temperature", "0", "--max-tokens", "12"];
    assert_eq!(answer(&arguments), answer(&arguments));
}

#[test]
fn a_seed_gives_the_same_answer_and_another_seed_another() {
    let with = |seed| answer(&["--prompt", "hello", "--temperature", "1", "--max-tokens", "16", "--seed", seed]);
    let [one, again, other] = ["1", "1", "2"].map(with);
    assert_eq!(one, again);
    assert_ne!(one["tokens"], other["tokens"]);
}

#[test]
fn several_answers_are_numbered_and_differ() {
    let fields = r#""prompt": "hello", "n": 3, "seed": 5, "max_tokens": 12, "temperature": 1"#;
    let answers = requests(&format!("{{\"id\": \"a\", {fields}}}"));
    let numbers: Vec<_> = answers.iter().map(|line| line["choice"].as_u64()).collect();
    assert_eq!(numbers, [Some(0), Some(1), Some(2)]);
    assert!(answers[0]["tokens"] != answers[1]["tokens"] && answers[1]["tokens"] != answers[2]["tokens"]);
    // The first is what the seed gives alone.
    let alone = request(&fields.replace(r#""n": 3, "#, ""));
    assert_eq!((&alone["tokens"], &alone["choice"]), (&answers[0]["tokens"], &Value::Null));
}

#[test]
fn a_stop_string_ends_the_text_before_or_behind_it() {
    let greedy = r#""prompt": "hi", "temperature": 0, "max_tokens": 40"#;
    let whole = texts(greedy).remove(0);
    // A letter from the middle of the answer, which every model has its own of.
    let letter = whole.chars().filter(char::is_ascii_alphabetic).nth(3).expect("some letters in 40 tokens");
    let before = whole.split(letter).next().expect("a first part");
    let stopped = request(&format!(r#"{greedy}, "stop": ["{letter}", "not there"]"#));
    assert_eq!(stopped["text"], before);
    assert_eq!(stopped["finish_reason"], "stop_sequence");
    let behind = request(&format!(r#"{greedy}, "stop": "{letter}", "include_stop": true"#));
    assert_eq!(behind["text"], format!("{before}{letter}"));
}

#[test]
fn a_schema_is_followed() {
    // Without white space, which random weights would go on with for ever.
    let schema = r#"{"x-guidance": {"whitespace_flexible": false}, "type": "object", "additionalProperties": false,
        "required": ["a", "b"]"#;
    let schema = format!(r#"{schema}, "properties": {{"a": {{"enum": ["x", "y"]}}, "b": {{"type": "boolean"}}}}}}"#);
    let format = format!(r#"{{"type": "json_schema", "json_schema": {{"schema": {schema}}}}}"#);
    let line = request(&format!(r#""prompt": "hi", "seed": 1, "max_tokens": 100, "response_format": {format}"#));
    assert_eq!(line["finish_reason"], "stop", "{line}");
    let text = line["text"].as_str().expect("a text");
    let value: Value = serde_json::from_str(text).expect("the answer is JSON");
    assert!(value["b"].is_boolean() && ["x", "y"].contains(&value["a"].as_str().expect("a text")), "{value}");
    assert_eq!(value.as_object().map(serde_json::Map::len), Some(2), "{value}");
}

#[test]
fn one_of_a_list_is_chosen() {
    let text = texts(r#""prompt": "hi", "max_tokens": 30, "seed": 3, "choice": ["yes", "no"]"#).remove(0);
    assert!(["yes", "no"].contains(&text.as_str()), "{text:?}");
}

#[test]
fn log_probabilities_are_of_the_tokens() {
    let line = request(
        r#""prompt_tokens": [5, 6, 7], "temperature": 0, "max_tokens": 4, "logprobs": 3, "prompt_logprobs": true,
            "logits": true"#,
    );
    let scores = line["logprobs"].as_array().expect("an array");
    let tokens = line["tokens"].as_array().expect("an array");
    assert_eq!(scores.len(), tokens.len());
    for (score, token) in scores.iter().zip(tokens) {
        assert_eq!(&score["token"], token);
        // The most probable token was taken: it is the first of those reported.
        assert_eq!((&score["rank"], &score["top"][0][0]), (&Value::from(0), token));
        assert_eq!(score["top"].as_array().map(Vec::len), Some(3));
        assert!(score["logprob"].as_f64().is_some_and(|value| value <= 0.0), "{score}");
    }
    assert_eq!(line["prompt_logprobs"].as_array().map(Vec::len), Some(2), "of each token but the first");
    let logits = line["logits_last"].as_array().expect("an array");
    let most = (0..logits.len()).max_by(|a, b| {
        let value = |at: &usize| logits[*at].as_f64().expect("a number");
        value(a).total_cmp(&value(b))
    });
    assert_eq!(most.map(|token| token as u64), tokens[0].as_u64());
}
