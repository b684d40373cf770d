//! Files that somebody made wrong, by accident or on purpose: each is refused by name, and nothing is loaded in part.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use loam_engine::Error;
use loam_engine::adapter::{HostAdapter, NoBaseTensors, PeftConfig, TENSORS_MAX, TensorFile, load};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::folder::{
    Made, config, folder, load_alone, q_tensors, refusal, safetensors, small_sites, tensors, with_header,
};

/// Loads a file's bytes beside a configuration that wants q_proj at rank 2.
fn load_bytes(bytes: &[u8]) -> Result<HostAdapter, Error> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    let path = Path::new("adapter_model.safetensors");
    let config = PeftConfig::parse(Path::new("adapter_config.json"), config("").as_bytes()).unwrap();
    load(&config, &TensorFile::open(path, file)?, &small_sites(), &NoBaseTensors)
}

#[track_caller]
fn check(bytes: &[u8], text: &str) {
    let refused = refusal(load_bytes(bytes));
    assert!(refused.starts_with("adapter_model.safetensors: ") && refused.contains(text), "{refused}");
}

fn open(bytes: &[u8]) -> Result<TensorFile, Error> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    TensorFile::open(Path::new("adapter_model.safetensors"), file)
}

#[test]
fn a_file_cut_short_anywhere_is_refused() {
    let whole = safetensors(&q_tensors("BF16"));
    load_bytes(&whole).unwrap();
    for len in 0..whole.len() {
        refusal(load_bytes(&whole[..len]));
    }
    check(&[whole.as_slice(), &[0]].concat(), "follow its header");
}

#[test]
fn a_headers_length_is_not_believed() {
    let mut file = safetensors(&q_tensors("F32"));
    for length in [u64::MAX, 1 << 63, (1 << 63) - 1, 1 << 40, 17 << 20, file.len() as u64, file.len() as u64 - 7] {
        file[..8].copy_from_slice(&length.to_le_bytes());
        check(&file, "a header of ");
    }
    for length in [0_u64, 1, 10] {
        file[..8].copy_from_slice(&length.to_le_bytes());
        check(&file, "not valid JSON");
    }
    check(b"seven b", "7 bytes are no safetensors file");
}

/// A header of the largest length that is said to be a file of many gigabytes is not read: the file has no such bytes.
#[test]
fn a_sparse_file_of_many_gigabytes_costs_nothing() {
    let file = tempfile::tempfile().unwrap();
    file.set_len(1 << 40).unwrap();
    let refused = refusal(TensorFile::open(Path::new("x"), file));
    assert!(refused.contains("not valid JSON"), "{refused}");
}

