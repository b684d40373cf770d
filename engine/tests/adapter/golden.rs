//! What PEFT saved, loaded: ranks, scales and types as it computed with them, and refusals by the field's name.

use std::fs::{self, File};

use loam_engine::adapter::{BaseTensor, BaseTensors, HostAdapter, TENSORS_FILE, TensorFile};
use loam_engine::model::Sites;
use loam_kernels::layout::DType;

use crate::folder::{golden, load_alone, load_folder, refusal, refused_field, sites_of};

/// Loads an adapter of every model. `expected` gives a module's rank and scale; none where it is a hole.
fn check(name: &str, dtype: DType, expected: impl Fn(&str) -> Option<(usize, f32)>) {
    for model in ["llama-gqa", "llama3-scaled-tied", "mistral-window", "qwen2-bias", "qwen3-qknorm"] {
        let sites = sites_of(model);
        let adapter = load_alone(&golden(model).join("adapters").join(name), &sites).unwrap();
        assert_eq!(adapter.layout.dtype(), dtype);
        assert_eq!(adapter.slab.len(), adapter.layout.len() * dtype.bytes());
        for module in sites.modules() {
            let place = adapter.layout.sites()[module.site].modules[module.module];
            let found = (place.rank > 0).then_some((place.rank, place.scale));
            assert_eq!(found, expected(&module.path), "{model}: {}", module.path);
        }
    }
}

#[test]
fn the_common_case_has_alpha_over_rank() {
    check("qv-r8", DType::Bf16, |path| (path.ends_with("q_proj") || path.ends_with("v_proj")).then_some((8, 2.0)));
}

#[test]
fn all_linears_are_all_but_the_head() {
    check("all-r16", DType::F32, |path| path.starts_with("model.layers").then_some((16, 1.0)));
}

#[test]
fn rank_stabilised_scales_divide_by_the_root() {
    check("rslora-r4", DType::F16, |path| path.starts_with("model.layers").then_some((4, 4.0)));
}

#[test]
fn patterns_change_rank_and_alpha_module_by_module() {
    check("patterns", DType::Bf16, |path| match path.rsplit('.').next().unwrap() {
        "q_proj" => Some((4, 4.0)),
        "gate_proj" => Some((8, 0.25)),
        "down_proj" if path.contains(".1.") => Some((32, 0.25)),
        "lm_head" | "embed_tokens" => None,
        _ => Some((8, 1.0)),
    });
}

#[test]
fn layers_that_are_not_transformed_are_holes() {
    let ends = |path: &str| path.ends_with("o_proj") || path.ends_with("down_proj");
    check("last-layer", DType::F32, |path| (path.contains(".1.") && ends(path)).then_some((64, 0.5)));
}

/// Digests that another program made from the format's description.
#[test]
fn generations_are_as_the_format_says() {
    let sites = sites_of("llama-gqa");
    for (name, digest) in DIGESTS {
        let adapter = load_alone(&golden("llama-gqa/adapters").join(name), &sites).unwrap();
        assert_eq!(adapter.generation.to_string(), digest, "{name}");
    }
}

const DIGESTS: [(&str, &str); 4] = [
    ("qv-r8", "0609fade4e3505002a4a7ed60920516d530251b7fecf0deddf7dd951a542e857"),
    ("all-r16", "e8e25ce5fa145669db9354434fad4295f64ff3d98d848e640bca8d514f372bb7"),
    ("rslora-r4", "c3ee1d99b79af8b9889a3449207f52e9b15cb26ac00c28eb4b8ccddb0a19627e"),
    ("last-layer", "87d92e71c94fc3d9a53b40bbcfc606c0266a8ab6830a33d01ca8117705bb1c51"),
];

