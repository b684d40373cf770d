//! Norms: plain, over the residual stream, and of heads.

use loam_kernels::backend::{AddRmsNorm, Dense, HeadShape, QkNorm, RmsNorm};
use loam_kernels::layout::{DType, RowSet};

use super::rows::{RowsCase, cases_over};
use super::{ACTIVATIONS, SETS, WEIGHTS};
use crate::check::{Mismatch, Want, compare};
use crate::cover::cases;
use crate::random::Random;
use crate::reference::dense::{self, Sum};
use crate::scene::{POPULARITIES, Popularity, ROWS};
use crate::sheet::{FRAMES, Frame, Sheet, upload};
use crate::values::Values;

/// Large enough that leaving it out shows.
const EPSILON: f32 = 1e-2;

/// All of it, in pairs.
pub(crate) fn rms_norm_cases() -> Vec<RowsCase> {
    cases_over(&[RowSet::Batch], WEIGHTS)
}

/// All of it, in pairs.
pub(crate) fn add_rms_norm_cases() -> Vec<RowsCase> {
    cases_over(SETS, WEIGHTS)
}

/// Norms of rows as they are held.
fn wanted(x: &Values, weight: &Values) -> (Vec<Want>, Vec<Want>) {
    let weight = weight.row(0);
    let mut out = Vec::new();
    let one = |row: Vec<f64>| {
        let row: Vec<Sum> = row.into_iter().map(Sum::exact).collect();
        let (normed, inverse) = dense::rms_norm(&row, &weight, EPSILON);
        out.extend(normed);
        inverse
    };
    let inverses = x.widened().into_iter().map(one).collect();
    (out, inverses)
}

/// `out = x * inverse * weight`.
pub(crate) fn check_rms_norm<B: Dense>(device: &B, case: &RowsCase) -> Result<(), Mismatch> {
    let mut random = Random::new(case.seed);
    let x = Values::random(&mut random, case.from, case.rows, case.width);
    let weight = Values::vector(&mut random, case.weight, case.width);
    let (x_sheet, weight_memory) = (Sheet::new(device, &x, case.frame)?, upload(device, &weight)?);
    let mut out = Sheet::poisoned(device, case.out, case.rows, case.width, case.out_frame)?;
    let mut inverse = Sheet::poisoned(device, DType::F32, case.rows, 1, case.out_frame)?;
    device.rms_norm(RmsNorm {
        x: x_sheet.reading()?,
        weight: &weight_memory,
        epsilon: EPSILON,
        out: out.writing()?,
        inverse: if case.inverse { Some(inverse.writing()?) } else { None },
    })?;
    let (want, inverses) = wanted(&x, &weight);
    compare(device, "out", &out, &want)?;
    if case.inverse { compare(device, "inverse", &inverse, &inverses) } else { Ok(()) }
}

/// `residual += x + delta`; what is normed is the residual stream as it is held then.
pub(crate) fn check_add_rms_norm<B: Dense>(device: &B, case: &RowsCase) -> Result<(), Mismatch> {
    let mut random = Random::new(case.seed);
    let scene = case.scene(&mut random);
    let with_adapter = scene.with_adapter(case.set);
    let rows = with_adapter.len();
    // The stream's type and the output's are chosen apart.
    let stream = if case.seed.is_multiple_of(3) { DType::Bf16 } else { case.out };
    let before = Values::random(&mut random, stream, rows, case.width);
    let x = Values::random(&mut random, case.from, rows, case.width);
    let delta = case.delta(&mut random, &with_adapter, case.width);
    let weight = Values::vector(&mut random, case.weight, case.width);
    let (x_sheet, weight_memory) = (Sheet::new(device, &x, case.frame)?, upload(device, &weight)?);
    let delta_sheet = delta.as_ref().map(|delta| Sheet::new(device, delta, case.out_frame)).transpose()?;
    let mut residual = Sheet::new(device, &before, case.frame)?;
    let mut out = Sheet::poisoned(device, case.out, rows, case.width, case.out_frame)?;
    let mut inverse = Sheet::poisoned(device, DType::F32, rows, 1, case.out_frame)?;
    let step = device.step(scene.inputs.clone(), scene.limits)?;
    device.add_rms_norm(
        &step,
        AddRmsNorm {
            residual: residual.writing()?,
            x: x_sheet.reading()?,
            delta: delta_sheet.as_ref().map(Sheet::reading).transpose()?,
            set: case.set,
            weight: &weight_memory,
            epsilon: EPSILON,
            out: out.writing()?,
            inverse: if case.inverse { Some(inverse.writing()?) } else { None },
        },
    )?;
    let sums = dense::plus_delta(&x, delta.as_ref(), &with_adapter);
    let added = sums.iter().zip(before.widened()).flat_map(|(row, before)| {
        row.iter().zip(before).map(|(sum, before)| sum.plus(before).want()).collect::<Vec<_>>()
    });
    compare(device, "residual", &residual, &added.collect::<Vec<_>>())?;
    let (want, inverses) = wanted(&residual.values(device)?, &weight);
    compare(device, "out", &out, &want)?;
    if case.inverse { compare(device, "inverse", &inverse, &inverses) } else { Ok(()) }
}

