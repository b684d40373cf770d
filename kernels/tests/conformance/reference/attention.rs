//! Rotation, pages and attention, in f64.

use loam_kernels::layout::{DType, KvShape};

use super::dense::Sum;
use super::dot;
use crate::check::{F32_ROUND, Want, sum_error};
use crate::random::Random;
use crate::scene::Scene;
use crate::values::Values;

/// Keys or values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Half {
    Keys = 0,
    Values = 1,
}

/// All pages, as the documented shape says: `[layers, 2, kv_heads, page_tokens, head_dim]` each.
#[derive(Clone, Debug)]
pub(crate) struct Pages {
    pub(crate) shape: KvShape,
    /// One row a page.
    pub(crate) held: Values,
}

impl Pages {
    pub(crate) fn poisoned(shape: KvShape, dtype: DType, pages: usize) -> Self {
        let len = shape.layers * 2 * shape.kv_heads * shape.page_tokens * shape.head_dim;
        Self { shape, held: Values::poisoned(dtype, pages, len) }
    }

    /// Where a head's values at a place begin in a page.
    pub(crate) const fn at(&self, layer: usize, half: Half, kv_head: usize, place: usize) -> usize {
        let KvShape { kv_heads, head_dim, page_tokens, .. } = self.shape;
        (((layer * 2 + half as usize) * kv_heads + kv_head) * page_tokens + place) * head_dim
    }

    fn head(&self, layer: usize, half: Half, kv_head: usize, (page, place): (u32, usize)) -> Vec<f64> {
        let at = self.at(layer, half, kv_head, place);
        (at..at + self.shape.head_dim).map(|column| self.held.at(page as usize, column)).collect()
    }

    /// Writes what earlier steps and this one's own rows would have left: what some row sees, and nothing else.
    pub(crate) fn fill(&mut self, random: &mut Random, scene: &Scene, layer: usize, window: Option<u32>) {
        let mut filled = std::collections::HashSet::new();
        for segment in scene.inputs.segments.iter().filter(|segment| segment.rows > 0) {
            let seen = first_seen(segment.first_position, window)..segment.first_position + segment.rows;
            for (page, place) in seen.map(|position| scene.place(segment, position)) {
                // A page that requests share holds one thing.
                if filled.insert((page, place)) {
                    self.fill_place(random, layer, page, place);
                }
            }
        }
    }

    fn fill_place(&mut self, random: &mut Random, layer: usize, page: u32, place: usize) {
        for kv_head in 0..self.shape.kv_heads {
            for half in [Half::Keys, Half::Values] {
                let at = self.at(layer, half, kv_head, place);
                for column in at..at + self.shape.head_dim {
                    // Keys are large enough for scores to differ.
                    let scale = if half == Half::Keys { 3.0 } else { 1.0 };
                    self.held.set(page as usize, column, scale * random.signed());
                }
            }
        }
    }
}

/// The first position that a row sees: `max(0, p + 1 - window)`.
pub(crate) const fn first_seen(position: u32, window: Option<u32>) -> u32 {
    match window {
        Some(window) => (position + 1).saturating_sub(window),
        None => 0,
    }
}

/// A head turned: pairs `i` and `i + rotary_dim / 2`, `(a, b) -> (a c - b s, b c + a s)`.
pub(crate) fn rotated(head: &[Sum], angles: &[f64]) -> Vec<Want> {
    let (cosines, sines) = angles.split_at(angles.len() / 2);
    let pairs = cosines.len();
    let turned = |x: Sum, cosine: f64, y: Sum, sine: f64| {
        let (one, other) = (x.value * cosine, y.value * sine);
        let slack = 4.0 * F32_ROUND * (one.abs() + other.abs()) + x.slack * cosine.abs() + y.slack * sine.abs();
        Want::Near { value: one + other, slack }
    };
    let value = |i: usize| match i {
        i if i < pairs => turned(head[i], cosines[i], head[i + pairs], -sines[i]),
        i if i < 2 * pairs => turned(head[i], cosines[i - pairs], head[i - pairs], sines[i - pairs]),
        i => head[i].want(),
    };
    (0..head.len()).map(value).collect()
}

