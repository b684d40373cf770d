//! Loading and unloading adapters, as vLLM has it.

use loam_wire::Problem;
use loam_wire::openai::{LoadAdapter, UnloadAdapter, read_load_adapter, read_unload_adapter};
use loam_wire::openai::{loaded_text, unloaded_text};

fn load(body: &str) -> Result<LoadAdapter, Problem> {
    read_load_adapter(body.as_bytes())
}

fn unload(body: &str) -> Result<UnloadAdapter, Problem> {
    read_unload_adapter(body.as_bytes())
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, Problem>, field: &str, words: &str) {
    let problem = result.expect_err("it is refused");
    assert!(problem.message.contains(words), "{}", problem.message);
    assert_eq!(problem.field.as_deref(), Some(field));
}

#[test]
fn loads() {
    let expected = |in_place| LoadAdapter { name: "n".to_owned(), path: "/a/n".to_owned(), in_place };
    assert_eq!(load(r#"{"lora_name": "n", "lora_path": "/a/n"}"#).unwrap(), expected(false));
    let body = r#"{"lora_name": "n", "lora_path": "/a/n", "load_inplace": true, "is_3d_lora_weight": false}"#;
    assert_eq!(load(body).unwrap(), expected(true));
}

#[test]
fn what_is_not_loaded() {
    refused(load("{}"), "lora_name", "absent or empty");
    refused(load(r#"{"lora_name": "n"}"#), "lora_path", "absent or empty");
    refused(load(r#"{"lora_name": "", "lora_path": "p"}"#), "lora_name", "absent or empty");
    refused(load(r#"{"lora_name": 1, "lora_path": "p"}"#), "lora_name", "a string");
    let long = format!(r#"{{"lora_name": "{}", "lora_path": "p"}}"#, "x".repeat(256));
    refused(load(&long), "lora_name", "at most 255");
    let with = |field: &str| load(&format!(r#"{{"lora_name": "n", "lora_path": "p", {field}}}"#));
    refused(with(r#""load_inplace": 1"#), "load_inplace", "true or false");
    refused(with(r#""is_3d_lora_weight": true"#), "is_3d_lora_weight", "false");
    refused(with(r#""lora_int_id": 1"#), "lora_int_id", "has no field");
}

#[test]
fn unloads() {
    let expected = UnloadAdapter { name: "n".to_owned() };
    assert_eq!(unload(r#"{"lora_name": "n"}"#).unwrap(), expected);
    assert_eq!(unload(r#"{"lora_name": "n", "lora_int_id": 3}"#).unwrap(), expected);
    refused(unload("{}"), "lora_name", "absent or empty");
    refused(unload(r#"{"lora_name": "n", "lora_int_id": "3"}"#), "lora_int_id", "a whole number");
    refused(unload(r#"{"lora_name": "n", "lora_path": "p"}"#), "lora_path", "has no field");
}

#[test]
fn texts() {
    assert_eq!(loaded_text("n"), "Success: LoRA adapter 'n' added successfully.");
    assert_eq!(unloaded_text("n"), "Success: LoRA adapter 'n' removed successfully.");
}
