//! Both halves of adapters on the device.

use std::ptr;

use super::backend::{Cuda, CudaStep};
use super::device::checked;
use super::ffi::{LoamRows, loam_lora_expand, loam_lora_shrink, loam_lora_shrink_tokens};
use super::graph::note;
use super::written;
use crate::backend::{Expand, Lora, Shrink};
use crate::error::Error;

/// Where the sums over an input are cut: `kCut` of lora_shrink.cu.
const CUT: usize = 512;
/// Ranks that a block has: `kRanks` there.
const RANKS: usize = 16;

impl Lora for Cuda {
    fn lora_shrink(&self, step: &CudaStep, mut op: Shrink<'_, Self>) -> Result<(), Error> {
        let list = step.plan().pairs(op.set);
        op.adapters.check(op.site, list)?;
        op.check(step.plan(), op.adapters.site(op.site), op.adapters.places(op.site, list))?;
        let tables = step.tables()?;
        let (pairs, places) = (tables.pairs(op.set), op.adapters.raw(op.site));
        if pairs.pair_count == 0 {
            return Ok(());
        }
        expect_room(pairs.pair_count, op.h.rows())?;
        note(op.adapters.ranks(), op.site, op.h.width());
        let (h, stream) = (written(&mut op.h)?, self.order());
        let Some(x) = &op.x else {
            let tokens = tables.tokens();
            // SAFETY: `check` has seen that tokens are below the vocabulary and that `h` has room for all ranks.
            return Ok(checked(unsafe { loam_lora_shrink_tokens(tokens, h, places, pairs, stream) })?);
        };
        let (cuts, width) = (op.adapters.site(op.site).in_features.div_ceil(CUT), op.h.width());
        let mut scratch = self.adapters_scratch();
        let (planes, tickets) = if cuts > 1 {
            let tickets = scratch.tickets(pairs.shrink_count as usize * width.div_ceil(RANKS))?;
            (scratch.values(cuts * pairs.pair_count as usize * width)?, tickets)
        } else {
            (ptr::null_mut(), ptr::null_mut())
        };
        // SAFETY: `check` has seen that all fits; planes and tickets are as many as kernels.h asks for.
        Ok(checked(unsafe { loam_lora_shrink(LoamRows::of(x)?, h, places, pairs, planes, tickets, stream) })?)
    }

    fn lora_expand(&self, step: &CudaStep, mut op: Expand<'_, Self>) -> Result<(), Error> {
        let list = step.plan().pairs(op.set);
        op.adapters.check(op.site, list)?;
        op.check(step.plan(), op.adapters.site(op.site), op.adapters.places(op.site, list))?;
        let (pairs, places) = (step.tables()?.pairs(op.set), op.adapters.raw(op.site));
        if pairs.pair_count == 0 {
            return Ok(());
        }
        expect_room(pairs.pair_count, op.h.rows())?;
        note(op.adapters.ranks(), op.site, op.h.width());
        let (h, delta) = (LoamRows::of(&op.h)?, written(&mut op.delta)?);
        let columns = op.adapters.columns(op.site, 0..op.delta.width());
        // SAFETY: `check` has seen that all fits.
        Ok(checked(unsafe { loam_lora_expand(h, delta, places, columns, pairs, self.order()) })?)
    }
}

/// Refuses an `h` without a row for every pair that there is room for: a graph's later steps may have so many.
fn expect_room(pairs: i32, rows: usize) -> Result<(), Error> {
    let expected = pairs as usize;
    if rows >= expected {
        Ok(())
    } else {
        Err(Error::Shape { what: "h, by pairs that a graph has room for,", expected, found: rows })
    }
}
