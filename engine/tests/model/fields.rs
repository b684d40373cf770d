//! Fields of configurations: each that would change what is computed is refused by its name, and nothing else is.

use std::path::Path;

use loam_engine::Error;
use loam_engine::model::ModelConfig;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::folder::refusal;

fn parse(config: &Value) -> Result<ModelConfig, Error> {
    ModelConfig::parse(Path::new("config.json"), config.to_string().as_bytes())
}

/// A small model of a family, some of its fields replaced.
fn with(family: &str, fields: &Value) -> Value {
    let mut config = json!({
        "architectures": [format!("{family}ForCausalLM")], "model_type": family.to_lowercase(),
        "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 2,
        "num_key_value_heads": 1, "head_dim": 64, "vocab_size": 512, "max_position_embeddings": 512,
    });
    config.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    config
}

/// Refused, in one line that names the file and the field.
#[track_caller]
fn refused(config: &Value, field: &str) {
    let text = refusal(parse(config));
    assert!(text.starts_with("config.json: ") && text.contains(field), "{field}: {text}");
    assert!(text.len() < 400 && !text.contains('\n'), "{text}");
}

/// A family, fields, and what the refusal names.
type Case = (&'static str, Value, &'static str);

fn yarn(field: &str, value: &Value) -> Value {
    json!({ "rope_scaling": { "rope_type": "yarn", "factor": 4.0, field: value } })
}

fn of_blocks() -> Vec<Case> {
    vec![
        ("Llama", json!({ "quantization_config": { "quant_method": "awq" } }), "`quantization_config`"),
        ("Llama", json!({ "attn_logit_softcapping": 50.0 }), "`attn_logit_softcapping`"),
        ("Llama", json!({ "final_logit_softcapping": 30.0 }), "`final_logit_softcapping`"),
        ("Llama", json!({ "num_local_experts": 8 }), "`num_local_experts`"),
        ("Qwen3", json!({ "num_experts": 128, "moe_intermediate_size": 768 }), "`num_experts`"),
        ("Qwen3", json!({ "moe_intermediate_size": 768 }), "`moe_intermediate_size`"),
        ("Llama", json!({ "attention_multiplier": 0.1 }), "`attention_multiplier`"),
        ("Llama", json!({ "logits_scaling": 8.0 }), "`logits_scaling`"),
        ("Llama", json!({ "rope_interleaved": true }), "`rope_interleaved`"),
        ("Llama", json!({ "rotary_dim": 32 }), "`rotary_dim`"),
        ("Llama", json!({ "partial_rotary_factor": 0.5 }), "`partial_rotary_factor`"),
        (
            "Llama",
            json!({ "rope_parameters": { "partial_rotary_factor": 0.5 } }),
            "`rope_parameters.partial_rotary_factor`",
        ),
        ("Qwen2", json!({ "use_mrope": true }), "`use_mrope`"),
        ("Llama", json!({ "is_encoder_decoder": true }), "`is_encoder_decoder`"),
        ("Llama", json!({ "sliding_window": 64 }), "`sliding_window`"),
        ("Llama", json!({ "use_sliding_window": true }), "`use_sliding_window`"),
        ("Llama", json!({ "layer_types": ["full_attention", "sliding_attention"] }), "`layer_types`"),
        ("Mistral", json!({ "sliding_window": 0 }), "`sliding_window`"),
        ("Mistral", json!({ "sliding_window": 64, "use_sliding_window": false }), "`use_sliding_window`"),
        (
            "Mistral",
            json!({ "sliding_window": 8, "layer_types": ["full_attention", "sliding_attention"] }),
            "`layer_types`",
        ),
        ("Mistral", json!({ "attention_bias": true }), "`attention_bias`"),
        ("Mistral", json!({ "mlp_bias": true }), "`mlp_bias`"),
        ("Qwen2", json!({ "mlp_bias": true }), "`mlp_bias`"),
        ("Qwen2", json!({ "use_sliding_window": true, "sliding_window": "x" }), "`sliding_window`"),
        ("Qwen2", json!({ "max_window_layers": "x" }), "`max_window_layers`"),
        ("Qwen2", json!({ "max_window_layers": -1 }), "`max_window_layers`"),
        ("Qwen2", json!({ "layer_types": ["full_attention"] }), "`layer_types`"),
        ("Qwen2", json!({ "layer_types": ["full_attention", "sliding_attention"] }), "`layer_types`"),
        ("Qwen2", json!({ "layer_types": ["full_attention", "linear_attention"] }), "`layer_types`"),
        ("Qwen2", json!({ "layer_types": "full_attention" }), "`layer_types`"),
    ]
}

