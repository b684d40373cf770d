//! One named error for each way in which the engine can be asked for what it cannot do.

use std::path::PathBuf;

use thiserror::Error as ThisError;

use crate::adapter::Generation;

/// Why something was not done. Texts name the file or the field, what was found there, and what would be right.
#[derive(Debug, ThisError)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each variant's message is its documentation")]
pub enum Error {
    // Files.
    #[error("{path}: {source}")]
    File { path: PathBuf, source: std::io::Error },
    #[error("{folder} is no model's folder: there is no config.json in it (a name at Hugging Face is not downloaded)")]
    NoModel { folder: PathBuf },
    #[error("{path}: not valid JSON: {reason}")]
    Json { path: PathBuf, reason: String },
    #[error("{path}: {reason}")]
    Malformed { path: PathBuf, reason: String },

    // Fields of a model's or an adapter's configuration.
    #[error("{path}: `{field}` is {found}; it can be {allowed}")]
    Field { path: PathBuf, field: String, found: String, allowed: String },

    // Tensors.
    #[error("{path}: no tensor `{name}`")]
    TensorMissing { path: PathBuf, name: String },
    #[error("{path}: tensor `{name}` has no place in this model")]
    TensorStrange { path: PathBuf, name: String },
    #[error("{path}: tensor `{name}` has shape {found:?} where {expected:?} belongs")]
    TensorShape { path: PathBuf, name: String, expected: Vec<usize>, found: Vec<usize> },
    #[error("{path}: tensor `{name}` holds {found}; it can hold {allowed}")]
    TensorType { path: PathBuf, name: String, found: String, allowed: &'static str },

    // Requests.
    #[error("`{field}` is {found}; it can be {allowed}")]
    Request { field: &'static str, found: String, allowed: String },
    // It begins as vLLM's does, since clients that shorten a conversation look for these words.
    #[error(
        "This model's maximum context length is {positions} tokens: `{field}` is {found} tokens; it can be at most {allowed}"
    )]
    ContextFull { field: &'static str, found: String, allowed: String, positions: usize },
    #[error("no adapter is called `{name}`")]
    AdapterUnknown { name: String },
    #[error("adapter `{name}` stands for {found} where {expected} was expected; nothing was changed")]
    AdapterConflict { name: String, expected: String, found: String },
    #[error("{origin} now holds {found} and not {expected}, which was read there before; load it again under its name")]
    AdapterChanged { origin: String, expected: Generation, found: Generation },
    #[error("adapter `{name}` may not be used ({generation}): {reason}")]
    AdapterForbidden { name: String, generation: Generation, reason: String },
    #[error("a thread panicked over an adapter: {reason}")]
    AdapterPanic { reason: String },
    #[error("a request has no field `{field}`; {hint}")]
    RequestField { field: String, hint: String },
    #[error("a request is not valid JSON: {reason}")]
    RequestJson { reason: String },

    // Text.
    #[error("the text cannot be tokenised: {reason}")]
    Tokenizer { reason: String },
    #[error(
        "{path}: the model has no chat template; give `prompt` or `prompt_tokens`, or put chat_template.jinja there"
    )]
    TemplateMissing { path: PathBuf },
    #[error("the chat template `{name}`: {reason}")]
    Template { name: String, reason: String },
    #[error("structured output: {reason}")]
    Constraint { reason: String },

    // Capacity.
    #[error(transparent)]
    Refused(#[from] crate::scheduler::Refused),
    #[error("{what} is full: {limit}; try again later")]
    Full { what: &'static str, limit: usize },
    #[error(transparent)]
    Record(#[from] crate::recorder::RecordFailed),
    #[error("this engine knows {limit} tenants, and takes no more before it is started anew; name fewer of them")]
    TenantsMany { limit: usize },
    #[error("an engine is not stopped in a sink or on its own thread, which its end waits for; stop it on another one")]
    StopInside,
    #[error("the engine has stopped: {reason}")]
    Stopped { reason: String },

    #[error(
        "the model's logits are not finite, so that no token means anything; ask without its adapters, or with less weight"
    )]
    LogitsNotFinite,

    #[error(transparent)]
    Kernels(#[from] loam_kernels::Error),
}

impl Error {
    /// Whether the device will answer nothing any more in this process.
    pub fn is_device_lost(&self) -> bool {
        matches!(self, Self::Kernels(loam_kernels::Error::DeviceLost { .. }))
    }
}
