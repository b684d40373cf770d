//! Unmerged against merged: an adapter beside the base says what a base says that the adapter was added into.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use half::{bf16, f16};
use loam_engine::request::Generate;
use loam_engine::{DType, Engine, MemoryRecorder, OpenOptions};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use tempfile::TempDir;

use crate::ask::{Said, all, golden, open, options, prompt, request};

/// How far a logit may be from the other's, relative to the larger of it and 1: both are sums of 32-bit products, in
/// another order.
const TOLERANCE: f32 = 2e-4;
/// How far apart two best log-probabilities must be for a greedy choice to be no matter of rounding.
const NEAR_TIE: f32 = 1e-3;

/// A tensor's shape and values.
type Tensor = (Vec<usize>, Vec<f64>);

fn read(path: &Path, tensors: &mut BTreeMap<String, Tensor>) {
    let bytes = fs::read(path).unwrap();
    for (name, view) in SafeTensors::deserialize(&bytes).unwrap().tensors() {
        let data = view.data();
        let pairs = data.chunks_exact(2).map(|it| [it[0], it[1]]);
        let values = match view.dtype() {
            Dtype::BF16 => pairs.map(|it| bf16::from_le_bytes(it).to_f64()).collect(),
            Dtype::F16 => pairs.map(|it| f16::from_le_bytes(it).to_f64()).collect(),
            Dtype::F32 => {
                let words = data.chunks_exact(4).map(|it| f32::from_le_bytes(it.try_into().unwrap()));
                words.map(f64::from).collect()
            }
            other => panic!("{other} in golden data"),
        };
        tensors.insert(name, (view.shape().to_vec(), values));
    }
}

/// What PEFT multiplies `B A` by.
fn scale(adapter: &Path) -> f64 {
    let config: Value = serde_json::from_slice(&fs::read(adapter.join("adapter_config.json")).unwrap()).unwrap();
    for patterns in ["rank_pattern", "alpha_pattern"] {
        assert!(config[patterns].as_object().unwrap().is_empty(), "one scale for all modules");
    }
    let (alpha, rank) = (config["lora_alpha"].as_f64().unwrap(), config["r"].as_f64().unwrap());
    if config["use_rslora"] == true { alpha / rank.sqrt() } else { alpha / rank }
}

/// The base with an adapter added into it, in f64, kept as F32.
fn merged(model: &str, adapter: &str) -> TempDir {
    let base = golden().join(model).join("base");
    let adapter = golden().join(model).join("adapters").join(adapter);
    let made = TempDir::new().unwrap();
    let mut weights = BTreeMap::new();
    for entry in fs::read_dir(&base).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name.ends_with(".safetensors") {
            read(&path, &mut weights);
        } else if !name.ends_with("index.json") {
            fs::copy(&path, made.path().join(name)).unwrap();
        }
    }
    let (mut added, scale) = (BTreeMap::new(), scale(&adapter));
    read(&adapter.join("adapter_model.safetensors"), &mut added);
    let mut modules = 0;
    for (name, (_, a)) in &added {
        let Some(module) = name.strip_suffix(".lora_A.weight") else { continue };
        let (shape, b) = &added[&format!("{module}.lora_B.weight")];
        let weight = format!("{}.weight", module.strip_prefix("base_model.model.").unwrap());
        let (outputs, rank) = (shape[0], shape[1]);
        let (weight_shape, values) = weights.get_mut(&weight).unwrap();
        let inputs = weight_shape[1];
        assert_eq!((weight_shape[0], a.len()), (outputs, rank * inputs));
        for (output, row) in values.chunks_exact_mut(inputs).enumerate() {
            for r in 0..rank {
                let b = scale * b[output * rank + r];
                row.iter_mut().zip(&a[r * inputs..]).for_each(|(value, a)| *value += b * a);
            }
        }
        modules += 1;
    }
    assert_eq!(added.len(), 2 * modules, "every tensor was used");
    let bytes = weights.iter().map(|(name, (shape, values))| {
        let bytes: Vec<u8> = values.iter().flat_map(|value| (*value as f32).to_le_bytes()).collect();
        (name.clone(), shape.clone(), bytes)
    });
    let bytes: Vec<_> = bytes.collect();
    let views =
        bytes.iter().map(|(name, shape, bytes)| (name, TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap()));
    let file = safetensors::serialize(views, None).unwrap();
    fs::write(made.path().join("model.safetensors"), file).unwrap();
    made
}

fn requests(adapters: &[(&str, f64)]) -> Vec<Generate> {
    let lengths = [1, 3, 17, 40, 90];
    let of = |(seed, tokens): (u64, usize)| request(&prompt(seed, tokens), adapters, 24);
    (100..).zip(lengths).map(of).collect()
}

/// How much nearer the best token is than the next, where each was drawn; `request` asks for the two best.
fn margins(said: &Said) -> Vec<f32> {
    let margin = |bits: &Vec<u32>| f32::from_bits(bits[2]) - f32::from_bits(bits[4]);
    said.one().bits.iter().map(margin).collect()
}

/// Logits within the tolerance, and the same tokens as far as none is a near tie.
fn same(found: &Said, expected: &Said) -> Result<usize, String> {
    assert_eq!(found.logits.len(), expected.logits.len());
    let apart = found.logits.iter().zip(&expected.logits).map(|(a, b)| (a - b).abs() / b.abs().max(1.0));
    let apart = apart.fold(0.0, f32::max);
    if apart > TOLERANCE || apart.is_nan() {
        return Err(format!("logits are {apart} apart"));
    }
    let sure = margins(expected).iter().take_while(|margin| **margin >= NEAR_TIE).count();
    let (found, expected) = (&found.one().tokens[..sure], &expected.one().tokens[..sure]);
    if found == expected { Ok(sure) } else { Err(format!("tokens {found:?} where {expected:?}")) }
}

fn check(model: &str, adapter: &str) {
    let unmerged = all(&open(&options(model)), requests(&[(adapter, 1.0)]));
    let folder = merged(model, adapter);
    let options = OpenOptions { model: folder.path().to_owned(), dtype: DType::F32, ..options(model) };
    let engine = Engine::open(&options, Box::new(MemoryRecorder::default()), &mut |_| {}).unwrap();
    let mut sure = 0;
    for (index, (found, expected)) in unmerged.iter().zip(all(&engine, requests(&[]))).enumerate() {
        match same(found, &expected) {
            Ok(tokens) => sure += tokens,
            Err(how) => panic!("{model}, {adapter}, request {index}: {how}"),
        }
    }
    assert!(sure > 60, "only {sure} tokens were no near ties");
    // It would be nothing to agree if the adapter did nothing.
    let base = all(&open(&self::options(model)), requests(&[]));
    assert!(unmerged.iter().zip(&base).all(|(found, base)| same(found, base).is_err()));
}

macro_rules! merged {
    ($($test:ident: $model:literal, $adapter:literal;)*) => {
        $(#[test] fn $test() { check($model, $adapter); })*
    };
}
merged! {
    llama_qv: "llama-gqa", "qv-r8";
    llama_all_linear: "llama-gqa", "all-r16";
    llama_rank_stabilised: "llama-gqa", "rslora-r4";
    qwen3_qv: "qwen3-qknorm", "qv-r8";
    qwen3_all_linear: "qwen3-qknorm", "all-r16";
    qwen3_rank_stabilised: "qwen3-qknorm", "rslora-r4";
}
