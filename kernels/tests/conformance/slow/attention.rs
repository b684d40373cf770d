//! Sequences: every score of a row at once, then one softmax.

use loam_kernels::Error;
use loam_kernels::backend::{Attend, Attention, CopyPages, RopeStore};
use loam_kernels::layout::{KvShape, RowSet, StepPlan};

use super::dense::add_delta;
use super::memory::{dot, put, row};
use super::{Slow, SlowMemory, SlowStep};

impl Attention for Slow {
    fn rope_store(&self, step: &SlowStep, mut op: RopeStore<'_, SlowMemory>) -> Result<(), Error> {
        op.check(&step.0)?;
        let (shape, heads) = (*op.kv.shape(), op.heads());
        for at in 0..op.qkv.rows() {
            let position = step.0.positions()[at];
            let angles = row(&op.angles, position as usize);
            let mut values = row(&op.qkv.reading(), at);
            add_delta(&mut values, op.delta.as_ref(), step.0.pairs(RowSet::Batch), at);
            for head in values[..(heads.q_heads + heads.kv_heads) * heads.head_dim].chunks_mut(heads.head_dim) {
                turn(head, &angles);
            }
            let (q, kv) = values.split_at(heads.q_width());
            put(&mut op.qkv, at, 0, q);
            let (keys, values) = kv.split_at(heads.kv_heads * heads.head_dim);
            let (page, slot) = place(&step.0, &shape, at, position);
            for head in 0..heads.kv_heads {
                let part = head * heads.head_dim..(head + 1) * heads.head_dim;
                let keys_at = shape.keys_at(page, op.layer, head) + slot * shape.head_dim;
                let values_at = shape.values_at(page, op.layer, head) + slot * shape.head_dim;
                let pages = op.kv.memory_mut();
                (keys_at..).zip(&keys[part.clone()]).for_each(|(at, key)| pages.put(at, *key));
                (values_at..).zip(&values[part]).for_each(|(at, value)| pages.put(at, *value));
            }
        }
        Ok(())
    }

    fn attention(&self, step: &SlowStep, mut op: Attend<'_, SlowMemory>) -> Result<(), Error> {
        op.check(&step.0)?;
        let heads = op.heads();
        for at in 0..op.q.rows() {
            let position = step.0.positions()[at];
            let first = op.window.map_or(0, |window| (u64::from(position) + 1).saturating_sub(window.into()) as u32);
            let queries = row(&op.q, at);
            for head in 0..heads.q_heads {
                let q = &queries[head * heads.head_dim..][..heads.head_dim];
                let kv_head = head / (heads.q_heads / heads.kv_heads);
                let (out, log_sum_exp) = attend(&step.0, &op, at, first..=position, kv_head, q);
                put(&mut op.out, at, head * heads.head_dim, &out);
                if let Some(column) = &mut op.log_sum_exp {
                    put(column, at, head, &[log_sum_exp]);
                }
            }
        }
        Ok(())
    }

    fn copy_pages(&self, op: CopyPages<'_, SlowMemory>) -> Result<(), Error> {
        op.check()?;
        let len = op.kv.shape().page_len();
        for &(from, to) in op.copies {
            op.kv.memory_mut().copy_within(from as usize * len, to as usize * len, len);
        }
        Ok(())
    }
}

/// Turns the pairs of a head's values by a position's cosines and sines.
fn turn(head: &mut [f32], angles: &[f32]) {
    let (cosines, sines) = angles.split_at(angles.len() / 2);
    for (i, (c, s)) in cosines.iter().zip(sines).enumerate() {
        let j = i + cosines.len();
        (head[i], head[j]) = (head[i] * c - head[j] * s, head[j] * c + head[i] * s);
    }
}

/// The page that holds a position of a row's segment, and where in the page.
fn place(step: &StepPlan, shape: &KvShape, at: usize, position: u32) -> (usize, usize) {
    let segment = &step.segments()[step.segment_of_row()[at] as usize];
    let position = position as usize;
    (step.pages(segment)[position / shape.page_tokens] as usize, position % shape.page_tokens)
}

/// One head of one row: the mean of the values seen, and the logarithm of the sum of what they weigh.
fn attend(
    step: &StepPlan,
    op: &Attend<'_, SlowMemory>,
    at: usize,
    positions: std::ops::RangeInclusive<u32>,
    kv_head: usize,
    q: &[f32],
) -> (Vec<f32>, f32) {
    let shape = op.kv.shape();
    let stored =
        |from: usize| -> Vec<f32> { (from..from + shape.head_dim).map(|at| op.kv.memory().value(at)).collect() };
    let mut scores = Vec::new();
    for position in positions.clone() {
        let (page, slot) = place(step, shape, at, position);
        let key = stored(shape.keys_at(page, op.layer, kv_head) + slot * shape.head_dim);
        scores.push(op.scale * dot(q, &key));
    }
    let greatest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let (mut sum, mut mean) = (0.0_f64, vec![0.0_f64; shape.head_dim]);
    for (position, score) in positions.zip(scores) {
        let weight = f64::from(score - greatest).exp();
        let (page, slot) = place(step, shape, at, position);
        let value = stored(shape.values_at(page, op.layer, kv_head) + slot * shape.head_dim);
        sum += weight;
        mean.iter_mut().zip(value).for_each(|(mean, value)| *mean += weight * f64::from(value));
    }
    let out = mean.iter().map(|mean| (mean / sum) as f32).collect();
    (out, (f64::from(greatest) + sum.ln()) as f32)
}
