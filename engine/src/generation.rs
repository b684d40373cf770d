//! What a model's own files say of generating: which tokens end an answer, and what requests leave open.

use std::path::Path;

use serde_json::Value;

use crate::error::Error;
use crate::sampler::SamplingOptions;
use crate::tokenizer::{Tokenizer, read_json};

/// A model's defaults.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GenerationDefaults {
    /// Tokens that end an answer.
    pub eos: Vec<u32>,
    /// What requests leave open.
    pub sampling: SamplingOptions,
}

impl GenerationDefaults {
    /// Reads a model folder: `generation_config.json`, else `config.json`, else the tokenizer's end.
    pub fn read(folder: &Path, tokenizer: Option<&Tokenizer>) -> Result<Self, Error> {
        let path = folder.join("generation_config.json");
        let generation = read_json(&path)?.unwrap_or(Value::Null);
        let malformed = |field: &str, found: &Value, allowed: &str| Error::Field {
            path: path.clone(),
            field: field.to_owned(),
            found: found.to_string(),
            allowed: allowed.to_owned(),
        };
        let sampling = sampling(&generation, &malformed)?;
        let config = read_json(&folder.join("config.json"))?.unwrap_or(Value::Null);
        for file in [&generation, &config] {
            let eos = tokens(&file["eos_token_id"])
                .ok_or_else(|| malformed("eos_token_id", &file["eos_token_id"], "a token, a list of them, or null"))?;
            if !eos.is_empty() {
                return Ok(Self { eos, sampling });
            }
        }
        Ok(Self { eos: tokenizer.and_then(Tokenizer::eos).into_iter().collect(), sampling })
    }
}

fn tokens(value: &Value) -> Option<Vec<u32>> {
    let token = |value: &Value| u32::try_from(value.as_u64()?).ok();
    match value {
        Value::Null => Some(Vec::new()),
        Value::Array(list) => list.iter().map(token).collect(),
        one => Some(vec![token(one)?]),
    }
}

fn sampling(file: &Value, malformed: &impl Fn(&str, &Value, &str) -> Error) -> Result<SamplingOptions, Error> {
    let number = |field: &str| match &file[field] {
        Value::Null => Ok(None),
        value => value.as_f64().map(|number| Some(number as f32)).ok_or_else(|| malformed(field, value, "a number")),
    };
    let top_k = match &file["top_k"] {
        Value::Null => None,
        value => {
            let count = value.as_u64().and_then(|count| u32::try_from(count).ok());
            Some(count.ok_or_else(|| malformed("top_k", value, "0 or more"))?)
        }
    };
    let options = SamplingOptions {
        // A file that says "do not sample" means the most probable token; one that is silent leaves it to requests.
        temperature: if file["do_sample"] == false { Some(0.0) } else { number("temperature")? },
        top_k,
        top_p: number("top_p")?,
        min_p: number("min_p")?,
        repetition_penalty: number("repetition_penalty")?,
        ..SamplingOptions::default()
    };
    options.check().map_err(|error| match error {
        Error::Request { field, allowed, .. } => malformed(field, &file[field], &allowed),
        other => other,
    })?;
    Ok(options)
}
