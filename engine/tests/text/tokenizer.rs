//! Text to token ids and back, against Transformers.

use std::fs;

use loam_engine::Error;
use loam_engine::generation::GenerationDefaults;
use loam_engine::tokenizer::Tokenizer;

use super::golden::{MODELS, ids, testdata, text_of, tokenizer};

#[test]
fn golden_texts_encode_as_in_transformers() {
    for model in MODELS {
        let tokenizer = tokenizer(model);
        let cases = text_of(model)["encode"].clone();
        assert_eq!(cases.as_array().map(Vec::len), Some(5), "{model}");
        for case in cases.as_array().unwrap() {
            let text = case["text"].as_str().unwrap();
            assert_eq!(tokenizer.encode(text, true).unwrap(), ids(&case["ids"]), "{model}: {text:?}");
            assert_eq!(tokenizer.encode(text, false).unwrap(), ids(&case["plain"]), "{model}: {text:?}");
        }
    }
}

#[test]
fn encoded_ascii_decodes_to_itself() {
    let tokenizer = tokenizer("llama-gqa");
    for text in ["Hello, ledger!", " leading and trailing  ", "a\n\n\tb", ""] {
        assert_eq!(tokenizer.decode(&tokenizer.encode(text, true).unwrap(), true), text);
    }
}

#[test]
fn special_tokens_are_known_by_name() {
    let tokenizer = tokenizer("llama-gqa");
    assert_eq!((tokenizer.bos(), tokenizer.eos()), (Some(0), Some(1)));
    assert_eq!(tokenizer.special("eos_token"), Some("</s>"));
    assert_eq!(tokenizer.special_id("pad_token"), None);
    assert!(tokenizer.is_special(4) && !tokenizer.is_special(5));
    assert_eq!((tokenizer.token(4), tokenizer.id_of("<|end|>")), (Some("<|end|>"), Some(4)));
}

#[test]
fn tokens_are_bytes() {
    let tokenizer = tokenizer("llama-gqa");
    let text = "Hello, ledger!\tna\u{ef}ve";
    let tokens = tokenizer.encode("Hello, ledger!\tend", false).unwrap();
    let bytes: Vec<u8> = tokens.iter().flat_map(|token| tokenizer.bytes(*token)).collect();
    assert_eq!(bytes, b"Hello, ledger!\tend", "{text}");
    assert!(tokenizer.bytes(1_000_000).is_empty());
}

#[test]
fn a_folder_without_a_tokenizer_has_none() {
    assert!(Tokenizer::read(tempfile::tempdir().unwrap().path()).unwrap().is_none());
}

#[test]
fn special_tokens_are_found_in_either_file_and_form() {
    let folder = tempfile::tempdir().unwrap();
    fs::copy(testdata("golden/llama-gqa/base/tokenizer.json"), folder.path().join("tokenizer.json")).unwrap();
    let config = r#"{"bos_token": {"content": "<s>", "lstrip": false}, "eos_token": null, "add_bos_token": true}"#;
    fs::write(folder.path().join("tokenizer_config.json"), config).unwrap();
    let map = r#"{"eos_token": "<|end|>", "bos_token": "<|user|>", "additional_special_tokens": ["<|user|>"]}"#;
    fs::write(folder.path().join("special_tokens_map.json"), map).unwrap();
    let tokenizer = Tokenizer::read(folder.path()).unwrap().unwrap();
    assert_eq!((tokenizer.bos(), tokenizer.eos()), (Some(0), Some(4)));
    assert_eq!(tokenizer.specials().len(), 2);
}

#[test]
fn broken_files_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    let texts = ["", "{", "{}", "[1]", r#"{"version":"1.0","model":{"type":"Nothing"}}"#];
    for text in texts {
        fs::write(&path, text).unwrap();
        let error = Tokenizer::read(folder.path()).unwrap_err();
        assert!(matches!(&error, Error::Malformed { path: found, .. } if *found == path), "{text}: {error}");
    }
}

#[test]
fn ids_beyond_counting_are_refused() {
    let text = fs::read_to_string(testdata("golden/llama-gqa/base/tokenizer.json")).unwrap();
    let huge = text.replacen("\"!\": 5,", "\"!\": 4294967295,", 1);
    assert_ne!(text, huge);
    let error = Tokenizer::from_bytes("t.json".as_ref(), huge.as_bytes()).unwrap_err();
    assert!(error.to_string().contains("4294967295"), "{error}");
}

/// Defaults of a folder with this `generation_config.json` and `config.json`.
fn defaults(generation: &str, config: &str) -> Result<GenerationDefaults, Error> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("generation_config.json"), generation).unwrap();
    fs::write(folder.path().join("config.json"), config).unwrap();
    GenerationDefaults::read(folder.path(), Some(&tokenizer("llama-gqa")))
}

#[test]
fn ends_are_looked_for_in_order() {
    assert_eq!(defaults(r#"{"eos_token_id": [7, 9]}"#, r#"{"eos_token_id": 3}"#).unwrap().eos, [7, 9]);
    assert_eq!(defaults("{}", r#"{"eos_token_id": 3}"#).unwrap().eos, [3]);
    assert_eq!(defaults("{}", r#"{"eos_token_id": null}"#).unwrap().eos, [1]);
    assert!(defaults(r#"{"eos_token_id": "x"}"#, "{}").unwrap_err().to_string().contains("eos_token_id"));
    let golden = testdata("golden/llama-gqa/base");
    assert_eq!(GenerationDefaults::read(&golden, None).unwrap().eos, [1]);
}

#[test]
fn sampling_defaults_are_the_files() {
    let file = r#"{"do_sample": true, "temperature": 0.6, "top_p": 0.9, "top_k": 20, "repetition_penalty": 1.05}"#;
    let sampling = defaults(file, "{}").unwrap().sampling;
    assert_eq!((sampling.temperature, sampling.top_p, sampling.top_k), (Some(0.6), Some(0.9), Some(20)));
    assert_eq!(sampling.repetition_penalty, Some(1.05));
    let greedy = defaults(r#"{"do_sample": false, "temperature": 0.6}"#, "{}").unwrap().sampling;
    assert_eq!(greedy.temperature, Some(0.0));
    let error = defaults(r#"{"top_p": 7}"#, "{}").unwrap_err().to_string();
    assert!(error.contains("generation_config.json") && error.contains("`top_p` is 7"), "{error}");
}
