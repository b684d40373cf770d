//! What Transformers said of the small models in `testdata/golden`.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use loam_engine::tokenizer::Tokenizer;
use serde_json::Value;

/// Models that have a tokenizer and a template.
pub(crate) const MODELS: [&str; 5] =
    ["llama-gqa", "llama3-scaled-tied", "mistral-window", "qwen2-bias", "qwen3-qknorm"];

pub(crate) fn testdata(path: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata")).join(path)
}

/// One model's expected values.
pub(crate) fn text_of(model: &str) -> Value {
    let bytes = fs::read(testdata("golden/golden.json")).expect("the golden values are there");
    let mut golden: Value = serde_json::from_slice(&bytes).expect("they are JSON");
    golden["models"][model]["text"].take()
}

pub(crate) fn tokenizer(model: &str) -> Arc<Tokenizer> {
    let folder = testdata(&format!("golden/{model}/base"));
    Arc::new(Tokenizer::read(&folder).expect("it can be read").expect("the model has a tokenizer"))
}

pub(crate) fn ids(value: &Value) -> Vec<u32> {
    value.as_array().expect("a list").iter().map(|id| id.as_u64().expect("an id") as u32).collect()
}