#[test]
fn values_lie_where_the_layout_says() {
    let sites = sites_of("llama-gqa");
    let folder = golden("llama-gqa/adapters/qv-r8");
    let HostAdapter { layout, slab, .. } = load_alone(&folder, &sites).unwrap();
    let path = folder.join(TENSORS_FILE);
    let file = TensorFile::open(&path, File::open(&path).unwrap()).unwrap();
    let name = "base_model.model.model.layers.1.self_attn.v_proj.lora_A.weight";
    let tensor = file.tensors().iter().find(|tensor| tensor.name == name).unwrap();
    let mut bytes = vec![0; tensor.len];
    file.read(tensor, 0, &mut bytes).unwrap();
    let v_proj = sites.modules().iter().find(|module| module.path == "model.layers.1.self_attn.v_proj").unwrap();
    let site = &layout.sites()[v_proj.site];
    let at = (site.a_at + site.modules[v_proj.module].h_at * site.shape.in_features) * 2;
    assert!(bytes.iter().any(|byte| *byte != 0));
    assert_eq!(slab[at..at + bytes.len()], bytes);
}

#[test]
fn what_is_not_computed_is_refused_by_its_field() {
    let sites = sites_of("llama-gqa");
    for (name, field) in [("dora", "use_dora"), ("bias-all", "bias"), ("modules-to-save", "modules_to_save")] {
        let refused = refused_field(load_alone(&golden("llama-gqa/special").join(name), &sites));
        assert_eq!(refused, field);
    }
}

/// The base's tensors, out of its file; `changed` adds to one value of the head.
struct Base {
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Base {
    fn new(change: bool) -> Self {
        let path = golden("llama-gqa/base/model.safetensors");
        let file = TensorFile::open(&path, File::open(&path).unwrap()).unwrap();
        let head = file.tensors().iter().find(|tensor| tensor.name == "lm_head.weight").unwrap();
        assert_eq!(head.dtype, DType::Bf16);
        let mut bytes = vec![0; head.len];
        file.read(head, 0, &mut bytes).unwrap();
        if change {
            *bytes.last_mut().unwrap() ^= 1;
        }
        Self { shape: head.shape.clone(), bytes }
    }
}

impl BaseTensors for Base {
    fn tensor(&self, name: &str) -> Option<BaseTensor<'_>> {
        let tensor = BaseTensor { dtype: DType::Bf16, shape: &self.shape, bytes: &self.bytes };
        (name == "lm_head.weight").then_some(tensor)
    }
}

/// PEFT saves the base's head with an adapter for the head: in f32 here, while the base has bf16.
#[test]
fn an_adapter_for_the_head_brings_a_copy_that_must_be_the_bases() {
    let (sites, folder) = (sites_of("llama-gqa"), golden("llama-gqa/special/lm-head"));
    let adapter = load_folder(&folder, &sites, &Base::new(false)).unwrap();
    assert_eq!(adapter.layout.sites()[sites.head()].modules[0].rank, 8);
    assert_eq!(adapter.layout.sites()[sites.head()].modules[0].scale, 2.0);

    let name = "base_model.model.lm_head.base_layer.weight";
    let other = refusal(load_folder(&folder, &sites, &Base::new(true)));
    assert!(other.contains(name) && other.contains("other values"), "{other}");
    let unknown = refusal(load_alone(&folder, &sites));
    assert!(unknown.contains(name) && unknown.contains("does not show"), "{unknown}");
    let wider = Base { shape: vec![512, 127], bytes: Vec::new() };
    let wider = refusal(load_folder(&folder, &sites, &wider));
    assert!(wider.contains(name) && wider.contains("shape"), "{wider}");
}

#[test]
fn the_same_model_under_other_sizes_takes_none_of_them() {
    let sites: Sites = sites_of("qwen3-qknorm");
    for entry in fs::read_dir(golden("llama-gqa/adapters")).unwrap() {
        let folder = entry.unwrap().path();
        let refused = refusal(load_alone(&folder, &sites));
        assert!(refused.contains("shape"), "{}: {refused}", folder.display());
    }
}
