//! Whole engines over real files: models and adapters as Transformers and PEFT wrote them, answered through the public API.
#![expect(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod ahead;
mod ask;
mod audit;
#[cfg(feature = "emulate")]
#[path = "device/mod.rs"]
mod emulated;
mod goldens;
#[cfg(feature = "cuda")]
#[path = "device/mod.rs"]
mod gpu;
mod invariance;
mod lifecycle;
mod merged;
mod records;
mod refusals;
#[path = "../steps/watched.rs"]
#[expect(dead_code, reason = "what it saw is asked of single steps only")]
mod watched;
