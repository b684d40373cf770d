//! Linear layers: types, biases, stacks, strided views.

use std::sync::Arc;

use loam_kernels::backend::{ApplyLinear, Dense, Device};
use loam_kernels::layout::{DType, Linear, Part, Split, Stored};

use super::{ACTIVATIONS, WEIGHTS};
use crate::check::{Mismatch, compare};
use crate::cover::cases;
use crate::random::Random;
use crate::reference::dense::{self, Layer};
use crate::scene::ROWS;
use crate::sheet::{FRAMES, Frame, Sheet, upload};
use crate::values::Values;

/// One linear, or a stack.
#[derive(Clone, Debug)]
pub(crate) struct LinearCase {
    seed: u64,
    rows: usize,
    in_features: usize,
    /// Outputs of each layer of the stack.
    parts: Vec<usize>,
    x: DType,
    /// Types of the layers' weights, in turn.
    weights: Vec<DType>,
    /// Types of the layers' biases, in turn.
    biases: Vec<Option<DType>>,
    out: DType,
    x_frame: Frame,
    out_frame: Frame,
}

/// All of it, in pairs.
pub(crate) fn cases() -> Vec<LinearCase> {
    let mut stacks = vec![vec![1], vec![5], vec![64, 16, 16], vec![33, 7, 8], vec![511]];
    if crate::cover::long() {
        stacks.extend([vec![4096, 1024, 1024], vec![14336, 14336], vec![32000]]);
    }
    let weight_types: Vec<Vec<DType>> =
        WEIGHTS.iter().map(|dtype| vec![*dtype]).chain([vec![DType::Bf16, DType::F32, DType::F16]]).collect();
    let bias_types = [vec![None], vec![Some(DType::F32)], vec![Some(DType::Bf16), None], vec![None, Some(DType::F16)]];
    let cases = cases!(LinearCase {
        rows: ROWS,
        in_features: super::widths(),
        parts: stacks,
        x: ACTIVATIONS,
        weights: weight_types,
        biases: bias_types,
        out: ACTIVATIONS,
        x_frame: FRAMES,
        out_frame: FRAMES,
    });
    let products = |case: &LinearCase| case.rows * case.in_features * case.parts.iter().sum::<usize>();
    let affordable = |case: &LinearCase| products(case) < super::PRODUCTS_MAX;
    cases.into_iter().filter(affordable).collect()
}

/// Layers on a device, as the stack says.
pub(crate) fn linear_of<D: Device>(
    device: &D,
    in_features: usize,
    layers: &[Layer],
) -> Result<Linear<D::Memory>, Mismatch> {
    let part = |layer: &Layer| {
        let weight = Stored::Dense(Arc::new(upload(device, &layer.weight)?));
        let bias = layer.bias.as_ref().map(|bias| upload(device, bias)).transpose()?;
        Ok(Part { weight, bias: bias.map(Arc::new) })
    };
    let parts = layers.iter().map(part).collect::<Result<Vec<_>, Mismatch>>()?;
    Ok(Linear::new(in_features, Split::Replicated, parts)?)
}

/// The case's layers.
fn layers(random: &mut Random, case: &LinearCase) -> Vec<Layer> {
    let layer = |(index, out): (usize, &usize)| {
        let dtype = case.weights[index % case.weights.len()];
        let bias = case.biases[index % case.biases.len()];
        Layer {
            weight: Values::random(random, dtype, *out, case.in_features),
            bias: bias.map(|dtype| Values::vector(random, dtype, *out)),
        }
    };
    case.parts.iter().enumerate().map(layer).collect()
}

/// Its check.
pub(crate) fn check<B: Dense>(device: &B, case: &LinearCase) -> Result<(), Mismatch> {
    let mut random = Random::new(case.seed);
    let layers = layers(&mut random, case);
    let x = Values::random(&mut random, case.x, case.rows, case.in_features);
    let weights = linear_of(device, case.in_features, &layers)?;
    let on_device = Sheet::new(device, &x, case.x_frame)?;
    let mut out = Sheet::poisoned(device, case.out, case.rows, case.parts.iter().sum(), case.out_frame)?;
    device.linear(ApplyLinear { x: on_device.reading()?, weights: &weights, out: out.writing()? })?;
    let want: Vec<_> = dense::linear(&x, &layers).iter().flatten().map(|sum| sum.want()).collect();
    compare(device, "out", &out, &want)
}
