//! The list of models.

use loam_ledger_core::Hash;
use loam_wire::openai::{ModelCard, model_body, models_body};

fn adapter() -> ModelCard {
    ModelCard {
        id: "qv-r8".to_owned(),
        created_s: 7,
        root: "/adapters/qv-r8".to_owned(),
        parent: Some("base".to_owned()),
        generation: Some(Hash([0xab; 32])),
        max_model_len: 64,
    }
}

/// A card's text, with what ends it.
fn text(id: &str, parent: &str, ours: &str) -> String {
    let begin = format!(r#"{{"id":"{id}","object":"model","created":7,"owned_by":"loam","root":"/adapters/qv-r8""#);
    format!(r#"{begin},"parent":{parent},"max_model_len":64{ours}}}"#)
}

fn expected() -> String {
    text("qv-r8", "\"base\"", &format!(r#","loam":{{"generation":"{}"}}"#, "ab".repeat(32)))
}

#[test]
fn one_model() {
    assert_eq!(model_body(&adapter()), expected());
}

#[test]
fn all_models() {
    let base = ModelCard { id: "base".to_owned(), parent: None, generation: None, ..adapter() };
    let list = format!(r#"{{"object":"list","data":[{},{}]}}"#, text("base", "null", ""), expected());
    assert_eq!(models_body(&[base, adapter()]), list);
    assert_eq!(models_body(&[]), r#"{"object":"list","data":[]}"#);
}
