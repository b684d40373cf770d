//! What Prometheus is told: vLLM's names where they mean the same, so that its dashboards and routers work, and ours
//! beside them.
//!
//! [`Meters`] count as requests go, [`Moment`] is how things stand when somebody looks, [`render()`] makes the page.
//! No adapter's name labels a histogram: there are thousands of them, and the ledger says what each was used for.

mod histogram;
mod meters;
mod moment;
mod render;
#[cfg(test)]
mod tests;
mod text;
mod timed;

pub(crate) use meters::{Meters, finished_reason, word};
pub(crate) use moment::{AdapterNow, LedgerNow, Level, Moment};
pub(crate) use render::render;
pub(crate) use text::CONTENT_TYPE;
pub(crate) use timed::Timed;
