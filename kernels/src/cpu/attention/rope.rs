//! Queries and keys are turned; keys and values go to their pages.

use std::ops::Range;

use super::super::dense::Delta;
use super::super::memory::{AnyOut, In};
use super::super::simd::{Kernel, Simd};
use super::super::{Cpu, CpuMemory};
use crate::backend::{HeadShape, RopeStore};
use crate::error::Error;
use crate::layout::{KvShape, RowSet, StepPlan};

impl Cpu {
    pub(super) fn rope_rows(&self, step: &StepPlan, mut op: RopeStore<'_, CpuMemory>) -> Result<(), Error> {
        let (heads, shape, layer) = (op.heads(), *op.kv.shape(), op.layer);
        let angles = In::of(&op.angles);
        let delta = Delta::of(op.delta.as_ref(), step.pairs(RowSet::Batch))?;
        let qkv = AnyOut::of(&mut op.qkv);
        let pages = AnyOut::whole(op.kv.memory_mut());
        self.each_row(qkv.rows(), 8 * qkv.width(), |rows| {
            self.level.run(RopeRows { rows, step, heads, shape, layer, angles, delta, qkv, pages });
        });
        Ok(())
    }
}

struct RopeRows<'a> {
    rows: Range<usize>,
    step: &'a StepPlan,
    heads: HeadShape,
    shape: KvShape,
    layer: usize,
    angles: In<'a, f32>,
    delta: Delta<'a>,
    qkv: AnyOut<'a>,
    pages: AnyOut<'a>,
}

impl Kernel for RopeRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let HeadShape { q_heads, kv_heads, head_dim } = self.heads;
        let width = self.heads.qkv_width();
        let (mut values, mut scratch) = (vec![0.0; width], vec![0.0; width]);
        for row in self.rows.clone() {
            // SAFETY: threads have disjoint runs of rows.
            unsafe { self.qkv.read(simd, row, 0, &mut values) };
            self.delta.add_to(simd, row, 0, &mut scratch, &mut values);
            let angles = self.angles.row(self.step.positions()[row] as usize);
            for head in values[..(q_heads + kv_heads) * head_dim].chunks_exact_mut(head_dim) {
                turn(head, angles);
            }
            let (q, kv) = values.split_at(q_heads * head_dim);
            let (k, v) = kv.split_at(kv_heads * head_dim);
            // SAFETY: disjoint rows, and a page's position belongs to one row: the step was checked for that.
            unsafe {
                self.qkv.write(simd, row, 0, q);
                for kv_head in 0..kv_heads {
                    let (key, value) = self.place(row, kv_head);
                    self.pages.write(simd, 0, key, &k[kv_head * head_dim..][..head_dim]);
                    self.pages.write(simd, 0, value, &v[kv_head * head_dim..][..head_dim]);
                }
            }
        }
    }
}

impl RopeRows<'_> {
    /// Where a row's key and value go.
    #[inline(always)]
    fn place(&self, row: usize, kv_head: usize) -> (usize, usize) {
        let segment = &self.step.segments()[self.step.segment_of_row()[row] as usize];
        let position = self.step.positions()[row] as usize;
        let page = self.step.pages(segment)[position / self.shape.page_tokens] as usize;
        let offset = position % self.shape.page_tokens * self.shape.head_dim;
        let key = self.shape.keys_at(page, self.layer, kv_head) + offset;
        (key, self.shape.values_at(page, self.layer, kv_head) + offset)
    }
}

/// `(a, b) -> (a c - b s, b c + a s)` for the pairs of a head.
#[inline(always)]
fn turn(head: &mut [f32], angles: &[f32]) {
    let half = angles.len() / 2;
    let (cosines, sines) = angles.split_at(half);
    let (firsts, rest) = head.split_at_mut(half);
    for i in 0..half {
        let (a, b) = (firsts[i], rest[i]);
        firsts[i] = a * cosines[i] - b * sines[i];
        rest[i] = b * cosines[i] + a * sines[i];
    }
}
