//! Text and tokens: what a request may say, what a model is shown, what comes back.
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report, also in what tests share")]

mod constraint;
mod detokenizer;
mod golden;
mod request_line;
mod sampler;
mod stops;
mod template;
mod tier;
mod tokenizer;
