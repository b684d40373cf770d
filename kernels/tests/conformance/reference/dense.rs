//! Norms, linears, activations, in f64.

use std::f64::consts::PI;

use loam_kernels::backend::{Activation, HeadShape};

use super::dot;
use crate::check::{F32_ROUND, Want, sum_error};
use crate::values::Values;

/// A value with how far f32 may be from it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sum {
    pub(crate) value: f64,
    pub(crate) slack: f64,
}

impl Sum {
    pub(crate) const fn exact(value: f64) -> Self {
        Self { value, slack: 0.0 }
    }

    pub(crate) fn plus(self, other: f64) -> Self {
        Self { value: self.value + other, slack: self.slack + 2.0 * F32_ROUND * (self.value.abs() + other.abs()) }
    }

    pub(crate) const fn want(self) -> Want {
        Want::Near { value: self.value, slack: self.slack }
    }
}

/// Rows of values with each one's delta, for the rows that have one.
pub(crate) fn plus_delta(x: &Values, delta: Option<&Values>, with_adapter: &[bool]) -> Vec<Vec<Sum>> {
    let row = |row: usize| {
        let values = x.row(row).into_iter().map(Sum::exact);
        match delta.filter(|_| with_adapter[row]) {
            Some(delta) => values.zip(delta.row(row)).map(|(value, delta)| value.plus(delta)).collect(),
            None => values.collect(),
        }
    };
    (0..x.rows).map(row).collect()
}

/// One layer of a stack: weights `[out, in]`, and a bias.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    pub(crate) weight: Values,
    pub(crate) bias: Option<Values>,
}

/// `out[row, o] = sum_k x[row, k] * weight[o, k] + bias[o]`, layers side by side.
pub(crate) fn linear(x: &Values, layers: &[Layer]) -> Vec<Vec<Sum>> {
    let mut out = vec![Vec::new(); x.rows];
    let x = x.widened();
    for Layer { weight, bias } in layers {
        let (weight, bias) = (weight.widened(), bias.as_ref().map(|bias| bias.row(0)));
        for (x, out) in x.iter().zip(&mut out) {
            for (o, weight) in weight.iter().enumerate() {
                let (value, magnitude) = dot(x, weight);
                let sum = Sum { value, slack: sum_error(x.len()) * magnitude };
                out.push(bias.as_ref().map_or(sum, |bias| sum.plus(bias[o])));
            }
        }
    }
    out
}

/// `out[m, n] = sum_k a[m, k] * b[k, n]`.
pub(crate) fn product(a: &Values, a_transposed: bool, b: &Values, b_transposed: bool) -> Vec<Want> {
    let a = if a_transposed { a.columns() } else { a.widened() };
    let b = if b_transposed { b.widened() } else { b.columns() };
    let mut out = Vec::with_capacity(a.len() * b.len());
    for a in &a {
        for b in &b {
            let (value, magnitude) = dot(a, b);
            out.push(Sum { value, slack: sum_error(a.len()) * magnitude }.want());
        }
    }
    out
}

/// `out[i] = x[i] * inverse * weight[i]`, `inverse = 1 / sqrt(mean_i x[i]^2 + epsilon)`; the inverse comes second.
pub(crate) fn rms_norm(x: &[Sum], weight: &[f64], epsilon: f32) -> (Vec<Want>, Want) {
    let squares: f64 = x.iter().map(|x| x.value * x.value).sum();
    let moved: f64 = x.iter().map(|x| 2.0 * x.value.abs() * x.slack).sum();
    let (width, epsilon) = (x.len() as f64, f64::from(epsilon));
    let mean = squares / width + epsilon;
    let inverse = 1.0 / mean.sqrt();
    // A root halves relative errors.
    let relative = 0.5 * (sum_error(x.len()) + moved / (width * mean)) + 8.0 * F32_ROUND;
    let out = x.iter().zip(weight).map(|(x, weight)| {
        let value = x.value * inverse * weight;
        Want::Near { value, slack: value.abs() * relative + x.slack * (inverse * weight).abs() }
    });
    (out.collect(), Want::Near { value: inverse, slack: inverse * relative })
}

/// Each head of q by `q_weight`, each of k by `k_weight`; v stays.
pub(crate) fn qk_norm(row: &[Sum], heads: HeadShape, q_weight: &[f64], k_weight: &[f64], epsilon: f32) -> Vec<Want> {
    let mut out = Vec::with_capacity(row.len());
    for (head, values) in row.chunks(heads.head_dim).enumerate() {
        if head < heads.q_heads {
            out.extend(rms_norm(values, q_weight, epsilon).0);
        } else if head < heads.q_heads + heads.kv_heads {
            out.extend(rms_norm(values, k_weight, epsilon).0);
        } else {
            out.extend(values.iter().map(|value| value.want()));
        }
    }
    out
}

/// `activation(gate[i]) * up[i]`, of a row that holds gates, then ups.
pub(crate) fn gate(activation: Activation, row: &[Sum]) -> Vec<Want> {
    let (gates, ups) = row.split_at(row.len() / 2);
    let one = |(gate, up): (&Sum, &Sum)| {
        let x = gate.value;
        let (activated, steepest) = match activation {
            Activation::Silu => (x / (1.0 + (-x).exp()), 1.1),
            Activation::Gelu => (x / 2.0 * (1.0 + erf(x / 2.0_f64.sqrt())), 1.13),
            Activation::GeluTanh => {
                let inner = (2.0 / PI).sqrt() * (x + 0.044715 * x.powi(3));
                (x / 2.0 * (1.0 + inner.tanh()), 1.13)
            }
        };
        // `1 + erf` and `1 + tanh` are rounded near one, wherever the result lies.
        let slack = steepest * gate.slack + 16.0 * F32_ROUND * x.abs();
        let value = activated * up.value;
        Want::Near { value, slack: slack * up.value.abs() + (activated.abs() + slack) * up.slack }
    };
    gates.iter().zip(ups).map(one).collect()
}

/// The error function: a series of positive terms, so that nothing cancels.
fn erf(x: f64) -> f64 {
    let (mut term, mut sum) = (x.abs(), x.abs());
    let mut odd = 1.0;
    while term > 1e-17 * sum {
        odd += 2.0;
        term *= 2.0 * x * x / odd;
        sum += term;
    }
    let value = if x.abs() > 6.0 { 1.0 } else { 2.0 / PI.sqrt() * (-x * x).exp() * sum };
    value.copysign(x)
}

#[test]
fn erf_at_known_places() {
    for (x, want) in
        [(0.0, 0.0), (0.5, 0.520_499_877_813_046_5), (1.0, 0.842_700_792_949_714_9), (-2.0, -0.995_322_265_018_952_7)]
    {
        assert!((erf(x) - want).abs() < 1e-14, "erf({x}) is {}", erf(x));
    }
}
