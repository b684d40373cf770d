//! A request's body as it came; or a refusal that its sender gets to read.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, EXPECT};
use http::{HeaderMap, Version};
use loam_wire::{Kind, Problem};
use tokio_stream::StreamExt as _;

use crate::serve::node::Node;
use crate::serve::patience::Patience;

/// Bytes of a body that is too long which are still taken in and thrown away. Over HTTP/1 a sender reads no answer before
/// it has sent everything: where the connection were closed instead, all it would see is that it broke.
const DISCARDED_BYTES_MAX: usize = 64 << 20;

/// How long that may take.
const DISCARD_PATIENCE: Duration = Duration::from_secs(5);

/// What a refusal for its encoding names.
pub(super) const ENCODING: &str = "content-encoding";

/// Bytes that are taken in after a refusal that looked at no body: as much as a usual request has.
const REFUSED_BYTES_MAX: usize = 64 << 10;

/// The whole body, where it is not too long, and comes in time.
pub(super) async fn body(node: &Node, request: Request) -> Result<Bytes, Problem> {
    let bytes_max = node.settings.limits.body_bytes;
    let (parts, body) = request.into_parts();
    check_encoding(&parts.headers)?;
    let announced = announced(&parts.headers);
    if announced.is_some_and(|bytes| bytes > bytes_max as u64) {
        // Whoever asks first is told before it sends.
        if parts.version < Version::HTTP_2 && !parts.headers.contains_key(EXPECT) {
            discard(body, DISCARDED_BYTES_MAX).await;
        }
        return Err(too_large(bytes_max));
    }
    // What is announced may never come: room is made for a usual body, and for more as it comes.
    let room = announced.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(0).min(REFUSED_BYTES_MAX);
    let mut whole = Vec::with_capacity(room);
    let (mut pieces, mut patience) = (body.into_data_stream(), Patience::new());
    while let Some(piece) = patience.next_piece(&mut pieces).await? {
        if whole.len() + piece.len() > bytes_max {
            if parts.version < Version::HTTP_2 {
                discard(Body::from_stream(pieces), DISCARDED_BYTES_MAX).await;
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

fn check_encoding(headers: &HeaderMap) -> Result<(), Problem> {
    let plain = |value: &http::HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"identity");
    match headers.get(CONTENT_ENCODING).filter(|value| !plain(value)) {
        Some(value) => {
            let message = format!("`{ENCODING}` is {value:?}; send the body as it is, without one");
            Err(Problem::field(ENCODING, message))
        }
        None => Ok(()),
    }
}

/// Takes in the body of a request that was refused before anybody looked at it, so that its sender reads the refusal and
/// can ask again on the same connection. False where it is too long for that: the connection must end.
pub(crate) async fn let_go(request: Request) -> bool {
    let (parts, body) = request.into_parts();
    if parts.version >= Version::HTTP_2 {
        return true;
    }
    let waits = parts.headers.contains_key(EXPECT);
    let long = announced(&parts.headers).is_some_and(|bytes| bytes > REFUSED_BYTES_MAX as u64);
    !waits && !long && discard(body, REFUSED_BYTES_MAX).await
}

/// Takes the rest in, as far as that is worth it; whether that was all.
async fn discard(body: Body, bytes_max: usize) -> bool {
    let mut pieces = body.into_data_stream();
    let mut left = bytes_max;
    let reading = async {
        while let Some(piece) = pieces.next().await {
            match piece.ok().and_then(|piece| left.checked_sub(piece.len())) {
                Some(rest) => left = rest,
                None => return false,
            }
        }
        true
    };
    // Whoever takes longer has had its chance.
    tokio::time::timeout(DISCARD_PATIENCE, reading).await.unwrap_or(false)
}

fn too_large(bytes_max: usize) -> Problem {
    let message =
        format!("the body is larger than {bytes_max} bytes: shorten it, or start the server with --max-body-mib");
    Problem::new(Kind::TooLarge, message)
}
