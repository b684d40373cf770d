//! vLLM's `/tokenize` and `/detokenize`.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use loam_wire::{Problem, openai};

use super::{Answer, allowed, body, json};
use crate::access::{Caller, Scope};
use crate::serve::node::Node;

pub(super) async fn tokenize(
    State(node): State<Arc<Node>>,
    caller: Option<Extension<Caller>>,
    request: Request,
) -> Answer {
    allowed(caller.as_deref(), Scope::Infer)?;
    let body = body(&node, request).await?;
    let answer = node.blocking_long(body.len(), move |node| {
        let asked = openai::read_tokenize(&body, &node.names)?;
        check_model(node, asked.adapter.as_deref())?;
        let text = node.engine.text();
        let tokenizer = text.tokenizer().ok_or_else(no_tokenizer)?;
        let tokens = asked.tokens(text)?;
        Ok(openai::tokenize_body(&asked, &tokens, node.engine.limits().step.positions, tokenizer))
    });
    Ok(json(answer.await?))
}

pub(super) async fn detokenize(
    State(node): State<Arc<Node>>,
    caller: Option<Extension<Caller>>,
    request: Request,
) -> Answer {
    allowed(caller.as_deref(), Scope::Infer)?;
    let body = body(&node, request).await?;
    let answer = node.blocking(move |node| {
        let asked = openai::read_detokenize(&body, &node.names)?;
        check_model(node, asked.adapter.as_deref())?;
        let tokenizer = node.engine.text().tokenizer().ok_or_else(no_tokenizer)?;
        let vocabulary = node.engine.limits().step.vocabulary;
        if let Some(token) = asked.tokens.iter().find(|token| **token as usize >= vocabulary) {
            return Err(Problem::field("tokens", format!("`tokens` has {token}; they can be below {vocabulary}")));
        }
        Ok(openai::detokenize_body(&tokenizer.decode(&asked.tokens, false)))
    });
    Ok(json(answer.await?))
}

/// Adapters have the base's tokenizer; one that is not there has none.
fn check_model(node: &Node, adapter: Option<&str>) -> Result<(), Problem> {
    adapter.map_or(Ok(()), |name| node.adapter(name).map(drop).map_err(Problem::of_model))
}

fn no_tokenizer() -> Problem {
    Problem::new(loam_wire::Kind::Unsupported, "this model has no tokenizer.json; ask with token ids")
}
