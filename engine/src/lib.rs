//! Requests to tokens: real models and real adapters over any [`Backend`](loam_kernels::Backend).
//!
//! ```text
//! Generate -> engine (checked, tokenised) -> inbox -> worker -> scheduler -> batch -> executor (runner -> model/decoder)
//!                                                       |
//!            stream <- delivery <- recorder <- usage <- answers
//! ```
//!
//! In reading order: [`request`] is what is asked, [`Engine`] takes it, [`event`] is what comes back; [`scheduler`] with
//! [`kv_pages`], [`fairness`] and [`adapter::pool`] chooses what a step computes, [`batch`] lays it flat, [`executor`] is
//! the seam behind which [`runner`] runs a [`model`]; [`recorder`] is all that the engine knows of a ledger.
//!
//! The library starts no runtime, reads no environment, and installs no handler.
#![forbid(unsafe_code)]

pub mod adapter;
mod answer;
mod apart;
pub mod batch;
mod coming;
pub mod constraint;
mod delivery;
pub mod detokenizer;
mod device;
mod engine;
mod error;
pub mod event;
pub mod executor;
pub mod fairness;
pub mod fields;
pub mod generation;
pub mod json;
pub mod kv_pages;
pub mod metrics;
pub mod model;
mod open;
mod padding;
pub mod recorder;
pub mod request;
pub mod request_line;
mod room;
pub mod runner;
pub mod sampler;
mod sampling_text;
pub mod scheduler;
pub mod stops;
pub mod template;
pub mod text;
mod token_bytes;
pub mod tokenizer;
pub mod usage;
mod worker;

pub use delivery::{DeliveryMode, STEPS_AHEAD_MAX};
pub use device::{Arithmetic, DeviceChoice, NoDevice};
pub use engine::{Engine, EngineParts, Handle, Mode, RequestId, STOP_SECONDS, Stream};
pub use error::Error;
pub use event::{Event, Failure, Finished, TokensEvent};
pub use loam_kernels::layout::DType;
pub use model::Progress;
pub use open::{LoadFormat, OpenOptions};
pub use recorder::MemoryRecorder;
pub use room::KV_BYTES;
