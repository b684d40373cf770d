//! Dense operations, formula by formula.

use loam_kernels::Error;
use loam_kernels::backend::{
    Activation, Add, AddRmsNorm, ApplyLinear, Dense, Embed, Gate, GatherRows, Product, QkNorm, RmsNorm, TakeTokens,
};
use loam_kernels::layout::{Linear, PairList, RowSet, Rows, Stored};

use super::memory::{dot, put_row, put_token, row};
use super::{Slow, SlowMemory, SlowStep};

impl Dense for Slow {
    fn take_tokens(&self, step: &SlowStep, mut op: TakeTokens<'_, SlowMemory>) -> Result<(), Error> {
        op.check(&step.0)?;
        for it in step.0.taken() {
            let token = op.tokens.memory().token(op.tokens.offset() + it.place as usize * op.tokens.stride());
            step.tokens()[it.row as usize] = token.min(step.0.limits().vocabulary as u32 - 1);
        }
        for (row, token) in step.tokens().iter().enumerate() {
            put_token(&mut op.known, row, 0, *token);
        }
        Ok(())
    }

    fn embed(&self, step: &SlowStep, mut op: Embed<'_, SlowMemory>) -> Result<(), Error> {
        op.check(&step.0)?;
        let width = op.out.width();
        for (to, &token) in step.tokens().iter().enumerate() {
            let values: Vec<f32> = (0..width).map(|i| op.table.value(token as usize * width + i)).collect();
            put_row(&mut op.out, to, &values);
        }
        Ok(())
    }

    fn rms_norm(&self, mut op: RmsNorm<'_, SlowMemory>) -> Result<(), Error> {
        op.check()?;
        let weight = op.weight.widened();
        for at in 0..op.x.rows() {
            let (values, inverse) = normed(&row(&op.x, at), &weight, op.epsilon);
            put_row(&mut op.out, at, &values);
            if let Some(out) = &mut op.inverse {
                put_row(out, at, &[inverse]);
            }
        }
        Ok(())
    }

    fn add_rms_norm(&self, step: &SlowStep, mut op: AddRmsNorm<'_, SlowMemory>) -> Result<(), Error> {
        op.check(&step.0)?;
        let weight = op.weight.widened();
        for at in 0..op.x.rows() {
            let mut added = row(&op.x, at);
            add_delta(&mut added, op.delta.as_ref(), step.0.pairs(op.set), at);
            let mut residual = row(&op.residual.reading(), at);
            residual.iter_mut().zip(&added).for_each(|(residual, added)| *residual += added);
            put_row(&mut op.residual, at, &residual);
            // What is normed is what the stream holds, after rounding.
            let (values, inverse) = normed(&row(&op.residual.reading(), at), &weight, op.epsilon);
            put_row(&mut op.out, at, &values);
            if let Some(out) = &mut op.inverse {
                put_row(out, at, &[inverse]);
            }
        }
        Ok(())
    }

    fn qk_norm(&self, step: &SlowStep, mut op: QkNorm<'_, SlowMemory>) -> Result<(), Error> {
        op.check(&step.0)?;
        let (q_weight, k_weight, heads) = (op.q_weight.widened(), op.k_weight.widened(), op.heads);
        for at in 0..op.qkv.rows() {
            let mut values = row(&op.qkv.reading(), at);
            add_delta(&mut values, op.delta.as_ref(), step.0.pairs(RowSet::Batch), at);
            for head in 0..heads.q_heads + heads.kv_heads {
                let weight = if head < heads.q_heads { &q_weight } else { &k_weight };
                let values = &mut values[head * heads.head_dim..][..heads.head_dim];
                let (normed, _) = normed(values, weight, op.epsilon);
                values.copy_from_slice(&normed);
            }
            put_row(&mut op.qkv, at, &values);
        }
        Ok(())
    }

    fn linear(&self, mut op: ApplyLinear<'_, SlowMemory>) -> Result<(), Error> {
        op.check()?;
        let parts = WideParts::of(op.weights);
        for at in 0..op.x.rows() {
            put_row(&mut op.out, at, &parts.apply(&row(&op.x, at)));
        }
        Ok(())
    }

    fn product(&self, mut op: Product<'_, SlowMemory>) -> Result<(), Error> {
        op.check()?;
        let (a, b) = (all_rows(&op.a, op.a_transposed), all_rows(&op.b, op.b_transposed));
        for (m, a) in a.iter().enumerate() {
            let product = |n: usize| a.iter().zip(&b).fold(0.0, |sum, (a, b)| sum + a * b[n]);
            let products: Vec<f32> = (0..op.out.width()).map(product).collect();
            put_row(&mut op.out, m, &products);
        }
        Ok(())
    }

