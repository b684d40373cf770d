//! `/receipts/{receipt_id}`: a receipt for whoever asked the question, and for nobody else.

use std::sync::Arc;

use axum::Extension;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::IntoResponse as _;
use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use loam_ledger_core::Hash;
use loam_wire::{Kind, Problem};

use super::{Answer, PathOf};
use crate::access::Caller;
use crate::serve::node::Node;

/// The query's fields.
type Fields = Vec<(String, String)>;

pub(super) async fn receipt(
    State(node): State<Arc<Node>>,
    Extension(caller): Extension<Caller>,
    receipt_id: PathOf<String>,
    fields: Result<Query<Fields>, QueryRejection>,
) -> Answer {
    let (receipt_id, fields) = (receipt_id?.0.to_ascii_lowercase(), fields?.0);
    let wrong = |_| {
        let mut problem = Problem::field("receipt_id", "a receipt id is 64 hexadecimal digits");
        problem.kind = Kind::NotFound;
        problem
    };
    let name = Hash::from_hex(&receipt_id).map_err(wrong)?;
    let choice = choice(&fields)?;
    let bytes = node.blocking(move |node| node.receipt(&caller, &name, choice)).await?;
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8")),
        (CACHE_CONTROL, HeaderValue::from_static("private, no-store")),
    ];
    Ok((headers, bytes).into_response())
}

/// Which answer of a request that asked for several.
fn choice(fields: &Fields) -> Result<u32, Problem> {
    let mut choice = 0;
    for (name, value) in fields {
        match name.as_str() {
            "choice" => {
                let wrong = |_| Problem::field("choice", format!("`choice` is {value:?}; it can be a number from 0"));
                choice = value.parse().map_err(wrong)?;
            }
            _ => return Err(Problem::field(name, format!("a receipt is asked for with `choice`, not with `{name}`"))),
        }
    }
    Ok(choice)
}
