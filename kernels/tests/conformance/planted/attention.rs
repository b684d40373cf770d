//! Faults of the attention group.

use loam_kernels::Error;
use loam_kernels::backend::{Attend, Attention, CopyPages, Device, RopeStore};
use loam_kernels::cpu::{CpuMemory, CpuStep};
use loam_kernels::layout::{KV_SPLIT_TOKENS, PagedKv};

use super::{Fault, Planted, again, scaled};
use crate::sheet::{download, upload};
use crate::values::Values;

impl Attention for Planted {
    fn rope_store(&self, step: &CpuStep, mut op: RopeStore<'_, CpuMemory>) -> Result<(), Error> {
        match self.fault {
            Fault::RopeTakesTheNextPosition => op.angles = op.angles.range(1, op.angles.rows() - 1)?,
            Fault::RopeStoresInAnotherLayer => op.layer = 0,
            Fault::RopeForgetsTheDelta => op.delta = None,
            Fault::RopeSkipsTheLastPair => {
                let angles = self.changed(&op.angles, |angles| {
                    for row in 0..angles.rows {
                        angles.set(row, angles.width / 2 - 1, 1.0);
                        angles.set(row, angles.width - 1, 0.0);
                    }
                })?;
                return self.cpu.rope_store(step, RopeStore { angles: angles.reading()?, ..op });
            }
            Fault::RopeIsScaled => {
                let angles = self.changed(&op.angles, scaled)?;
                return self.cpu.rope_store(step, RopeStore { angles: angles.reading()?, ..op });
            }
            _ => {}
        }
        self.cpu.rope_store(step, op)
    }

    fn attention(&self, step: &CpuStep, mut op: Attend<'_, CpuMemory>) -> Result<(), Error> {
        match self.fault {
            Fault::AttentionIsScaled => op.scale *= 1.01,
            Fault::AttentionLosesAllSplitsButTheLast => op.window = op.window.or(Some(KV_SPLIT_TOKENS as u32)),
            Fault::AttentionSeesOnePositionMore => op.window = op.window.map(|window| window + 1),
            Fault::AttentionTakesAnotherPage | Fault::AttentionSkipsTheLastPosition => {
                let kv = self.spoiled_pages(step, &op)?;
                return self.cpu.attention(step, Attend { kv: &kv, ..op });
            }
            _ => {}
        }
        let head_dim = op.kv.shape().head_dim;
        let mut sums = op.log_sum_exp.take();
        let lent = sums.as_mut().map(again).transpose()?;
        let out = again(&mut op.out)?;
        let Attend { q, kv, layer, scale, window, .. } = op;
        self.cpu.attention(step, Attend { q, kv, layer, scale, window, out, log_sum_exp: lent })?;
        match (self.fault, &mut sums) {
            (Fault::AttentionSwapsHeads, _) => self.spoil(&mut op.out, |out| swap_heads(out, head_dim)),
            (Fault::AttentionSumsInAnotherBase, Some(sums)) => self.spoil(sums, |sums| {
                for row in 0..sums.rows {
                    let two = std::f64::consts::LN_2;
                    (0..sums.width).for_each(|head| sums.set(row, head, sums.at(row, head) / two));
                }
            }),
            _ => Ok(()),
        }
    }

    fn copy_pages(&self, op: CopyPages<'_, CpuMemory>) -> Result<(), Error> {
        match self.fault {
            Fault::CopyRunsBackwards => {
                let copies: Vec<(u32, u32)> = op.copies.iter().rev().copied().collect();
                self.cpu.copy_pages(CopyPages { kv: op.kv, copies: &copies })
            }
            Fault::CopySkipsTheLastHalf => {
                let page = op.kv.shape().page_len();
                let mut half = vec![0; page / 2 * op.kv.dtype().bytes()];
                op.copies.iter().try_for_each(|(from, to)| {
                    self.cpu.read(op.kv.memory(), *from as usize * page, &mut half)?;
                    self.cpu.write(op.kv.memory_mut(), *to as usize * page, &half)
                })
            }
            _ => self.cpu.copy_pages(op),
        }
    }
}

impl Planted {
    /// Pages one further than they should be, or without the values of each request's last position.
    fn spoiled_pages(&self, step: &CpuStep, op: &Attend<'_, CpuMemory>) -> Result<PagedKv<CpuMemory>, Error> {
        let (shape, plan) = (*op.kv.shape(), step.as_ref());
        let mut held = download(&self.cpu, op.kv.memory())?;
        if self.fault == Fault::AttentionTakesAnotherPage {
            let page_bytes = shape.page_len() * held.dtype.bytes();
            held.bytes.rotate_left(page_bytes);
        } else {
            for segment in plan.segments().iter().filter(|segment| segment.rows > 0) {
                let last = (segment.first_position + segment.rows - 1) as usize;
                let page = plan.pages(segment)[last / shape.page_tokens] as usize;
                for kv_head in 0..shape.kv_heads {
                    let at = shape.values_at(page, op.layer, kv_head) + last % shape.page_tokens * shape.head_dim;
                    (at..at + shape.head_dim).for_each(|column| held.set(0, column, 0.0));
                }
            }
        }
        PagedKv::new(upload(&self.cpu, &held)?, shape)
    }
}

/// The first head where the second belongs, and the other way round.
fn swap_heads(out: &mut Values, head_dim: usize) {
    for row in 0..if out.width >= 2 * head_dim { out.rows } else { 0 } {
        for column in 0..head_dim {
            let (first, second) = (out.at(row, column), out.at(row, head_dim + column));
            out.set(row, column, second);
            out.set(row, head_dim + column, first);
        }
    }
}
