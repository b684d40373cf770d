//! Forms of an answer, by all their names.

use loam_engine::constraint::Constraint;
use loam_engine::json::Json;
use loam_wire::openai::Endpoint;

use super::ask::{call, refused, with};

#[track_caller]
fn check(fields: &str, expected: Option<Constraint>) {
    for endpoint in [Endpoint::Chat, Endpoint::Completion] {
        assert_eq!(call(endpoint, fields).requests[0].constraint, expected, "{fields}");
    }
}

#[track_caller]
fn refuses(fields: &str, field: &str, words: &str) {
    for endpoint in [Endpoint::Chat, Endpoint::Completion] {
        refused(with(endpoint, fields), field, words);
    }
}

fn schema() -> Option<Constraint> {
    Some(Constraint::JsonSchema(Json::parse(r#"{"type": "object"}"#).unwrap()))
}

#[test]
fn response_format() {
    check(r#""response_format": {"type": "text"}"#, None);
    check(r#""response_format": {"type": "json_object"}"#, Some(Constraint::JsonObject));
    let outer = r#"{"name": "n", "strict": true, "schema": {"type": "object"}}"#;
    check(&format!(r#""response_format": {{"type": "json_schema", "json_schema": {outer}}}"#), schema());
    refuses(r#""response_format": {"type": "structural_tag"}"#, "response_format", "\"json_schema\"");
    refuses(r#""response_format": {"type": "json_schema"}"#, "response_format", "without a schema");
    refuses(r#""response_format": "json""#, "response_format", "an object");
}

#[test]
fn structured_outputs() {
    let of = |fields: &str| format!(r#""structured_outputs": {fields}"#);
    check(&of(r#"{"json": {"type": "object"}}"#), schema());
    check(&of(r#"{"json": "{\"type\": \"object\"}", "regex": null, "disable_any_whitespace": false}"#), schema());
    check(&of(r#"{"regex": "a+"}"#), Some(Constraint::Regex("a+".to_owned())));
    check(&of(r#"{"choice": ["a", "b"]}"#), Some(Constraint::Choice(vec!["a".to_owned(), "b".to_owned()])));
    check(&of(r#"{"grammar": "start: \"a\""}"#), Some(Constraint::Grammar("start: \"a\"".to_owned())));
    check(&of(r#"{"json_object": true}"#), Some(Constraint::JsonObject));
    refuses(&of("{}"), "structured_outputs", "without a form");
    refuses(&of("[]"), "structured_outputs", "an object");
    refuses(&of(r#"{"regex": "a", "choice": ["a"]}"#), "structured_outputs.choice", "the only one");
    refuses(&of(r#"{"regex": 1}"#), "structured_outputs.regex", "a string");
    refuses(&of(r#"{"json": 1}"#), "structured_outputs.json", "a JSON schema");
    refuses(&of(r#"{"json": "{"}"#), "structured_outputs.json", "no JSON");
    refuses(&of(r#"{"regexp": "a"}"#), "structured_outputs.regexp", "json, regex");
}

#[test]
fn what_structured_outputs_have_besides() {
    for field in ["disable_any_whitespace", "disable_fallback", "disable_additional_properties"] {
        let fields = format!(r#""structured_outputs": {{"regex": "a", "{field}": true}}"#);
        refuses(&fields, &format!("structured_outputs.{field}"), "absent");
    }
    for field in ["whitespace_pattern", "structural_tag"] {
        let fields = format!(r#""structured_outputs": {{"regex": "a", "{field}": "x"}}"#);
        refuses(&fields, &format!("structured_outputs.{field}"), "absent");
    }
}

#[test]
fn guided() {
    check(r#""guided_json": {"type": "object"}"#, schema());
    check(r#""guided_json": "{\"type\": \"object\"}""#, schema());
    check(r#""guided_regex": "a+""#, Some(Constraint::Regex("a+".to_owned())));
    check(r#""guided_choice": ["a"]"#, Some(Constraint::Choice(vec!["a".to_owned()])));
    check(r#""guided_grammar": "start: \"a\"""#, Some(Constraint::Grammar("start: \"a\"".to_owned())));
    refuses(r#""guided_json": 1"#, "guided_json", "a JSON schema");
    refuses(r#""guided_regex": 1"#, "guided_regex", "a string");
    refuses(r#""guided_choice": 1"#, "guided_choice", "a string or an array");
    refuses(r#""guided_grammar": 1"#, "guided_grammar", "a string");
}

#[test]
fn there_is_one_form() {
    let fields = r#""guided_regex": "a", "response_format": {"type": "json_object"}"#;
    refuses(fields, "guided_regex", "the only one");
    check(r#""guided_regex": "a", "response_format": {"type": "text"}"#, Some(Constraint::Regex("a".to_owned())));
}

#[test]
fn a_form_is_refused_by_what_the_client_called_it() {
    refuses(r#""guided_choice": []"#, "guided_choice", "one text or more");
    refuses(r#""structured_outputs": {"choice": [""]}"#, "structured_outputs", "none of them empty");
    let long = "a".repeat(17 << 10);
    refuses(&format!(r#""guided_regex": "{long}""#), "guided_regex", "at most");
}
