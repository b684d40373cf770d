//! Plain metadata that callers fill and every backend reads: types, matrices, linears, pages, steps, adapters.
//!
//! Nothing here touches a device. What can be checked without one is checked here, once, for all backends.

mod adapter;
mod dtype;
mod kv;
mod linear;
mod matrix;
mod pairs;
mod philox;
mod rope;
mod sampling;
mod step;

pub use adapter::{Adapter, AdapterLayout, B_TILE_COLUMNS, ModulePlace, RANK_MAX, SiteKind, SitePlace, SiteShape};
pub use dtype::{DType, Element};
pub use kv::{KV_SPLIT_TOKENS, KV_TILE_TOKENS, KvShape, PagedKv};
pub use linear::{Linear, Part, Split, Stored};
pub use matrix::{Memory, Rows, RowsMut};
pub use pairs::{ADAPTERS_PER_ROW_MAX, Group, Pair, PairList};
pub use rope::{Rope, RopeScaling};
pub use sampling::{Sampling, Seen, TOP_LOG_PROBABILITIES_MAX};
pub(crate) use step::first_seen;
pub use step::{DecodeWork, RowSet, Scored, Segment, StepInputs, StepLimits, StepPlan, Taken};
