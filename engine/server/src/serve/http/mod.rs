//! The HTTP that the ecosystem speaks: OpenAI's interface, vLLM's additions, receipts, the logs' static files.

mod adapters;
mod answers;
mod body;
mod logs;
mod pages;
mod receipts;
mod text;

use std::sync::Arc;

use axum::Router;
use axum::extract::Path;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, StatusCode};
use loam_wire::{Kind, Problem, openai};

use super::node::Node;
use super::patience;
use crate::access::{Caller, Scope};
use body::body;
pub(crate) use body::let_go;

/// All pages as routes.
pub(crate) fn router(node: &Arc<Node>) -> Router {
    Router::new()
        .route("/v1/chat/completions", post(answers::chat))
        .route("/v1/completions", post(answers::completion))
        .route("/v1/models", get(pages::models))
        .route("/v1/models/{*model}", get(pages::model))
        .route("/v1/load_lora_adapter", post(adapters::load))
        .route("/v1/unload_lora_adapter", post(adapters::unload))
        .route("/tokenize", post(text::tokenize))
        .route("/detokenize", post(text::detokenize))
        .route("/health", get(pages::health))
        .route("/ping", get(pages::health).post(pages::health))
        .route("/version", get(pages::version))
        .route("/load", get(pages::load))
        .route("/metrics", get(pages::metrics))
        .route("/openapi.json", get(pages::openapi))
        .route("/receipts/{receipt_id}", get(receipts::receipt))
        .route("/records/{*path}", get(logs::records))
        .route("/usage/{shard}/{*path}", get(logs::usage))
        .fallback(pages::unknown)
        .method_not_allowed_fallback(pages::wrong_method)
        .with_state(Arc::clone(node))
}

/// What kind of problem an answer tells of, for whoever counts it.
#[derive(Clone, Copy)]
pub(crate) struct Said(pub(crate) Kind);

/// A problem as OpenAI's clients read it.
pub(crate) fn refusal(problem: &Problem) -> Response {
    let status = match problem.field.as_deref() {
        // Of all fields, these two have a status of their own.
        Some(body::ENCODING) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Some(patience::BODY) => StatusCode::REQUEST_TIMEOUT,
        _ => StatusCode::from_u16(openai::http_status(problem.kind)).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
    };
    let mut response = (status, json(openai::error_body(problem))).into_response();
    response.extensions_mut().insert(Said(problem.kind));
    if let Some(ms) = problem.retry_ms {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(ms.div_ceil(1_000)));
    }
    if problem.kind == Kind::Unauthenticated {
        response.headers_mut().insert(http::header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// A body of JSON.
fn json(body: String) -> Response {
    ([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response()
}

/// What a handler gives: an answer, or why there is none.
struct Refused(Problem);

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

/// A path's parts, or why they cannot be read.
type PathOf<T> = Result<Path<T>, PathRejection>;

/// The framework's own words for what it cannot read are refusals like ours.
impl From<PathRejection> for Refused {
    fn from(rejection: PathRejection) -> Self {
        Self(Problem::new(Kind::Invalid, format!("the path cannot be read: {}", rejection.body_text())))
    }
}

impl From<QueryRejection> for Refused {
    fn from(rejection: QueryRejection) -> Self {
        Self(Problem::new(Kind::Invalid, format!("the query cannot be read: {}", rejection.body_text())))
    }
}

impl axum::response::IntoResponse for Refused {
    fn into_response(self) -> Response {
        refusal(&self.0)
    }
}

type Answer = Result<Response, Refused>;

/// Who asks, if the key allows it. The guard has let nobody in without one but to what is open.
fn allowed(caller: Option<&Caller>, scope: Scope) -> Result<(), Refused> {
    match caller {
        Some(caller) => Ok(caller.need(scope)?),
        None => Ok(()),
    }
}

/// Lets through whoever may see how the server stands.
fn may_see(caller: Option<&Caller>) -> Result<(), Refused> {
    Ok(caller.map_or(Ok(()), Caller::need_to_see)?)
}

/// 32 bytes that the client chose, from its header.
fn nonce(headers: &HeaderMap) -> Result<Option<[u8; 32]>, Problem> {
    const NAME: &str = "x-loam-nonce";
    let mut values = headers.get_all(NAME).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.any(|other| other != value) {
        return Err(Problem::field(
            NAME,
            format!("the header `{NAME}` is there twice, with different values; give it once"),
        ));
    }
    let nonce = value.to_str().ok().and_then(loam_wire::asked::nonce_from_hex);
    let wrong = || Problem::field(NAME, format!("the header `{NAME}` is not 64 hexadecimal digits"));
    nonce.map(Some).ok_or_else(wrong)
}
