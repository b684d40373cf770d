//! A request's body as it came; or a refusal that its sender gets to read.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use http::header::{CONTENT_LENGTH, EXPECT};
use http::{HeaderMap, Version};
use loam_wire::{Kind, Problem};
use tokio_stream::StreamExt as _;

use crate::serve::node::Node;

/// Bytes of a body that is too long which are still taken in and thrown away. Over HTTP/1 a sender reads no answer before
/// it has sent everything: where the connection were closed instead, all it would see is that it broke.
const DISCARDED_BYTES_MAX: usize = 64 << 20;

/// How long that may take.
const DISCARD_PATIENCE: Duration = Duration::from_secs(5);

/// The whole body, where it is not too long.
pub(super) async fn body(node: &Node, request: Request) -> Result<Bytes, Problem> {
    let bytes_max = node.settings.limits.body_bytes;
    let (parts, body) = request.into_parts();
    let announced = announced(&parts.headers);
    if announced.is_some_and(|bytes| bytes > bytes_max as u64) {
        // Whoever asks first is told before it sends.
        if parts.version < Version::HTTP_2 && !parts.headers.contains_key(EXPECT) {
            discard(body).await;
        }
        return Err(too_large(bytes_max));
    }
    let room = announced.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(0);
    let mut whole = Vec::with_capacity(room);
    let mut pieces = body.into_data_stream();
    while let Some(piece) = pieces.next().await {
        let broke = |error| Problem::new(Kind::Invalid, format!("the body broke off: {error}"));
        let piece = piece.map_err(broke)?;
        if whole.len() + piece.len() > bytes_max {
            if parts.version < Version::HTTP_2 {
                discard(Body::from_stream(pieces)).await;
            }
            return Err(too_large(bytes_max));
        }
        whole.extend_from_slice(&piece);
    }
    Ok(whole.into())
}

fn announced(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Takes the rest in, as far as that is worth it.
async fn discard(body: Body) {
    let mut pieces = body.into_data_stream();
    let mut left = DISCARDED_BYTES_MAX;
    let reading = async {
        while let Some(Ok(piece)) = pieces.next().await {
            left = left.saturating_sub(piece.len());
            if left == 0 {
                return;
            }
        }
    };
    // Whoever takes longer has had its chance.
    let _ = tokio::time::timeout(DISCARD_PATIENCE, reading).await;
}

fn too_large(bytes_max: usize) -> Problem {
    let message =
        format!("the body is larger than {bytes_max} bytes: shorten it, or start the server with --max-body-mib");
    Problem::new(Kind::TooLarge, message)
}
