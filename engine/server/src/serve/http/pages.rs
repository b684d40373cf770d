//! What a server says of itself: models, health, version, load, metrics, its OpenAPI document.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, Uri};
use loam_wire::openai::{self, ModelCard};
use loam_wire::{Kind, Problem};

use super::{Answer, PathOf, allowed, json, may_see, refusal};
use crate::access::{Caller, Scope};
use crate::serve::node::{Node, Standing};
use crate::serve::{grpc, guard, moment};

pub(super) async fn models(State(node): State<Arc<Node>>, caller: Option<Extension<Caller>>) -> Answer {
    may_see(caller.as_deref())?;
    let adapters = node.adapters();
    // What is refused is not offered; `loam.v1.Adapters` lists it, and why.
    let used = adapters.iter().filter(|it| it.refused.is_none());
    let cards = node.names.iter().map(|name| base(&node, name)).chain(used.map(|it| adapter(&node, it)));
    Ok(json(openai::models_body(&cards.collect::<Vec<_>>())))
}

pub(super) async fn model(
    State(node): State<Arc<Node>>,
    caller: Option<Extension<Caller>>,
    name: PathOf<String>,
) -> Answer {
    may_see(caller.as_deref())?;
    let name = name?.0;
    let card = match node.names.iter().find(|base| **base == name) {
        Some(name) => base(&node, name),
        None => {
            let standing = node.adapter(&name).map_err(Problem::of_model)?;
            if let Some(reason) = &standing.refused {
                return Err(Problem::new(Kind::Conflict, format!("adapter `{name}` may not be used: {reason}")).into());
            }
            adapter(&node, &standing)
        }
    };
    Ok(json(openai::model_body(&card)))
}

fn base(node: &Node, name: &str) -> ModelCard {
    ModelCard {
        id: name.to_owned(),
        created_s: node.started_s,
        root: node.settings.model.display().to_string(),
        parent: None,
        generation: Some(node.engine.base()),
        max_model_len: node.engine.limits().step.positions,
    }
}

fn adapter(node: &Node, standing: &Standing) -> ModelCard {
    let listed = &standing.listed;
    ModelCard {
        id: listed.name.clone(),
        created_s: node.started_s,
        root: listed.source.to_string(),
        parent: node.names.first().cloned(),
        generation: listed.generation.map(|generation| generation.0),
        max_model_len: node.engine.limits().step.positions,
    }
}

pub(super) async fn health(State(node): State<Arc<Node>>) -> Answer {
    node.takes_requests()?;
    Ok(Response::default())
}

pub(super) async fn version(State(node): State<Arc<Node>>, caller: Option<Extension<Caller>>) -> Answer {
    may_see(caller.as_deref())?;
    let ledger = node.ledger.as_ref().map(|ledger| ledger.name());
    let version = serde_json::json!({
        "version": env!("CARGO_PKG_VERSION"),
        "ledger": ledger.unwrap_or("off"),
        "delivery": node.delivery(),
        "device": node.engine.describe(),
        "dtype": node.engine.mode().dtype.to_string(),
    });
    Ok(json(version.to_string()))
}

pub(super) async fn load(State(node): State<Arc<Node>>, caller: Option<Extension<Caller>>) -> Answer {
    may_see(caller.as_deref())?;
    let now = node.engine.metrics().now;
    // vLLM's word for it, and what it is made of.
    let load = serde_json::json!({
        "server_load": now.running + now.waiting, "running": now.running, "waiting": now.waiting,
    });
    Ok(json(load.to_string()))
}

pub(super) async fn metrics(State(node): State<Arc<Node>>, caller: Option<Extension<Caller>>) -> Answer {
    allowed(caller.as_deref(), Scope::AuditSelf).or_else(|_| allowed(caller.as_deref(), Scope::Admin))?;
    let text = node.blocking(|node| Ok(moment::metrics_text(node))).await?;
    let kind = HeaderValue::from_static(crate::metrics::CONTENT_TYPE);
    Ok(([(CONTENT_TYPE, kind)], text).into_response())
}

pub(super) async fn openapi() -> Response {
    json(include_str!("../../../openapi.json").to_owned())
}

pub(super) async fn unknown(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    if guard::is_grpc(&headers) {
        let method = guard::shortened(uri.path());
        let message = format!("there is no method {method} here; reflection lists those that there are");
        return grpc::status(&Problem::new(Kind::Unsupported, message)).into_http();
    }
    let message =
        format!("there is no page {method} {}; /openapi.json lists those that there are", guard::shortened(uri.path()));
    refusal(&Problem::new(Kind::NotFound, message))
}

pub(super) async fn wrong_method(method: Method, uri: Uri) -> Response {
    let message = format!("{} is not asked with {method}; /openapi.json says with what", guard::shortened(uri.path()));
    let mut response = refusal(&Problem::new(Kind::Invalid, message));
    *response.status_mut() = http::StatusCode::METHOD_NOT_ALLOWED;
    response
}
