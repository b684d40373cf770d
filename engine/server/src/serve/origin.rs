//! Pages in a browser: they speak for whoever looks at them, and a server without keys cannot tell the two apart.
//!
//! A page may send any request to a server on its reader's own machine, and needs no leave for it; where it has let its
//! own name stand for this machine, it may read the answer too. Keys end that, for a page does not know them. Without
//! keys, what a page sends is refused by what only a browser says.

use std::net::IpAddr;

use http::header::{HOST, ORIGIN};
use http::uri::Authority;
use http::{HeaderMap, Uri};
use loam_wire::{Kind, Problem};

/// Refuses what a page sends to a server that has no keys.
pub(super) fn check(headers: &HeaderMap, uri: &Uri) -> Result<(), Problem> {
    let refuse = |what: &str| {
        let message =
            format!("{what}, and this server has no keys: start it with --api-keys or --api-key to allow that");
        Err(Problem::new(Kind::Forbidden, message))
    };
    if headers.contains_key(ORIGIN) {
        return refuse("a page in a browser sends this (it has an `origin`)");
    }
    let host = uri.authority().cloned().or_else(|| headers.get(HOST)?.to_str().ok()?.parse::<Authority>().ok());
    match host {
        Some(host) if is_this_machine(host.host()) => Ok(()),
        _ => refuse("the request is for a `host` that is not this machine's own name"),
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

    fn outcome(uri: &str, headers: &[(http::HeaderName, &str)]) -> Result<(), Kind> {
        let headers = headers.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect();
        check(&headers, &uri.parse().unwrap()).map_err(|problem| problem.kind)
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
        for origin in ["https://example.org", "null", "http://127.0.0.1:8000"] {
            let headers = [(HOST, "127.0.0.1:8000"), (ORIGIN, origin)];
            assert_eq!(outcome("/v1/load_lora_adapter", &headers), Err(Kind::Forbidden), "{origin}");
        }
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
