//! A model's `config.json`: what is computed exactly is read, everything else is refused by its name.

use std::path::Path;

use loam_kernels::backend::Activation;
use loam_kernels::layout::{Rope, RopeScaling};
use serde_json::{Map, Value};

use super::sites::ModelShape;
use crate::error::Error;

/// Bytes of a configuration.
const CONFIG_BYTES_MAX: u64 = 4 << 20;
/// What a size in a configuration can be at most.
const SIZE_MAX: u64 = 1 << 24;
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
    "label2id",
    "layer_types",
    "max_position_embeddings",
    "max_window_layers",
    "mlp_bias",
    "attention_bias",
    "model_type",
    "num_attention_heads",
    "num_hidden_layers",
    "num_key_value_heads",
    "output_attentions",
    "output_hidden_states",
    "pad_token_id",
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
    "transformers_version",
    "unsloth_version",
    "use_cache",
    "use_mrope",
    "use_sliding_window",
    "vocab_size",
    "hidden_act",
    "unk_token_id",
    "rotary_dim",
    "attn_implementation",
];

/// A field's object, and where it was read.
struct Fields<'a> {
    path: &'a Path,
    prefix: &'static str,
    map: &'a Map<String, Value>,
}

impl ModelConfig {
    /// Reads a model folder's configuration.
    pub fn read(folder: &Path) -> Result<Self, Error> {
        let path = folder.join("config.json");
        let failed = |source| Error::File { path: path.clone(), source };
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
        let shape = fields.shape()?;
        let positions_max = fields.size("max_position_embeddings", SIZE_MAX)?.unwrap_or(2048);
        let qwen = matches!(family, Family::Qwen2 | Family::Qwen3);
        let attention_bias = fields.flag("attention_bias")?.unwrap_or(false);
        Ok(Self {
            family,
            shape,
            rope: fields.rope(&shape, positions_max)?,
            positions_max,
            epsilon: fields.epsilon()?,
            activation: fields.activation()?,
            tied: fields.flag("tie_word_embeddings")?.unwrap_or(false),
            qkv_bias: family == Family::Qwen2 || attention_bias,
            o_bias: attention_bias && family != Family::Qwen2,
            mlp_bias: !qwen && fields.flag("mlp_bias")?.unwrap_or(false),
            windows: fields.windows(family, shape.layers)?,
        })
    }
}