#[test]
fn places_of_tensors_are_not_believed() {
    let entry = |name: &str, from: u64, to: u64| {
        format!(r#""{name}":{{"dtype":"F32","shape":[2],"data_offsets":[{from},{to}]}}"#)
    };
    let file = |entries: &[String]| with_header(&format!("{{{}}}", entries.join(",")), &[0; 16]);
    assert_eq!(open(&file(&[entry("b", 8, 16), entry("a", 0, 8)])).unwrap().tensors()[0].name, "a");
    for (what, entries) in [
        ("overlap", vec![entry("a", 0, 8), entry("b", 4, 12)]),
        ("the same", vec![entry("a", 0, 8), entry("b", 0, 8)]),
        ("a hole", vec![entry("a", 0, 8), entry("b", 9, 17)]),
        ("a hole at the start", vec![entry("a", 8, 16)]),
        ("bytes of nobody", vec![entry("a", 0, 8)]),
        ("beyond the end", vec![entry("a", 0, 8), entry("b", 8, 16), entry("c", 16, 24)]),
        ("backwards", vec![entry("a", 8, 0)]),
        ("too few for the shape", vec![entry("a", 0, 16)]),
        ("none at all", vec![]),
        ("as far as there is", vec![entry("a", u64::MAX - 8, u64::MAX)]),
    ] {
        assert!(open(&file(&entries)).is_err(), "{what}");
    }
    for shape in
        ["[18446744073709551615]", "[4294967296,4294967296]", "[18446744073709551615,2]", "[2,-1]", "[2.0]", "2"]
    {
        let header = format!(r#"{{"a":{{"dtype":"F32","shape":{shape},"data_offsets":[0,16]}}}}"#);
        assert!(open(&with_header(&header, &[0; 16])).is_err(), "{shape}");
    }
}

#[test]
fn a_header_says_each_thing_once_and_nothing_else() {
    let one = r#""a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}"#;
    open(&with_header(&format!("{{{one}}}   "), &[0; 8])).unwrap();
    open(&with_header(&format!(r#"{{"__metadata__":{{"format":"pt"}},{one}}}"#), &[0; 8])).unwrap();
    for header in [
        format!("{{{one},{one}}}"),
        format!("[{one}]"),
        format!("{{{one}}} x"),
        r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"more":1}}"#.to_owned(),
        r#"{"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#.to_owned(),
        r#"{"a":{"dtype":"F32","shape":[2]}}"#.to_owned(),
        r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8,8]}}"#.to_owned(),
        r#"{"a":null}"#.to_owned(),
    ] {
        assert!(open(&with_header(&header, &[0; 8])).is_err(), "{header}");
    }
    let empty = |number: usize| format!(r#""{number}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}"#);
    let many: Vec<String> = (0..=TENSORS_MAX).map(empty).collect();
    let refused = refusal(open(&with_header(&format!("{{{}}}", many.join(",")), &[])));
    assert!(refused.contains("more than 65536 tensors"), "{refused}");
}

/// Every file, whatever is in its header, is opened or refused.
#[test]
fn no_header_brings_the_reader_down() {
    let whole = safetensors(&q_tensors("BF16"));
    let header_len = usize::try_from(u64::from_le_bytes(whole[..8].try_into().unwrap())).unwrap();
    let edit = (0..8 + header_len, prop_oneof![any::<u8>(), Just(b'"'), Just(b'9'), Just(b','), Just(b'}')]);
    let cases = if std::env::var("LOAM_TEST_TIER").is_ok_and(|tier| tier == "long") { 20_000 } else { 1000 };
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let edited = |edits: Vec<(usize, u8)>| {
        let mut bytes = whole.clone();
        for (at, byte) in edits {
            bytes[at] = byte;
        }
        if let Ok(adapter) = load_bytes(&bytes) {
            // Spaces and the like: what it is did not change.
            assert_eq!(adapter.generation, load_bytes(&whole).unwrap().generation);
        }
        Ok(())
    };
    TestRunner::new(config.clone()).run(&prop::collection::vec(edit, 1..4), edited).unwrap();
    let random = |bytes: Vec<u8>| {
        refusal(open(&with_header(&String::from_utf8_lossy(&bytes), &[0; 8])));
        Ok(())
    };
    TestRunner::new(config).run(&prop::collection::vec(any::<u8>(), 0..64), random).unwrap();
}

#[test]
fn every_tensor_has_a_place_and_every_place_a_tensor() {
    let q = || q_tensors("BF16");
    let with = |name: &str, shape: &[usize]| safetensors(&[q(), vec![Made::new(name, "BF16", shape)]].concat());
    let prefix = "base_model.model.model.layers.0.self_attn";
    check(&with("base_model.model.model.norm.weight", &[8]), "has no place in this model");
    check(&with("model.layers.0.self_attn.q_proj.lora_A.weight", &[2, 8]), "has no place");
    check(&with(&format!("{prefix}.q_proj.lora_A.default.weight"), &[2, 8]), "the configuration does not choose");
    check(&with(&format!("{prefix}.q_proj.lora_magnitude_vector"), &[8]), "the configuration does not choose");
    check(
        &with(&format!("{prefix}.k_proj.lora_A.weight"), &[2, 8]),
        "does not choose `model.layers.0.self_attn.k_proj`",
    );
    check(&with("base_model.model.model.layers.3.self_attn.q_proj.lora_A.weight", &[2, 8]), "has no place");
    check(&with("base_model.model.model.layers.0.self_attn.q_proj.base_layer.weight", &[8, 8]), "has no place");
    check(&with("", &[2]), "has no place");
    for missing in 0..6 {
        let mut tensors = q();
        let Made { name, .. } = tensors.remove(missing);
        check(&safetensors(&tensors), &format!("no tensor `{name}`"));
    }
}

#[test]
fn shapes_are_those_that_the_configuration_implies() {
    for (at, shape, expected) in [
        (0, [3, 8], "shape [3, 8] where [2, 8] belongs"),
        (0, [2, 7], "shape [2, 7] where [2, 8] belongs"),
        (0, [8, 2], "shape [8, 2] where [2, 8] belongs"),
        (0, [0, 8], "shape [0, 8] where [2, 8] belongs"),
        (1, [8, 3], "shape [8, 3] where [8, 2] belongs"),
        (1, [2, 8], "shape [2, 8] where [8, 2] belongs"),
    ] {
        let mut tensors = q_tensors("F16");
        tensors[at] = Made::new(&tensors[at].name, "F16", &shape);
        check(&safetensors(&tensors), expected);
    }
    let mut tensors = q_tensors("F16");
    tensors[0] = Made::new(&tensors[0].name, "F16", &[16]);
    check(&safetensors(&tensors), "shape [16] where [2, 8] belongs");
}

#[test]
fn values_are_finite_numbers_of_a_type_that_is_computed() {
    for (dtype, strange) in [
        ("F32", [0, 0, 0xc0, 0x7f].as_slice()),
        ("F32", &[0, 0, 0x80, 0xff]),
        ("F32", &[1, 0, 0x80, 0x7f]),
        ("BF16", &[0x80, 0x7f]),
        ("BF16", &[0xc1, 0xff]),
        ("F16", &[0, 0x7c]),
        ("F16", &[1, 0xfe]),
    ] {
        let mut tensors = q_tensors(dtype);
        let at = tensors[3].bytes.len() - strange.len();
        tensors[3].bytes[at..].copy_from_slice(strange);
        let name = tensors[3].name.clone();
        check(&safetensors(&tensors), &format!("tensor `{name}` holds a value that is not finite"));
    }
    for (dtype, bytes) in [("F64", 8), ("I8", 1), ("F8_E4M3", 1), ("BOOL", 1), ("f32", 4), ("", 4)] {
        let mut tensors = q_tensors("F32");
        tensors[0] = Made { dtype, bytes: vec![0; 16 * bytes], ..tensors[0].clone() };
        check(&safetensors(&tensors), "it can hold F32, BF16 or F16");
    }
}

/// The largest finite values and the smallest ones are values like any other.
#[test]
fn extreme_values_are_loaded() {
    for (dtype, extreme) in [
        ("F32", [0xff, 0xff, 0x7f, 0x7f].as_slice()),
        ("F32", &[1, 0, 0, 0x80]),
        ("BF16", &[0x7f, 0xff]),
        ("F16", &[0xff, 0x7b]),
    ] {
        let mut tensors = q_tensors(dtype);
        tensors[3].bytes[..extreme.len()].copy_from_slice(extreme);
        load_bytes(&safetensors(&tensors)).unwrap();
    }
}

/// A copy of the embedding or the head is accepted by value only; without a base to compare with, never.
#[test]
fn copies_of_the_bases_tensors_need_a_base() {
    for name in ["lm_head.weight", "lm_head.base_layer.weight", "model.embed_tokens.weight"] {
        let name = format!("base_model.model.{name}");
        let tensors = [q_tensors("F32"), vec![Made::new(&name, "F32", &[20, 8])]].concat();
        check(&safetensors(&tensors), &format!("`{name}` holds a copy of what the base does not show"));
    }
}

#[test]
fn the_embedding_and_the_head_have_their_places() {
    let sites = small_sites();
    let modules = [("model.embed_tokens", 3), ("lm_head", 3)];
    let config = config(r#""r": 3, "target_modules": ["embed_tokens", "lm_head"]"#);
    let folder = folder(&config, &safetensors(&tensors(&sites, "F32", &modules)));
    let HostAdapter { layout, slab, .. } = load_alone(folder.path(), &sites).unwrap();
    let embedding = &layout.sites()[sites.embedding()];
    assert_eq!((embedding.rank, layout.sites()[sites.head()].rank), (3, 3));
    // A is [rank, vocabulary] in the file and [vocabulary, rank] in the slab.
    let a = &tensors(&sites, "F32", &modules)[0].bytes;
    let value = |bytes: &[u8], at: usize| bytes[4 * at..4 * at + 4].to_vec();
    for (token, row) in [(0, 0), (7, 2), (19, 1)] {
        assert_eq!(value(&slab, embedding.a_at + token * 3 + row), value(a, row * 20 + token));
    }
}

#[test]
fn a_file_is_read_once_from_where_it_was_opened() {
    let folder = folder(&config(""), &safetensors(&q_tensors("F32")));
    let path = folder.path().join("adapter_model.safetensors");
    let opened = TensorFile::open(&path, File::open(&path).unwrap()).unwrap();
    // Shorter than its own header said, by now.
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(600).unwrap();
    let config = PeftConfig::read(folder.path()).unwrap();
    let cut = refusal(load(&config, &opened, &small_sites(), &NoBaseTensors));
    assert!(cut.contains("adapter_model.safetensors"), "{cut}");
}
