//! Messages, as templates get them.

use loam_engine::json::Json;
use loam_engine::request::Prompt;
use loam_wire::Problem;
use loam_wire::openai::{Call, Endpoint};

use super::ask::{bare, refused};

fn of(message: &str) -> Result<Call, Problem> {
    bare(Endpoint::Chat, &format!(r#""messages": [{message}]"#))
}

/// A message, and what a template gets of it.
#[track_caller]
fn becomes(message: &str, expected: &str) {
    let call = of(message).unwrap_or_else(|problem| panic!("{message}: {}", problem.message));
    let Prompt::Chat(chat) = &call.requests[0].prompt else { panic!("a chat") };
    let texts = [&chat.messages, &Json::Array(vec![Json::parse(expected).unwrap()])];
    // Keys keep their order, for templates print them.
    let [found, expected] = texts.map(|json| serde_json::to_string(json).unwrap());
    assert_eq!(found, expected);
}

#[test]
fn a_text() {
    becomes(r#"{"role": "user", "content": "a"}"#, r#"{"role": "user", "content": "a"}"#);
    becomes(r#"{"role": "user", "content": ""}"#, r#"{"role": "user", "content": ""}"#);
    becomes(r#"{"content": "a", "role": "developer"}"#, r#"{"content": "a", "role": "developer"}"#);
}

#[test]
fn parts_of_a_text_are_joined() {
    let parts = r#"[{"type": "text", "text": "a"}, {"text": "b", "type": "text"}]"#;
    becomes(&format!(r#"{{"role": "user", "content": {parts}}}"#), r#"{"role": "user", "content": "a\nb"}"#);
    becomes(r#"{"role": "user", "content": []}"#, r#"{"role": "user", "content": ""}"#);
}

#[test]
fn parts_that_are_no_text_are_refused_by_name() {
    for kind in ["image_url", "input_audio", "file", "refusal"] {
        let message = format!(r#"{{"role": "user", "content": [{{"type": "{kind}", "{kind}": {{}}}}]}}"#);
        refused(of(&message), "messages.content.type", kind);
    }
    let of_part = |part: &str| of(&format!(r#"{{"role": "user", "content": [{part}]}}"#));
    refused(of_part("\"a\""), "messages.content.type", "null");
    refused(of_part(r#"{"type": "text", "text": 1}"#), "messages.content.text", "a string");
    refused(of_part(r#"{"type": "text", "text": "a", "cache": 1}"#), "messages.content.cache", "type, text");
}

#[test]
fn a_content_is_there() {
    let role = |role: &str| of(&format!(r#"{{"role": "{role}", "content": null}}"#));
    refused(role("user"), "messages.content", "is null");
    refused(of(r#"{"role": "user", "contents": "a"}"#), "messages.content", "absent");
    refused(of(r#"{"role": "user", "content": 1}"#), "messages.content", "array of text parts");
    becomes(r#"{"role": "assistant", "content": null}"#, r#"{"role": "assistant", "content": ""}"#);
}

#[test]
fn a_role_is_there() {
    refused(of(r#"{"content": "a"}"#), "messages", "objects with a `role`");
    refused(of(r#"{"role": 1, "content": "a"}"#), "messages.role", "a string");
    refused(of("1"), "messages", "objects with `role`");
}

#[test]
fn messages_are_there() {
    refused(of(""), "messages", "one message or more");
    refused(bare(Endpoint::Chat, r#""messages": {}"#), "messages", "an array");
    refused(bare(Endpoint::Chat, r#""tools": []"#), "tools", "beside `messages`");
}

#[test]
fn an_answer_comes_back_as_clients_keep_it() {
    becomes(
        r#"{"role": "assistant", "content": "a", "refusal": null, "annotations": [], "tool_calls": null,
            "audio": null, "function_call": null, "reasoning": "r"}"#,
        r#"{"role": "assistant", "content": "a", "reasoning": "r"}"#,
    );
    refused(of(r#"{"role": "assistant", "content": "a", "audio": {"id": "x"}}"#), "messages.audio", "absent");
    let message = r#"{"role": "assistant", "content": "a", "function_call": {"name": "f"}}"#;
    refused(of(message), "messages.function_call", "absent");
}

#[test]
fn arguments_of_tool_calls_become_objects() {
    let call = |arguments: &str| {
        let function = format!(r#"{{"name": "f", "arguments": {arguments}}}"#);
        format!(r#""tool_calls": [{{"id": "1", "type": "function", "function": {function}}}]"#)
    };
    let given = |arguments: &str| format!(r#"{{"role": "assistant", {}}}"#, call(arguments));
    let expected = |arguments: &str| format!(r#"{{"role": "assistant", {}, "content": ""}}"#, call(arguments));
    becomes(&given(r#""{\"z\": 1, \"a\": 2}""#), &expected(r#"{"z": 1, "a": 2}"#));
    becomes(&given("\"\""), &expected("{}"));
    becomes(&given(r#"{"a": 1}"#), &expected(r#"{"a": 1}"#));
    refused(of(&given(r#""{""#)), "messages.tool_calls.function.arguments", "JSON in a string");
    refused(of(r#"{"role": "assistant", "tool_calls": [{"id": "1"}]}"#), "messages.tool_calls", "`arguments`");
    refused(of(r#"{"role": "assistant", "tool_calls": {}}"#), "messages.tool_calls", "an array");
}

#[test]
fn answers_of_tools_pass() {
    let message = r#"{"role": "tool", "tool_call_id": "1", "name": "f", "content": "4"}"#;
    becomes(message, message);
}

#[test]
fn tools_are_functions() {
    let of = |tool: &str| super::ask::with(Endpoint::Chat, &format!(r#""tools": [{tool}]"#));
    refused(of(r#"{"type": "custom", "custom": {}}"#), "tools.type", "\"function\"");
    refused(of("{}"), "tools.type", "absent");
    refused(of(r#"{"type": "function"}"#), "tools.function", "description of a function");
    assert!(of(r#"{"type": "function", "function": {"name": "f", "strict": true}}"#).is_ok());
}
