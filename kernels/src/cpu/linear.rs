//! Linear layers: dot products of rows with weights as stored.

use std::ops::Range;

use half::bf16;

use super::dots::{Dots, Target};
use super::memory::{AnyIn, AnyOut, In, room};
use super::pool::share;
use super::simd::{Level, Load};
use super::{Cpu, CpuMemory, for_weight};
use crate::backend::{ApplyLinear, Product};
use crate::error::Error;
use crate::layout::{DType, Element, Linear, Memory, Part, Rows, Stored};

/// Columns are divided among threads in runs of so many.
const COLUMNS_PER_UNIT: usize = 16;

impl Cpu {
    pub(super) fn apply_linear(&self, mut op: ApplyLinear<'_, CpuMemory>) -> Result<(), Error> {
        op.check()?;
        op.x.memory().expect_unchanged()?;
        op.out.memory_mut().expect_output()?;
        expect_unchanged(op.weights)?;
        let (rows, columns, k) = (op.x.rows(), op.weights.out_features(), op.weights.in_features());
        let units = columns.div_ceil(COLUMNS_PER_UNIT);
        let weight_bytes = op.weights.parts().iter().map(|part| part.dtype().bytes()).max().unwrap_or(1);
        let bytes = columns * k * weight_bytes * rows.div_ceil(4);
        let tasks = self.pool.tasks(units, bytes);
        let apart = Apart::of(&op.x)?;
        let (x, out) = (apart.as_ref().map_or(AnyIn::of(&op.x), Apart::rows), AnyOut::of(&mut op.out));
        self.pool.each(tasks, bytes, |task| {
            let units = share(task, tasks, units);
            let run = units.start * COLUMNS_PER_UNIT..(units.end * COLUMNS_PER_UNIT).min(columns);
            let to = Target { out: &out, row: 0, column: run.start };
            compute(self.level, x, 0..rows, op.weights, run, to);
        });
        Ok(())
    }

    pub(super) fn apply_product(&self, mut op: Product<'_, CpuMemory>) -> Result<(), Error> {
        op.check()?;
        op.out.memory_mut().expect_output()?;
        op.a.memory().expect_unchanged()?;
        op.b.memory().expect_unchanged()?;
        // Both operands are laid out along the sum, so that the order of sums is that of `linear`.
        let k = op.k();
        if op.a.dtype() == DType::Bf16 && op.b.dtype() == DType::Bf16 {
            let (a, b) = (along::<bf16>(&op.a, op.a_transposed)?, along::<bf16>(&op.b, !op.b_transposed)?);
            self.multiply(&a, &b, k, AnyOut::of(&mut op.out));
        } else {
            let (a, b) = (along::<f32>(&op.a, op.a_transposed)?, along::<f32>(&op.b, !op.b_transposed)?);
            self.multiply(&a, &b, k, AnyOut::of(&mut op.out));
        }
        Ok(())
    }

    /// `out = a b^T` of packed rows.
    fn multiply<T: Load>(&self, a: &[T], b: &[T], k: usize, out: AnyOut<'_>) {
        let (rows, columns) = (out.rows(), out.width());
        let (x, w) = (In::packed(a, rows, k), In::packed(b, columns, k));
        let units = columns.div_ceil(COLUMNS_PER_UNIT);
        let bytes = columns * k * T::DTYPE.bytes() * rows.div_ceil(4);
        let tasks = self.pool.tasks(units, bytes);
        self.pool.each(tasks, bytes, |task| {
            let units = share(task, tasks, units);
            let columns = units.start * COLUMNS_PER_UNIT..(units.end * COLUMNS_PER_UNIT).min(columns);
            let to = Target { out: &out, row: 0, column: columns.start };
            self.level.run(Dots { x, gathered: None, rows: 0..rows, w, columns, bias: None, to });
        });
    }
}

/// Refuses weights whose file was cut short.
pub(super) fn expect_unchanged(weights: &Linear<CpuMemory>) -> Result<(), Error> {
    weights.parts().iter().try_for_each(|part| {
        let Stored::Dense(weight) = &part.weight;
        weight.expect_unchanged()?;
        part.bias.iter().try_for_each(|bias| bias.expect_unchanged())
    })
}

/// Some rows and columns of a stack of layers, on this thread.
pub(super) fn compute_columns(
    level: Level,
    x: &Rows<'_, CpuMemory>,
    rows: Range<usize>,
    weights: &Linear<CpuMemory>,
    columns: Range<usize>,
    out: &AnyOut<'_>,
) {
    compute(level, AnyIn::of(x), rows, weights, columns, Target { out, row: 0, column: 0 });
}

