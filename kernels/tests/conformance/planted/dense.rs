//! Faults of the dense group.

use loam_kernels::Error;
use loam_kernels::backend::{
    Activation, Add, AddRmsNorm, ApplyLinear, Dense, Device, Embed, Gate, GatherRows, Product, QkNorm, RmsNorm,
    TakeTokens,
};
use loam_kernels::cpu::{CpuMemory, CpuStep};
use loam_kernels::layout::{Linear, Memory, Part, Split, Stored};

use super::{Fault, Planted, again, scaled, swap_rows, with_last_column_of, with_last_row_of, without_last_column};
use crate::values::encode;

impl Dense for Planted {
    fn take_tokens(&self, step: &CpuStep, mut op: TakeTokens<'_, CpuMemory>) -> Result<(), Error> {
        let swapped = match self.fault {
            Fault::TakeTokensFromAnotherPlace => Some(self.changed(&op.tokens, swap_rows)?),
            _ => None,
        };
        let tokens = swapped.as_ref().map_or(Ok(op.tokens), |swapped| swapped.reading())?;
        self.cpu.take_tokens(step, TakeTokens { tokens, known: again(&mut op.known)? })?;
        match self.fault {
            Fault::TakeTokensTellsAnotherRow => self.spoil(&mut op.known, swap_rows),
            _ => Ok(()),
        }
    }

    fn embed(&self, step: &CpuStep, mut op: Embed<'_, CpuMemory>) -> Result<(), Error> {
        let before = self.view(&op.out.reading())?;
        self.cpu.embed(step, Embed { table: op.table, out: again(&mut op.out)? })?;
        match self.fault {
            Fault::EmbedTakesAnotherToken => self.spoil(&mut op.out, swap_rows),
            Fault::EmbedLeavesTheLastRow => self.spoil(&mut op.out, with_last_row_of(&before)),
            _ => Ok(()),
        }
    }

    fn gather_rows(&self, step: &CpuStep, mut op: GatherRows<'_, CpuMemory>) -> Result<(), Error> {
        let before = self.view(&op.out.reading())?;
        self.cpu.gather_rows(step, GatherRows { x: op.x, set: op.set, out: again(&mut op.out)? })?;
        match self.fault {
            Fault::GatherTakesAnotherRow => self.spoil(&mut op.out, swap_rows),
            Fault::GatherLeavesTheLastColumn => self.spoil(&mut op.out, with_last_column_of(&before)),
            _ => Ok(()),
        }
    }

    fn rms_norm(&self, mut op: RmsNorm<'_, CpuMemory>) -> Result<(), Error> {
        let epsilon = if self.fault == Fault::RmsNormForgetsEpsilon { 0.0 } else { op.epsilon };
        let mut inverse = op.inverse.take();
        let lent = inverse.as_mut().map(again).transpose()?;
        let whole = RmsNorm { x: op.x, weight: op.weight, epsilon, out: again(&mut op.out)?, inverse: lent };
        self.cpu.rms_norm(whole)?;
        match (self.fault, &mut inverse) {
            (Fault::RmsNormDividesByOneLess, _) => self.spoil(&mut op.out, |out| {
                let by = (1.0 - 1.0 / out.width as f64).sqrt();
                for row in 0..out.rows {
                    (0..out.width).for_each(|column| out.set(row, column, by * out.at(row, column)));
                }
            }),
            (Fault::RmsNormSwapsInverses, Some(inverse)) => self.spoil(inverse, swap_rows),
            _ => Ok(()),
        }
    }

    fn add_rms_norm(&self, step: &CpuStep, mut op: AddRmsNorm<'_, CpuMemory>) -> Result<(), Error> {
        if self.fault == Fault::AddRmsNormForgetsTheDelta {
            op.delta = None;
        }
        if self.fault != Fault::AddRmsNormNormsWhatWasAdded {
            return self.cpu.add_rms_norm(step, op);
        }
        let (x, weight, epsilon) = (op.x, op.weight, op.epsilon);
        let whole = AddRmsNorm { residual: again(&mut op.residual)?, out: again(&mut op.out)?, inverse: None, ..op };
        self.cpu.add_rms_norm(step, whole)?;
        self.cpu.rms_norm(RmsNorm { x, weight, epsilon, out: op.out, inverse: op.inverse })
    }

    fn qk_norm(&self, step: &CpuStep, mut op: QkNorm<'_, CpuMemory>) -> Result<(), Error> {
        if self.fault == Fault::QkNormTakesTheOtherWeight {
            op.k_weight = op.q_weight;
        }
        if self.fault != Fault::QkNormSkipsTheLastKey {
            return self.cpu.qk_norm(step, op);
        }
        let (before, heads) = (self.view(&op.qkv.reading())?, op.heads);
        self.cpu.qk_norm(step, QkNorm { qkv: again(&mut op.qkv)?, ..op })?;
        let last = (heads.q_heads + heads.kv_heads - 1) * heads.head_dim;
        self.spoil(&mut op.qkv, |qkv| {
            for row in 0..qkv.rows {
                (last..last + heads.head_dim).for_each(|column| qkv.set(row, column, before.at(row, column)));
            }
        })
    }