impl Fields<'_> {
    fn refuse<T>(&self, field: &str, allowed: &str) -> Result<T, Error> {
        let found = self.map.get(field).map_or_else(|| "absent".to_owned(), ToString::to_string);
        let found = if found.len() > 80 { format!("{}...", found.chars().take(77).collect::<String>()) } else { found };
        let field = format!("{}{field}", self.prefix);
        Err(Error::Field { path: self.path.to_owned(), field, found, allowed: allowed.to_owned() })
    }

    fn value(&self, field: &str) -> Option<&Value> {
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

    fn flag(&self, field: &str) -> Result<Option<bool>, Error> {
        match self.value(field) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(_) => self.refuse(field, "true or false"),
        }
    }

    fn number(&self, field: &str) -> Result<Option<f64>, Error> {
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
        match architectures {
            Some([Value::String(one)]) => match one.as_str() {
                "LlamaForCausalLM" => Ok(Family::Llama),
                "MistralForCausalLM" => Ok(Family::Mistral),
                "Qwen2ForCausalLM" => Ok(Family::Qwen2),
                "Qwen3ForCausalLM" => Ok(Family::Qwen3),
                _ => self.refuse("architectures", allowed),
            },
            _ => self.refuse("architectures", allowed),
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

    fn shape(&self) -> Result<ModelShape, Error> {
        let hidden = self.needed("hidden_size", SIZE_MAX)?;
        let q_heads = self.needed("num_attention_heads", 4096)?;
        let kv_heads = self.size("num_key_value_heads", 4096)?.unwrap_or(q_heads);
        if !q_heads.is_multiple_of(kv_heads) {
            return self.refuse("num_key_value_heads", &format!("a divisor of num_attention_heads, {q_heads}"));
        }
        let head_dim = match self.size("head_dim", 4096)? {
            Some(head_dim) => head_dim,
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
            Some(Some("gelu")) => Ok(Activation::Gelu),
            Some(Some("gelu_pytorch_tanh" | "gelu_new")) => Ok(Activation::GeluTanh),
            Some(_) => self.refuse("hidden_act", "silu, gelu or gelu_pytorch_tanh"),
        }
    }

    fn windows(&self, family: Family, layers: usize) -> Result<Vec<Option<u32>>, Error> {
        let window = self.size("sliding_window", u32::MAX.into())?.map(|window| window as u32);
        match family {
            Family::Llama if window.is_some() => self.refuse("sliding_window", "absent in a Llama model"),
            Family::Llama => Ok(vec![None; layers]),
            Family::Mistral => Ok(vec![window; layers]),
            Family::Qwen2 | Family::Qwen3 => {
                let on = self.flag("use_sliding_window")?.unwrap_or(false);
                let window = window.filter(|_| on);
                let first_with = self.value("max_window_layers").and_then(Value::as_u64).unwrap_or(28);
                if let Some(types) = self.value("layer_types") {
                    return self.layer_types(types, layers, window);
                }
                Ok((0..layers as u64).map(|layer| window.filter(|_| layer >= first_with)).collect())
            }
        }
    }

    fn layer_types(&self, types: &Value, layers: usize, window: Option<u32>) -> Result<Vec<Option<u32>>, Error> {
        let allowed = format!("a list of {layers}, each full_attention or, with use_sliding_window, sliding_attention");
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

    /// Both spellings: `rope_theta` beside `rope_scaling`, and `rope_parameters` with everything.
    fn rope(&self, shape: &ModelShape, positions_max: usize) -> Result<Rope, Error> {
        let nested = |field: &str| match self.value(field) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(map)),
            Some(_) => self.refuse(field, "an object"),
        };
        let empty = Map::new();
        let (prefix, map) = match (nested("rope_parameters")?, nested("rope_scaling")?) {
            (Some(map), None) => ("rope_parameters.", map),
            (None, Some(map)) => ("rope_scaling.", map),
            (None, None) => ("rope_scaling.", &empty),
            (Some(_), Some(_)) => return self.refuse("rope_scaling", "absent where rope_parameters is given"),
        };
        let inner = Fields { path: self.path, prefix, map };
        let theta = match inner.number("rope_theta")? {
            Some(theta) => theta,
            None => self.number("rope_theta")?.unwrap_or(10_000.0),
        };
        let rotary = inner.number("partial_rotary_factor")?.unwrap_or(1.0);
        if rotary != 1.0 {
            return inner.refuse("partial_rotary_factor", "1 in this family");
        }
        let scaling = inner.scaling(positions_max)?;
        let rope = Rope { rotary_dim: shape.head_dim, theta, scaling };
        rope.frequencies()?;
        Ok(rope)
    }

    fn scaling(&self, positions_max: usize) -> Result<RopeScaling, Error> {
        let kind = self.value("rope_type").or_else(|| self.value("type"));
        let positions = positions_max as f64;
        let needed = |field: &str| match self.number(field)? {
            Some(number) => Ok(number),
            None => self.refuse(field, "a number above 0"),
        };
        let known: &[&str] = match kind.map(Value::as_str) {
            None | Some(Some("default")) => &[],
            Some(Some("linear")) => &["factor"],
            Some(Some("llama3")) => {
                &["factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"]
            }
            Some(Some("yarn")) => &[
                "factor",
                "original_max_position_embeddings",
                "attention_factor",
                "beta_fast",
                "beta_slow",
                "mscale",
                "mscale_all_dim",
                "truncate",
            ],
            Some(_) => return self.refuse("rope_type", "default, linear, llama3 or yarn"),
        };
        let always = ["rope_type", "type", "rope_theta", "partial_rotary_factor"];
        let mut strange = self.map.iter().filter(|(field, value)| {
            !value.is_null() && !always.contains(&field.as_str()) && !known.contains(&field.as_str())
        });
        if let Some((field, _)) = strange.next() {
            return self.refuse(field, "left out with this rope_type");
        }
        match known {
            [] => Ok(RopeScaling::Default),
            ["factor"] => Ok(RopeScaling::Linear { factor: needed("factor")? }),
            [_, "low_freq_factor", ..] => Ok(RopeScaling::Llama3 {
                factor: needed("factor")?,
                low_freq_factor: needed("low_freq_factor")?,
                high_freq_factor: needed("high_freq_factor")?,
                original_positions: needed("original_max_position_embeddings")?,
            }),
            _ => {
                let original_positions = self.number("original_max_position_embeddings")?.unwrap_or(positions);
                let factor = needed("factor")?;
                let (mscale, all) = (self.number("mscale")?, self.number("mscale_all_dim")?);
                let stated = self.number("attention_factor")?;
                Ok(RopeScaling::Yarn {
                    factor,
                    original_positions,
                    beta_fast: self.number("beta_fast")?.unwrap_or(32.0),
                    beta_slow: self.number("beta_slow")?.unwrap_or(1.0),
                    attention_factor: stated.unwrap_or_else(|| RopeScaling::yarn_attention_factor(factor, mscale, all)),
                    truncate: self.flag("truncate")?.unwrap_or(true),
                })
            }
        }
    }
}
