//! Refusals, as OpenAI's clients read them.

use loam_engine::Error;
use loam_wire::openai::{Endpoint, error_body, http_status};
use loam_wire::{Kind, Problem};
use serde_json::{Value, json};

use super::ask::json as parse;

fn error(kind: Kind) -> Value {
    parse(&error_body(&Problem::new(kind, "m")))["error"].take()
}

#[test]
fn statuses_types_and_codes() {
    for (kind, status, word, code) in [
        (Kind::Invalid, 400, "invalid_request_error", Value::Null),
        (Kind::ContextFull, 400, "invalid_request_error", json!("context_length_exceeded")),
        (Kind::Unauthenticated, 401, "authentication_error", json!("invalid_api_key")),
        (Kind::Forbidden, 403, "permission_error", Value::Null),
        (Kind::NotFound, 404, "not_found_error", Value::Null),
        (Kind::Conflict, 409, "conflict_error", Value::Null),
        (Kind::TooLarge, 413, "invalid_request_error", json!("request_too_large")),
        (Kind::Busy, 429, "rate_limit_error", json!("rate_limit_exceeded")),
        (Kind::Internal, 500, "server_error", Value::Null),
        (Kind::Unsupported, 501, "not_supported_error", Value::Null),
        (Kind::Unavailable, 503, "service_unavailable_error", Value::Null),
        (Kind::Deadline, 504, "timeout_error", Value::Null),
    ] {
        assert_eq!(http_status(kind), status);
        assert_eq!(error(kind), json!({"message": "m", "type": word, "param": null, "code": code}));
    }
}

#[test]
fn a_field_is_the_param() {
    let problem = Problem::field("top_p", "`top_p` is 2");
    let expected = r#"{"error":{"message":"`top_p` is 2","type":"invalid_request_error","param":"top_p","code":null}}"#;
    assert_eq!(error_body(&problem), expected);
}

#[test]
fn why_the_engine_ended_is_the_logs_to_say() {
    let problem = Problem::from(Error::Stopped { reason: "/srv/ledger/000012.sst: no space left".to_owned() });
    assert_eq!(problem.kind, Kind::Unavailable);
    assert!(!problem.message.contains("/srv") && problem.message.contains("ask another server"), "{}", problem.message);
}

#[test]
fn an_unknown_model_has_its_code() {
    let names = super::ask::bare(Endpoint::Completion, r#""prompt": "x""#).unwrap().names;
    let problem = names.of(Problem::from(Error::AdapterUnknown { name: "qv".to_owned() }));
    let error = parse(&error_body(&problem))["error"].take();
    assert_eq!(error["code"], "model_not_found");
    assert_eq!(error["param"], "model");
    assert_eq!(http_status(problem.kind), 404);
}
