//! Rotation, pages and attention on the device.

use super::backend::{Cuda, CudaStep};
use super::device::{DeviceMemory, checked};
use super::ffi::{LoamPages, LoamRows, loam_attention_decode, loam_attention_prefill, loam_copy_page, loam_rope_store};
use super::{loam_type, written};
use crate::backend::{Attend, Attention, CopyPages, RopeStore};
use crate::error::Error;
use crate::layout::{PagedKv, RowSet};

impl Attention for Cuda {
    fn rope_store(&self, step: &CudaStep, mut op: RopeStore<'_, DeviceMemory>) -> Result<(), Error> {
        op.check(step.plan())?;
        let tables = step.tables()?;
        let pairs = tables.pairs(RowSet::Batch);
        // Where there is no room for pairs no delta is read.
        let delta = op.delta.as_ref().filter(|_| pairs.pair_count > 0).map_or(Ok(LoamRows::NONE), LoamRows::of)?;
        let (kv, heads) = (pages(op.kv, op.layer), op.q_heads as i32);
        let (qkv, angles) = (written(&mut op.qkv)?, LoamRows::of(&op.angles)?);
        // SAFETY: `check` has seen that all fits, and that every row's position has a page.
        let code =
            unsafe { loam_rope_store(qkv, delta, pairs.of_row, angles, tables.sequences(), kv, heads, self.order()) };
        Ok(checked(code)?)
    }

    fn attention(&self, step: &CudaStep, mut op: Attend<'_, DeviceMemory>) -> Result<(), Error> {
        op.check(step.plan())?;
        let (q, kv) = (LoamRows::of(&op.q)?, pages(op.kv, op.layer));
        let out = written(&mut op.out)?;
        let log_sum_exp = op.log_sum_exp.as_mut().map_or(Ok(LoamRows::NONE), written)?;
        let (sequences, stream) = (step.tables()?.sequences(), self.order());
        // A window beyond all positions is none.
        let (window, scale) = (op.window.unwrap_or(0), op.scale);
        if step.plan().segments().iter().any(|segment| segment.rows > 1) {
            // SAFETY: `check` has seen that all fits, and that every position seen has a page.
            checked(unsafe { loam_attention_prefill(q, out, log_sum_exp, sequences, kv, scale, window, stream) })?;
        }
        if sequences.split_count > 0 {
            let heads = op.heads();
            let len = sequences.split_count as usize * heads.q_heads * (2 + heads.head_dim);
            let mut scratch = self.scratch();
            let (partials, tickets) = (scratch.values(len)?, scratch.tickets(op.q.rows() * heads.q_heads)?);
            // SAFETY: as above, and there is room for all partial results, and tickets for all rows.
            checked(unsafe {
                loam_attention_decode(q, out, log_sum_exp, sequences, kv, scale, window, partials, tickets, stream)
            })?;
        }
        Ok(())
    }

    fn copy_pages(&self, op: CopyPages<'_, DeviceMemory>) -> Result<(), Error> {
        op.check()?;
        let bytes = op.kv.shape().page_len() * op.kv.dtype().bytes();
        for &(from, to) in op.copies {
            // SAFETY: `check` has seen that both pages exist.
            checked(unsafe { loam_copy_page(op.kv.memory().address(), bytes as i64, from, to, self.order()) })?;
        }
        Ok(())
    }
}

/// All pages, and which layer of them is meant.
fn pages(kv: &PagedKv<DeviceMemory>, layer: usize) -> LoamPages {
    let shape = kv.shape();
    let count = |value: usize| value as i32;
    LoamPages {
        from: kv.memory().address(),
        pages: count(kv.pages()),
        layers: count(shape.layers),
        layer: count(layer),
        kv_heads: count(shape.kv_heads),
        page_tokens: count(shape.page_tokens),
        head_dim: count(shape.head_dim),
        dtype: loam_type(kv.dtype()),
    }
}
