//! Held against Transformers and PEFT: every case of every model, all in one mixed batch.

use loam_engine::request::Generate;
use loam_engine::{DType, Engine};
use serde_json::Value;

use crate::ask::{Open, all, cases, open, options, request};

/// How far a number may be from the reference's, relative to the larger of it and 1.
const TOLERANCE: f64 = 2e-3;
/// Below this distance between the two best logits a greedy choice is a matter of rounding.
const NEAR_TIE: f64 = 1e-3;

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

fn tokens(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|token| token.as_u64().unwrap() as u32).collect()
}

/// A case's name, the case, and the adapters that answer it.
type Case<'a> = (String, &'a Value, Vec<(&'a str, f64)>);

/// Cases of a model.
fn of_model(model: &Value) -> Vec<Case<'_>> {
    let list = |value: &'static str, holder: &'_ Value| -> Vec<usize> {
        (0..holder[value].as_array().unwrap().len()).collect()
    };
    let mut found = Vec::new();
    for at in list("cases", &model["base"]) {
        found.push((format!("base/{at}"), &model["base"]["cases"][at], Vec::new()));
    }
    for (name, adapter) in model["adapters"].as_object().unwrap() {
        for at in list("cases", adapter) {
            found.push((format!("{name}/{at}"), &adapter["cases"][at], vec![(name.as_str(), 1.0)]));
        }
    }
    for key in ["blend", "blend_other"] {
        let mix = model[key]["adapters"].as_array().unwrap().iter();
        let mix: Vec<(&str, f64)> =
            mix.map(|used| (used["name"].as_str().unwrap(), used["weight"].as_f64().unwrap())).collect();
        for at in list("cases", &model[key]) {
            found.push((format!("{key}/{at}"), &model[key]["cases"][at], mix.clone()));
        }
    }
    found
}

fn ask(engine: &Engine, found: &[Case<'_>]) -> Vec<crate::ask::Said> {
    let requests = found.iter().map(|(_, case, adapters)| {
        let length = case["greedy"].as_array().unwrap().len() as u32;
        Generate { prompt_logprobs: true, ..request(&tokens(&case["prompt"]), adapters, length) }
    });
    all(engine, requests.collect())
}

fn far(got: f64, expected: f64) -> bool {
    let apart = (got - expected).abs();
    apart.is_nan() || apart > TOLERANCE * expected.abs().max(1.0)
}

/// In f32 every number of every case is the reference's, and every greedy token but for near ties; `every` is 1 for all
/// cases, or 2 for each second one.
pub(crate) fn check_f32(name: &str, open: Open, every: usize) {
    let cases = cases();
    let found: Vec<_> = of_model(&cases["models"][name]).into_iter().step_by(every).collect();
    let engine = open(&options(name));
    let mut wrong = Vec::new();
    for ((id, case, _), said) in found.iter().zip(ask(&engine, &found)) {
        let apart = |got: &[f32], expected: &Value| {
            let expected = numbers(expected);
            got.len() != expected.len()
                || got.iter().zip(&expected).any(|(got, expected)| far(f64::from(*got), *expected))
        };
        if apart(&said.logits, &case["logits_last"]) {
            wrong.push(format!("{id}: logits"));
        }
        if apart(&said.prompt_logprobs, &case["prompt_logprobs"]) {
            wrong.push(format!("{id}: log-probabilities of the prompt"));
        }
        let tie = case["smallest_margin"].as_f64().unwrap() < NEAR_TIE;
        let expected = tokens(&case["greedy"]);
        if said.one().tokens.len() != expected.len() || !tie && said.one().tokens != expected {
            wrong.push(format!("{id}: greedy tokens"));
        }
    }
    assert!(wrong.is_empty(), "{name}:\n  {}", wrong.join("\n  "));
    assert!(found.len() >= 20 / every, "{} cases", found.len());
}

/// In bf16 the mean relative error is at most one and a half times Transformers' own.
pub(crate) fn check_bf16(name: &str, open: Open, every: usize) {
    let cases = cases();
    let model = &cases["models"][name];
    let cases = of_model(model).into_iter().filter(|(id, ..)| !id.starts_with("blend"));
    let found: Vec<_> = cases.step_by(every).collect();
    let mut options = options(name);
    options.dtype = DType::Bf16;
    let engine = open(&options);
    let errors = found.iter().zip(ask(&engine, &found)).map(|((_, case, _), said)| {
        let expected = numbers(&case["logits_last"]);
        assert_eq!(said.logits.len(), expected.len());
        let apart = said.logits.iter().zip(&expected).map(|(got, expected)| (f64::from(*got) - expected).powi(2));
        (apart.sum::<f64>() / expected.iter().map(|it| it * it).sum::<f64>()).sqrt()
    });
    let mean = errors.sum::<f64>() / found.len() as f64;
    let limit = 1.5 * model["bf16_error"]["mean"].as_f64().unwrap();
    assert!(mean <= limit, "{name}: mean relative error {mean:.4}, limit {limit:.4}");
}

macro_rules! models {
    ($($test:ident: $name:literal;)*) => {
        mod f32 {
            $(#[test] fn $test() { super::check_f32($name, super::open, 1); })*
        }
        mod bf16 {
            $(#[test] fn $test() { super::check_bf16($name, super::open, 1); })*
        }
    };
}
models! {
    llama_gqa: "llama-gqa";
    llama3_scaled_tied: "llama3-scaled-tied";
    mistral_window: "mistral-window";
    qwen2_bias: "qwen2-bias";
    qwen3_qknorm: "qwen3-qknorm";
}
