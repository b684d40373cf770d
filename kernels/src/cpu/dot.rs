//! Dot products in register blocks: the arithmetic of linears, of adapters' `A`, and of attention's scores.
//!
//! Each lane adds the products of its own places, `LANES` (of bf16 pairs `2 * LANES`) apart, from the first to the last;
//! the lanes are added last, halves first. So the order depends on the length alone: a block of six rows by four columns
//! gives the same bits as a single product.

use half::bf16;

use super::simd::{LANES_MAX, Load, Simd, in_pairs};

/// Columns of a block.
pub(super) const COLUMNS: usize = 4;

/// The products of `R` rows with four columns, each of `k` values in a row. Meanwhile the columns `ahead` are fetched.
///
/// # Safety
/// `k` values can be read at each pointer.
#[inline(always)]
pub(super) unsafe fn dot_block<S: Simd, X: Load, W: Load, const R: usize>(
    simd: S,
    x: [*const X; R],
    w: [*const W; COLUMNS],
    k: usize,
    ahead: Option<[*const W; COLUMNS]>,
) -> [[f32; COLUMNS]; R] {
    // SAFETY: the caller's.
    let sums = unsafe {
        if in_pairs::<S, X, W>() {
            let ahead = ahead.map(|ahead| ahead.map(<*const W>::cast));
            sum_pairs(simd, x.map(<*const X>::cast), w.map(<*const W>::cast), k, ahead)
        } else {
            sum_singly(simd, x, w, k, ahead)
        }
    };
    let mut out = [[0.0; COLUMNS]; R];
    for r in 0..R {
        out[r] = simd.sum4(sums[r]);
    }
    out
}

/// The lanes' sums, a vector of each operand at a time, widened to f32.
///
/// # Safety
/// `k` values can be read at each pointer.
#[inline(always)]
unsafe fn sum_singly<S: Simd, X: Load, W: Load, const R: usize>(
    simd: S,
    x: [*const X; R],
    w: [*const W; COLUMNS],
    k: usize,
    ahead: Option<[*const W; COLUMNS]>,
) -> [[S::V; COLUMNS]; R] {
    let mut sums = [[simd.splat(0.0); COLUMNS]; R];
    let mut at = 0;
    // SAFETY: whole vectors end at or before `k`; the rest is read by its count.
    unsafe {
        while at + S::LANES <= k {
            let columns = [
                W::load(simd, w[0].add(at)),
                W::load(simd, w[1].add(at)),
                W::load(simd, w[2].add(at)),
                W::load(simd, w[3].add(at)),
            ];
            prefetch(simd, ahead, at);
            for r in 0..R {
                let row = X::load(simd, x[r].add(at));
                for c in 0..COLUMNS {
                    sums[r][c] = simd.mul_add(row, columns[c], sums[r][c]);
                }
            }
            at += S::LANES;
        }
        if at < k {
            for r in 0..R {
                let row = X::load_part(simd, x[r].add(at), k - at);
                for c in 0..COLUMNS {
                    let column = W::load_part(simd, w[c].add(at), k - at);
                    sums[r][c] = simd.mul_add(row, column, sums[r][c]);
                }
            }
        }
    }
    sums
}

/// The lanes' sums, two bf16 of each operand in a lane.
///
/// # Safety
/// `k` values can be read at each pointer.
#[inline(always)]
unsafe fn sum_pairs<S: Simd, const R: usize>(
    simd: S,
    x: [*const bf16; R],
    w: [*const bf16; COLUMNS],
    k: usize,
    ahead: Option<[*const bf16; COLUMNS]>,
) -> [[S::V; COLUMNS]; R] {
    let mut sums = [[simd.splat(0.0); COLUMNS]; R];
    let mut at = 0;
    // SAFETY: whole vectors end at or before `k`; the rest is read by its count.
    unsafe {
        while at + 2 * S::LANES <= k {
            let columns = [
                simd.load_pairs(w[0].add(at)),
                simd.load_pairs(w[1].add(at)),
                simd.load_pairs(w[2].add(at)),
                simd.load_pairs(w[3].add(at)),
            ];
            prefetch(simd, ahead, at);
            for r in 0..R {
                let row = simd.load_pairs(x[r].add(at));
                for c in 0..COLUMNS {
                    sums[r][c] = simd.dot_pairs(sums[r][c], row, columns[c]);
                }
            }
            at += 2 * S::LANES;
        }
        if at < k {
            for r in 0..R {
                let row = load_pairs_part(simd, x[r].add(at), k - at);
                for c in 0..COLUMNS {
                    let column = load_pairs_part(simd, w[c].add(at), k - at);
                    sums[r][c] = simd.dot_pairs(sums[r][c], row, column);
                }
            }
        }
    }
    sums
}

/// Asks for what the next four columns have at a place.
#[inline(always)]
fn prefetch<S: Simd, W>(simd: S, ahead: Option<[*const W; COLUMNS]>, at: usize) {
    if let Some(ahead) = ahead {
        for column in ahead {
            simd.prefetch(column.wrapping_add(at));
        }
    }
}

/// Fewer pairs than a vector holds; the rest is zero.
///
/// # Safety
/// `count` values can be read at `from`, and `count <= 2 * LANES`.
#[inline(always)]
unsafe fn load_pairs_part<S: Simd>(simd: S, from: *const bf16, count: usize) -> S::P {
    let mut lanes = [bf16::ZERO; 2 * LANES_MAX];
    // SAFETY: the caller's, and `LANES <= LANES_MAX`.
    unsafe {
        std::ptr::copy_nonoverlapping(from, lanes.as_mut_ptr(), count);
        simd.load_pairs(lanes.as_ptr())
    }
}

/// How many rows the next block takes of those that are left: evenly, so that no block is thin.
#[inline(always)]
pub(super) fn next_rows<S: Simd>(left: usize) -> usize {
    left.div_ceil(left.div_ceil(S::ROWS_MAX))
}

/// Calls a function with its number of rows as a constant.
macro_rules! with_rows {
    ($S:ident, $count:expr, $R:ident => $body:expr) => {
        match $count {
            1 => {
                const $R: usize = 1;
                $body
            }
            2 => {
                const $R: usize = 2;
                $body
            }
            3 if $S::ROWS_MAX >= 3 => {
                const $R: usize = 3;
                $body
            }
            4 if $S::ROWS_MAX >= 4 => {
                const $R: usize = 4;
                $body
            }
            5 if $S::ROWS_MAX >= 5 => {
                const $R: usize = 5;
                $body
            }
            6 if $S::ROWS_MAX >= 6 => {
                const $R: usize = 6;
                $body
            }
            other => unreachable!("a block has 1 to {} rows, not {other}", $S::ROWS_MAX),
        }
    };
}
pub(super) use with_rows;
