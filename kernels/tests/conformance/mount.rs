//! Mounts the enumeration on a backend: each operation, and each pattern of its use, a test with its own name.

use std::num::NonZero;

use loam_kernels::Cpu;
use loam_kernels::cpu::{CpuOptions, Level};

/// The CPU at a level of instructions, if this processor has it. Three threads: no number of outputs of these cases
/// divides evenly among them all.
pub(crate) fn cpu(level: Level) -> Option<Cpu> {
    if !Level::available().any(|available| available == level) {
        eprintln!("skipped: this processor lacks {}", level.name());
        return None;
    }
    let options = CpuOptions { threads: NonZero::new(3), level: Some(level) };
    Some(Cpu::new(options).expect("threads for a test"))
}

/// Tests of a backend that `$device` makes, or that this machine lacks.
macro_rules! mount {
    ($backend:ident, $device:expr) => {
        mod $backend {
            use loam_kernels::backend::Activation;

            use $crate::check::all;
            use $crate::{attention, dense, device, lora, sampling};

            $crate::mount::mount!(@tests $device =>
                memories: device::cases(), device::check;
                inside_a_run: [()], device::check_run;
                embed: dense::rows::embed_cases(), dense::rows::check_embed;
                take_tokens: dense::rows::embed_cases(), dense::rows::check_take;
                gather_rows: dense::rows::gather_cases(), dense::rows::check_gather;
                add: dense::rows::gather_cases(), dense::rows::check_add;
                gate_silu: dense::rows::gate_cases(Activation::Silu), dense::rows::check_gate;
                gate_gelu: dense::rows::gate_cases(Activation::Gelu), dense::rows::check_gate;
                gate_gelu_tanh: dense::rows::gate_cases(Activation::GeluTanh), dense::rows::check_gate;
                rms_norm: dense::norms::rms_norm_cases(), dense::norms::check_rms_norm;
                add_rms_norm: dense::norms::add_rms_norm_cases(), dense::norms::check_add_rms_norm;
                qk_norm: dense::norms::qk_norm_cases(), dense::norms::check_qk_norm;
                linear: dense::linear::cases(), dense::linear::check;
                product_as_it_lies: dense::product::cases(false, false), dense::product::check;
                product_first_transposed: dense::product::cases(true, false), dense::product::check;
                product_second_transposed: dense::product::cases(false, true), dense::product::check;
                product_both_transposed: dense::product::cases(true, true), dense::product::check;
                rope_store: attention::rope::cases(), attention::rope::check;
                attention_prefill: attention::attend::prefill(), attention::attend::check;
                attention_chunked: attention::attend::chunked(), attention::attend::check;
                attention_decode: attention::attend::decode(), attention::attend::check;
                attention_mixed: attention::attend::mixed(), attention::attend::check;
                attention_window: attention::attend::windows(), attention::attend::check;
                attention_shared_pages: attention::attend::shared(), attention::attend::check;
                copy_pages: attention::copy::cases(), attention::copy::check;
                lora_identical: lora::cases(lora::Popularity::Identical), lora::check;
                lora_distinct: lora::cases(lora::Popularity::Distinct), lora::check;
                lora_uniform: lora::cases(lora::Popularity::Uniform), lora::check;
                lora_zipf: lora::cases(lora::Popularity::Zipf), lora::check;
                lora_skewed: lora::cases(lora::Popularity::Skewed), lora::check;
                lora_nobody: lora::cases(lora::Popularity::Nobody), lora::check;
                lora_embedding: lora::embedding_cases(), lora::check_embedding;
                sample_greedy: sampling::choose::greedy(), sampling::choose::check;
                sample_temperature: sampling::choose::temperature(), sampling::choose::check;
                sample_filters: sampling::choose::filters(), sampling::choose::check;
                sample_penalties: sampling::choose::penalties(), sampling::choose::check;
                sample_bias_and_mask: sampling::choose::bias_and_mask(), sampling::choose::check;
                sample_everything: sampling::choose::everything(), sampling::choose::check;
                sample_frequencies: sampling::draws::cases(), sampling::draws::check;
                log_probability_of: sampling::score::cases(), sampling::score::check;
            );
        }
    };
    (@tests $device:expr => $($name:ident: $cases:expr, $check:path;)+) => {
        $(
            #[test]
            fn $name() {
                if let Some(device) = $device {
                    all(&device, &$cases, $check);
                }
            }
        )+
    };
}
pub(crate) use mount;
