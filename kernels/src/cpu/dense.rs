//! Embedding, norms and activations: one row at a time, in f32.

use std::ops::Range;

use super::memory::{AnyIn, AnyOut, In, Out};
use super::pool::share;
use super::simd::{Kernel, Simd};
use super::vector::{add, gate, norm, sum_of_squares};
use super::{Cpu, CpuMemory, CpuStep};
use crate::backend::{
    Activation, Add, AddRmsNorm, ApplyLinear, Dense, Embed, Gate, GatherRows, HeadShape, Product, QkNorm, RmsNorm,
    TakeTokens,
};
use crate::error::Error;
use crate::layout::{Memory, PairList, RowSet, Rows, RowsMut};

impl Dense for Cpu {
    fn take_tokens(&self, step: &CpuStep, mut op: TakeTokens<'_, CpuMemory>) -> Result<(), Error> {
        op.check(&step.0)?;
        op.tokens.memory().expect_unchanged()?;
        op.known.memory_mut().expect_output()?;
        let (from, last) = (In::<u32>::of(&op.tokens), step.0.limits().vocabulary.saturating_sub(1) as u32);
        let mut tokens = step.0.tokens().to_vec();
        for it in step.0.taken() {
            tokens[it.row as usize] = from.row(it.place as usize)[0].min(last);
        }
        let known = Out::<u32>::of(&mut op.known);
        for (row, token) in tokens.iter().enumerate() {
            // SAFETY: nobody else has these rows.
            unsafe { known.row(row)[0] = *token };
        }
        if !step.0.taken().is_empty() {
            *step.taken() = Some(tokens);
        }
        Ok(())
    }

    fn embed(&self, step: &CpuStep, mut op: Embed<'_, CpuMemory>) -> Result<(), Error> {
        op.check(&step.0)?;
        op.table.expect_unchanged()?;
        op.out.memory_mut().expect_output()?;
        let table = Rows::new(op.table, step.0.limits().vocabulary, op.out.width())?;
        let (from, rows) = (AnyIn::of(&table), step.tokens());
        self.copy_rows(&from, &rows, &AnyOut::of(&mut op.out));
        Ok(())
    }

    fn gather_rows(&self, step: &CpuStep, mut op: GatherRows<'_, CpuMemory>) -> Result<(), Error> {
        op.check(&step.0)?;
        op.x.memory().expect_unchanged()?;
        op.out.memory_mut().expect_output()?;
        let (from, out) = (AnyIn::of(&op.x), AnyOut::of(&mut op.out));
        match op.set {
            RowSet::Batch => self.copy_rows(&from, &(0..op.x.rows() as u32).collect::<Vec<_>>(), &out),
            RowSet::Sampled => self.copy_rows(&from, step.0.sampled(), &out),
            RowSet::Scored => {
                let rows: Vec<u32> = step.0.scored().iter().map(|scored| scored.row).collect();
                self.copy_rows(&from, &rows, &out);
            }
        }
        Ok(())
    }

    fn rms_norm(&self, mut op: RmsNorm<'_, CpuMemory>) -> Result<(), Error> {
        op.check()?;
        op.weight.expect_unchanged()?;
        op.x.memory().expect_unchanged()?;
        expect_outputs(&mut op.out, op.inverse.as_mut())?;
        let (x, weight) = (AnyIn::of(&op.x), self.widened(op.weight));
        let (out, inverse) = (AnyOut::of(&mut op.out), op.inverse.as_mut().map(Out::of));
        let (weight, epsilon) = (&weight, op.epsilon);
        self.each_row(op.x.rows(), 8 * op.x.width(), |rows| {
            self.level.run(NormRows { rows, sum: None, x, weight, epsilon, out, inverse });
        });
        Ok(())
    }

    fn add_rms_norm(&self, step: &CpuStep, mut op: AddRmsNorm<'_, CpuMemory>) -> Result<(), Error> {
        op.check(&step.0)?;
        op.x.memory().expect_unchanged()?;
        op.weight.expect_unchanged()?;
        op.residual.memory_mut().expect_output()?;
        expect_outputs(&mut op.out, op.inverse.as_mut())?;
        let (x, weight) = (AnyIn::of(&op.x), self.widened(op.weight));
        let delta = Delta::of(op.delta.as_ref(), step.0.pairs(op.set))?;
        let (out, inverse) = (AnyOut::of(&mut op.out), op.inverse.as_mut().map(Out::of));
        let residual = AnyOut::of(&mut op.residual);
        let (weight, epsilon) = (&weight, op.epsilon);
        self.each_row(op.x.rows(), 20 * op.x.width(), |rows| {
            let sum = Some(Sum { residual, delta });
            self.level.run(NormRows { rows, sum, x, weight, epsilon, out, inverse });
        });
        Ok(())
    }

