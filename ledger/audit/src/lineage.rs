//! Lineage in words: what an answer's adapters lead to, and where that is recorded.

use loam_ledger_core::Hash;
use loam_ledger_core::lineage::Node;
use serde_json::{Value, json};

use crate::text::number;

/// A record by its place.
pub(crate) fn at_entry(index: Option<u64>, included: bool, record: &Hash) -> String {
    match index {
        Some(index) if included => format!("entry {} of the records log, included: record {record}", number(index)),
        Some(index) => format!("entry {} of the records log, NOT INCLUDED: record {record}", number(index)),
        None => format!("record {record}, which is not in the records log"),
    }
}

fn node_parts(node: &Node) -> (&'static str, &Hash) {
    match node {
        Node::Generation(id) => ("adapter", id),
        Node::TrainRun(id) => ("train run", id),
        Node::Revision(id) => ("revision", id),
        Node::Contribution(id) => ("contribution", id),
        Node::Contributor(id) => ("contributor", id),
    }
}

/// Something that a lineage leads through.
pub(crate) fn node_words(node: &Node) -> String {
    let (what, id) = node_parts(node);
    format!("{what} {id}")
}

/// The same for programs.
pub(crate) fn node_json(node: &Node) -> Value {
    let (what, id) = node_parts(node);
    json!({ "what": what, "id": id.to_hex() })
}
