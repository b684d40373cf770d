//! A request's bytes as they came: what the record commits to must be what the client holds, not what we make of it.

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use loam_wire::{Kind, Problem};

use super::provenance;
use crate::serve::patience::Patience;

/// A message as it was on the wire.
#[derive(Clone)]
pub(crate) struct RawMessage(pub(crate) Bytes);

/// What stands before a message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;

/// The call whose messages are as long as a body may be, and whose answer is recorded.
const GENERATE: &str = "/loam.v1.Inference/Generate";

/// Takes a call's one message in before the call begins, and keeps that of a call whose answer is recorded.
pub(crate) async fn take_in(State(bytes_max): State<usize>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if has_many_messages(path) {
        return next.run(request).await;
    }
    let is_recorded = path == GENERATE;
    let bytes_max = if is_recorded { bytes_max } else { bytes_max.max(provenance::MESSAGE_BYTES_MAX) };
    let (mut parts, body) = request.into_parts();
    let bytes = match whole(body, bytes_max).await {
        Ok(bytes) => bytes,
        Err(problem) => return super::status(&problem).into_http(),
    };
    if is_recorded && bytes.len() >= PREFIX_BYTES {
        parts.extensions.insert(RawMessage(bytes.slice(PREFIX_BYTES..)));
    }
    next.run(Request::from_parts(parts, Body::from(bytes))).await
}

/// Whether a client goes on to say something during a call. An offer has a patience of its own, and reflection holds
/// nothing that others need.
fn has_many_messages(path: &str) -> bool {
    path == "/loam.v1.Provenance/Offer" || path.starts_with("/grpc.reflection.")
}

/// The whole message, where it is not too long, and comes in time.
async fn whole(body: Body, bytes_max: usize) -> Result<Bytes, Problem> {
    let (mut pieces, mut patience, mut whole) = (body.into_data_stream(), Patience::new(), Vec::new());
    while let Some(piece) = patience.next_piece(&mut pieces).await? {
        if whole.len() + piece.len() > bytes_max + PREFIX_BYTES {
            let message = format!("the message is larger than {bytes_max} bytes; send a shorter one");
            return Err(Problem::new(Kind::TooLarge, message));
        }
        whole.extend_from_slice(&piece);
    }
    Ok(whole.into())
}
