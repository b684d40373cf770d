//! Activations of one step: allocated once, for as many rows as a step may have.

use loam_kernels::layout::{ADAPTERS_PER_ROW_MAX, DType, TOP_LOG_PROBABILITIES_MAX};
use loam_kernels::{Backend, Error};

use super::decoder::Decoder;

/// Memories of one step. Each is large enough for the widest use of it.
pub(crate) struct Scratch<M> {
    /// `[rows, hidden]`: the residual stream, in the compute type, as are all up to `chosen`.
    pub(crate) residual: M,
    /// `[rows, hidden]`
    pub(crate) normed: M,
    /// `[rows, queries, keys and values]`, or `[rows, gates and ups]`
    pub(crate) wide: M,
    /// `[rows, hidden]`
    pub(crate) narrow: M,
    /// `[rows, queries]`
    pub(crate) attended: M,
    /// `[rows, intermediate]`
    pub(crate) gated: M,
    /// `[sampled or scored rows, hidden]`
    pub(crate) chosen: M,
    /// `[pairs, ranks of a site]` in f32.
    pub(crate) h: M,
    /// `[rows, outputs of a site]` in f32.
    pub(crate) delta: M,
    /// `[sampled rows, vocabulary]` in f32.
    pub(crate) logits: M,
    /// `[rows]`: each row's own token, where some are taken from the step before.
    pub(crate) known: M,
    pub(crate) tokens: M,
    pub(crate) log_probabilities: M,
    pub(crate) ranks: M,
    /// `[sampled rows, top_max]`
    pub(crate) top_tokens: M,
    pub(crate) top_log_probabilities: M,
    /// What this step's rows ask for at most.
    pub(crate) top_max: usize,
    pub(crate) scored_log_probabilities: M,
    pub(crate) scored_ranks: M,
    pub(crate) scored_best_tokens: M,
    pub(crate) scored_best_log_probabilities: M,
}

impl<M> Scratch<M> {
    /// Memories for a model's steps of so many rows. Where the system gives pages when they are first written, what is
    /// never used is never there.
    pub(crate) fn new<B: Backend<Memory = M>>(
        device: &B,
        decoder: &Decoder<B>,
        rows: usize,
        rank_max: u32,
    ) -> Result<Self, Error> {
        let Decoder { shape, sites, dtype, .. } = decoder;
        let (dtype, sites) = (*dtype, sites.shapes());
        let of = |dtype, width: usize| device.allocate(dtype, rows.saturating_mul(width));
        let q = shape.q_heads * shape.head_dim;
        let qkv = q + 2 * shape.kv_heads * shape.head_dim;
        let widest = sites.iter().map(|site| site.out_features()).max().unwrap_or(0);
        let modules = sites.iter().map(|site| site.modules.len()).max().unwrap_or(0);
        Ok(Self {
            residual: of(dtype, shape.hidden)?,
            normed: of(dtype, shape.hidden)?,
            wide: of(dtype, qkv.max(2 * shape.intermediate))?,
            narrow: of(dtype, shape.hidden)?,
            attended: of(dtype, q)?,
            gated: of(dtype, shape.intermediate)?,
            chosen: of(dtype, shape.hidden)?,
            h: of(DType::F32, ADAPTERS_PER_ROW_MAX * modules * rank_max as usize)?,
            delta: of(DType::F32, widest)?,
            logits: of(DType::F32, shape.vocabulary)?,
            known: of(DType::U32, 1)?,
            tokens: of(DType::U32, 1)?,
            log_probabilities: of(DType::F32, 1)?,
            ranks: of(DType::U32, 1)?,
            top_tokens: of(DType::U32, TOP_LOG_PROBABILITIES_MAX)?,
            top_log_probabilities: of(DType::F32, TOP_LOG_PROBABILITIES_MAX)?,
            top_max: 0,
            scored_log_probabilities: of(DType::F32, 1)?,
            scored_ranks: of(DType::U32, 1)?,
            scored_best_tokens: of(DType::U32, 1)?,
            scored_best_log_probabilities: of(DType::F32, 1)?,
        })
    }
}
