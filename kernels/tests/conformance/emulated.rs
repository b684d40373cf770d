//! The groups of the CUDA backend that are written, on the emulated GPU.

use loam_kernels::cuda::{Cuda, CudaMode};

use crate::check::all;
use crate::{attention, lora};

/// Each operation a test with its own name, as `mount!` makes them.
macro_rules! rows {
    ($mode:ident, $device:expr; $($name:ident: $cases:expr, $check:path;)+) => {
        mod $mode {
            use super::*;
            $(
                #[test]
                fn $name() {
                    all(&$device, &$cases, $check);
                }
            )+
        }
    };
}

rows! { deterministic, Cuda::new(CudaMode::Deterministic);
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
}

// Where this mode has an arithmetic of its own.
rows! { fast, Cuda::new(CudaMode::Fast);
    attention_decode: attention::attend::decode(), attention::attend::check;
    attention_mixed: attention::attend::mixed(), attention::attend::check;
    attention_window: attention::attend::windows(), attention::attend::check;
    lora_uniform: lora::cases(lora::Popularity::Uniform), lora::check;
    lora_distinct: lora::cases(lora::Popularity::Distinct), lora::check;
}
