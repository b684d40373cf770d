//! Lines of JSON: what they say, and what is refused by name.

use loam_engine::Error;
use loam_engine::constraint::Constraint;
use loam_engine::json::Json;
use loam_engine::request::{AdapterUse, ChatPrompt, Generate, Prompt, weight_factor, weight_millionths};
use loam_engine::request_line::{AnswerLine, LINE_BYTES_MAX, TokenLine, UsageLine, finish_reason, parse};
use loam_engine::sampler::SamplingOptions;
use loam_ledger_core::row::Finish;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::tier::cases;

/// A line with this beside `id` and `prompt`.
fn with(field: &str) -> Result<Generate, Error> {
    parse(&format!(r#"{{"id": "a", "prompt": "x", {field}}}"#)).map(|(_, request)| request)
}

/// A line with this is refused with these words.
fn refused(field: &str, words: &str) {
    let error = with(field).unwrap_err().to_string();
    assert!(error.contains(words), "{field}: {error}");
}

#[test]
fn the_line_that_the_acceptance_writes() {
    let line = r#"{"id": "base/0", "prompt_tokens": [30], "adapters": [{"name": "qv-r8", "weight": 1.0}],
        "max_tokens": 24, "temperature": 0, "ignore_eos": true, "logits": true, "prompt_logprobs": true}"#;
    let (id, request) = parse(line).unwrap();
    let expected = Generate {
        prompt: Prompt::Tokens(vec![30]),
        adapters: vec![AdapterUse { name: "qv-r8".to_owned(), weight: 1.0 }],
        max_tokens: Some(24),
        sampling: SamplingOptions { temperature: Some(0.0), ..SamplingOptions::default() },
        ignore_eos: true,
        logits: true,
        prompt_logprobs: true,
        ..Generate::default()
    };
    assert_eq!((id.as_str(), request), ("base/0", expected));
}

#[test]
fn all_fields_are_read() {
    let line = r#"{"id": "z", "messages": [{"role": "user", "content": "c"}], "tools": [], "documents": [],
        "add_generation_prompt": false, "chat_template_kwargs": {"b": 1, "a": [null]}, "adapters": [{"name": "n"}],
        "max_tokens": 9, "min_tokens": 2, "temperature": 0.5, "top_k": 4, "top_p": 0.5, "min_p": 0.25,
        "repetition_penalty": 1.5, "presence_penalty": -1, "frequency_penalty": 0.5,
        "logit_bias": {"5": -100, "7": 1.5}, "seed": 18446744073709551615, "stop": ["a", "b"], "stop_token_ids": [3],
        "include_stop": true, "ignore_eos": true, "skip_special_tokens": false, "n": 3, "logprobs": 5,
        "prompt_logprobs": true, "logits": true, "regex": "a+", "priority": -2, "deadline_ms": 1500, "tenant": "t"}"#;
    let expected = Generate {
        prompt: Prompt::Chat(ChatPrompt {
            messages: Json::parse(r#"[{"role": "user", "content": "c"}]"#).unwrap(),
            tools: Some(Json::Array(Vec::new())),
            documents: Some(Json::Array(Vec::new())),
            add_generation_prompt: false,
            kwargs: vec![("b".to_owned(), Json::Integer(1)), ("a".to_owned(), Json::Array(vec![Json::Null]))],
        }),
        adapters: vec![AdapterUse { name: "n".to_owned(), weight: 1.0 }],
        max_tokens: Some(9),
        usual_tokens: None,
        min_tokens: 2,
        sampling: SamplingOptions {
            temperature: Some(0.5),
            top_k: Some(4),
            top_p: Some(0.5),
            min_p: Some(0.25),
            repetition_penalty: Some(1.5),
            presence_penalty: Some(-1.0),
            frequency_penalty: Some(0.5),
            logit_bias: vec![(5, -100.0), (7, 1.5)],
            seed: Some(u64::MAX),
        },
        stop: vec!["a".to_owned(), "b".to_owned()],
        stop_token_ids: vec![3],
        include_stop: true,
        ignore_eos: true,
        skip_special_tokens: false,
        n: 3,
        logprobs: Some(5),
        prompt_logprobs: true,
        logits: true,
        constraint: Some(Constraint::Regex("a+".to_owned())),
        priority: -2,
        deadline_ms: Some(1500),
        tenant: "t".to_owned(),
    };
    assert_eq!(parse(line).unwrap(), ("z".to_owned(), expected));
}

#[test]
fn forms_that_others_write_mean_the_same() {
    assert_eq!(with(r#""stop": "a", "top_k": -1, "seed": -1, "temperature": null"#).unwrap().sampling.top_k, Some(0));
    assert_eq!(with(r#""seed": -1"#).unwrap().sampling.seed, Some(u64::MAX));
    assert_eq!(with(r#""response_format": {"type": "text"}"#).unwrap().constraint, None);
    let json = with(r#""response_format": {"type": "json_object"}"#).unwrap();
    assert_eq!(json.constraint, Some(Constraint::JsonObject));
    let schema =
        r#""response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "null"}}}"#;
    assert_eq!(with(schema).unwrap(), with(r#""json_schema": {"type": "null"}"#).unwrap());
}

#[test]
fn unknown_fields_are_refused_by_name() {
    refused(r#""bogus": 1"#, "no field `bogus`; it can have id, prompt");
    refused(r#""maxTokens": 1"#, "no field `maxTokens`; `max_tokens` is one");
    refused(r#""adapters": [{"nam": "x"}]"#, "no field `adapters.nam`");
    refused(&format!(r#""{}": 1"#, "x".repeat(100_000)), "no field `xxx");
}

#[test]
fn wrong_types_and_numbers_are_named_with_their_field() {
    refused(r#""max_tokens": "9""#, r#"`max_tokens` is "9"; it can be a whole number"#);
    refused(r#""max_tokens": 1.5"#, "`max_tokens` is 1.5");
    refused(r#""max_tokens": -1"#, "`max_tokens` is -1");
    refused(r#""max_tokens": 0"#, "`max_tokens` is 0");
    refused(r#""max_tokens": 99999999999999999999999999"#, "`max_tokens`");
    refused(r#""max_tokens": 5, "min_tokens": 6"#, "`min_tokens` is 6; it can be 0 to 5");
    refused(r#""temperature": [1]"#, "`temperature` is an array of 1");
    refused(r#""temperature": 1e60"#, "`temperature` is inf");
    refused(r#""stop": [1]"#, "`stop` is 1");
    refused(r#""stop": [""]"#, "`stop` is an empty string");
    refused(r#""n": 0"#, "`n` is 0");
    refused(r#""n": 100000"#, "`n` is 100000");
    refused(r#""logprobs": 65"#, "`logprobs` is 65; it can be a whole number from 0 to 64");
    refused(r#""seed": 1.5"#, "`seed` is 1.5");
    refused(r#""priority": 3000000000"#, "`priority` is 3000000000");
    refused(r#""deadline_ms": 0"#, "`deadline_ms` is 0");
    refused(r#""logit_bias": {"x": 1}"#, r#"`logit_bias` is "x""#);
    refused(r#""ignore_eos": 1"#, "`ignore_eos` is 1; it can be true or false");
    refused(r#""response_format": {"type": "xml"}"#, "`response_format`");
    refused(r#""json_schema": 5"#, "`json_schema` is 5");
    refused(r#""regex": "a", "grammar": "b""#, "a second form of the answer");
    refused(r#""tools": []"#, "`tools` is given; it can be given beside `messages`");
    refused(r#""prompt_tokens": [1]"#, "given twice");
    let name = format!(r#""tenant": "{}""#, "t".repeat(256));
    refused(&name, "`tenant` is 256 bytes; it can be at most 255");
}

#[test]
fn prompts_and_ids_are_wanted() {
    let error = |line: &str| parse(line).unwrap_err().to_string();
    assert!(error(r#"{"prompt": "x"}"#).contains("`id`"));
    assert!(error(r#"{"id": 5, "prompt": "x"}"#).contains("`id` is 5"));
    assert!(error(r#"{"id": "a"}"#).contains("`prompt` is absent"));
    assert!(error(r#"{"id": "a", "prompt_tokens": []}"#).contains("`prompt_tokens` is empty"));
    assert!(error(r#"{"id": "a", "messages": []}"#).contains("`messages`"));
    assert!(error(r#"{"id": "a", "messages": [{"content": "x"}]}"#).contains("objects with a `role`"));
    assert!(error(r#"{"id": "a", "messages": [{"role": 1}]}"#).contains("`messages.role` is 1"));
    let taken = r#"{"id": "a", "messages": [{"role": "user"}], "chat_template_kwargs": {"messages": []}}"#;
    assert!(error(taken).contains("chat_template_kwargs"));
}

#[test]
fn adapters_are_few_and_each_once() {
    let named = |names: &[&str]| {
        let list: Vec<_> = names.iter().map(|name| format!(r#"{{"name": "{name}"}}"#)).collect();
        format!(r#""adapters": [{}]"#, list.join(","))
    };
    assert_eq!(with(&named(&["a", "b", "c", "d"])).unwrap().adapters.len(), 4);
    refused(&named(&["a", "b", "c", "d", "e"]), "`adapters` is 5 adapters; it can be at most 4");
    refused(&named(&["a", "b", "a"]), r#"`adapters.name` is "a" twice"#);
    refused(&named(&[""]), "`adapters.name` is empty");
    refused(r#""adapters": [{"name": "a", "weight": 1001}]"#, "`adapters.weight` is 1001");
    refused(r#""adapters": [{"name": "a", "weight": "1"}]"#, "`adapters.weight`");
    refused(r#""adapters": ["a"]"#, "`adapters`");
}

#[test]
fn weights_are_millionths() {
    let rounded = [(1.0, 1_000_000), (-0.5, -500_000), (0.0, 0), (0.000_000_6, 1), (-1000.0, -1_000_000_000)];
    for (weight, millionths) in rounded {
        assert_eq!(weight_millionths(weight).unwrap(), millionths);
    }
    assert_eq!((weight_factor(700_000), weight_factor(-1)), (0.7, -0.000_001));
    for weight in [f64::NAN, f64::INFINITY, 1000.1, -1e300, 0.000_000_4] {
        assert!(weight_millionths(weight).is_err(), "{weight}");
    }
}

#[test]
fn hostile_lines_are_errors() {
    let nested = |open: &str, close: &str| {
        format!(r#"{{"id": "a", "messages": {}{}}}"#, open.repeat(50_000), close.repeat(50_000))
    };
    let mut lines = vec![
        String::new(),
        "null".to_owned(),
        "[]".to_owned(),
        "{".to_owned(),
        r#"{"id": "a", "prompt": "x"} {}"#.to_owned(),
        r#"{"id": "a", "prompt": "x", "temperature": NaN}"#.to_owned(),
        r#"{"id": "a", "prompt": "x", "temperature": 1e400}"#.to_owned(),
        r#"{"id": "a", "prompt": "x", "prompt": "y"}"#.to_owned(),
        r#"{"id": "a", "prompt": "\ud800"}"#.to_owned(),
        nested("[", "]"),
        nested(r#"{"a":"#, "1}"),
        format!(r#"{{"id": "{}", "prompt": "x"}}"#, "i".repeat(10_000_000)),
        format!(r#"{{"id": "a", "prompt": "{}"}}"#, "p".repeat(LINE_BYTES_MAX)),
        format!(r#"{{"id": "a", "prompt_tokens": [{}1.5]}}"#, "1,".repeat(1_000_000)),
        format!(r#"{{"id": "a", "prompt": "x", "stop": [{}"x"]}}"#, r#""x","#.repeat(1_000_000)),
    ];
    let many: Vec<_> = (0..200_000).map(|field| format!(r#""f{field}": 1"#)).collect();
    lines.push(format!("{{{}}}", many.join(",")));
    for line in lines {
        let error = parse(&line).unwrap_err().to_string();
        assert!(error.len() < 1500, "{}: {}", &line[..line.len().min(80)], error.len());
    }
}

#[test]
fn arbitrary_bytes_never_panic() {
    let line = prop_oneof![
        ".{0,80}",
        r#"\{"id": ?"a", ?"(prompt|messages|stop|n|seed|adapters|logit_bias)": ?[\[\]{}"0-9a-z:,. e+-]{0,40}\}"#,
    ];
    let outcome = TestRunner::new(cases()).run(&line, |line| {
        match parse(&line) {
            Ok((id, _)) => prop_assert!(!id.is_empty()),
            Err(error) => prop_assert!(error.to_string().len() < 1500),
        }
        Ok(())
    });
    outcome.unwrap();
}

#[test]
fn answers_are_lines() {
    let answer = AnswerLine {
        id: "a".to_owned(),
        prompt_tokens: vec![1, 2],
        tokens: vec![3],
        text: Some("\n\u{e9}".to_owned()),
        finish_reason: finish_reason(Finish::LENGTH),
        logits_last: Some(vec![0.5, f32::NEG_INFINITY]),
        usage: UsageLine { prompt_tokens: 2, cached_tokens: 0, completion_tokens: 1 },
        ..AnswerLine::default()
    };
    let expected = "{\"id\":\"a\",\"prompt_tokens\":[1,2],\"tokens\":[3],\"text\":\"\\n\u{e9}\",\
        \"finish_reason\":\"length\",\"logits_last\":[0.5,null],\
        \"usage\":{\"prompt_tokens\":2,\"cached_tokens\":0,\"completion_tokens\":1}}";
    assert_eq!(answer.to_line(), expected);
    let token = TokenLine { token: 3, logprob: -0.5, rank: 0, top: vec![(3, -0.5)] };
    let more = AnswerLine { choice: Some(1), logprobs: Some(vec![token]), prompt_logprobs: Some(Vec::new()), ..answer };
    let line = more.to_line();
    assert!(line.contains(r#""choice":1"#) && line.contains(r#""prompt_logprobs":[]"#), "{line}");
    assert!(line.contains(r#""logprobs":[{"token":3,"logprob":-0.5,"rank":0,"top":[[3,-0.5]]}]"#), "{line}");
}
