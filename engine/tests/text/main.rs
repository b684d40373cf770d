//! Text and tokens: what a request may say, what a model is shown, what comes back.

mod constraint;
mod detokenizer;
mod golden;
mod request_line;
mod sampler;
mod stops;
mod template;
mod tier;
mod tokenizer;
