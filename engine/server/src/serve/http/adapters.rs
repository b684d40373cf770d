//! vLLM's `/v1/load_lora_adapter` and `/v1/unload_lora_adapter`.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::response::IntoResponse as _;
use loam_engine::adapter::Expected;
use loam_wire::{Kind, Problem, openai};

use super::{Answer, allowed, body};
use crate::access::{Caller, Scope};
use crate::serve::node::Node;

pub(super) async fn load(State(node): State<Arc<Node>>, caller: Option<Extension<Caller>>, request: Request) -> Answer {
    allowed(caller.as_deref(), Scope::Admin)?;
    let key = key(caller.as_deref());
    let asked = openai::read_load_adapter(&body(&node, request).await?)?;
    let said = openai::loaded_text(&asked.name);
    let loaded = node.blocking(move |node| {
        let expected = if asked.in_place { Expected::Anything } else { Expected::Nothing };
        node.load_adapter(&key, (&asked.name, &asked.path), expected).map_err(|problem| match problem.kind {
            Kind::Conflict if !asked.in_place => {
                let message = format!("{}; `load_inplace: true` lets the name stand for this one", problem.message);
                Problem { message, field: Some("name".to_owned()), ..problem }
            }
            _ => problem,
        })
    });
    loaded.await.map_err(in_vllms_words)?;
    Ok(said.into_response())
}

pub(super) async fn unload(
    State(node): State<Arc<Node>>,
    caller: Option<Extension<Caller>>,
    request: Request,
) -> Answer {
    allowed(caller.as_deref(), Scope::Admin)?;
    let asked = openai::read_unload_adapter(&body(&node, request).await?)?;
    node.unload_adapter(&key(caller.as_deref()), &asked.name, Expected::Anything).map_err(in_vllms_words)?;
    Ok(openai::unloaded_text(&asked.name).into_response())
}

/// The key's name, for the log.
fn key(caller: Option<&Caller>) -> Arc<str> {
    caller.map_or_else(|| "none".into(), |caller| Arc::clone(caller.name()))
}

/// vLLM's fields have names of their own.
fn in_vllms_words(problem: Problem) -> Problem {
    match problem.field.as_deref() {
        Some("name") => problem.called("lora_name"),
        Some("source") => problem.called("lora_path"),
        _ => problem,
    }
}
