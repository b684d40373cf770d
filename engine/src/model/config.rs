//! A model's `config.json`: what is computed exactly is read, everything else is refused by its name.

use std::path::Path;

use loam_kernels::backend::Activation;
use loam_kernels::layout::{Rope, RopeScaling};
use serde_json::{Map, Value};

use super::sites::ModelShape;
use super::weights::shown;
use crate::error::Error;

/// Bytes of a configuration.
const CONFIG_BYTES_MAX: u64 = 4 << 20;
/// What a size in a configuration can be at most.
const SIZE_MAX: u64 = 1 << 24;
/// Heads of a model at most.
const HEADS_MAX: u64 = 4096;
/// Layers of a model at most.
const LAYERS_MAX: u64 = 1024;

/// Which family a model is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Llama 2 and 3.
    Llama,
    /// Mistral: attention within a window.
    Mistral,
    /// Qwen2 and 2.5: biases in q, k and v.
    Qwen2,
    /// Qwen3: each head's query and key are normed.
    Qwen3,
}

/// A model, as its configuration describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    /// Which family.
    pub family: Family,
    /// Its sizes.
    pub shape: ModelShape,
    /// Angles of positions.
    pub rope: Rope,
    /// Positions it was made for.
    pub positions_max: usize,
    /// Keeps norms' roots from zero.
    pub epsilon: f32,
    /// The gated layers' function.
    pub activation: Activation,
    /// Whether the embedding is the head too.
    pub tied: bool,
    /// Whether q, k and v have biases.
    pub qkv_bias: bool,
    /// Whether o has one.
    pub o_bias: bool,
    /// Whether gate, up and down have.
    pub mlp_bias: bool,
    /// Positions that a row of each layer sees.
    pub windows: Vec<Option<u32>>,
}

/// Fields that change nothing of a forward pass, or are read elsewhere.
const HARMLESS: &[&str] = &[
    "_attn_implementation_autoset",
    "_name_or_path",
    "architectures",
    "attention_dropout",
    "auto_map",
    "bos_token_id",
    "chunk_size_feed_forward",
    "dtype",
    "eos_token_id",
    "finetuning_task",
    "head_dim",
    "hidden_size",
    "id2label",
    "initializer_range",
    "intermediate_size",
    "is_llama_config",
    "label2id",
    "layer_types",
    "max_position_embeddings",
    "max_sequence_length",
    "max_window_layers",
    "mlp_bias",
    "attention_bias",
    "model_type",
    "num_attention_heads",
    "num_hidden_layers",
    "num_key_value_heads",
    "original_max_position_embeddings",
    "output_attentions",
    "output_hidden_states",
    "pad_token_id",
    "partial_rotary_factor",
    "pretraining_tp",
    "problem_type",
    "return_dict",
    "rms_norm_eps",
    "rope_parameters",
    "rope_scaling",
    "rope_theta",
    "sliding_window",
    "task_specific_params",
    "tie_word_embeddings",
    "tokenizer_class",
    "torch_dtype",
    "transformers.js_config",
    "transformers_version",
    "unsloth_fixed",
    "unsloth_version",
    "use_cache",
    "use_sliding_window",
    "vocab_size",
    "hidden_act",
    "unk_token_id",
    "attn_implementation",
];

/// A field's object, and where it was read.
pub(super) struct Fields<'a> {
    pub(super) path: &'a Path,
    pub(super) prefix: &'static str,
    pub(super) map: &'a Map<String, Value>,
}

impl ModelConfig {
    /// Reads a model folder's configuration.
    pub fn read(folder: &Path) -> Result<Self, Error> {
        let path = folder.join("config.json");
        let failed = |source: std::io::Error| match source.kind() {
            std::io::ErrorKind::NotFound => Error::NoModel { folder: folder.to_owned() },
            _ => Error::File { path: path.clone(), source },
        };
        let bytes = std::fs::metadata(&path).map_err(failed)?.len();
        if bytes > CONFIG_BYTES_MAX {
            let reason = format!("{bytes} bytes; a configuration has at most {CONFIG_BYTES_MAX}");
            return Err(Error::Malformed { path, reason });
        }
        Self::parse(&path, &std::fs::read(&path).map_err(failed)?)
    }

    /// Reads a configuration's text; `path` names it in errors.
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self, Error> {
        let json = |reason: String| Error::Json { path: path.to_owned(), reason };
        let value: Value = serde_json::from_slice(bytes).map_err(|error| json(error.to_string()))?;
        let Value::Object(map) = &value else { return Err(json("it is no object".to_owned())) };
        let fields = Fields { path, prefix: "", map };
        let family = fields.family()?;
        fields.refuse_strange()?;
        let shape = fields.shape(family)?;
        let positions_trained = fields.size("max_position_embeddings", SIZE_MAX)?.unwrap_or(match family {
            Family::Llama => 2048,
            Family::Mistral => 131_072,
            Family::Qwen2 | Family::Qwen3 => 32_768,
        });
        let rope = fields.rope(&shape, positions_trained)?;
        let attention_bias = fields.flag("attention_bias")?.unwrap_or(false);
        let mlp_bias = fields.flag("mlp_bias")?.unwrap_or(false);
        if attention_bias && family == Family::Mistral {
            return fields.refuse("attention_bias", "false in a Mistral model");
        }
        if mlp_bias && family != Family::Llama {
            return fields.refuse("mlp_bias", "true in a Llama model only");
        }
        Ok(Self {
            family,
            shape,
            rope,
            positions_max: stretched(&rope, positions_trained),
            epsilon: fields.epsilon()?,
            activation: fields.activation()?,
            tied: fields.flag("tie_word_embeddings")?.unwrap_or(false),
            qkv_bias: family == Family::Qwen2 || attention_bias,
            o_bias: attention_bias && family != Family::Qwen2,
            mlp_bias,
            windows: fields.windows(family, shape.layers)?,
        })
    }
}