    fn qk_norm(&self, step: &CpuStep, mut op: QkNorm<'_, CpuMemory>) -> Result<(), Error> {
        op.check(&step.0)?;
        op.q_weight.expect_unchanged()?;
        op.k_weight.expect_unchanged()?;
        op.qkv.memory_mut().expect_output()?;
        let weights = [self.widened(op.q_weight), self.widened(op.k_weight)];
        let delta = Delta::of(op.delta.as_ref(), step.0.pairs(RowSet::Batch))?;
        let (heads, epsilon) = (op.heads, op.epsilon);
        let qkv = AnyOut::of(&mut op.qkv);
        self.each_row(qkv.rows(), 8 * qkv.width(), |rows| {
            self.level.run(NormHeads { rows, qkv, delta, heads, weights: [&weights[0], &weights[1]], epsilon });
        });
        Ok(())
    }

    fn linear(&self, op: ApplyLinear<'_, CpuMemory>) -> Result<(), Error> {
        self.apply_linear(op)
    }

    fn product(&self, op: Product<'_, CpuMemory>) -> Result<(), Error> {
        self.apply_product(op)
    }

    fn gate(&self, step: &CpuStep, mut op: Gate<'_, CpuMemory>) -> Result<(), Error> {
        op.check(&step.0)?;
        op.gate_up.memory().expect_unchanged()?;
        op.out.memory_mut().expect_output()?;
        let gate_up = AnyIn::of(&op.gate_up);
        let delta = Delta::of(op.delta.as_ref(), step.0.pairs(RowSet::Batch))?;
        let (activation, out) = (op.activation, AnyOut::of(&mut op.out));
        self.each_row(out.rows(), 32 * out.width(), |rows| {
            self.level.run(GateRows { rows, activation, gate_up, delta, out });
        });
        Ok(())
    }

    fn add(&self, step: &CpuStep, mut op: Add<'_, CpuMemory>) -> Result<(), Error> {
        op.check(&step.0)?;
        op.x.memory_mut().expect_output()?;
        let delta = Delta::of(Some(&op.delta), step.0.pairs(op.set))?;
        let x = AnyOut::of(&mut op.x);
        self.each_row(x.rows(), 12 * x.width(), |rows| self.level.run(AddRows { rows, x, delta }));
        Ok(())
    }
}

impl Cpu {
    /// Divides rows among threads.
    pub(super) fn each_row(&self, rows: usize, bytes_a_row: usize, task: impl Fn(Range<usize>) + Sync) {
        if rows == 0 {
            return;
        }
        let bytes = rows * bytes_a_row;
        let tasks = self.pool.tasks(rows, bytes);
        self.pool.each(tasks, bytes, |index| task(share(index, tasks, rows)));
    }

    fn copy_rows(&self, from: &AnyIn<'_>, rows: &[u32], out: &AnyOut<'_>) {
        self.each_row(rows.len(), 8 * out.width(), |run| {
            self.level.run(CopyRows { from: *from, rows, run, out: *out });
        });
    }

    /// A vector of weights, in f32.
    fn widened(&self, weights: &CpuMemory) -> Vec<f32> {
        self.level.run(Widen { weights, len: weights.len() })
    }
}

fn expect_outputs(out: &mut RowsMut<'_, CpuMemory>, inverse: Option<&mut RowsMut<'_, CpuMemory>>) -> Result<(), Error> {
    out.memory_mut().expect_output()?;
    inverse.map_or(Ok(()), |inverse| inverse.memory_mut().expect_output())
}

/// What adapters add, and who uses one: nobody else's row is read.
#[derive(Clone, Copy)]
pub(super) struct Delta<'a> {
    values: Option<AnyIn<'a>>,
    pairs: &'a PairList,
}

impl<'a> Delta<'a> {
    /// Refuses a file that was cut short.
    pub(super) fn of(values: Option<&Rows<'a, CpuMemory>>, pairs: &'a PairList) -> Result<Self, Error> {
        let values = values.filter(|_| !pairs.is_empty());
        values.map_or(Ok(()), |values| values.memory().expect_unchanged())?;
        Ok(Self { values: values.map(AnyIn::of), pairs })
    }

    /// Adds a part of a row's delta to `values`, by way of `scratch`.
    #[inline(always)]
    pub(super) fn add_to<S: Simd>(&self, simd: S, row: usize, from: usize, scratch: &mut [f32], values: &mut [f32]) {
        let Some(delta) = &self.values else { return };
        if !self.pairs.of_row(row).is_empty() {
            let scratch = &mut scratch[..values.len()];
            delta.read(simd, row, from, scratch);
            add(simd, scratch, values);
        }
    }
}

struct CopyRows<'a> {
    from: AnyIn<'a>,
    rows: &'a [u32],
    run: Range<usize>,
    out: AnyOut<'a>,
}

impl Kernel for CopyRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let mut values = vec![0.0; self.out.width()];
        for row in self.run {
            self.from.read(simd, self.rows[row] as usize, 0, &mut values);
            // SAFETY: threads have disjoint runs of rows; so in every kernel of this file.
            unsafe { self.out.write(simd, row, 0, &values) };
        }
    }
}