/// What attention reads.
#[derive(Debug)]
pub(crate) struct Attending<'a> {
    pub(crate) scene: &'a Scene,
    pub(crate) q: &'a Values,
    pub(crate) pages: &'a Pages,
    pub(crate) layer: usize,
    pub(crate) scale: f32,
    pub(crate) window: Option<u32>,
}

impl Attending<'_> {
    /// Outputs `[rows, q_heads * head_dim]`, and `log sum_j exp(score_j)` of `[rows, q_heads]`.
    pub(crate) fn wanted(&self) -> (Vec<Want>, Vec<Want>) {
        let KvShape { kv_heads, head_dim, .. } = self.pages.shape;
        let q_heads = self.q.width / head_dim;
        let (rows, mut row) = (self.q.rows, 0);
        let mut out = vec![Want::Anything; rows * q_heads * head_dim];
        let mut sums = vec![Want::Anything; rows * q_heads];
        for segment in &self.scene.inputs.segments {
            let end = segment.first_position + segment.rows;
            let first = if segment.rows == 0 { end } else { first_seen(segment.first_position, self.window) };
            for kv_head in 0..kv_heads {
                let read = |half| {
                    let places = (first..end).map(|position| self.scene.place(segment, position));
                    places.map(|place| self.pages.head(self.layer, half, kv_head, place)).collect::<Vec<_>>()
                };
                let (keys, values) = (read(Half::Keys), read(Half::Values));
                for of in 0..segment.rows {
                    let position = segment.first_position + of;
                    let from = (first_seen(position, self.window) - first) as usize;
                    let to = (position + 1 - first) as usize;
                    let row = row + of as usize;
                    for head in (0..q_heads).filter(|head| head / (q_heads / kv_heads) == kv_head) {
                        let q: Vec<f64> =
                            (0..head_dim).map(|column| self.q.at(row, head * head_dim + column)).collect();
                        let (wanted, sum) = attend(&q, f64::from(self.scale), &keys[from..to], &values[from..to]);
                        let at = row * q_heads + head;
                        out[at * head_dim..][..head_dim].copy_from_slice(&wanted);
                        sums[at] = sum;
                    }
                }
            }
            row += segment.rows as usize;
        }
        (out, sums)
    }
}

/// One row's head over the positions that it sees.
fn attend(q: &[f64], scale: f64, keys: &[Vec<f64>], values: &[Vec<f64>]) -> (Vec<Want>, Want) {
    let scored = |key: &Vec<f64>| {
        let (value, magnitude) = dot(q, key);
        Sum { value: scale * value, slack: scale.abs() * magnitude * (sum_error(q.len()) + 2.0 * F32_ROUND) }
    };
    let scores: Vec<Sum> = keys.iter().map(scored).collect();
    let most = scores.iter().map(|score| score.value).fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = scores.iter().map(|score| (score.value - most).exp()).collect();
    let total: f64 = weights.iter().sum();
    // A weight errs by its score's error, by that of the difference from the maximum, and by the exponential's own.
    let errs: Vec<f64> = scores
        .iter()
        .map(|score| score.slack + 2.0 * F32_ROUND * (score.value.abs() + most.abs()) + 8.0 * F32_ROUND)
        .collect();
    let shares = weights.iter().map(|weight| weight / total);
    let total_errs = together(shares.clone().zip(&errs).map(|(share, errs)| share * errs));
    let summing = sum_error(keys.len()) + 16.0 * F32_ROUND;
    let wanted = |column: usize| {
        let terms = shares.clone().zip(values).map(|(share, v)| share * v[column]);
        let magnitude: f64 = terms.clone().map(f64::abs).sum();
        let weighted = together(terms.clone().zip(&errs).map(|(term, errs)| term.abs() * errs));
        Want::Near { value: terms.sum(), slack: weighted + magnitude * (total_errs + summing) }
    };
    let sum = most + total.ln();
    let slack = total_errs + summing + 4.0 * F32_ROUND * (sum.abs() + most.abs());
    ((0..q.len()).map(wanted).collect(), Want::Near { value: sum, slack })
}

/// Errors that have nothing to do with each other: together at most their sum, and hardly four deviations of it.
fn together(errors: impl Iterator<Item = f64>) -> f64 {
    let (sum, squares) = errors.fold((0.0, 0.0), |(sum, squares), error| (sum + error, squares + error * error));
    f64::min(sum, 4.0 * f64::sqrt(squares))
}