fn of_sizes_and_names() -> Vec<Case> {
    vec![
        ("Qwen3", json!({ "head_dim": null }), "`head_dim`"),
        ("Llama", json!({ "head_dim": 80 }), "`head_dim`"),
        ("Llama", json!({ "head_dim": null, "hidden_size": 160 }), "`head_dim` is 80"),
        ("Llama", json!({ "head_dim": null, "hidden_size": 129 }), "`num_attention_heads`"),
        ("Llama", json!({ "num_attention_heads": 4, "num_key_value_heads": 3 }), "`num_key_value_heads`"),
        ("Llama", json!({ "architectures": null }), "`architectures`"),
        ("Llama", json!({ "architectures": ["LlamaModel"] }), "`architectures`"),
        ("Llama", json!({ "architectures": ["LlamaForCausalLM", "MistralForCausalLM"] }), "`architectures`"),
        ("Llama", json!({ "architectures": "LlamaForCausalLM" }), "`architectures`"),
        ("Llama", json!({ "architectures": ["MixtralForCausalLM"] }), "`architectures`"),
        ("Llama", json!({ "model_type": "mistral" }), "`model_type`"),
        ("Qwen2", json!({ "model_type": "qwen2_moe" }), "`model_type`"),
        ("Llama", json!({ "hidden_act": "relu" }), "`hidden_act`"),
        ("Llama", json!({ "hidden_act": 1 }), "`hidden_act`"),
        ("Llama", json!({ "tie_word_embeddings": "yes" }), "`tie_word_embeddings`"),
        ("Llama", json!({ "attention_bias": 1 }), "`attention_bias`"),
        ("Llama", json!({ "rms_norm_eps": 0 }), "`rms_norm_eps`"),
        ("Llama", json!({ "rms_norm_eps": -1e-6 }), "`rms_norm_eps`"),
        ("Llama", json!({ "rms_norm_eps": 1e-60 }), "`rms_norm_eps`"),
    ]
}

fn of_rope() -> Vec<Case> {
    let llama3 = json!({
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 4.0, "high_freq_factor": 1.0,
        "original_max_position_embeddings": 128,
    });
    vec![
        ("Llama", json!({ "rope_theta": 0 }), "`rope_theta`"),
        ("Llama", json!({ "rope_theta": 1 }), "rope_theta"),
        ("Llama", json!({ "rope_theta": "10000" }), "`rope_theta`"),
        ("Llama", json!({ "rope_scaling": "linear" }), "`rope_scaling`"),
        ("Llama", json!({ "rope_scaling": {}, "rope_parameters": {} }), "`rope_scaling`"),
        ("Llama", json!({ "rope_scaling": { "type": "dynamic", "factor": 2.0 } }), "`rope_scaling.type`"),
        ("Llama", json!({ "rope_parameters": { "rope_type": "longrope" } }), "`rope_parameters.rope_type`"),
        ("Llama", json!({ "rope_scaling": { "rope_type": ["yarn"] } }), "`rope_scaling.rope_type`"),
        ("Llama", json!({ "rope_scaling": { "type": "linear" } }), "`rope_scaling.factor`"),
        ("Llama", json!({ "rope_scaling": { "type": "linear", "factor": -2 } }), "`rope_scaling.factor`"),
        ("Llama", json!({ "rope_scaling": { "type": "linear", "factor": 5e-324 } }), "`rope_scaling`"),
        ("Llama", json!({ "rope_scaling": { "factor": 2.0 } }), "`rope_scaling.factor`"),
        ("Llama", json!({ "rope_scaling": { "mrope_section": [16, 24, 24] } }), "`rope_scaling.mrope_section`"),
        (
            "Qwen2",
            json!({ "rope_parameters": { "full_attention": { "rope_theta": 1e6 } } }),
            "`rope_parameters.full_attention`",
        ),
        ("Llama", json!({ "rope_scaling": llama3 }), "high_freq_factor"),
        (
            "Llama",
            json!({ "rope_scaling": { "rope_type": "llama3", "factor": 8.0 } }),
            "`rope_scaling.low_freq_factor`",
        ),
        ("Qwen2", json!({ "rope_scaling": { "type": "yarn" } }), "`rope_scaling.factor`"),
        ("Qwen2", yarn("attention_factor", &json!(0)), "`rope_scaling.attention_factor`"),
        ("Qwen2", yarn("attention_factor", &json!(1e300)), "attention_factor"),
        ("Qwen2", yarn("beta_fast", &json!("x")), "`rope_scaling.beta_fast`"),
        ("Qwen2", yarn("truncate", &json!(1)), "`rope_scaling.truncate`"),
        ("Qwen2", yarn("low_freq_factor", &json!(1)), "`rope_scaling.low_freq_factor`"),
        (
            "Qwen2",
            yarn("original_max_position_embeddings", &json!([])),
            "`rope_scaling.original_max_position_embeddings`",
        ),
    ]
}

