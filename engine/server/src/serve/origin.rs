//! Pages in a browser: they speak for whoever looks at them, and a server without keys cannot tell the two apart.
//!
//! A page may send any request to a server on its reader's own machine, and needs no leave for it; where it has let its
//! own name stand for this machine, it may read the answer too. Keys end that, for a page does not know them. Without
//! keys, what a page sends is refused by what only a browser says; but not where whoever runs the server has named the
//! page's origin. Those alone can read answers too: a browser asks beforehand, without a key, and hides what it may not
//! show.

use std::net::IpAddr;

use axum::body::Body;
use axum::response::Response;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, HOST, ORIGIN, VARY,
};
use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use loam_wire::{Kind, Problem};

/// Seconds for which a browser remembers what a page may send.
const REMEMBERED_S: &str = "600";

/// A browser's question whether a page from elsewhere may reach into its reader's own network, and the answer.
const PRIVATE_ASKED: HeaderName = HeaderName::from_static("access-control-request-private-network");
const PRIVATE_ALLOWED: HeaderName = HeaderName::from_static("access-control-allow-private-network");

/// The origin of the page that sends a request, where its pages may ask.
pub(super) fn allowed(headers: &HeaderMap, origins: &[String]) -> Option<HeaderValue> {
    let origin = headers.get(ORIGIN)?;
    origins.iter().any(|other| other.as_bytes() == origin.as_bytes()).then(|| origin.clone())
}

/// Whether a browser asks what a page may send, before it sends that.
pub(super) fn is_asked_beforehand(method: &Method, headers: &HeaderMap) -> bool {
    method == Method::OPTIONS && headers.contains_key(ORIGIN) && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// What a browser is told that asks beforehand for a page that may ask: keys and the rest are looked at when it does.
pub(super) fn yes(asked: &HeaderMap) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST"));
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(REMEMBERED_S));
    if let Some(wanted) = asked.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
    }
    if asked.contains_key(PRIVATE_ASKED) {
        headers.insert(PRIVATE_ALLOWED, HeaderValue::from_static("true"));
    }
    response
}

/// Lets a page of this origin read an answer.
pub(super) fn share(headers: &mut HeaderMap, origin: HeaderValue) {
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    let ours = HeaderValue::from_static("x-request-id, x-loam-receipt-id, retry-after");
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, ours);
    headers.append(VARY, HeaderValue::from_static("origin"));
}

/// Refuses what a page sends that may not: to a server that has no keys, or where its browser asks whether it may.
pub(super) fn check(
    (method, uri, headers): (&Method, &Uri, &HeaderMap),
    origins: &[String],
    has_keys: bool,
) -> Result<(), Problem> {
    let refuse = |message: &str| Err(Problem::new(Kind::Forbidden, message));
    let is_strange = headers.contains_key(ORIGIN) && allowed(headers, origins).is_none();
    if is_strange && (!has_keys || is_asked_beforehand(method, headers)) {
        return refuse(
            "a page in a browser sends this (it has an `origin`), and pages of its origin may not ask here: start the \
             server with --allow-origin ORIGIN to let them",
        );
    }
    if has_keys {
        return Ok(());
    }
    let host = uri.authority().cloned().or_else(|| headers.get(HOST)?.to_str().ok()?.parse::<Authority>().ok());
    match host {
        Some(host) if is_this_machine(host.host()) => Ok(()),
        _ => refuse(
            "the request is for a `host` that is not this machine's own name, and this server has no keys: start it \
             with --api-keys or --api-key to allow that",
        ),
    }
}

/// Names that no page can be loaded under but from this machine.
fn is_this_machine(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRIEND: &str = "https://friend.example.org";

    fn asked(method: &Method, has_keys: bool, uri: &str, headers: &[(HeaderName, &str)]) -> Result<(), Kind> {
        let headers = headers.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect();
        let request = (method, &uri.parse().unwrap(), &headers);
        check(request, &[FRIEND.to_owned()], has_keys).map_err(|problem| problem.kind)
    }

    fn outcome(uri: &str, headers: &[(HeaderName, &str)]) -> Result<(), Kind> {
        asked(&Method::POST, false, uri, headers)
    }

    #[test]
    fn programs_on_this_machine_are_served() {
        for host in ["localhost", "LOCALHOST:8000", "127.0.0.1:8000", "127.8.9.1", "[::1]:8000"] {
            assert_eq!(outcome("/v1/models", &[(HOST, host)]), Ok(()), "{host}");
        }
        assert_eq!(outcome("http://127.0.0.1:8000/loam.v1.Server/Info", &[]), Ok(()), "HTTP/2 says it so");
    }

    #[test]
    fn a_page_is_refused_by_its_origin() {
        for origin in ["https://example.org", "null", "http://127.0.0.1:8000", "http://friend.example.org"] {
            let headers = [(HOST, "127.0.0.1:8000"), (ORIGIN, origin)];
            assert_eq!(outcome("/v1/load_lora_adapter", &headers), Err(Kind::Forbidden), "{origin}");
        }
    }

    #[test]
    fn a_page_of_a_named_origin_asks_by_this_machines_own_name() {
        assert_eq!(outcome("/v1/completions", &[(HOST, "localhost:8000"), (ORIGIN, FRIEND)]), Ok(()));
        let elsewhere = [(HOST, "friend.example.org"), (ORIGIN, FRIEND)];
        assert_eq!(outcome("/v1/completions", &elsewhere), Err(Kind::Forbidden));
    }

    /// With keys, whoever has one is served; only a browser's own question says whose pages it may let ask.
    #[test]
    fn keys_decide_but_for_a_browsers_own_question() {
        let page = [(HOST, "example.org"), (ORIGIN, "https://example.org"), (ACCESS_CONTROL_REQUEST_METHOD, "POST")];
        assert_eq!(asked(&Method::POST, true, "/v1/completions", &page), Ok(()));
        assert_eq!(asked(&Method::OPTIONS, true, "/v1/completions", &page), Err(Kind::Forbidden));
        let friend = [(ORIGIN, FRIEND), (ACCESS_CONTROL_REQUEST_METHOD, "POST")];
        assert_eq!(asked(&Method::OPTIONS, true, "/v1/completions", &friend), Ok(()));
    }

    #[test]
    fn a_name_that_was_made_to_stand_for_this_machine_is_refused() {
        for host in
            ["example.org:8000", "127.0.0.1.example.org", "localhost.example.org", "0.0.0.0:8000", "192.168.1.2"]
        {
            assert_eq!(outcome("/receipts/x", &[(HOST, host)]), Err(Kind::Forbidden), "{host}");
        }
        assert_eq!(outcome("/receipts/x", &[]), Err(Kind::Forbidden), "none at all");
        assert_eq!(outcome("http://example.org/x", &[(HOST, "127.0.0.1")]), Err(Kind::Forbidden), "the address counts");
    }
}
