//! How large everything is: the shape that the table is about, and a tiny one that shows in seconds that it is measured.

use std::time::Duration;

/// Rows of a step, and how many adapters they use between them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mix {
    pub(super) rows: usize,
    pub(super) adapters: usize,
}

/// Sizes of all cases.
pub(super) struct Scale {
    pub(super) config: &'static str,
    /// Whether the probe's GEMMs are of this shape.
    pub(super) is_probed: bool,
    /// Tokens of each request in decode, the step's own included.
    pub(super) context: usize,
    /// In the order of [`super::cases::DECODE`].
    pub(super) decode: [Mix; 4],
    /// Rows of the steps in which adapters are resident and nobody uses one.
    pub(super) unused: [Mix; 2],
    /// Each adapter has one request.
    pub(super) prefill: Mix,
    /// Requests and tokens of each, in every combination.
    pub(super) attention: ([usize; 2], [usize; 2]),
    /// Keys and values that attention walks before it meets the first again.
    pub(super) attention_bytes: usize,
    /// A round of steps takes at least so long, so that neither a clock's tick nor one stray step decides it.
    pub(super) round: Duration,
    pub(super) rounds: usize,
}

const fn mix(rows: usize, adapters: usize) -> Mix {
    Mix { rows, adapters }
}

pub(super) const LLAMA_8B: Scale = Scale {
    config: LLAMA_8B_CONFIG,
    is_probed: true,
    context: 1024,
    decode: [mix(1, 1), mix(32, 32), mix(128, 128), mix(256, 8)],
    unused: [mix(1, 32), mix(32, 32)],
    prefill: mix(2048, 8),
    attention: ([32, 128], [1024, 8192]),
    attention_bytes: 1 << 30,
    round: Duration::from_millis(300),
    rounds: 9,
};

pub(super) const TINY: Scale = Scale {
    config: TINY_CONFIG,
    is_probed: false,
    context: 40,
    decode: [mix(1, 1), mix(3, 3), mix(4, 4), mix(5, 2)],
    unused: [mix(1, 2), mix(3, 2)],
    prefill: mix(12, 2),
    attention: ([1, 2], [24, 40]),
    attention_bytes: 0,
    round: Duration::ZERO,
    rounds: 2,
};

/// The shape of Llama-3-8B.
const LLAMA_8B_CONFIG: &str = r#"{
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336,
    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 128256,
    "max_position_embeddings": 8192, "rms_norm_eps": 1e-05, "hidden_act": "silu", "rope_theta": 500000.0,
    "tie_word_embeddings": false, "bos_token_id": 128000, "eos_token_id": 128001, "torch_dtype": "bfloat16"
}"#;

/// Two layers with everything that a larger model has.
const TINY_CONFIG: &str = r#"{
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 128, "intermediate_size": 256,
    "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 64, "vocab_size": 320,
    "max_position_embeddings": 128, "rms_norm_eps": 1e-05, "hidden_act": "silu", "rope_theta": 10000.0,
    "tie_word_embeddings": false, "bos_token_id": 1, "eos_token_id": 2, "torch_dtype": "bfloat16"
}"#;