/// YaRN's folders often keep the positions of before the stretch.
fn stretched(rope: &Rope, trained: usize) -> usize {
    match rope.scaling {
        RopeScaling::Yarn { factor, original_positions, .. } => {
            trained.max((factor * original_positions).min(SIZE_MAX as f64) as usize)
        }
        _ => trained,
    }
}

impl Fields<'_> {
    pub(super) fn refuse<T>(&self, field: &str, allowed: &str) -> Result<T, Error> {
        let found = self.map.get(field).map_or_else(|| "absent".to_owned(), shown);
        let field = format!("{}{field}", self.prefix);
        Err(Error::Field { path: self.path.to_owned(), field, found, allowed: allowed.to_owned() })
    }

    pub(super) fn value(&self, field: &str) -> Option<&Value> {
        self.map.get(field).filter(|value| !value.is_null())
    }

    fn size(&self, field: &str, max: u64) -> Result<Option<usize>, Error> {
        let Some(value) = self.value(field) else { return Ok(None) };
        match value.as_u64().filter(|size| (1..=max).contains(size)) {
            Some(size) => Ok(Some(size as usize)),
            None => self.refuse(field, &format!("a whole number from 1 to {max}")),
        }
    }

    fn needed(&self, field: &str, max: u64) -> Result<usize, Error> {
        match self.size(field, max)? {
            Some(size) => Ok(size),
            None => self.refuse(field, &format!("a whole number from 1 to {max}")),
        }
    }

    pub(super) fn flag(&self, field: &str) -> Result<Option<bool>, Error> {
        match self.value(field) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(_) => self.refuse(field, "true or false"),
        }
    }

    pub(super) fn number(&self, field: &str) -> Result<Option<f64>, Error> {
        match self.value(field).map(Value::as_f64) {
            None => Ok(None),
            Some(Some(number)) if number > 0.0 && number.is_finite() => Ok(Some(number)),
            Some(_) => self.refuse(field, "a number above 0"),
        }
    }
}

