//! Copies of pages, in order.

use loam_kernels::backend::{Attention, CopyPages};
use loam_kernels::layout::{DType, KvShape, PagedKv};

use super::LAYERS;
use crate::check::{Mismatch, Want, compare};
use crate::cover::cases;
use crate::dense::ACTIVATIONS;
use crate::random::Random;
use crate::sheet::{Frame, Sheet, upload};
use crate::values::Values;

/// Some copies.
#[derive(Clone, Debug)]
pub(crate) struct CopyCase {
    seed: u64,
    copies: &'static [(u32, u32)],
    kv_heads: usize,
    head_dim: usize,
    page_tokens: usize,
    kv: DType,
}

/// None, one, chains in which a page is written and then read, a page onto itself, a page overwritten twice.
const COPIES: &[&[(u32, u32)]] = &[
    &[],
    &[(0, 5)],
    &[(1, 2), (2, 3), (3, 4)],
    &[(3, 4), (2, 3), (1, 2)],
    &[(6, 6)],
    &[(0, 1), (5, 1)],
    &[(0, 1), (2, 0), (1, 2)],
];

const PAGES: usize = 7;

/// All of it, in pairs.
pub(crate) fn cases() -> Vec<CopyCase> {
    cases!(CopyCase {
        copies: COPIES,
        kv_heads: [1, 3],
        head_dim: [64, 96, 128, 256],
        page_tokens: [16, 32, 64],
        kv: ACTIVATIONS,
    })
}

/// Whole pages, all layers, to the bit.
pub(crate) fn check<B: Attention>(device: &B, case: &CopyCase) -> Result<(), Mismatch> {
    let mut random = Random::new(case.seed);
    let CopyCase { copies, kv_heads, head_dim, page_tokens, .. } = *case;
    let shape = KvShape { layers: LAYERS, kv_heads, head_dim, page_tokens };
    let width = LAYERS * 2 * kv_heads * page_tokens * head_dim;
    let before = Values::random(&mut random, case.kv, PAGES, width);
    let mut kv = PagedKv::new(upload(device, &before)?, shape)?;
    device.copy_pages(CopyPages { kv: &mut kv, copies })?;
    let mut pages: Vec<Vec<f64>> = before.widened();
    for (from, to) in copies {
        pages[*to as usize] = pages[*from as usize].clone();
    }
    let mut held = Sheet::new(device, &before, Frame::Packed)?;
    held.hold(device, kv.memory())?;
    compare(device, "pages", &held, &pages.concat().into_iter().map(Want::Exactly).collect::<Vec<_>>())
}
