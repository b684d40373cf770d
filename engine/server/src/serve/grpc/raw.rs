//! A request's bytes as they came: what the record commits to must be what the client holds, not what we make of it.

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use loam_wire::{Kind, Problem};

/// A message as it was on the wire.
#[derive(Clone)]
pub(crate) struct RawMessage(pub(crate) Bytes);

/// What stands before a message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;

/// Keeps the message of a call whose answer is recorded.
pub(crate) async fn keep(State(bytes_max): State<usize>, request: Request, next: Next) -> Response {
    if request.uri().path() != "/loam.v1.Inference/Generate" {
        return next.run(request).await;
    }
    let (mut parts, body) = request.into_parts();
    let Ok(bytes) = to_bytes(body, bytes_max + PREFIX_BYTES).await else {
        let message = format!("the message is larger than {bytes_max} bytes, or broke off; send a shorter prompt");
        return super::status(&Problem::new(Kind::TooLarge, message)).into_http();
    };
    if bytes.len() >= PREFIX_BYTES {
        parts.extensions.insert(RawMessage(bytes.slice(PREFIX_BYTES..)));
    }
    next.run(Request::from_parts(parts, Body::from(bytes))).await
}
