//! Every field of a configuration is applied, known to change nothing, or refused by its name.

use std::path::Path;

use loam_engine::Error;
use loam_engine::adapter::PeftConfig;

use crate::folder::{config, refusal};

fn parse(text: &str) -> Result<PeftConfig, Error> {
    PeftConfig::parse(Path::new("adapter_config.json"), text.as_bytes())
}

#[track_caller]
fn check_refused(fields: &str, field: &str, found: &str) {
    match parse(&config(fields)) {
        Err(Error::Field { field: named, found: shown, .. }) => {
            assert_eq!((named.as_str(), shown.as_str()), (field, found), "{fields}");
        }
        other => panic!("{fields}: {other:?}"),
    }
}

#[track_caller]
fn check_fine(fields: &str) {
    if let Err(error) = parse(&config(fields)) {
        panic!("{fields}: {error}");
    }
}

/// Field, a value that switches something on, how it is shown, and the value that PEFT saves where it is off.
const NOT_COMPUTED: [(&str, &str, &str, &str); 20] = [
    ("use_dora", "true", "true", "false"),
    ("bias", "\"all\"", "\"all\"", "\"none\""),
    ("bias", "\"lora_only\"", "\"lora_only\"", "null"),
    ("lora_bias", "true", "true", "false"),
    ("fan_in_fan_out", "true", "true", "false"),
    ("modules_to_save", "[\"lm_head\"]", "a list of 1", "null"),
    ("alora_invocation_tokens", "[1, 2]", "a list of 2", "null"),
    ("alora_invocation_tokens", "[]", "a list of 0", "null"),
    ("trainable_token_indices", "{\"embed_tokens\": [1]}", "an object of 1", "null"),
    ("target_parameters", "[\"experts.gate_up_proj\"]", "a list of 1", "null"),
    ("layer_replication", "[[0, 2], [1, 3]]", "a list of 2", "null"),
    ("use_qalora", "true", "true", "false"),
    ("use_bdlora", "{\"nblocks\": 2}", "an object of 1", "null"),
    ("arrow_config", "{\"top_k\": 3}", "an object of 1", "null"),
    ("velora_config", "{\"scale\": 1.0}", "an object of 1", "null"),
    ("kasa_config", "{\"beta\": 0.1}", "an object of 1", "null"),
    ("monteclora_config", "{\"num_samples\": 8}", "an object of 1", "null"),
    ("megatron_config", "{\"tensor_model_parallel_size\": 2}", "an object of 1", "null"),
    ("ensure_weight_tying", "true", "true", "false"),
    ("task_type", "\"SEQ_CLS\"", "\"SEQ_CLS\"", "\"CAUSAL_LM\""),
];

#[test]
fn what_is_not_computed_is_refused_by_name_and_fine_where_it_is_off() {
    for (field, on, shown, off) in NOT_COMPUTED {
        check_refused(&format!("\"{field}\": {on}"), field, shown);
        check_fine(&format!("\"{field}\": {off}"));
    }
}

#[test]
fn other_kinds_of_adapters_are_refused() {
    for (kind, shown) in [("\"ADALORA\"", "\"ADALORA\""), ("\"lora\"", "\"lora\""), ("null", "missing"), ("3", "3")] {
        let text = format!(r#"{{"target_modules": ["q_proj"], "peft_type": {kind}}}"#);
        let refused = refusal(parse(&text));
        assert!(refused.contains(&format!("`peft_type` is {shown}")), "{refused}");
    }
    let refused = refusal(parse(r#"{"target_modules": ["q_proj"]}"#));
    assert!(refused.contains("`peft_type` is missing"), "{refused}");
}

/// These move a part of the base's weights into the adapter, which is right only together with what was left.
#[test]
fn initialisers_that_change_the_base_are_refused() {
    let names = ["pissa", "pissa_niter_16", "olora", "corda", "loftq", "lora_ga", "PiSSA", "something_new", ""];
    for name in names {
        let shown = format!("{name:?}");
        check_refused(&format!("\"init_lora_weights\": {shown}"), "init_lora_weights", &shown);
    }
    for fine in ["true", "false", "null", "\"gaussian\"", "\"eva\"", "\"orthogonal\"", "\"mica\"", "\"Gaussian\""] {
        check_fine(&format!("\"init_lora_weights\": {fine}"));
    }
}

#[test]
fn what_an_initialiser_was_given_changes_nothing() {
    check_fine(
        r#""eva_config": {"rho": 2.0}, "corda_config": {"corda_method": "kpm"}, "lora_ga_config": {"scale": "x"}"#,
    );
    check_fine(r#""loftq_config": {"loftq_bits": 4}, "qalora_group_size": 16, "megatron_core": "megatron.core""#);
    check_fine(r#""lora_dropout": 0.1, "inference_mode": false, "auto_mapping": {"base_model_class": "M"}"#);
    check_fine(r#""base_model_name_or_path": "/nowhere/at/all", "revision": "main", "peft_version": "0.21.2""#);
    check_fine(r#""runtime_config": {"ephemeral_gpu_offload": false}"#);
}

#[test]
fn an_unknown_field_is_refused_where_it_may_mean_something() {
    for (value, shown) in [
        ("true", "true"),
        ("1", "1"),
        ("-0.5", "-0.5"),
        ("\"x\"", "\"x\""),
        ("[0]", "a list of 1"),
        ("{\"a\": 0}", "an object of 1"),
    ] {
        check_refused(&format!("\"use_tomorrows_lora\": {value}"), "use_tomorrows_lora", shown);
    }
    for blank in ["null", "false", "0", "0.0", "\"\"", "[]", "{}"] {
        check_fine(&format!("\"use_tomorrows_lora\": {blank}"));
    }
    let long = "x".repeat(1000);
    let refused = refusal(parse(&config(&format!("\"note\": \"{long}\""))));
    assert!(refused.len() < 300, "{refused}");
}

#[test]
fn values_of_another_type_are_refused() {
    check_refused("\"use_rslora\": 1", "use_rslora", "1");
    check_refused("\"use_rslora\": \"true\"", "use_rslora", "\"true\"");
    check_refused("\"target_modules\": [1]", "target_modules", "a list of 1");
    check_refused("\"target_modules\": {\"q_proj\": 1}", "target_modules", "an object of 1");
    check_refused("\"exclude_modules\": 5", "exclude_modules", "5");
    check_refused("\"layers_to_transform\": {}", "layers_to_transform", "an object of 0");
}

/// Python would take the second of two equal keys, and another reader the first.
#[test]
fn a_key_that_comes_twice_is_refused() {
    let twice = refusal(parse(r#"{"peft_type": "LORA", "target_modules": ["q_proj"], "r": 8, "r": 4}"#));
    assert!(twice.contains("\"r\" comes twice"), "{twice}");
    let inside = refusal(parse(&config(r#""rank_pattern": {"q_proj": 8, "q_proj": 4}"#)));
    assert!(inside.contains("\"q_proj\" comes twice"), "{inside}");
}

#[test]
fn what_is_no_configuration_is_refused() {
    for text in
        ["", "[]", "3", "\"LORA\"", "{", "{}x", "\u{feff}{}", "{\"r\": NaN}", "{\"r\": 1e999}", &"[".repeat(100_000)]
    {
        let refused = refusal(parse(text));
        assert!(refused.starts_with("adapter_config.json: "), "{refused}");
    }
}
