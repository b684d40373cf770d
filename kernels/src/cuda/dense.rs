//! Embedding, norms and activations on the device.

use super::backend::{Cuda, CudaStep};
use super::device::{DeviceMemory, checked};
use super::ffi::{
    LoamActivation, LoamRows, loam_add, loam_add_rms_norm, loam_gate, loam_gather_rows, loam_qk_norm, loam_rms_norm,
    loam_take_tokens,
};
use super::{gemm, loam_type, written};
use crate::backend::{
    Activation, Add, AddRmsNorm, ApplyLinear, Dense, Embed, Gate, GatherRows, Product, QkNorm, RmsNorm, TakeTokens,
};
use crate::error::Error;
use crate::layout::{Memory, RowSet, Rows, RowsMut};

impl Dense for Cuda {
    fn take_tokens(&self, step: &CudaStep, mut op: TakeTokens<'_, DeviceMemory>) -> Result<(), Error> {
        op.check(step.plan())?;
        let (tables, from, known) = (step.tables()?, LoamRows::of(&op.tokens)?, written(&mut op.known)?);
        let (tokens, taken) = (tables.tokens().cast_mut(), tables.taken());
        let vocabulary = u32::try_from(step.plan().limits().vocabulary).unwrap_or(u32::MAX);
        // SAFETY: both tables have a word for each row, and `check` has seen that places are among the tokens.
        Ok(checked(unsafe { loam_take_tokens(tokens, taken, from, known, vocabulary, self.order()) })?)
    }

    fn embed(&self, step: &CudaStep, mut op: Embed<'_, DeviceMemory>) -> Result<(), Error> {
        op.check(step.plan())?;
        let table = Rows::new(op.table, step.plan().limits().vocabulary, op.out.width())?;
        let (table, tokens, out) = (LoamRows::of(&table)?, step.tables()?.tokens(), written(&mut op.out)?);
        // SAFETY: `check` has seen that the table has a row for every token of the vocabulary, and a step's are below it.
        Ok(checked(unsafe { loam_gather_rows(table, tokens, out, self.order()) })?)
    }

    fn gather_rows(&self, step: &CudaStep, mut op: GatherRows<'_, DeviceMemory>) -> Result<(), Error> {
        op.check(step.plan())?;
        let (x, which, out) = (LoamRows::of(&op.x)?, step.tables()?.rows(op.set), written(&mut op.out)?);
        // SAFETY: `check` has seen that `x` is the batch's rows, and a step's sets are of those.
        Ok(checked(unsafe { loam_gather_rows(x, which, out, self.order()) })?)
    }

    fn rms_norm(&self, mut op: RmsNorm<'_, DeviceMemory>) -> Result<(), Error> {
        op.check()?;
        let (x, out, inverse) = (LoamRows::of(&op.x)?, written(&mut op.out)?, written_if_any(op.inverse.as_mut())?);
        let (weight, weight_type) = (op.weight.address(), loam_type(op.weight.dtype()));
        // SAFETY: `check` has seen that shapes and types fit.
        Ok(checked(unsafe { loam_rms_norm(x, weight, weight_type, out, inverse, op.epsilon, self.order()) })?)
    }

    fn add_rms_norm(&self, step: &CudaStep, mut op: AddRmsNorm<'_, DeviceMemory>) -> Result<(), Error> {
        op.check(step.plan())?;
        let (delta, of_row) = delta_of(step, op.set, op.delta.as_ref())?;
        let (residual, x) = (written(&mut op.residual)?, LoamRows::of(&op.x)?);
        let (out, inverse) = (written(&mut op.out)?, written_if_any(op.inverse.as_mut())?);
        let (weight, weight_type) = (op.weight.address(), loam_type(op.weight.dtype()));
        let (epsilon, stream) = (op.epsilon, self.order());
        // SAFETY: `check` has seen that shapes and types fit.
        Ok(checked(unsafe {
            loam_add_rms_norm(residual, x, delta, of_row, weight, weight_type, out, inverse, epsilon, stream)
        })?)
    }

    fn qk_norm(&self, step: &CudaStep, mut op: QkNorm<'_, DeviceMemory>) -> Result<(), Error> {
        op.check(step.plan())?;
        let (delta, of_row) = delta_of(step, RowSet::Batch, op.delta.as_ref())?;
        let (qkv, heads) = (written(&mut op.qkv)?, op.heads);
        // SAFETY: `check` has seen that a row is so many heads of as many values as weights have; types fit.
        Ok(checked(unsafe {
            loam_qk_norm(
                qkv,
                delta,
                of_row,
                heads.q_heads as i32,
                heads.kv_heads as i32,
                op.q_weight.address(),
                loam_type(op.q_weight.dtype()),
                op.k_weight.address(),
                loam_type(op.k_weight.dtype()),
                op.epsilon,
                self.order(),
            )
        })?)
    }

    fn gate(&self, step: &CudaStep, mut op: Gate<'_, DeviceMemory>) -> Result<(), Error> {
        op.check(step.plan())?;
        let (delta, of_row) = delta_of(step, RowSet::Batch, op.delta.as_ref())?;
        let activation = match op.activation {
            Activation::Silu => LoamActivation::Silu,
            Activation::Gelu => LoamActivation::Gelu,
            Activation::GeluTanh => LoamActivation::GeluTanh,
        };
        let (gate_up, out) = (LoamRows::of(&op.gate_up)?, written(&mut op.out)?);
        // SAFETY: `check` has seen that shapes and types fit.
        Ok(checked(unsafe { loam_gate(activation, gate_up, delta, of_row, out, self.order()) })?)
    }

    fn add(&self, step: &CudaStep, mut op: Add<'_, DeviceMemory>) -> Result<(), Error> {
        op.check(step.plan())?;
        let (delta, of_row) = delta_of(step, op.set, Some(&op.delta))?;
        if delta.at.is_null() {
            return Ok(());
        }
        let x = written(&mut op.x)?;
        // SAFETY: `check` has seen that shapes and types fit.
        Ok(checked(unsafe { loam_add(x, delta, of_row, self.order()) })?)
    }

    fn linear(&self, op: ApplyLinear<'_, DeviceMemory>) -> Result<(), Error> {
        gemm::linear(self, op)
    }

    fn product(&self, op: Product<'_, DeviceMemory>) -> Result<(), Error> {
        gemm::product(self, op)
    }
}

/// A delta, and which rows have one. Where there is no room for pairs nobody has, and none is read.
fn delta_of(
    step: &CudaStep,
    set: RowSet,
    delta: Option<&Rows<'_, DeviceMemory>>,
) -> Result<(LoamRows, *const u32), Error> {
    let pairs = step.tables()?.pairs(set);
    let delta = delta.filter(|_| pairs.pair_count > 0).map_or(Ok(LoamRows::NONE), LoamRows::of)?;
    Ok((delta, pairs.of_row))
}

fn written_if_any(out: Option<&mut RowsMut<'_, DeviceMemory>>) -> Result<LoamRows, Error> {
    out.map_or(Ok(LoamRows::NONE), written)
}
