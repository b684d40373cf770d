//! The models that can be asked: the base under its names, and adapters.

use loam_ledger_core::Hash;
use serde::Serialize;

/// One model of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelCard {
    /// The name that a request's `model` has.
    pub id: String,
    /// When it was loaded, in seconds of the Unix epoch.
    pub created_s: u64,
    /// Where it was loaded from.
    pub root: String,
    /// An adapter's base.
    pub parent: Option<String>,
    /// What the name stands for now.
    pub generation: Option<Hash>,
    /// Tokens of prompt and answer together.
    pub max_model_len: usize,
}

#[derive(Serialize)]
struct List<'c> {
    object: &'static str,
    data: Vec<Model<'c>>,
}

#[derive(Serialize)]
struct Model<'c> {
    id: &'c str,
    object: &'static str,
    created: u64,
    owned_by: &'static str,
    root: &'c str,
    parent: Option<&'c str>,
    max_model_len: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    loam: Option<Generation>,
}

#[derive(Serialize)]
struct Generation {
    generation: String,
}

/// The body of `GET /v1/models`.
pub fn models_body(models: &[ModelCard]) -> String {
    let list = List { object: "list", data: models.iter().map(model).collect() };
    serde_json::to_string(&list).expect("texts and whole numbers have a JSON form")
}

/// The body of `GET /v1/models/{model}`.
pub fn model_body(card: &ModelCard) -> String {
    serde_json::to_string(&model(card)).expect("texts and whole numbers have a JSON form")
}

fn model(card: &ModelCard) -> Model<'_> {
    Model {
        id: &card.id,
        object: "model",
        created: card.created_s,
        owned_by: "loam",
        root: &card.root,
        parent: card.parent.as_deref(),
        max_model_len: card.max_model_len,
        loam: card.generation.map(|generation| Generation { generation: generation.to_hex() }),
    }
}
