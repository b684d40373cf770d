//! The logs' static files, as C2SP tlog-tiles names them: what any tool for such logs reads.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::IntoResponse as _;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use loam_ledger_core::origin::LogId;
use loam_wire::{Kind, Problem};

use super::{Answer, allowed};
use crate::access::{Caller, Scope};
use crate::serve::node::{Node, ledger_problem};

pub(super) async fn records(
    State(node): State<Arc<Node>>,
    caller: Option<Extension<Caller>>,
    Path(path): Path<String>,
) -> Answer {
    allowed(caller.as_deref(), Scope::AuditSelf)?;
    file(node, LogId::Records, path).await
}

pub(super) async fn usage(
    State(node): State<Arc<Node>>,
    caller: Option<Extension<Caller>>,
    Path((shard, path)): Path<(String, String)>,
) -> Answer {
    allowed(caller.as_deref(), Scope::AuditSelf)?;
    let log = format!("usage/{shard}").parse();
    let unknown = |_| Problem::new(Kind::NotFound, format!("there is no log usage/{shard} here"));
    file(node, log.map_err(unknown)?, path).await
}

async fn file(node: Arc<Node>, log: LogId, path: String) -> Answer {
    let moving = path == "checkpoint";
    let text = moving || path == "policy.txt" || path.starts_with("checkpoints/");
    let found = node.blocking(move |node| {
        let bytes = node.ledger()?.file(log, &path).map_err(|error| ledger_problem(&error))?;
        bytes.ok_or_else(|| {
            Problem::new(Kind::NotFound, format!("{log} has no file {path:?}; its `checkpoint` says how far it goes"))
        })
    });
    let bytes = found.await?;
    // What a tile holds never changes; the head does.
    let caching = if moving { "no-store" } else { "public, max-age=31536000, immutable" };
    let kind = if text { "text/plain; charset=utf-8" } else { "application/octet-stream" };
    let headers = [(CONTENT_TYPE, HeaderValue::from_static(kind)), (CACHE_CONTROL, HeaderValue::from_static(caching))];
    Ok((StatusCode::OK, headers, bytes).into_response())
}