    fn linear(&self, mut op: ApplyLinear<'_, CpuMemory>) -> Result<(), Error> {
        let before = self.view(&op.out.reading())?;
        if self.fault == Fault::LinearSkipsTheLastInput {
            let x = self.changed(&op.x, without_last_column)?;
            return self.cpu.linear(ApplyLinear { x: x.reading()?, ..op });
        }
        if self.fault == Fault::LinearForgetsItsBias {
            let weights = without_bias(op.weights)?;
            return self.cpu.linear(ApplyLinear { weights: &weights, ..op });
        }
        self.cpu.linear(ApplyLinear { x: op.x, weights: op.weights, out: again(&mut op.out)? })?;
        match self.fault {
            Fault::LinearSwapsColumns => self.spoil(&mut op.out, |out| {
                for row in 0..out.rows {
                    let (first, last) = (out.at(row, 0), out.at(row, out.width - 1));
                    out.set(row, 0, last);
                    out.set(row, out.width - 1, first);
                }
            }),
            Fault::LinearIsScaled => self.spoil(&mut op.out, scaled),
            Fault::LinearLeavesTheLastRow => self.spoil(&mut op.out, with_last_row_of(&before)),
            Fault::LinearWritesBeyondItsColumns => {
                let (at, dtype) = (op.out.offset() + op.out.width(), op.out.dtype());
                if at < op.out.reading().memory().len() {
                    self.cpu.write(op.out.memory_mut(), at, &encode(dtype, 1.0))?;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn product(&self, mut op: Product<'_, CpuMemory>) -> Result<(), Error> {
        let square = op.b.rows() == op.b.width();
        if self.fault == Fault::ProductIgnoresATransposition && square {
            op.b_transposed = !op.b_transposed;
        }
        if self.fault == Fault::ProductSkipsTheLastTerm {
            let transposed = op.a_transposed;
            let a = self.changed(&op.a, |a| match a.rows.checked_sub(1) {
                Some(last) if transposed => (0..a.width).for_each(|column| a.set(last, column, 0.0)),
                _ => without_last_column(a),
            })?;
            return self.cpu.product(Product { a: a.reading()?, ..op });
        }
        let out = again(&mut op.out)?;
        let Product { a, a_transposed, b, b_transposed, .. } = op;
        self.cpu.product(Product { a, a_transposed, b, b_transposed, out })?;
        if self.fault == Fault::ProductIsScaled { self.spoil(&mut op.out, scaled) } else { Ok(()) }
    }

    fn gate(&self, step: &CpuStep, mut op: Gate<'_, CpuMemory>) -> Result<(), Error> {
        let before = self.view(&op.out.reading())?;
        let width = op.out.width();
        if self.fault == Fault::GateSwapsItsHalves {
            let rotate = |values: &mut crate::values::Values| {
                let rows = values.widened();
                for (row, it) in rows.iter().enumerate() {
                    (0..2 * width).for_each(|column| values.set(row, column, it[(column + width) % (2 * width)]));
                }
            };
            let gate_up = self.changed(&op.gate_up, rotate)?;
            let delta = op.delta.as_ref().map(|delta| self.changed(delta, rotate)).transpose()?;
            let delta = delta.as_ref().map(|delta| delta.reading()).transpose()?;
            return self.cpu.gate(step, Gate { gate_up: gate_up.reading()?, delta, ..op });
        }
        if self.fault == Fault::GateTakesTheOtherGelu {
            op.activation = match op.activation {
                Activation::Gelu => Activation::GeluTanh,
                Activation::GeluTanh => Activation::Gelu,
                other @ Activation::Silu => other,
            };
        }
        let Gate { activation, gate_up, delta, .. } = op;
        self.cpu.gate(step, Gate { activation, gate_up, delta, out: again(&mut op.out)? })?;
        if self.fault == Fault::GateLeavesTheLastColumn {
            return self.spoil(&mut op.out, with_last_column_of(&before));
        }
        Ok(())
    }

    fn add(&self, step: &CpuStep, mut op: Add<'_, CpuMemory>) -> Result<(), Error> {
        let before = self.view(&op.x.reading())?;
        if self.fault == Fault::AddIsScaled {
            let delta = self.changed(&op.delta, scaled)?;
            return self.cpu.add(step, Add { delta: delta.reading()?, ..op });
        }
        self.cpu.add(step, Add { x: again(&mut op.x)?, delta: op.delta, set: op.set })?;
        let pairs = step.as_ref().pairs(op.set);
        match self.fault {
            Fault::AddSkipsTheLastColumn => self.spoil(&mut op.x, with_last_column_of(&before)),
            Fault::AddTouchesRowsWithoutAdapters => self.spoil(&mut op.x, |x| {
                for row in (0..x.rows).filter(|row| pairs.of_row(*row).is_empty()) {
                    (0..x.width).for_each(|column| x.set(row, column, 0.5 + x.at(row, column)));
                }
            }),
            _ => Ok(()),
        }
    }
}

/// The same layers, with no bias.
fn without_bias(weights: &Linear<CpuMemory>) -> Result<Linear<CpuMemory>, Error> {
    let part = |part: &Part<CpuMemory>| {
        let Stored::Dense(weight) = &part.weight else { unreachable!("these cases have dense weights") };
        Part { weight: Stored::Dense(weight.clone()), bias: None }
    };
    Linear::new(weights.in_features(), Split::Replicated, weights.parts().iter().map(part).collect())
}
