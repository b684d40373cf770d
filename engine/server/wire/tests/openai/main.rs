//! OpenAI's interface: what a body asks for, what is refused and by which name, and the shapes of answers.
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report, also in what tests share")]

mod adapters;
mod ask;
mod bodies;
mod chat;
mod completion;
mod document;
mod errors;
mod fields;
mod foreign;
mod forms;
mod logprobs;
mod models;
mod names;
mod streams;
mod text;
mod wrong;
