//! Who asks, before anything else of a request is looked at; and the id by which a request is spoken of.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use loam_ledger_core::text::hex_encode;
use loam_wire::{Kind, Problem};
use tracing::{Instrument as _, info, info_span};

use super::node::Node;
use super::places::Connection;
use super::{grpc, http as pages, origin};
use crate::access::{Permit, bearer};
use crate::metrics::word;

/// The header that names a request, both ways.
pub(crate) const REQUEST_ID: &str = "x-request-id";

/// How a call over gRPC ended, where that is said before anything else.
const GRPC_STATUS: &str = "grpc-status";

/// Characters of a request id.
const REQUEST_ID_MAX: usize = 128;

/// Characters of a path, longer than any that is served.
const PATH_MAX: usize = 256;

/// A request's id: the client's own where it has a fit one.
#[derive(Clone)]
pub(crate) struct RequestId {
    pub(crate) id: Arc<str>,
    /// Whether the client gave it.
    pub(crate) is_given: bool,
}

/// A key's place for one request. Whoever answers on after its first words, or works on after its client has gone, keeps
/// a copy.
#[derive(Clone)]
pub(crate) struct Admitted(#[expect(dead_code, reason = "held, and given back")] Arc<Permit>);

tokio::task_local! {
    static ADMITTED: Admitted;
}

impl Admitted {
    /// That of the request that is being answered here; none for what needs none, and once its first words are out.
    pub(super) fn here() -> Option<Self> {
        ADMITTED.try_with(Clone::clone).ok()
    }
}

/// Answers browsers that ask for their pages, and lets others in.
pub(crate) async fn guard(State(node): State<Arc<Node>>, request: Request, next: Next) -> Response {
    let Some(page) = origin::allowed(request.headers(), &node.settings.access.origins) else {
        return let_in(node, request, next).await;
    };
    let mut response = match origin::is_asked_beforehand(request.method(), request.headers()) {
        true => origin::yes(request.headers()),
        false => let_in(node, request, next).await,
    };
    origin::share(response.headers_mut(), page);
    response
}

/// Lets in who may come in, and says who it is; logs how it went, without a word of what was said.
async fn let_in(node: Arc<Node>, mut request: Request, next: Next) -> Response {
    let began = Instant::now();
    let id = request_id(request.headers());
    let (method, path) = (request.method().clone(), shortened(request.uri().path()));
    let is_grpc = is_grpc(request.headers());
    let span = info_span!("request", id = &*id.id, named = tracing::field::Empty);
    let sent = (&method, request.uri(), request.headers());
    let known = origin::check(sent, &node.settings.access.origins, !node.keys.is_open());
    let caller = match known.and_then(|()| node.keys.identify(presented(request.headers()))) {
        Ok(caller) => Some(caller),
        Err(_) if is_open(&node, &path) => None,
        Err(problem) => {
            node.meters.refused(problem.kind);
            info!(parent: &span, %method, path, problem = problem.message, "refused");
            return named(early(&problem, is_grpc, request).await, &id);
        }
    };
    let key = caller.as_ref().map(|caller| caller.name().to_string());
    let mut admitted = None;
    if let Some(caller) = caller {
        let connection = request.extensions().get::<Arc<Connection>>().cloned();
        connection.iter().for_each(|it| it.asked_by_key());
        if !is_light(&path) {
            match caller.admit() {
                Ok(permit) => {
                    let permit = Arc::new(permit);
                    connection.iter().for_each(|it| it.admitted(&permit));
                    admitted = Some(Admitted(permit));
                }
                Err(problem) => {
                    node.meters.refused(problem.kind);
                    info!(parent: &span, %method, path, key, problem = problem.message, "refused");
                    return named(early(&problem, is_grpc, request).await, &id);
                }
            }
        }
        request.extensions_mut().insert(caller);
    }
    request.extensions_mut().insert(id.clone());
    let response = answered(next, request, admitted).instrument(span.clone()).await;
    let ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let refused = refused(&response);
    if let Some(kind) = refused {
        node.meters.refused(kind);
    }
    let (status, grpc_status) = (response.status().as_u16(), response.headers().get(GRPC_STATUS));
    let grpc_status = grpc_status.and_then(|code| code.to_str().ok());
    info!(parent: &span, %method, path, key, status, grpc_status, refused = refused.map(word), ms, "answered");
    let id = response.extensions().get::<RequestId>().cloned().unwrap_or(id);
    named(response, &id)
}

/// What there is to say to a request. It has its key's place for as long as somebody works on that.
async fn answered(next: Next, mut request: Request, admitted: Option<Admitted>) -> Response {
    let Some(admitted) = admitted else { return next.run(request).await };
    request.extensions_mut().insert(admitted.clone());
    ADMITTED.scope(admitted, next.run(request)).await
}

/// As much of a path as a log or a refusal should have.
pub(crate) fn shortened(path: &str) -> String {
    match path.char_indices().nth(PATH_MAX) {
        Some((end, _)) => format!("{}...", &path[..end]),
        None => path.to_owned(),
    }
}

/// A refusal before the body was looked at. Where the rest of it is too long to wait for, the connection ends, and says
/// so.
async fn early(problem: &Problem, is_grpc: bool, request: Request) -> Response {
    let mut response = refusal(problem, is_grpc);
    if !pages::let_go(request).await {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// The kind of what an answer refuses, by either protocol. A stream that fails later says so itself.
fn refused(response: &Response) -> Option<Kind> {
    if let Some(said) = response.extensions().get::<pages::Said>() {
        return Some(said.0);
    }
    grpc::kind(response.headers().get(GRPC_STATUS)?.to_str().ok()?.parse().ok()?)
}

/// A refusal in the words of its protocol.
fn refusal(problem: &Problem, is_grpc: bool) -> Response {
    if is_grpc { grpc::status(problem).into_http::<Body>() } else { pages::refusal(problem) }
}

/// A health check has no key; what else has none is said in the settings.
fn is_open(node: &Node, path: &str) -> bool {
    let log = path == "/records" || path.starts_with("/records/") || path.starts_with("/usage/");
    matches!(path, "/health" | "/ping")
        || path.starts_with("/grpc.health.v1.Health/")
        || (path == "/metrics" && node.settings.access.metrics_open)
        || (log && node.settings.access.log_open)
}

/// What costs next to nothing, and what people look at when there is too much of the rest.
fn is_light(path: &str) -> bool {
    matches!(path, "/health" | "/ping" | "/metrics" | "/version" | "/load" | "/openapi.json" | "/v1/models")
        || ["/loam.v1.Server/", "/grpc.health.", "/grpc.reflection."].iter().any(|light| path.starts_with(light))
}

fn presented(headers: &HeaderMap) -> Option<&str> {
    bearer(headers.get(AUTHORIZATION)?.to_str().ok()?)
}

/// Whether a request speaks gRPC, and so must its answer.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

fn request_id(headers: &HeaderMap) -> RequestId {
    let given = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok());
    let fit = given.filter(|id| (1..=REQUEST_ID_MAX).contains(&id.len()) && id.bytes().all(|it| it.is_ascii_graphic()));
    match fit {
        Some(id) => RequestId { id: id.into(), is_given: true },
        None => {
            let mut random = [0; 16];
            // Without randomness no ledger begins a request either; a name that is not unique harms only logs.
            let _ = getrandom::fill(&mut random);
            RequestId { id: hex_encode(&random).into(), is_given: false }
        }
    }
}

fn named(mut response: Response, id: &RequestId) -> Response {
    if let Ok(value) = HeaderValue::from_str(&id.id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}
