//! Adapters, in f64.

use loam_kernels::layout::Pair;

use super::dense::Sum;
use super::dot;
use crate::check::{F32_ROUND, Want, sum_error};
use crate::values::Values;

/// One module of an adapter, widened from what PEFT stores: `A` is `[rank, in]`, `B` is `[out, rank]`.
#[derive(Clone, Debug)]
pub(crate) struct Module {
    pub(crate) scale: f32,
    pub(crate) a: Vec<Vec<f64>>,
    pub(crate) b: Vec<Vec<f64>>,
}

impl Module {
    pub(crate) const fn rank(&self) -> usize {
        self.a.len()
    }
}

/// `h[pair, r] = sum_k x[row, k] * A[r, k]`, modules one after the other; beyond the rank what was there stays.
pub(crate) fn shrink(x: &[f64], modules: &[Module], width: usize) -> Vec<Want> {
    let one = |a: &Vec<f64>| {
        let (value, magnitude) = dot(x, a);
        Want::Near { value, slack: sum_error(x.len()) * magnitude }
    };
    let mut h: Vec<Want> = modules.iter().flat_map(|module| module.a.iter().map(one)).collect();
    h.resize(width, Want::Untouched);
    h
}

/// `h[pair, r] = A[r, token]`.
pub(crate) fn shrink_token(token: u32, modules: &[Module], width: usize) -> Vec<Want> {
    let rows = modules.iter().flat_map(|module| &module.a);
    let mut h: Vec<Want> = rows.map(|a| Want::Exactly(a[token as usize])).collect();
    h.resize(width, Want::Untouched);
    h
}

/// `delta[o] = sum_pairs sum_r (weight[pair] * scale[module] * h[pair, r]) * B[o, r]` of one row, by its own pairs,
/// each with its place in `h`.
pub(crate) fn expand(h: &Values, pairs: &[(usize, Pair, &[Module])]) -> Vec<Sum> {
    let modules = pairs.first().map_or(0, |(_, _, modules)| modules.len());
    let h: Vec<Vec<f64>> = pairs.iter().map(|(at, ..)| h.row(*at)).collect();
    let mut delta = Vec::new();
    for module in 0..modules {
        // The weighted parts of `h` that this module reads, and the rows of `B` they meet, pair after pair.
        let mut weighted = Vec::new();
        for ((_, pair, adapter), h) in pairs.iter().zip(&h) {
            let h_at: usize = adapter[..module].iter().map(Module::rank).sum();
            let weight = f64::from(pair.weight) * f64::from(adapter[module].scale);
            weighted.extend(h[h_at..h_at + adapter[module].rank()].iter().map(|h| weight * h));
        }
        for o in 0..pairs[0].2[module].b.len() {
            let b: Vec<f64> = pairs.iter().flat_map(|(_, _, adapter)| adapter[module].b[o].iter().copied()).collect();
            let (value, magnitude) = dot(&weighted, &b);
            // Weight, scale and h are multiplied, and rounded, before the sum.
            delta.push(Sum { value, slack: (sum_error(b.len()) + 4.0 * F32_ROUND) * magnitude });
        }
    }
    delta
}
