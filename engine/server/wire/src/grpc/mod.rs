//! `loam.v1`: messages to requests, events to messages.

mod answer;
mod request;

pub use answer::{finished, prompt_scores, started, tokens};
pub use request::{asked, called, chat};
