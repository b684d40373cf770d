//! What PEFT saved, loaded: ranks, scales and types as it computed with them.

use loam_kernels::layout::DType;

use crate::folder::{golden, load_alone, sites_of};

const MODELS: [&str; 5] = ["llama-gqa", "llama3-scaled-tied", "mistral-window", "qwen2-bias", "qwen3-qknorm"];

#[test]
fn every_golden_adapter_loads() {
    for model in MODELS {
        let sites = sites_of(model);
        for (name, dtype, modules) in [
            ("qv-r8", DType::Bf16, 4),
            ("all-r16", DType::F32, 14),
            ("rslora-r4", DType::F16, 14),
            ("patterns", DType::Bf16, 14),
            ("last-layer", DType::F32, 2),
        ] {
            let adapter = load_alone(&golden(model).join("adapters").join(name), &sites).unwrap();
            assert_eq!(adapter.layout.dtype(), dtype, "{model} {name}");
            let ranks = adapter.layout.sites().iter().flat_map(|site| &site.modules).filter(|module| module.rank > 0);
            assert_eq!(ranks.count(), modules, "{model} {name}");
            assert_eq!(adapter.slab.len(), adapter.layout.len() * dtype.bytes());
        }
    }
}
