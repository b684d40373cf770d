//! Problems in OpenAI's words.

use serde::Serialize;

use crate::problem::{Kind, Problem};

/// The status that HTTP has for it.
pub const fn http_status(kind: Kind) -> u16 {
    match kind {
        Kind::Invalid | Kind::ContextFull => 400,
        Kind::Unauthenticated => 401,
        Kind::Forbidden => 403,
        Kind::NotFound => 404,
        Kind::Conflict => 409,
        Kind::TooLarge => 413,
        Kind::Busy => 429,
        Kind::Internal => 500,
        Kind::Unsupported => 501,
        Kind::Unavailable => 503,
        // Not 408: there the server tired of waiting for the request, and here the client of waiting for the answer.
        Kind::Deadline => 504,
    }
}

#[derive(Serialize)]
struct Body<'p> {
    error: Error<'p>,
}

#[derive(Serialize)]
struct Error<'p> {
    message: &'p str,
    r#type: &'static str,
    param: Option<&'p str>,
    code: Option<&'static str>,
}

/// The body of an answer that is none, and what a stream says where it breaks off.
pub fn error_body(problem: &Problem) -> String {
    let Problem { kind, message, field, .. } = problem;
    let param = field.as_deref();
    let error = Error { message, r#type: word(*kind), param, code: code(*kind, param) };
    serde_json::to_string(&Body { error }).expect("texts have a JSON form")
}

const fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Invalid | Kind::ContextFull | Kind::TooLarge => "invalid_request_error",
        Kind::Unauthenticated => "authentication_error",
        Kind::Forbidden => "permission_error",
        Kind::NotFound => "not_found_error",
        Kind::Conflict => "conflict_error",
        Kind::Busy => "rate_limit_error",
        Kind::Unavailable => "service_unavailable_error",
        Kind::Deadline => "timeout_error",
        Kind::Unsupported => "not_supported_error",
        Kind::Internal => "server_error",
    }
}

fn code(kind: Kind, param: Option<&str>) -> Option<&'static str> {
    match kind {
        Kind::Unauthenticated => Some("invalid_api_key"),
        // An adapter is a model, whatever names it.
        Kind::NotFound if matches!(param, Some("model" | "adapter_id" | "adapters.name")) => Some("model_not_found"),
        Kind::ContextFull => Some("context_length_exceeded"),
        Kind::TooLarge => Some("request_too_large"),
        Kind::Busy => Some("rate_limit_exceeded"),
        _ => None,
    }
}
