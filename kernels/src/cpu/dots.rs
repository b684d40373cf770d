//! Runs of rows with runs of columns: in which order blocks of dot products meet, so that each waits for memory little.

use std::ops::Range;

use super::dot::{COLUMNS, dot_block, next_rows, with_rows};
use super::memory::{AnyIn, AnyOut, In};
use super::simd::{Kernel, Load, Simd};
use crate::layout::Pair;

/// Rows of `x` with rows of `w`: a run of an output's rows and columns.
pub(super) struct Dots<'a, X, W> {
    pub(super) x: In<'a, X>,
    /// Where rows are those of pairs: the pairs.
    pub(super) gathered: Option<&'a [Pair]>,
    pub(super) rows: Range<usize>,
    pub(super) w: In<'a, W>,
    pub(super) columns: Range<usize>,
    pub(super) bias: Option<AnyIn<'a>>,
    pub(super) to: Target<'a>,
}

/// Where a run of rows and columns goes.
#[derive(Clone, Copy)]
pub(super) struct Target<'a> {
    pub(super) out: &'a AnyOut<'a>,
    /// Where the first of the rows goes.
    pub(super) row: usize,
    /// Where the first of the columns goes.
    pub(super) column: usize,
}

/// Bytes of weights that wait in the second-level cache until all rows have met them. Few rows wait for memory: while
/// they meet one block, the next is fetched; a single strip of them needs no more than the next columns. Many rows come
/// from further away themselves, and come the less often the larger a block is.
const BLOCK_BYTES_ONE: usize = 16 << 10;
const BLOCK_BYTES_FEW: usize = 128 << 10;
const BLOCK_BYTES_MANY: usize = 512 << 10;

/// Rows that meet all columns before the next rows come: so few that they stay in the caches, so many that weights come
/// from memory seldom.
const ROWS_A_RUN: usize = 96;

/// Strips of rows up to which they are few.
const FEW_STRIPS: usize = 8;

impl<X: Load, W: Load> Kernel for Dots<'_, X, W> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for first in self.rows.clone().step_by(ROWS_A_RUN) {
            self.some_rows(simd, first..(first + ROWS_A_RUN).min(self.rows.end));
        }
    }
}

impl<X: Load, W: Load> Dots<'_, X, W> {
    /// Rows that stay near, over all columns.
    #[inline(always)]
    fn some_rows<S: Simd>(&self, simd: S, rows: Range<usize>) {
        let row_bytes = (self.w.width * W::DTYPE.bytes()).max(1);
        let strips = rows.len().div_ceil(S::ROWS_MAX);
        let block_bytes = match strips {
            0 | 1 => BLOCK_BYTES_ONE,
            2..=FEW_STRIPS => BLOCK_BYTES_FEW,
            _ => BLOCK_BYTES_MANY,
        };
        let block = (block_bytes / row_bytes).next_multiple_of(COLUMNS).max(COLUMNS);
        let mut from = self.columns.start;
        while from < self.columns.end {
            let columns = from..(from + block).min(self.columns.end);
            let mut row = rows.start;
            for strip in 0..strips {
                let count = next_rows::<S>(rows.end - row);
                let ahead = Ahead { columns: block, strip, strips };
                with_rows!(S, count, R => self.strip::<S, R>(simd, row, columns.clone(), ahead));
                row += count;
            }
            from = columns.end;
        }
    }

    /// A few rows over a block of columns.
    #[inline(always)]
    fn strip<S: Simd, const R: usize>(&self, simd: S, row: usize, columns: Range<usize>, ahead: Ahead) {
        let mut x = [std::ptr::null(); R];
        for (r, x) in x.iter_mut().enumerate() {
            let row = self.gathered.map_or(row + r, |pairs| pairs[row + r].row as usize);
            *x = self.x.row(row).as_ptr();
        }
        let mut column = columns.start;
        while column < columns.end {
            let count = (columns.end - column).min(COLUMNS);
            let mut w = [std::ptr::null(); COLUMNS];
            for (c, w) in w.iter_mut().enumerate() {
                // Past the end the last column is computed again, and not written.
                *w = self.w.row(column + c.min(count - 1)).as_ptr();
            }
            let mine = (column - columns.start) / COLUMNS % ahead.strips == ahead.strip;
            let mine = mine && column + ahead.columns < self.columns.end;
            let ahead =
                if mine { Some(w.map(|column| column.wrapping_add(ahead.columns * self.w.width))) } else { None };
            // SAFETY: rows of both are as wide as the sum is long: `check` compared them.
            let mut block = unsafe { dot_block::<S, X, W, R>(simd, x, w, self.x.width, ahead) };
            for (r, values) in block.iter_mut().enumerate() {
                if let Some(bias) = &self.bias {
                    for (c, value) in values[..count].iter_mut().enumerate() {
                        *value += bias.value(column + c);
                    }
                }
                let (to_row, to_column) =
                    (self.to.row + row - self.rows.start + r, self.to.column + column - self.columns.start);
                // SAFETY: threads have disjoint runs of rows and columns.
                unsafe { self.to.out.put(to_row, to_column, &values[..count]) };
            }
            column += count;
        }
    }
}

/// What a strip fetches of the block of columns after its own: each strip over a block does its share.
#[derive(Clone, Copy)]
struct Ahead {
    /// Columns from one block to the next.
    columns: usize,
    strip: usize,
    strips: usize,
}
