//! Files of tensors: single, sharded, misaligned, of every type; and broken ones, each refused by name.

use std::fs;
use std::path::Path;

use loam_engine::DType;
use loam_engine::model::{Decoder, ModelConfig, Progress, Residence, Weights};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::folder::{
    Made, cpu, decoder, file, folder, golden, refusal, resident_bytes, said, tensors_of, weights, with_header,
};

const MODEL: &str = "llama-gqa";

/// Opens and loads, both ways; the refusal is the same.
#[track_caller]
fn refused(folder: &Path, part: &str) {
    let [mapped, copied] = [Residence::Mapped, Residence::Copied].map(|it| refusal(decoder(folder, it)));
    assert_eq!(mapped, copied);
    assert!(mapped.contains(part), "{part}: {mapped}");
    assert!(mapped.len() < 1000, "{mapped}");
}

/// The golden model's tensors, one of them changed.
fn changed(name: &str, change: impl FnOnce(&mut Made)) -> Vec<Made> {
    let mut tensors = tensors_of(MODEL);
    change(tensors.iter_mut().find(|made| made.name == name).unwrap());
    tensors
}

const Q: &str = "model.layers.1.self_attn.q_proj.weight";

#[test]
fn a_tensor_that_does_not_belong_is_refused() {
    let mut missing = tensors_of(MODEL);
    missing.retain(|made| made.name != Q);
    refused(folder(MODEL, &file(&missing, 0)).path(), &format!("no tensor `{Q}`"));

    let transposed = changed(Q, |made| {
        assert_eq!(made.shape, [128, 128]);
        made.shape = vec![64, 256];
    });
    refused(folder(MODEL, &file(&transposed, 0)).path(), &format!("`{Q}` has shape [64, 256] where [128, 128]"));
    let flat = changed(Q, |made| made.shape = vec![128 * 128]);
    refused(folder(MODEL, &file(&flat, 0)).path(), &format!("`{Q}` has shape [16384]"));

    for (dtype, bytes) in [("I64", 8), ("F8_E4M3", 1), ("F64", 8), ("BOOL", 1), ("bf16", 2)] {
        let typed = changed(Q, |made| {
            (made.dtype, made.bytes) = (dtype.to_owned(), vec![0; 128 * 128 * bytes]);
        });
        refused(folder(MODEL, &file(&typed, 0)).path(), &format!("`{Q}` holds {dtype}"));
    }

    let extra = |name: &str| {
        let mut tensors = tensors_of(MODEL);
        tensors.push(Made { name: name.to_owned(), ..tensors[0].clone() });
        folder(MODEL, &file(&tensors, 0))
    };
    let strange = extra("model.layers.0.self_attn.q_proj.bias");
    refused(strange.path(), "`model.layers.0.self_attn.q_proj.bias` has no place");
    refused(extra("model.layers.2.mlp.up_proj.weight").path(), "`model.layers.2.mlp.up_proj.weight` has no place");
    let old = extra("model.layers.0.self_attn.rotary_emb.inv_freq");
    decoder(old.path(), Residence::Mapped).unwrap();
}