struct Widen<'a> {
    weights: &'a CpuMemory,
    len: usize,
}

impl Kernel for Widen<'_> {
    type Output = Vec<f32>;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Vec<f32> {
        let mut values = vec![0.0; self.len];
        AnyIn::row_of(self.weights).read(simd, 0, 0, &mut values);
        values
    }
}

/// A residual stream that `x` and the delta are added to before the norm.
struct Sum<'a> {
    residual: AnyOut<'a>,
    delta: Delta<'a>,
}

struct NormRows<'a> {
    rows: Range<usize>,
    sum: Option<Sum<'a>>,
    x: AnyIn<'a>,
    weight: &'a [f32],
    epsilon: f32,
    out: AnyOut<'a>,
    inverse: Option<Out<'a, f32>>,
}

impl Kernel for NormRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let width = self.weight.len();
        let (mut values, mut scratch) = (vec![0.0; width], vec![0.0; width]);
        for row in self.rows {
            self.x.read(simd, row, 0, &mut values);
            if let Some(Sum { residual, delta }) = &self.sum {
                // The delta belongs to `x`: it is added to it first, as the layer's own output would have it.
                delta.add_to(simd, row, 0, &mut scratch, &mut values);
                // SAFETY: disjoint rows, in all three.
                unsafe {
                    residual.read(simd, row, 0, &mut scratch);
                    add(simd, &scratch, &mut values);
                    residual.write(simd, row, 0, &values);
                    // What is normed is what the stream holds.
                    residual.read(simd, row, 0, &mut values);
                }
            }
            let inverse = inverse_norm(simd, &values, self.epsilon);
            norm(simd, inverse, self.weight, &mut values);
            // SAFETY: disjoint rows.
            unsafe {
                self.out.write(simd, row, 0, &values);
                if let Some(out) = &self.inverse {
                    out.row(row)[0] = inverse;
                }
            }
        }
    }
}

#[inline(always)]
fn inverse_norm<S: Simd>(simd: S, values: &[f32], epsilon: f32) -> f32 {
    1.0 / (sum_of_squares(simd, values) / values.len() as f32 + epsilon).sqrt()
}

struct NormHeads<'a> {
    rows: Range<usize>,
    qkv: AnyOut<'a>,
    delta: Delta<'a>,
    heads: HeadShape,
    weights: [&'a [f32]; 2],
    epsilon: f32,
}

impl Kernel for NormHeads<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let HeadShape { q_heads, kv_heads, head_dim } = self.heads;
        let width = self.heads.qkv_width();
        let (mut values, mut scratch) = (vec![0.0; width], vec![0.0; width]);
        for row in self.rows {
            // SAFETY: disjoint rows.
            unsafe { self.qkv.read(simd, row, 0, &mut values) };
            self.delta.add_to(simd, row, 0, &mut scratch, &mut values);
            for head in 0..q_heads + kv_heads {
                let weight = self.weights[usize::from(head >= q_heads)];
                let values = &mut values[head * head_dim..][..head_dim];
                let inverse = inverse_norm(simd, values, self.epsilon);
                norm(simd, inverse, weight, values);
            }
            // SAFETY: disjoint rows.
            unsafe { self.qkv.write(simd, row, 0, &values) };
        }
    }
}

struct GateRows<'a> {
    rows: Range<usize>,
    activation: Activation,
    gate_up: AnyIn<'a>,
    delta: Delta<'a>,
    out: AnyOut<'a>,
}

/// Values of a row that are gated at a time: they stay in the first-level cache.
const GATE_RUN: usize = 1024;

impl Kernel for GateRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let width = self.out.width();
        let mut scratch = [[0.0; GATE_RUN]; 3];
        let [gates, ups, deltas] = &mut scratch;
        for row in self.rows {
            let mut at = 0;
            while at < width {
                let count = GATE_RUN.min(width - at);
                let (gates, ups) = (&mut gates[..count], &mut ups[..count]);
                self.gate_up.read(simd, row, at, gates);
                self.delta.add_to(simd, row, at, deltas, gates);
                self.gate_up.read(simd, row, width + at, ups);
                self.delta.add_to(simd, row, width + at, deltas, ups);
                gate(simd, self.activation, gates, ups);
                // SAFETY: disjoint rows.
                unsafe { self.out.write(simd, row, at, ups) };
                at += count;
            }
        }
    }
}

struct AddRows<'a> {
    rows: Range<usize>,
    x: AnyOut<'a>,
    delta: Delta<'a>,
}

impl Kernel for AddRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let width = self.x.width();
        let (mut values, mut scratch) = (vec![0.0; width], vec![0.0; width]);
        for row in self.rows {
            if self.delta.pairs.of_row(row).is_empty() {
                continue;
            }
            // SAFETY: disjoint rows.
            unsafe {
                self.x.read(simd, row, 0, &mut values);
                self.delta.add_to(simd, row, 0, &mut scratch, &mut values);
                self.x.write(simd, row, 0, &values);
            }
        }
    }
}
