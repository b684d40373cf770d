//! Adapters loaded and unloaded while the server runs, as vLLM has it.

use loam_engine::fields::{Fields, flag, seed, text};
use loam_engine::json::Json;
use loam_engine::request::NAME_BYTES_MAX;

use super::body::{self, wrong};
use crate::problem::Problem;

/// An adapter to load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadAdapter {
    /// What requests are to call it.
    pub name: String,
    /// Where it lies.
    pub path: String,
    /// Whether it may take the place of another of that name.
    pub in_place: bool,
}

/// An adapter to unload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnloadAdapter {
    /// What requests call it.
    pub name: String,
}

/// Reads the body of `POST /v1/load_lora_adapter`.
pub fn read_load_adapter(body: &[u8]) -> Result<LoadAdapter, Problem> {
    let mut fields = body::read(body, &["lora_name", "lora_path", "load_inplace", "is_3d_lora_weight"])?;
    let name = name(&mut fields)?;
    let path = fields.read("lora_path", text)?.unwrap_or_default();
    if path.is_empty() {
        return Err(wrong("lora_path", "absent or empty", "the folder of an adapter"));
    }
    if fields.read("is_3d_lora_weight", flag)? == Some(true) {
        return Err(wrong("is_3d_lora_weight", "true", "false: weights of experts are not served"));
    }
    let in_place = fields.read("load_inplace", flag)?.unwrap_or(false);
    fields.finish()?;
    Ok(LoadAdapter { name, path, in_place })
}

/// Reads the body of `POST /v1/unload_lora_adapter`.
pub fn read_unload_adapter(body: &[u8]) -> Result<UnloadAdapter, Problem> {
    let mut fields = body::read(body, &["lora_name", "lora_int_id"])?;
    let name = name(&mut fields)?;
    // vLLM numbers adapters, and takes the number here without a use for it.
    fields.read("lora_int_id", seed)?;
    fields.finish()?;
    Ok(UnloadAdapter { name })
}

fn name(fields: &mut Fields) -> Result<String, Problem> {
    let name = fields.read("lora_name", text)?.unwrap_or_default();
    match name.len() {
        0 => Err(wrong("lora_name", "absent or empty", "the name of an adapter")),
        1..=NAME_BYTES_MAX => Ok(name),
        _ => Err(wrong("lora_name", &Json::String(name).shown(), &format!("at most {NAME_BYTES_MAX} bytes long"))),
    }
}

/// What vLLM says when an adapter was loaded.
pub fn loaded_text(name: &str) -> String {
    format!("Success: LoRA adapter '{name}' added successfully.")
}

/// What vLLM says when an adapter was unloaded.
pub fn unloaded_text(name: &str) -> String {
    format!("Success: LoRA adapter '{name}' removed successfully.")
}