#[test]
fn a_header_is_not_believed() {
    let whole = file(&tensors_of(MODEL), 0);
    let header = u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    let made = folder(MODEL, &whole);
    let path = made.path().join("model.safetensors");
    // Everywhere in the header by odd steps, and somewhere in what follows it.
    for len in (0..header + 16).step_by(37).chain([7, 8, 9, header + 7, header + 8, whole.len() - 1]) {
        fs::write(&path, &whole[..len]).unwrap();
        refused(made.path(), "model.safetensors: ");
    }
    for length in [u64::MAX, 1 << 63, 1 << 40, whole.len() as u64, header as u64 + 1, header as u64 - 1, 0] {
        fs::write(&path, [&length.to_le_bytes()[..], &whole[8..]].concat()).unwrap();
        refused(made.path(), "model.safetensors: ");
    }
    let entry = |name: &str, from: u64, to: u64| {
        format!(r#""{name}":{{"dtype":"F32","shape":[2],"data_offsets":[{from},{to}]}}"#)
    };
    for (header, bytes, part) in [
        (format!("{{{},{}}}", entry("a", 0, 8), entry("b", 4, 12)), 12, "begins at byte 4"),
        (format!("{{{},{}}}", entry("a", 0, 8), entry("b", 12, 20)), 20, "begins at byte 12"),
        (format!("{{{},{}}}", entry("a", 0, 8), entry("a", 8, 16)), 16, "twice"),
        (format!("{{{}}}", entry("a", 0, 8)), 12, "follow its header"),
        (format!("{{{}}}", entry("a", 8, 0)), 8, "lies at bytes 8 to 0"),
        (format!("{{{}}}", entry("a", 0, u64::MAX)), 8, "lies at bytes 0 to"),
        ("[]".to_owned(), 0, "not valid JSON"),
        ("{}".to_owned(), 0, "no tensor `model.embed_tokens.weight`"),
    ] {
        fs::write(&path, with_header(&header, &vec![0; bytes])).unwrap();
        refused(made.path(), part);
    }
}

/// A folder of two shards and an index whose `weight_map` is this.
fn sharded(map: Option<&Value>) -> tempfile::TempDir {
    let tensors = tensors_of(MODEL);
    let made = folder(MODEL, b"");
    fs::remove_file(made.path().join("model.safetensors")).unwrap();
    let (first, second) = tensors.split_at(tensors.len() / 2);
    for (name, tensors) in [("a.safetensors", first), ("b.safetensors", second)] {
        fs::write(made.path().join(name), file(tensors, 0)).unwrap();
    }
    if let Some(map) = map {
        let index = json!({ "metadata": { "total_size": 1 }, "weight_map": map });
        fs::write(made.path().join("model.safetensors.index.json"), index.to_string()).unwrap();
    }
    made
}

#[test]
fn shards_are_those_that_the_index_names() {
    let plain = said(&golden(MODEL), Residence::Mapped);
    let whole = sharded(Some(&json!({ "x": "a.safetensors", "y": "b.safetensors" })));
    assert_eq!(said(whole.path(), Residence::Mapped), plain);
    assert_eq!(said(whole.path(), Residence::Copied), plain);

    refused(sharded(Some(&json!({ "x": "a.safetensors" }))).path(), "no tensor `model.");
    refused(
        sharded(Some(&json!({ "x": "a.safetensors", "y": "c.safetensors" }))).path(),
        "c.safetensors: No such file",
    );
    refused(sharded(None).path(), "no model.safetensors and no model.safetensors.index.json");
    fs::copy(whole.path().join("a.safetensors"), whole.path().join("b.safetensors")).unwrap();
    refused(whole.path(), "is in two files");
}

#[test]
fn an_index_leads_nowhere_else() {
    let away = golden(MODEL).join("model.safetensors");
    for name in [
        json!("../x"),
        json!("/etc/passwd"),
        json!(away.to_str().unwrap()),
        json!("a/b.safetensors"),
        json!("./../x"),
        json!(".."),
        json!("."),
        json!(""),
        json!(1),
        json!(null),
        json!(["a.safetensors"]),
        json!("/".repeat(100_000)),
    ] {
        refused(sharded(Some(&json!({ "x": "a.safetensors", "y": name }))).path(), "which is no file's name");
    }
    refused(sharded(Some(&json!({}))).path(), "`weight_map` is empty");
    for map in [json!([]), json!("a"), json!(null)] {
        refused(sharded(Some(&map)).path(), "`weight_map` is no object");
    }
    let made = sharded(None);
    for text in ["", "{", "[1]", "{}"] {
        fs::write(made.path().join("model.safetensors.index.json"), text).unwrap();
        refused(made.path(), "model.safetensors.index.json: ");
    }
}

#[test]
fn a_single_file_comes_before_an_index() {
    let made = sharded(Some(&json!({ "x": "nowhere.safetensors" })));
    fs::copy(golden(MODEL).join("model.safetensors"), made.path().join("model.safetensors")).unwrap();
    assert_eq!(said(made.path(), Residence::Mapped), said(&golden(MODEL), Residence::Mapped));
}

#[test]
fn a_shard_that_changes_while_others_are_read_is_refused() {
    let made = sharded(Some(&json!({ "x": "a.safetensors", "y": "b.safetensors" })));
    let second = made.path().join("b.safetensors");
    let mut heard = Vec::new();
    let opened = Weights::open(made.path(), Residence::Copied, &mut |progress: Progress| {
        heard.push(progress);
        let bytes = fs::read(&second).unwrap();
        fs::write(&second, bytes).unwrap();
    });
    assert!(refusal(opened).contains("b.safetensors: it changed while it was read"));
    assert_eq!(heard.len(), 1);
    assert!(heard[0].bytes_done < heard[0].bytes_total);
}

#[test]
fn values_at_odd_places_are_the_same() {
    let tensors = tensors_of(MODEL);
    let plain = said(&golden(MODEL), Residence::Mapped);
    for blanks in 0..4 {
        let made = folder(MODEL, &file(&tensors, blanks));
        assert_eq!(said(made.path(), Residence::Mapped), plain, "{blanks} blanks, mapped");
        assert_eq!(said(made.path(), Residence::Copied), plain, "{blanks} blanks, copied");
    }
}

#[test]
fn a_type_says_nothing_but_how_values_are_kept() {
    let tensors = tensors_of(MODEL);
    let as_is = said(&golden(MODEL), Residence::Mapped);
    let made = |dtype: &str, bytes: &dyn Fn(f32) -> Vec<u8>| {
        let converted: Vec<Made> = tensors.iter().map(|made| made.converted(dtype, bytes)).collect();
        said(folder(MODEL, &file(&converted, 1)).path(), Residence::Mapped)
    };
    assert_eq!(made("F32", &|value| value.to_le_bytes().to_vec()), as_is);
    let half = |value: f32| half::f16::from_f32(value);
    let narrow = made("F16", &|value| half(value).to_le_bytes().to_vec());
    assert_eq!(made("F32", &|value| half(value).to_f32().to_le_bytes().to_vec()), narrow);
}

#[test]
fn a_repeated_head_must_be_the_embedding() {
    let (model, head) = ("llama3-scaled-tied", "lm_head.weight");
    let mut tensors = tensors_of(model);
    assert!(tensors.iter().all(|made| made.name != head));
    let embedding = tensors.iter().find(|made| made.name == "model.embed_tokens.weight").unwrap().clone();
    tensors.push(Made { name: head.to_owned(), ..embedding });
    let same = folder(model, &file(&tensors, 0));
    assert_eq!(said(same.path(), Residence::Mapped), said(&golden(model), Residence::Mapped));
    tensors.last_mut().unwrap().bytes[77] ^= 1;
    refused(folder(model, &file(&tensors, 0)).path(), "`tie_word_embeddings` is true, but tensor `lm_head.weight`");
}

#[test]
fn nothing_is_allocated_for_sizes_that_the_tensors_do_not_have() {
    let text = fs::read_to_string(golden(MODEL).join("config.json")).unwrap();
    let mut config: Value = serde_json::from_str(&text).unwrap();
    let fields = config.as_object_mut().unwrap();
    for (field, value) in [
        ("hidden_size", 1 << 24),
        ("intermediate_size", 1 << 24),
        ("vocab_size", 1 << 24),
        ("num_hidden_layers", 1024),
        ("num_attention_heads", 4096),
        ("num_key_value_heads", 4096),
        ("head_dim", 256),
        ("max_position_embeddings", 1 << 24),
    ] {
        fields.insert(field.to_owned(), json!(value));
    }
    let config = ModelConfig::parse(Path::new("config.json"), config.to_string().as_bytes()).unwrap();
    let before = resident_bytes();
    let files = weights(&golden(MODEL), Residence::Mapped).unwrap();
    let load = |weights: &Weights| refusal(Decoder::load(cpu(), &config, weights, DType::F32, 1 << 24));
    assert!(load(&files).contains("`model.embed_tokens.weight` has shape [512, 128]"));
    // Of dummy weights there is nothing to check but whether there is room.
    let dummy = Weights::dummy(&golden(MODEL), 1, DType::Bf16);
    assert!(load(&dummy).contains("memory"), "{}", load(&dummy));
    let taken = resident_bytes().saturating_sub(before);
    assert!(taken < 512 << 20, "{taken} bytes");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bytes_are_opened_or_refused(
        header in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..200),
            r#"\{"a":\{"dtype":"(F32|BF16|I8)","shape":\[[0-9]{1,20},[0-9]\],"data_offsets":\[0,[0-9]{1,20}\]\}\}"#
                .prop_map(String::into_bytes),
        ],
        bytes in 0_usize..64,
        index in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let made = folder(MODEL, &with_header(&String::from_utf8_lossy(&header), &vec![0; bytes]));
        if let Err(error) = weights(made.path(), Residence::Copied) {
            prop_assert!(error.to_string().len() < 2000, "{}", error);
        }
        fs::remove_file(made.path().join("model.safetensors")).unwrap();
        fs::write(made.path().join("model.safetensors.index.json"), &index).unwrap();
        prop_assert!(weights(made.path(), Residence::Copied).is_err());
    }
}
