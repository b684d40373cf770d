//! OpenAI's interface over HTTP, with the extensions that vLLM and LoRAX have, and ours.
//!
//! ```text
//! body -> request (known, model_name, chat, completion, form) -> Call { requests, .. }
//! Event -> answer (stream or whole; logprobs, shape) -> JSON texts
//! ```
//!
//! A field that is not known is refused by its name, and so is one that is known and cannot be done, unless it says
//! what would be done anyway: `known` has the tables.

mod adapters;
mod answer;
mod body;
mod chat;
mod completion;
mod error;
mod form;
mod known;
mod logprobs;
mod model_name;
mod models;
mod reply;
mod request;
mod shape;
mod stream;
mod text;

pub use adapters::{LoadAdapter, UnloadAdapter, loaded_text, read_load_adapter, read_unload_adapter, unloaded_text};
pub use answer::Answer;
pub use error::{error_body, http_status};
pub use known::fields;
pub use models::{ModelCard, model_body, models_body};
pub use request::{Call, Endpoint, Names, PROMPTS_MAX, REQUEST_ID_BYTES_MAX, read};
pub use text::{Detokenize, Tokenize, TokenizePrompt, detokenize_body, read_detokenize, read_tokenize, tokenize_body};