    fn gate(&self, step: &SlowStep, mut op: Gate<'_, SlowMemory>) -> Result<(), Error> {
        op.check(&step.0)?;
        for at in 0..op.out.rows() {
            let mut values = row(&op.gate_up, at);
            add_delta(&mut values, op.delta.as_ref(), step.0.pairs(RowSet::Batch), at);
            let (gates, ups) = values.split_at(op.out.width());
            let gated: Vec<f32> = gates.iter().zip(ups).map(|(gate, up)| activate(op.activation, *gate) * up).collect();
            put_row(&mut op.out, at, &gated);
        }
        Ok(())
    }

    fn add(&self, step: &SlowStep, mut op: Add<'_, SlowMemory>) -> Result<(), Error> {
        op.check(&step.0)?;
        let pairs = step.0.pairs(op.set);
        for at in (0..op.x.rows()).filter(|at| !pairs.of_row(*at).is_empty()) {
            let mut values = row(&op.x.reading(), at);
            add_delta(&mut values, Some(&op.delta), pairs, at);
            put_row(&mut op.x, at, &values);
        }
        Ok(())
    }

    fn gather_rows(&self, step: &SlowStep, mut op: GatherRows<'_, SlowMemory>) -> Result<(), Error> {
        op.check(&step.0)?;
        for to in 0..op.out.rows() {
            let from = match op.set {
                RowSet::Batch => to,
                RowSet::Sampled => step.0.sampled()[to] as usize,
                RowSet::Scored => step.0.scored()[to].row as usize,
            };
            put_row(&mut op.out, to, &row(&op.x, from));
        }
        Ok(())
    }
}

/// Adds a row's delta, where the row has an adapter.
pub(super) fn add_delta(values: &mut [f32], delta: Option<&Rows<'_, SlowMemory>>, pairs: &PairList, at: usize) {
    let Some(delta) = delta.filter(|_| !pairs.is_empty() && !pairs.of_row(at).is_empty()) else { return };
    values.iter_mut().zip(row(delta, at)).for_each(|(value, delta)| *value += delta);
}

/// A normed row, and its inverse norm.
fn normed(x: &[f32], weight: &[f32], epsilon: f32) -> (Vec<f32>, f32) {
    let inverse = 1.0 / (dot(x, x) / x.len() as f32 + epsilon).sqrt();
    (x.iter().zip(weight).map(|(x, weight)| x * inverse * weight).collect(), inverse)
}

/// A matrix's rows as if it were not transposed.
fn all_rows(matrix: &Rows<'_, SlowMemory>, transposed: bool) -> Vec<Vec<f32>> {
    let rows: Vec<Vec<f32>> = (0..matrix.rows()).map(|at| row(matrix, at)).collect();
    if !transposed {
        return rows;
    }
    (0..matrix.width()).map(|column| rows.iter().map(|row| row[column]).collect()).collect()
}

/// A stack of layers, widened once for all rows.
pub(super) struct WideParts {
    in_features: usize,
    parts: Vec<(Vec<f32>, Option<Vec<f32>>)>,
}

impl WideParts {
    pub(super) fn of(weights: &Linear<SlowMemory>) -> Self {
        let parts = weights.parts().iter().map(|part| {
            let Stored::Dense(weight) = &part.weight else { unreachable!("there is one form of weights") };
            (weight.widened(), part.bias.as_ref().map(|bias| bias.widened()))
        });
        Self { in_features: weights.in_features(), parts: parts.collect() }
    }

    /// One output row.
    pub(super) fn apply(&self, x: &[f32]) -> Vec<f32> {
        let mut out = Vec::new();
        for (weight, bias) in &self.parts {
            for (o, weight) in weight.chunks_exact(self.in_features).enumerate() {
                out.push(dot(x, weight) + bias.as_ref().map_or(0.0, |bias| bias[o]));
            }
        }
        out
    }
}

fn activate(activation: Activation, x: f32) -> f32 {
    let wide = f64::from(x);
    let value = match activation {
        Activation::Silu => wide / (1.0 + (-wide).exp()),
        Activation::Gelu => wide / 2.0 * (1.0 + erf(wide / std::f64::consts::SQRT_2)),
        Activation::GeluTanh => {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (wide + 0.044715 * wide.powi(3));
            wide / 2.0 * (1.0 + inner.tanh())
        }
    };
    value as f32
}

/// The error function: its series near zero, its continued fraction further out.
fn erf(x: f64) -> f64 {
    let (magnitude, square) = (x.abs(), x * x);
    if magnitude < 2.5 {
        let (mut term, mut sum) = (x, x);
        for n in 1..80 {
            term *= -square / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        return sum * 2.0 / std::f64::consts::PI.sqrt();
    }
    let fraction = (1..60).rev().fold(magnitude, |inner, n| magnitude + f64::from(n) / 2.0 / inner);
    let beyond = (-square).exp() / std::f64::consts::PI.sqrt() / fraction;
    (1.0 - beyond).copysign(x)
}