#[test]
fn what_loam_does_not_compute_is_refused_by_name() {
    let cases = [of_blocks(), of_sizes_and_names(), of_rope()].concat();
    assert!(cases.len() > 70, "{} cases", cases.len());
    for (family, fields, field) in cases {
        refused(&with(family, &fields), field);
    }
    let mut twice = yarn("original_max_position_embeddings", &json!(64));
    twice["original_max_position_embeddings"] = json!(128);
    refused(&with("Llama", &twice), "`rope_scaling.original_max_position_embeddings`");
}

#[test]
fn sizes_are_whole_numbers_within_reason() {
    let wrong = [json!(0), json!(-1), json!(1_u64 << 60), json!(1.5), json!("x"), json!([]), json!(true), json!(1e300)];
    for field in [
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "head_dim",
        "vocab_size",
        "max_position_embeddings",
    ] {
        for value in &wrong {
            refused(&with("Llama", &json!({ field: value })), &format!("`{field}`"));
        }
    }
    for field in ["hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size"] {
        refused(&with("Qwen2", &json!({ field: null })), &format!("`{field}` is null"));
        let mut config = with("Qwen2", &json!({}));
        config.as_object_mut().unwrap().remove(field);
        refused(&config, &format!("`{field}` is absent"));
    }
    refused(&with("Llama", &json!({ "num_hidden_layers": 100_000 })), "`num_hidden_layers`");
}

#[test]
fn what_changes_nothing_is_accepted() {
    let accepted: Vec<(&str, Value)> = vec![
        ("Llama", json!({ "quantization_config": null, "attn_logit_softcapping": null, "rope_scaling": null })),
        ("Llama", json!({ "rope_interleaved": false, "is_llama_config": true, "pretraining_tp": 2 })),
        (
            "Llama",
            json!({ "transformers.js_config": { "dtype": "q4" }, "unsloth_fixed": true, "max_sequence_length": 9 }),
        ),
        ("Llama", json!({ "layer_types": ["full_attention", "full_attention"], "sliding_window": null })),
        ("Llama", json!({ "model_type": null, "use_sliding_window": false, "partial_rotary_factor": 1.0 })),
        ("Mistral", json!({ "sliding_window": null, "layer_types": ["full_attention", "full_attention"] })),
        ("Mistral", json!({ "sliding_window": 8, "layer_types": ["sliding_attention", "sliding_attention"] })),
        ("Qwen2", json!({ "sliding_window": 0, "use_sliding_window": false, "use_mrope": false })),
        ("Qwen3", json!({ "attention_bias": false, "max_window_layers": 40, "rope_scaling": null })),
    ];
    for (family, fields) in accepted {
        let config = with(family, &fields);
        if let Err(error) = parse(&config) {
            panic!("{fields}: {error}");
        }
    }
}

#[test]
fn what_is_no_object_is_no_configuration() {
    for text in ["", "[]", "null", "{", "{\"a\":1}}", "\u{feff}{}", &"[".repeat(100_000)] {
        let text = refusal(ModelConfig::parse(Path::new("config.json"), text.as_bytes()));
        assert!(text.starts_with("config.json: not valid JSON: "), "{text}");
    }
}

#[test]
fn a_long_value_is_cut_when_it_is_shown() {
    let long = "\u{e9}".repeat(100_000);
    refused(&with("Llama", &json!({ "hidden_act": long })), "`hidden_act`");
}

/// Any JSON.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (0_u64..300).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z_]{0,12}".prop_map(Value::from),
        Just(json!("yarn")),
        Just(json!("llama3")),
    ];
    leaf.prop_recursive(2, 12, 4, |inner| {
        let field =
            prop_oneof![Just("rope_type"), Just("factor"), Just("attention_factor"), Just("beta_fast"), Just("x")];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::vec((field, inner), 0..4)
                .prop_map(|fields| fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bytes_are_parsed_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let parsed = ModelConfig::parse(Path::new("config.json"), &bytes);
        prop_assert!(parsed.is_err());
    }

    #[test]
    fn any_value_of_any_field_is_taken_or_refused(family in 0..4_usize, field in 0..64_usize, value in value()) {
        const FIELDS: [&str; 16] = [
            "rope_scaling", "rope_parameters", "rope_theta", "hidden_size", "head_dim", "num_key_value_heads",
            "layer_types", "sliding_window", "use_sliding_window", "max_window_layers", "rms_norm_eps", "vocab_size",
            "architectures", "max_position_embeddings", "original_max_position_embeddings", "hidden_act",
        ];
        let family = ["Llama", "Mistral", "Qwen2", "Qwen3"][family];
        match parse(&with(family, &json!({ FIELDS[field % 16]: value }))) {
            Ok(config) => prop_assert!(config.rope.table(3).unwrap().iter().all(|angle| angle.is_finite())),
            Err(error) => prop_assert!(error.to_string().len() < 500, "{}", error),
        }
    }
}