/// Norms of queries and keys.
#[derive(Clone, Debug)]
pub(crate) struct QkNormCase {
    seed: u64,
    row_count: usize,
    q_heads: usize,
    kv_heads: usize,
    head_dim: usize,
    qkv: DType,
    weight: DType,
    delta: bool,
    popularity: Popularity,
    frame: Frame,
}

/// All of it, in pairs.
pub(crate) fn qk_norm_cases() -> Vec<QkNormCase> {
    let all = cases!(QkNormCase {
        row_count: ROWS,
        q_heads: [1, 2, 6],
        kv_heads: [1, 2],
        head_dim: [5, 64, 96, 128],
        qkv: ACTIVATIONS,
        weight: WEIGHTS,
        delta: [true, false],
        popularity: POPULARITIES,
        frame: FRAMES,
    });
    all.into_iter().filter(|case| case.q_heads.is_multiple_of(case.kv_heads)).collect()
}

/// `qkv += delta`; then each head of q and of k is normed.
pub(crate) fn check_qk_norm<B: Dense>(device: &B, case: &QkNormCase) -> Result<(), Mismatch> {
    let mut random = Random::new(case.seed);
    let QkNormCase { q_heads, kv_heads, head_dim, .. } = *case;
    let heads = HeadShape { q_heads, kv_heads, head_dim };
    let width = (q_heads + 2 * kv_heads) * head_dim;
    let rows = RowsCase {
        seed: case.seed,
        rows: case.row_count,
        width,
        set: RowSet::Batch,
        from: case.qkv,
        weight: case.weight,
        out: case.qkv,
        delta: case.delta,
        inverse: false,
        popularity: case.popularity,
        frame: case.frame,
        out_frame: case.frame,
    };
    let scene = rows.scene(&mut random);
    let with_adapter = scene.with_adapter(RowSet::Batch);
    let before = Values::random(&mut random, case.qkv, case.row_count, width);
    let delta = rows.delta(&mut random, &with_adapter, width);
    let [q_weight, k_weight] = [(); 2].map(|()| Values::vector(&mut random, case.weight, head_dim));
    let (q_memory, k_memory) = (upload(device, &q_weight)?, upload(device, &k_weight)?);
    let delta_sheet = delta.as_ref().map(|delta| Sheet::new(device, delta, case.frame)).transpose()?;
    let mut qkv = Sheet::new(device, &before, case.frame)?;
    let step = device.step(scene.inputs.clone(), scene.limits)?;
    device.qk_norm(
        &step,
        QkNorm {
            qkv: qkv.writing()?,
            delta: delta_sheet.as_ref().map(Sheet::reading).transpose()?,
            heads,
            q_weight: &q_memory,
            k_weight: &k_memory,
            epsilon: EPSILON,
        },
    )?;
    let sums = dense::plus_delta(&before, delta.as_ref(), &with_adapter);
    let (q_weight, k_weight) = (q_weight.row(0), k_weight.row(0));
    let want = sums.iter().flat_map(|row| dense::qk_norm(row, heads, &q_weight, &k_weight, EPSILON));
    compare(device, "qkv", &qkv, &want.collect::<Vec<_>>())
}
