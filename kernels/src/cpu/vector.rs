//! Functions of whole vectors in f32, in the lanes of a level.

use super::simd::{Load, Simd, Store};
use crate::backend::Activation;

/// Walks slices of one length a vector at a time, the last one cut to what is left.
macro_rules! for_vectors {
    ($S:ident, $len:expr, |$at:ident, $count:ident| $body:block) => {
        let len = $len;
        let mut $at = 0;
        while $at < len {
            let $count = $S::LANES.min(len - $at);
            $body
            $at += $count;
        }
    };
}

/// A vector of values; what is past the end is zero.
#[inline(always)]
fn take<S: Simd>(simd: S, from: &[f32], at: usize, count: usize) -> S::V {
    let from = &from[at..at + count];
    // SAFETY: `count` values are there, and `count == LANES` where a whole vector is read.
    unsafe { if count == S::LANES { simd.load(from.as_ptr()) } else { f32::load_part(simd, from.as_ptr(), count) } }
}

/// Puts a vector's first values back.
#[inline(always)]
fn put<S: Simd>(simd: S, to: &mut [f32], at: usize, count: usize, v: S::V) {
    let to = &mut to[at..at + count];
    // SAFETY: `count` values are there, and `count == LANES` where a whole vector is written.
    unsafe {
        if count == S::LANES {
            simd.store(to.as_mut_ptr(), v);
        } else {
            f32::store_part(simd, to.as_mut_ptr(), v, count);
        }
    }
}

/// `to += from`
#[inline(always)]
pub(super) fn add<S: Simd>(simd: S, from: &[f32], to: &mut [f32]) {
    for_vectors!(S, to.len(), |at, count| {
        let sum = simd.add(take(simd, to, at, count), take(simd, from, at, count));
        put(simd, to, at, count, sum);
    });
}

/// `values *= factor`
#[inline(always)]
pub(super) fn scale<S: Simd>(simd: S, factor: f32, values: &mut [f32]) {
    for_vectors!(S, values.len(), |at, count| {
        let product = simd.mul(take(simd, values, at, count), simd.splat(factor));
        put(simd, values, at, count, product);
    });
}

/// `sum_i values[i]^2`, each lane its own places, lanes last.
#[inline(always)]
pub(super) fn sum_of_squares<S: Simd>(simd: S, values: &[f32]) -> f32 {
    let mut sum = simd.splat(0.0);
    for_vectors!(S, values.len(), |at, count| {
        let v = take(simd, values, at, count);
        sum = simd.mul_add(v, v, sum);
    });
    simd.sum(sum)
}

/// `values = values * inverse * weight`
#[inline(always)]
pub(super) fn norm<S: Simd>(simd: S, inverse: f32, weight: &[f32], values: &mut [f32]) {
    for_vectors!(S, values.len(), |at, count| {
        let normed = simd.mul(take(simd, values, at, count), simd.splat(inverse));
        put(simd, values, at, count, simd.mul(normed, take(simd, weight, at, count)));
    });
}

/// `ups = activation(gates) * ups`
#[inline(always)]
pub(super) fn gate<S: Simd>(simd: S, activation: Activation, gates: &[f32], ups: &mut [f32]) {
    for_vectors!(S, ups.len(), |at, count| {
        let x = take(simd, gates, at, count);
        let activated = match activation {
            Activation::Silu => silu(simd, x),
            Activation::Gelu => gelu(simd, x),
            Activation::GeluTanh => gelu_tanh(simd, x),
        };
        put(simd, ups, at, count, simd.mul(activated, take(simd, ups, at, count)));
    });
}

/// `x / (1 + e^-x)`
#[inline(always)]
fn silu<S: Simd>(simd: S, x: S::V) -> S::V {
    let one = simd.splat(1.0);
    let power = simd.exp(simd.sub(simd.splat(0.0), x));
    simd.div(x, simd.add(one, power))
}

/// `x/2 (1 + tanh(u)) = x / (1 + e^-2u)`, with `u = sqrt(2/pi) (x + 0.044715 x^3)`
#[inline(always)]
fn gelu_tanh<S: Simd>(simd: S, x: S::V) -> S::V {
    // sqrt(8/pi), for -2u.
    const ROOT: f32 = 1.595_769;
    let cubic = simd.mul_add(simd.mul(simd.mul(x, x), simd.splat(0.044_715)), x, x);
    let power = simd.exp(simd.mul(simd.splat(-ROOT), cubic));
    simd.div(x, simd.add(simd.splat(1.0), power))
}

/// `x/2 (1 + erf(x / sqrt 2))`, where `erfc(z) = t e^(-z^2 + p(t))`, `t = 1 / (1 + z/2)`, `z = |x| / sqrt 2`: a
/// Chebyshev fit with a relative error below 1.2e-7 everywhere.
#[inline(always)]
fn gelu<S: Simd>(simd: S, x: S::V) -> S::V {
    const FIT: [f32; 10] = [
        0.170_872_77,
        -0.822_152_23,
        1.488_515_9,
        -1.135_204,
        0.278_868_07,
        -0.186_288_06,
        0.096_784_18,
        0.374_091_96,
        1.000_023_7,
        -1.265_512_2,
    ];
    let (zero, one, half) = (simd.splat(0.0), simd.splat(1.0), simd.splat(0.5));
    let size = simd.max(x, simd.sub(zero, x));
    let z = simd.mul(size, simd.splat(std::f32::consts::FRAC_1_SQRT_2));
    let t = simd.div(one, simd.mul_add(z, half, one));
    let mut p = simd.splat(FIT[0]);
    for coefficient in &FIT[1..] {
        p = simd.mul_add(p, t, simd.splat(*coefficient));
    }
    let upper_tail = simd.mul(simd.mul(half, t), simd.exp(simd.sub(p, simd.mul(z, z))));
    // The tail beyond |x|: x times it for negative x, x less that for positive.
    let tail = simd.mul(size, upper_tail);
    simd.sub(simd.max(x, zero), tail)
}

/// `values = values * before + other * after`
#[inline(always)]
pub(super) fn blend<S: Simd>(simd: S, before: f32, values: &mut [f32], after: f32, other: &[f32]) {
    for_vectors!(S, values.len(), |at, count| {
        let kept = simd.mul(take(simd, values, at, count), simd.splat(before));
        put(simd, values, at, count, simd.mul_add(take(simd, other, at, count), simd.splat(after), kept));
    });
}
