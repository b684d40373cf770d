//! The OpenAPI document says what the readers read.

use std::collections::BTreeSet;

use loam_wire::openai::{Endpoint, fields};
use serde_json::Value;

fn document() -> Value {
    serde_json::from_str(include_str!("../../../openapi.json")).unwrap()
}

fn check(endpoint: Endpoint, schema: &str) {
    let document = document();
    let schema = &document["components"]["schemas"][schema];
    let stated: BTreeSet<&str> = schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
    let known: BTreeSet<&str> = fields(endpoint).into_iter().collect();
    let missing: Vec<_> = known.difference(&stated).collect();
    let strange: Vec<_> = stated.difference(&known).collect();
    assert!(missing.is_empty() && strange.is_empty(), "not in the document: {missing:?}; only there: {strange:?}");
    assert_eq!(schema["additionalProperties"], false, "an unknown field is refused");
}

#[test]
fn chat_fields_are_stated() {
    check(Endpoint::Chat, "ChatCompletionRequest");
}

#[test]
fn completion_fields_are_stated() {
    check(Endpoint::Completion, "CompletionRequest");
}

#[test]
fn each_field_is_described() {
    let document = document();
    for schema in ["ChatCompletionRequest", "CompletionRequest"] {
        for (name, property) in document["components"]["schemas"][schema]["properties"].as_object().unwrap() {
            let reference = property["$ref"].as_str().and_then(|path| document.pointer(&path[1..]));
            let described = reference.unwrap_or(property);
            assert!(described["description"].is_string(), "{schema}.{name}");
        }
    }
}

fn references<'v>(value: &'v Value, found: &mut Vec<&'v str>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("$ref").and_then(Value::as_str));
            fields.values().for_each(|value| references(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[test]
fn each_reference_resolves() {
    let document = document();
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(!found.is_empty());
    for reference in found {
        let path = reference.strip_prefix('#').expect("references stay in the document");
        assert!(document.pointer(path).is_some(), "{reference}");
    }
}

#[test]
fn each_component_is_used() {
    let document = document();
    let mut found = Vec::new();
    references(&document, &mut found);
    for (kind, components) in document["components"].as_object().unwrap() {
        for name in components.as_object().unwrap().keys().filter(|_| kind != "securitySchemes") {
            let path = format!("#/components/{kind}/{name}");
            assert!(found.contains(&path.as_str()), "{path}");
        }
    }
}

#[test]
fn all_paths_are_there() {
    let document = document();
    let stated: BTreeSet<&str> = document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    let expected = [
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/models",
        "/v1/models/{model}",
        "/v1/load_lora_adapter",
        "/v1/unload_lora_adapter",
        "/tokenize",
        "/detokenize",
        "/health",
        "/ping",
        "/version",
        "/load",
        "/metrics",
        "/receipts/{receipt_id}",
        "/records/{path}",
        "/usage/{shard}/{path}",
        "/openapi.json",
    ];
    assert_eq!(stated, BTreeSet::from(expected));
    assert_eq!(document["openapi"], "3.1.0");
}

/// What needs a key says how it is refused without one, and what takes a key's place, how it is refused for now.
#[test]
fn refusals_for_keys_are_stated() {
    let document = document();
    let light = ["/health", "/ping", "/metrics", "/version", "/load", "/openapi.json", "/v1/models"];
    for (path, operations) in document["paths"].as_object().unwrap() {
        for operation in operations.as_object().unwrap().values().filter(|it| it["responses"].is_object()) {
            let (open, responses) = (operation["security"].is_array(), &operation["responses"]);
            assert_eq!(open, ["/health", "/ping"].contains(&path.as_str()), "{path}");
            assert_eq!(responses["401"].is_object(), !open, "{path}");
            assert_eq!(responses["429"].is_object(), !light.contains(&path.as_str()), "{path}");
        }
    }
}

#[test]
fn each_operation_has_a_name_of_its_own() {
    let document = document();
    let mut names = BTreeSet::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        let methods = operations.as_object().unwrap().iter().filter(|(key, _)| *key != "parameters");
        for (method, operation) in methods {
            let name = operation["operationId"].as_str().unwrap_or_else(|| panic!("{method} {path}"));
            assert!(names.insert(name.to_owned()), "{name}");
            assert!(operation["responses"].is_object(), "{method} {path}");
        }
    }
}
