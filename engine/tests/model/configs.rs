//! Held against Transformers: what it makes of some fifty configurations stands in `testdata/config/transformers.json`.
//!
//! `layer` is the first layer's tensors as its model has them; the frequencies are those of its rotary embedding.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use loam_engine::DType;
use loam_engine::model::{Decoder, Family, ModelConfig, Residence};
use loam_kernels::backend::Activation;
use loam_kernels::layout::RopeScaling;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::folder::{cpu, weights};

/// Transformers computes frequencies in 32 bits.
const TOLERANCE: f64 = 3e-6;

fn cases() -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/config/transformers.json");
    let all: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    all["cases"].as_array().unwrap().clone()
}

fn parsed(case: &Value) -> ModelConfig {
    let text = case["config"].to_string();
    ModelConfig::parse(Path::new(case["name"].as_str().unwrap()), text.as_bytes()).unwrap()
}

fn close(found: f64, expected: &Value) -> bool {
    let expected = expected.as_f64().unwrap();
    (found - expected).abs() <= TOLERANCE * expected.abs()
}

/// What differs from Transformers.
fn differences(case: &Value) -> Vec<String> {
    let (config, expected) = (parsed(case), &case["expected"]);
    let mut wrong = Vec::new();
    let mut expect = |what: &str, same: bool| {
        if !same {
            wrong.push(format!("{}: {what}", case["name"]))
        }
    };
    let frequencies = config.rope.frequencies().unwrap();
    let theirs = expected["inverse_frequencies"].as_array().unwrap();
    expect("number of frequencies", frequencies.len() == theirs.len());
    expect("frequencies", frequencies.iter().zip(theirs).all(|(ours, theirs)| close(*ours, theirs)));
    let (scaling, stretched) = match config.rope.scaling {
        RopeScaling::Yarn { attention_factor, factor, original_positions, .. } => {
            (attention_factor, factor * original_positions)
        }
        _ => (1.0, 0.0),
    };
    expect("attention scaling", close(scaling, &expected["attention_scaling"]));
    expect("theta", close(config.rope.theta, &expected["theta"]));
    let positions = expected["positions"].as_f64().unwrap().max(stretched);
    expect("positions", config.positions_max as f64 == positions);
    expect("epsilon", close(f64::from(config.epsilon), &expected["epsilon"]));
    expect("tied", json!(config.tied) == expected["tied"]);
    expect("windows", json!(config.windows) == expected["windows"]);
    let activation = match config.activation {
        Activation::Silu => "SiLUActivation",
        Activation::Gelu => "GELUActivation",
        Activation::GeluTanh => "GELUTanh",
    };
    expect("activation", json!(activation) == expected["activation"]);
    let layer = &expected["layer"];
    expect("norms of heads", (config.family == Family::Qwen3) == layer["self_attn.q_norm.weight"].is_array());
    for (bias, module) in [
        (config.qkv_bias, "self_attn.q_proj"),
        (config.qkv_bias, "self_attn.v_proj"),
        (config.o_bias, "self_attn.o_proj"),
        (config.mlp_bias, "mlp.gate_proj"),
        (config.mlp_bias, "mlp.down_proj"),
    ] {
        expect(&format!("bias of {module}"), bias == layer[format!("{module}.bias")].is_array());
    }
    let shape = config.shape;
    let q = json!([shape.q_heads * shape.head_dim, shape.hidden]);
    let k = json!([shape.kv_heads * shape.head_dim, shape.hidden]);
    expect("queries", layer["self_attn.q_proj.weight"] == q);
    expect("keys", layer["self_attn.k_proj.weight"] == k);
    wrong
}

#[test]
fn transformers_takes_configurations_for_the_same() {
    let cases = cases();
    assert!(cases.len() > 50, "{} cases", cases.len());
    let wrong: Vec<String> = cases.iter().flat_map(differences).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A folder with exactly the tensors that Transformers' model has; all of their values are a hole in the file.
fn hollow(case: &Value) -> TempDir {
    let (config, layer) = (&case["config"], case["expected"]["layer"].as_object().unwrap());
    let (vocabulary, hidden) = (&config["vocab_size"], &config["hidden_size"]);
    let mut shapes = Map::new();
    shapes.insert("model.embed_tokens.weight".to_owned(), json!([vocabulary, hidden]));
    shapes.insert("model.norm.weight".to_owned(), json!([hidden]));
    if case["expected"]["tied"] == json!(false) {
        shapes.insert("lm_head.weight".to_owned(), json!([vocabulary, hidden]));
    }
    for number in 0..config["num_hidden_layers"].as_u64().unwrap() {
        let of_layer = layer.iter().map(|(name, shape)| (format!("model.layers.{number}.{name}"), shape.clone()));
        shapes.extend(of_layer);
    }
    let mut at = 0;
    for shape in shapes.values_mut() {
        let values: u64 = shape.as_array().unwrap().iter().map(|size| size.as_u64().unwrap()).product();
        let entry = json!({ "dtype": "BF16", "shape": shape, "data_offsets": [at, at + 2 * values] });
        (*shape, at) = (entry, at + 2 * values);
    }
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    let header = Value::Object(shapes).to_string();
    let mut file = fs::File::create(folder.path().join("model.safetensors")).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(header.as_bytes()).unwrap();
    file.set_len(8 + header.len() as u64 + at).unwrap();
    folder
}

#[test]
fn a_decoder_takes_the_tensors_of_transformers_model_and_no_others() {
    let cpu = cpu();
    for case in cases() {
        let folder = hollow(&case);
        let weights = weights(folder.path(), Residence::Mapped).unwrap();
        let loaded = Decoder::load(cpu.clone(), &parsed(&case), &weights, DType::F32, 16);
        if let Err(error) = loaded {
            panic!("{}: {error}", case["name"]);
        }
    }
}