/// What single fields mean together.
impl Fields<'_> {
    fn family(&self) -> Result<Family, Error> {
        let allowed = "[\"LlamaForCausalLM\"], Mistral-, Qwen2- or Qwen3ForCausalLM";
        let architectures = self.value("architectures").and_then(Value::as_array).map(Vec::as_slice);
        let (family, model_type) = match architectures {
            Some([Value::String(one)]) => match one.as_str() {
                "LlamaForCausalLM" => (Family::Llama, "llama"),
                "MistralForCausalLM" => (Family::Mistral, "mistral"),
                "Qwen2ForCausalLM" => (Family::Qwen2, "qwen2"),
                "Qwen3ForCausalLM" => (Family::Qwen3, "qwen3"),
                _ => return self.refuse("architectures", allowed),
            },
            _ => return self.refuse("architectures", allowed),
        };
        // Others choose by this one, and would compute something else.
        match self.value("model_type") {
            Some(found) if found != model_type => {
                self.refuse("model_type", &format!("{model_type} with these architectures"))
            }
            _ => Ok(family),
        }
    }

    /// A field that nobody here has heard of may change what is computed, unless it says that it is off.
    fn refuse_strange(&self) -> Result<(), Error> {
        let off = |value: &Value| match value {
            Value::Null | Value::Bool(false) => true,
            Value::Number(number) => number.as_f64() == Some(0.0),
            Value::String(text) => text.is_empty(),
            Value::Array(list) => list.is_empty(),
            Value::Object(map) => map.is_empty(),
            Value::Bool(true) => false,
        };
        let mut strange = self.map.iter().filter(|(field, value)| !HARMLESS.contains(&field.as_str()) && !off(value));
        match strange.next() {
            None => Ok(()),
            Some((field, _)) => self.refuse(field, "left out: Loam does not compute it"),
        }
    }

    fn shape(&self, family: Family) -> Result<ModelShape, Error> {
        let hidden = self.needed("hidden_size", SIZE_MAX)?;
        let q_heads = self.needed("num_attention_heads", HEADS_MAX)?;
        let kv_heads = match (self.size("num_key_value_heads", HEADS_MAX)?, family) {
            (Some(kv_heads), _) => kv_heads,
            // What is left out is something else than null.
            (None, Family::Mistral) if !self.map.contains_key("num_key_value_heads") => 8,
            (None, Family::Qwen2 | Family::Qwen3) if !self.map.contains_key("num_key_value_heads") => 32,
            (None, _) => q_heads,
        };
        if !q_heads.is_multiple_of(kv_heads) {
            let path = self.path.to_owned();
            let allowed = format!("a divisor of num_attention_heads, {q_heads}");
            return Err(Error::Field {
                path,
                field: "num_key_value_heads".to_owned(),
                found: kv_heads.to_string(),
                allowed,
            });
        }
        let head_dim = match self.size("head_dim", 4096)? {
            Some(head_dim) => head_dim,
            None if family == Family::Qwen3 && self.map.contains_key("head_dim") => {
                return self.refuse("head_dim", "a number, or absent for 128, in a Qwen3 model");
            }
            None if family == Family::Qwen3 => 128,
            None if hidden.is_multiple_of(q_heads) => hidden / q_heads,
            None => return self.refuse("num_attention_heads", &format!("a divisor of hidden_size, {hidden}")),
        };
        if ![64, 96, 128, 256].contains(&head_dim) {
            let allowed = "64, 96, 128 or 256 (where it is absent: hidden_size over num_attention_heads)";
            let found = head_dim.to_string();
            let (path, field) = (self.path.to_owned(), "head_dim".to_owned());
            return Err(Error::Field { path, field, found, allowed: allowed.to_owned() });
        }
        Ok(ModelShape {
            vocabulary: self.needed("vocab_size", SIZE_MAX)?,
            hidden,
            intermediate: self.needed("intermediate_size", SIZE_MAX)?,
            layers: self.needed("num_hidden_layers", LAYERS_MAX)?,
            q_heads,
            kv_heads,
            head_dim,
        })
    }

    fn epsilon(&self) -> Result<f32, Error> {
        let epsilon = self.number("rms_norm_eps")?.unwrap_or(1e-6) as f32;
        // Numbers above 0 are not always above 0, or finite, once they have 32 bits.
        if epsilon > 0.0 && epsilon.is_finite() {
            Ok(epsilon)
        } else {
            self.refuse("rms_norm_eps", "a 32-bit number above 0")
        }
    }

    fn activation(&self) -> Result<Activation, Error> {
        match self.value("hidden_act").map(Value::as_str) {
            None | Some(Some("silu" | "swish")) => Ok(Activation::Silu),
            Some(Some("gelu" | "gelu_python")) => Ok(Activation::Gelu),
            Some(Some("gelu_pytorch_tanh" | "gelu_python_tanh" | "gelu_new")) => Ok(Activation::GeluTanh),
            Some(_) => self.refuse("hidden_act", "silu, gelu or gelu_pytorch_tanh"),
        }
    }

    /// Positions that a row of each layer sees.
    fn windows(&self, family: Family, layers: usize) -> Result<Vec<Option<u32>>, Error> {
        let on = self.flag("use_sliding_window")?;
        let qwen = matches!(family, Family::Qwen2 | Family::Qwen3);
        // Where it is off, what stands there means nothing.
        let window = if qwen && on != Some(true) { None } else { self.size("sliding_window", u32::MAX.into())? };
        let window = match window {
            None if self.map.contains_key("sliding_window") || family == Family::Llama => None,
            None if qwen => Some(4096).filter(|_| on == Some(true)),
            None => Some(4096),
            Some(window) => Some(window as u32),
        };
        if family == Family::Llama && window.is_some() {
            return self.refuse("sliding_window", "absent in a Llama model");
        }
        if !qwen && on.is_some_and(|on| on != window.is_some()) {
            let allowed = "absent, or whether sliding_window is given, in a Llama or Mistral model";
            return self.refuse("use_sliding_window", allowed);
        }
        let first_with = match self.value("max_window_layers") {
            _ if !qwen => 0,
            None => 28,
            Some(number) => match number.as_u64() {
                Some(number) => number,
                None => return self.refuse("max_window_layers", "a whole number from 0"),
            },
        };
        let windows = (0..layers as u64).map(|layer| window.filter(|_| layer >= first_with)).collect();
        match self.value("layer_types") {
            None => Ok(windows),
            Some(types) => {
                let listed = self.layer_types(types, layers, window)?;
                if qwen || listed == windows {
                    Ok(listed)
                } else {
                    self.refuse("layer_types", "absent, or the same for each layer, in a Llama or Mistral model")
                }
            }
        }
    }

    fn layer_types(&self, types: &Value, layers: usize, window: Option<u32>) -> Result<Vec<Option<u32>>, Error> {
        let allowed = format!("a list of {layers}, each full_attention or, with a window in use, sliding_attention");
        let Some(types) = types.as_array().filter(|types| types.len() == layers) else {
            return self.refuse("layer_types", &allowed);
        };
        let of = |kind: &Value| match (kind.as_str(), window) {
            (Some("full_attention"), _) => Some(None),
            (Some("sliding_attention"), Some(window)) => Some(Some(window)),
            _ => None,
        };
        match types.iter().map(of).collect() {
            Some(windows) => Ok(windows),
            None => self.refuse("layer_types", &allowed),
        }
    }
}