fn compute(
    level: Level,
    x: AnyIn<'_>,
    rows: Range<usize>,
    weights: &Linear<CpuMemory>,
    columns: Range<usize>,
    to: Target<'_>,
) {
    let mut part_at = 0;
    for part in weights.parts() {
        let Stored::Dense(weight) = &part.weight;
        let part_end = part_at + weight.len() / weights.in_features();
        let (from, until) = (columns.start.max(part_at), columns.end.min(part_end));
        if from < until {
            let to = Target { column: to.column + from - columns.start, ..to };
            compute_part(level, x, rows.clone(), part, from - part_at..until - part_at, to);
        }
        part_at = part_end;
    }
}

fn compute_part(
    level: Level,
    x: AnyIn<'_>,
    rows: Range<usize>,
    part: &Part<CpuMemory>,
    columns: Range<usize>,
    to: Target<'_>,
) {
    let Stored::Dense(weight) = &part.weight;
    let bias = part.bias.as_ref().map(|bias| AnyIn::row_of(bias));
    for_weight!(weight.dtype(), W => {
        let weight = weight.values::<W>();
        match x {
            AnyIn::F32(x) => {
                let w = In::packed(weight, weight.len() / x.width, x.width);
                level.run(Dots { x, gathered: None, rows, w, columns, bias, to });
            }
            AnyIn::Bf16(x) => {
                let w = In::packed(weight, weight.len() / x.width, x.width);
                level.run(Dots { x, gathered: None, rows, w, columns, bias, to });
            }
            AnyIn::F16(_) => unreachable!("f16 is no type of activations: `check` refuses it"),
        }
    });
}

/// Rows that lie a multiple of a page apart fall on the same few places of a cache, where many of them push each other
/// out. So many rows are copied a little further apart.
enum Apart {
    F32(Vec<f32>, usize, usize),
    Bf16(Vec<bf16>, usize, usize),
}

/// Rows from which it is worth a copy.
const APART_ROWS: usize = 48;

/// Bytes by which rows are moved.
const APART_BYTES: usize = 2 * 64;

impl Apart {
    /// A copy where one is worth it.
    fn of(x: &Rows<'_, CpuMemory>) -> Result<Option<Self>, Error> {
        let row_bytes = x.stride() * x.dtype().bytes();
        if x.rows() < APART_ROWS || !row_bytes.is_multiple_of(1 << 10) {
            return Ok(None);
        }
        let (rows, width) = (x.rows(), x.width());
        Ok(match AnyIn::of(x) {
            AnyIn::F32(x) => Some(Self::F32(spread(x, rows)?, rows, width)),
            AnyIn::Bf16(x) => Some(Self::Bf16(spread(x, rows)?, rows, width)),
            AnyIn::F16(_) => None,
        })
    }

    fn rows(&self) -> AnyIn<'_> {
        match self {
            Self::F32(values, rows, width) => AnyIn::F32(In::strided(values, *rows, *width, width + apart::<f32>())),
            Self::Bf16(values, rows, width) => AnyIn::Bf16(In::strided(values, *rows, *width, width + apart::<bf16>())),
        }
    }
}

/// Values between a row's end and the next one's beginning.
const fn apart<T: Element>() -> usize {
    APART_BYTES / T::DTYPE.bytes()
}

fn spread<T: Element>(x: In<'_, T>, rows: usize) -> Result<Vec<T>, Error> {
    let mut values = room("rows of a linear layer", rows * (x.width + apart::<T>()))?;
    for row in 0..rows {
        values.extend_from_slice(x.row(row));
        values.extend(std::iter::repeat_n(T::default(), apart::<T>()));
    }
    Ok(values)
}

/// A matrix's rows, or its columns, one after the other.
fn along<T: Element + FromAny>(matrix: &Rows<'_, CpuMemory>, transposed: bool) -> Result<Vec<T>, Error> {
    let from = AnyIn::of(matrix);
    let (rows, width) = (matrix.rows(), matrix.width());
    let mut values = room("a product's operand", rows * width)?;
    let (outer, inner) = if transposed { (width, rows) } else { (rows, width) };
    for o in 0..outer {
        values.extend((0..inner).map(|i| {
            let (row, column) = if transposed { (i, o) } else { (o, i) };
            T::from_any(&from, row, column)
        }));
    }
    Ok(values)
}

/// What a packed operand can be kept as.
trait FromAny {
    fn from_any(from: &AnyIn<'_>, row: usize, column: usize) -> Self;
}

impl FromAny for f32 {
    fn from_any(from: &AnyIn<'_>, row: usize, column: usize) -> Self {
        from.at(row, column)
    }
}

impl FromAny for bf16 {
    fn from_any(from: &AnyIn<'_>, row: usize, column: usize) -> Self {
        Self::from_f32(from.at(row, column))
    }
}
