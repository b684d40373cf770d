//! Whole engines over real files: models and adapters as Transformers and PEFT wrote them, answered through the public API.

mod ask;
mod goldens;
mod invariance;
mod lifecycle;
mod records;
mod refusals;
