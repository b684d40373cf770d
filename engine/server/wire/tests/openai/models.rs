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

fn expected() -> String {
    let generation = "ab".repeat(32);
    format!(
        r#"{{"id":"qv-r8","object":"model","created":7,"owned_by":"loam","root":"/adapters/qv-r8","parent":"base","max_model_len":64,"loam":{{"generation":"{generation}"}}}}"#
    )
}

#[test]
fn one_model() {
    assert_eq!(model_body(&adapter()), expected());
}

#[test]
fn all_models() {
    let base = ModelCard { id: "base".to_owned(), parent: None, generation: None, ..adapter() };
    let base_text = r#"{"id":"base","object":"model","created":7,"owned_by":"loam","root":"/adapters/qv-r8","parent":null,"max_model_len":64}"#;
    let list = format!(r#"{{"object":"list","data":[{base_text},{}]}}"#, expected());
    assert_eq!(models_body(&[base, adapter()]), list);
    assert_eq!(models_body(&[]), r#"{"object":"list","data":[]}"#);
}
