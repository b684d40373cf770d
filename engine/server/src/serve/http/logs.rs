//! The logs' static files, as C2SP tlog-tiles names them: what any tool for such logs reads.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::IntoResponse as _;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use loam_ledger_core::origin::LogId;
use loam_wire::{Kind, Problem};

use super::{Answer, PathOf, allowed};
use crate::access::{Caller, Scope};
use crate::serve::node::{Node, ledger_problem};

pub(super) async fn records(
    State(node): State<Arc<Node>>,
    caller: Option<Extension<Caller>>,
    path: PathOf<String>,
) -> Answer {
    allowed(caller.as_deref(), Scope::AuditSelf)?;
    file(node, LogId::Records, path?.0).await
}

pub(super) async fn usage(
    State(node): State<Arc<Node>>,
    caller: Option<Extension<Caller>>,
    path: PathOf<(String, String)>,
) -> Answer {
    allowed(caller.as_deref(), Scope::AuditSelf)?;
    let (shard, path) = path?.0;
    let log = format!("usage/{shard}").parse();
    let unknown = |_| Problem::new(Kind::NotFound, format!("there is no log usage/{shard} here"));
    file(node, log.map_err(unknown)?, path).await
}

async fn file(node: Arc<Node>, log: LogId, path: String) -> Answer {
    let moving = path == "checkpoint" || path == "policy.txt";
    let text = moving || path.starts_with("checkpoints/");
    let open = node.settings.access.log_open || node.keys.is_open();
    let found = node.blocking(move |node| {
        let bytes = node.ledger()?.file(log, &path).map_err(|error| ledger_problem(&error))?;
        bytes.ok_or_else(|| {
            Problem::new(Kind::NotFound, format!("{log} has no file {path:?}; its `checkpoint` says how far it goes"))
        })
    });
    let bytes = found.await?;
    // What a tile holds never changes; the head and the policy do. What needs a key is for no shared cache.
    let caching = match (moving, open) {
        (true, _) => "no-store",
        (false, true) => "public, max-age=31536000, immutable",
        (false, false) => "private, max-age=31536000, immutable",
    };
    let kind = if text { "text/plain; charset=utf-8" } else { "application/octet-stream" };
    let headers = [(CONTENT_TYPE, HeaderValue::from_static(kind)), (CACHE_CONTROL, HeaderValue::from_static(caching))];
    Ok((StatusCode::OK, headers, bytes).into_response())
}
