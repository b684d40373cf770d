//! Rotary embedding, paged keys and values, attention over them.

use super::dense::{expect_delta, expect_f32, expect_rows};
use super::{Device, HeadShape};
use crate::error::{Error, expect_below, expect_shape, expect_type};
use crate::layout::{DType, Memory, PagedKv, RowSet, Rows, RowsMut, StepPlan};

/// Operations on sequences.
pub trait Attention: Device {
    /// See [`RopeStore`].
    fn rope_store(&self, step: &Self::Step, op: RopeStore<'_, Self::Memory>) -> Result<(), Error>;
    /// See [`Attend`].
    fn attention(&self, step: &Self::Step, op: Attend<'_, Self::Memory>) -> Result<(), Error>;
    /// See [`CopyPages`].
    fn copy_pages(&self, op: CopyPages<'_, Self::Memory>) -> Result<(), Error>;
}

/// Turns queries and keys by their positions; stores keys and values in their pages.
///
/// `qkv += delta`; for the pair of a head's values `i` and `i + rotary_dim / 2`, with cosine `c` and sine `s` of the
/// row's position: `(a, b) -> (a c - b s, b c + a s)`. Values of a head from `rotary_dim` on stay. Queries are written
/// back; keys and values go to the row's position in its segment's pages, rounded to the pages' type. Of `qkv` only the
/// queries are defined afterwards.
#[derive(Debug)]
pub struct RopeStore<'a, M> {
    /// `[batch rows, (q_heads + 2 * kv_heads) * head_dim]`, read and written.
    pub qkv: RowsMut<'a, M>,
    /// Of the same shape, in f32.
    pub delta: Option<Rows<'a, M>>,
    /// Query heads; the rest the pages say.
    pub q_heads: usize,
    /// `[positions, rotary_dim]` in f32, as [`Rope::table`](crate::layout::Rope::table) makes it.
    pub angles: Rows<'a, M>,
    /// Where keys and values go.
    pub kv: &'a mut PagedKv<M>,
    /// Which layer's.
    pub layer: usize,
}

/// Causal attention over pages, in prefill and decode alike.
///
/// A row at position `p` attends to positions `max(0, p + 1 - window) ..= p` of its segment, as stored, its own included:
/// `out[row, head] = sum_j softmax_j(scale * q[row, head] . k[j]) v[j]`, keys and values of head `head / (q_heads / kv_heads)`.
///
/// The order of sums: tiles of [`KV_TILE_TOKENS`](crate::layout::KV_TILE_TOKENS) positions, each with its own maximum,
/// run through in order; after every [`KV_SPLIT_TOKENS`](crate::layout::KV_SPLIT_TOKENS) the partial result is merged
/// with those before; both counted from position 0. A score that is not a number makes its row's results so.
#[derive(Debug)]
pub struct Attend<'a, M> {
    /// `[batch rows, q_heads * head_dim]`
    pub q: Rows<'a, M>,
    /// Keys and values, this step's own included.
    pub kv: &'a PagedKv<M>,
    /// Which layer's.
    pub layer: usize,
    /// What scores are multiplied by, usually `1 / sqrt(head_dim)`.
    pub scale: f32,
    /// Positions that a row sees, its own included; all where absent.
    pub window: Option<u32>,
    /// `[batch rows, q_heads * head_dim]`
    pub out: RowsMut<'a, M>,
    /// `[batch rows, q_heads]` in f32: `log sum_j exp(score_j)`.
    pub log_sum_exp: Option<RowsMut<'a, M>>,
}

/// Copies whole pages, all layers of them. Copies are done in order.
#[derive(Debug)]
pub struct CopyPages<'a, M> {
    /// The pages.
    pub kv: &'a mut PagedKv<M>,
    /// From, to.
    pub copies: &'a [(u32, u32)],
}

impl<M: Memory> RopeStore<'_, M> {
    /// Refuses what does not fit.
    pub fn check(&self, step: &StepPlan) -> Result<(), Error> {
        let heads = self.heads();
        heads.check()?;
        let (rows, width) = (step.rows(RowSet::Batch), heads.qkv_width());
        expect_rows("queries, keys and values", &self.qkv.reading(), rows, width)?;
        expect_delta(self.delta.as_ref(), rows, width)?;
        expect_type("the table of angles", self.angles.dtype(), &[DType::F32])?;
        let rotary_dim = self.angles.width();
        if rotary_dim == 0 || rotary_dim > heads.head_dim || !rotary_dim.is_multiple_of(2) {
            let allowed = "even, and at most the head's size";
            return Err(Error::Unsupported { what: "the rotary dimension", found: rotary_dim.to_string(), allowed });
        }
        expect_below("the step's positions", step.limits().positions, self.angles.rows() + 1)?;
        expect_pages(self.kv, self.layer, step)
    }

    /// How a row is divided.
    pub const fn heads(&self) -> HeadShape {
        let shape = self.kv.shape();
        HeadShape { q_heads: self.q_heads, kv_heads: shape.kv_heads, head_dim: shape.head_dim }
    }
}

impl<M: Memory> Attend<'_, M> {
    /// Refuses what does not fit.
    pub fn check(&self, step: &StepPlan) -> Result<(), Error> {
        let (rows, heads) = (step.rows(RowSet::Batch), self.heads());
        heads.check()?;
        expect_rows("queries", &self.q, rows, heads.q_width())?;
        expect_rows("attention's output", &self.out.reading(), rows, heads.q_width())?;
        if let Some(log_sum_exp) = &self.log_sum_exp {
            expect_f32("log_sum_exp", &log_sum_exp.reading(), rows, heads.q_heads)?;
        }
        if !self.scale.is_finite() {
            return Err(Error::NotFinite { what: "attention's scale", value: self.scale, also: "" });
        }
        if self.window == Some(0) {
            let allowed = "1 or more, or none";
            return Err(Error::Unsupported { what: "the attention window", found: "0".to_owned(), allowed });
        }
        expect_pages(self.kv, self.layer, step)
    }

    /// How queries are divided.
    pub fn heads(&self) -> HeadShape {
        let shape = self.kv.shape();
        HeadShape { q_heads: self.q.width() / shape.head_dim, kv_heads: shape.kv_heads, head_dim: shape.head_dim }
    }
}

impl<M: Memory> CopyPages<'_, M> {
    /// Refuses pages that do not exist.
    pub fn check(&self) -> Result<(), Error> {
        let mut pages = self.copies.iter().flat_map(|(from, to)| [from, to]);
        pages.try_for_each(|page| expect_below("a page", *page as usize, self.kv.pages()))
    }
}

/// Refuses a layer that is not there, and pages other than those the step was checked against.
fn expect_pages<M: Memory>(kv: &PagedKv<M>, layer: usize, step: &StepPlan) -> Result<(), Error> {
    expect_below("a layer", layer, kv.shape().layers)?;
    expect_shape("a page", kv.shape().page_tokens, step.limits().page_tokens)?;
    expect_below("the step's pages", step.limits().pages, kv.pages() + 1)
}
