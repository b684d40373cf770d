//! A generation is what an adapter computes: not how it was saved, nor what it is called.

use loam_engine::adapter::{Generation, HostAdapter};
use loam_kernels::layout::DType;

use crate::folder::{Made, config, folder, load_alone, q_tensors, safetensors, small_sites, with_header};

fn loaded(config: &str, file: &[u8]) -> HostAdapter {
    load_alone(folder(config, file).path(), &small_sites()).unwrap()
}

fn generation(config: &str, file: &[u8]) -> Generation {
    loaded(config, file).generation
}

fn plain() -> Generation {
    generation(&config(""), &safetensors(&q_tensors("BF16")))
}

#[test]
fn the_order_of_tensors_is_no_part_of_it() {
    let mut tensors = q_tensors("BF16");
    tensors.reverse();
    tensors.swap(1, 4);
    assert_eq!(generation(&config(""), &safetensors(&tensors)), plain());
}

#[test]
fn whitespace_and_metadata_are_no_part_of_it() {
    let file = safetensors(&q_tensors("BF16"));
    let header_len = usize::try_from(u64::from_le_bytes(file[..8].try_into().unwrap())).unwrap();
    let header = std::str::from_utf8(&file[8..8 + header_len]).unwrap();
    let spaced = header.replace("\"pt\"", "\"pt\", \"note\": \"saved again\"").replace(':', " : ") + "    ";
    assert_eq!(generation(&config(""), &with_header(&spaced, &file[8 + header_len..])), plain());
    let spaced = config("").replace(", ", ",\n    ");
    assert_eq!(generation(&spaced, &file), plain());
}

#[test]
fn fields_that_change_nothing_are_no_part_of_it() {
    let file = safetensors(&q_tensors("BF16"));
    for fields in [
        r#""base_model_name_or_path": "elsewhere", "lora_dropout": 0.1"#,
        // The same modules, ranks and scales, said otherwise.
        r#""target_modules": ".*q_proj""#,
        r#""r": 16, "lora_alpha": 16, "rank_pattern": {"q_proj": 2}, "alpha_pattern": {"self_attn.q_proj": 4.0}"#,
        r#""r": 2, "lora_alpha": 2.8284271247461903, "use_rslora": true"#,
    ] {
        assert_eq!(generation(&config(fields), &file), plain(), "{fields}");
    }
}

#[test]
fn every_weight_is_a_part_of_it() {
    let tensors = q_tensors("BF16");
    for tensor in 0..tensors.len() {
        for at in [0, tensors[tensor].bytes.len() - 1] {
            let mut changed = tensors.clone();
            changed[tensor].bytes[at] ^= 1;
            assert_ne!(generation(&config(""), &safetensors(&changed)), plain(), "tensor {tensor}, byte {at}");
        }
    }
}

#[test]
fn two_matrices_that_change_places_make_another() {
    let mut tensors = q_tensors("BF16");
    let first = tensors[0].bytes.clone();
    tensors[0].bytes = std::mem::replace(&mut tensors[2].bytes, first);
    assert_ne!(generation(&config(""), &safetensors(&tensors)), plain());
}

#[test]
fn scales_are_a_part_of_it() {
    let file = safetensors(&q_tensors("BF16"));
    for fields in
        [r#""lora_alpha": 4.000001"#, r#""use_rslora": true"#, r#""alpha_pattern": {"layers.2.self_attn.q_proj": 5}"#]
    {
        assert_ne!(generation(&config(fields), &file), plain(), "{fields}");
    }
}

/// The same numbers in another type are computed with otherwise.
#[test]
fn types_are_a_part_of_it() {
    let file = |dtype| safetensors(&q_tensors(dtype));
    assert_ne!(generation(&config(""), &file("F32")), plain());
    assert_ne!(generation(&config(""), &file("F16")), plain());
}

#[test]
fn layers_are_a_part_of_it() {
    let tensors = q_tensors("BF16");
    let of = |layer: usize| safetensors(&tensors[2 * layer..2 * layer + 2]);
    let fields = |layer: usize| config(&format!(r#""target_modules": ["q_proj"], "layers_to_transform": [{layer}]"#));
    let renamed: Vec<Made> = tensors[..2]
        .iter()
        .map(|tensor| Made { name: tensor.name.replace("layers.0", "layers.1"), ..tensor.clone() })
        .collect();
    assert_ne!(generation(&fields(0), &of(0)), generation(&fields(1), &safetensors(&renamed)));
    assert_ne!(generation(&fields(0), &of(0)), plain());
}

/// The slab has one type: equal ones are kept, and others are widened, exactly.
#[test]
fn mixed_types_are_widened() {
    let mut tensors = q_tensors("BF16");
    tensors[0] = Made::new(&tensors[0].name, "F16", &tensors[0].shape);
    let mixed = loaded(&config(""), &safetensors(&tensors));
    let wide = loaded(&config(""), &safetensors(&q_tensors("F32")));
    assert_eq!((mixed.layout.dtype(), &mixed.layout), (DType::F32, &wide.layout));
    assert_eq!(mixed.slab, wide.slab);
    assert_ne!(mixed.generation, wide.generation);
}
