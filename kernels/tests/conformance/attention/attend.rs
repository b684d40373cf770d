//! Attention: prefill, chunks, decode and all at once; windows; heads that share keys; contexts across every boundary.

use loam_kernels::backend::{Attend, Attention};
use loam_kernels::layout::{DType, KvShape, PagedKv};

use super::{LAYER, LAYERS};
use crate::check::{Mismatch, compare};
use crate::cover::cases;
use crate::dense::ACTIVATIONS;
use crate::random::Random;
use crate::reference::attention::{Attending, Pages};
use crate::scene::{Scene, VOCABULARY};
use crate::sheet::{FRAMES, Frame, Sheet, upload};
use crate::values::Values;

/// First position and number of rows of each request.
type Segments = &'static [(u32, u32)];

/// One layer's attention.
#[derive(Clone, Debug)]
pub(crate) struct AttendCase {
    seed: u64,
    segments: Segments,
    /// Of queries, and of keys.
    heads: (usize, usize),
    head_dim: usize,
    page_tokens: usize,
    window: Option<u32>,
    /// Whether scores lie so far apart that few positions count.
    sharp: bool,
    q: DType,
    kv: DType,
    out: DType,
    log_sum_exp: bool,
    frame: Frame,
    /// Whether requests read the first request's first pages as their own.
    shared: bool,
}

const PREFILL: &[Segments] =
    &[&[], &[(0, 1)], &[(0, 17)], &[(0, 64)], &[(0, 65)], &[(0, 133)], &[(0, 257)], &[(0, 3), (0, 0), (0, 70), (0, 1)]];

const CHUNKED: &[Segments] =
    &[&[(1, 17)], &[(63, 3)], &[(64, 65)], &[(500, 30)], &[(511, 3), (512, 17)], &[(1083, 17)], &[(48, 16), (16, 32)]];

const DECODE: &[Segments] = &[
    &[(0, 1)],
    &[(62, 1)],
    &[(63, 1)],
    &[(64, 1)],
    &[(510, 1)],
    &[(511, 1)],
    &[(512, 1)],
    &[(1099, 1)],
    &[(0, 1), (62, 1), (9, 0), (63, 1), (64, 1), (510, 1), (511, 1), (512, 1), (0, 0), (1023, 1), (1024, 1)],
];

/// Decode far into a sequence, in the long tier.
const FAR: &[Segments] = &[&[(4095, 1)], &[(8200, 1), (16383, 1)]];

const MIXED: &[Segments] = &[
    &[(0, 17), (64, 1), (0, 0), (100, 33), (512, 1), (1023, 2)],
    &[(513, 1), (0, 65)],
    &[(5, 0), (1030, 1), (510, 5), (0, 1), (0, 3)],
];

const WINDOWED: &[Segments] =
    &[&[(0, 133)], &[(500, 30)], &[(1099, 1), (63, 1), (511, 1), (0, 1)], &[(0, 17), (520, 1), (130, 9)]];

/// Requests with positions of their own beyond what they share.
const SHARED: &[Segments] = &[&[(130, 1), (130, 3), (140, 1)], &[(128, 17), (129, 1)]];

fn cases_of(lists: &[Segments], windows: &[Option<u32>], shared: bool) -> Vec<AttendCase> {
    cases!(AttendCase {
        segments: lists,
        heads: [(1, 1), (4, 1), (6, 2), (3, 3)],
        head_dim: [64, 96, 128, 256],
        page_tokens: [16, 32, 64],
        window: windows,
        sharp: [false, true],
        q: ACTIVATIONS,
        kv: ACTIVATIONS,
        out: ACTIVATIONS,
        log_sum_exp: [true, false],
        frame: FRAMES,
        shared: [shared],
    })
}

/// Prompts from their beginning, of all lengths.
pub(crate) fn prefill() -> Vec<AttendCase> {
    cases_of(PREFILL, &[None], false)
}

/// Prompts from their middle.
pub(crate) fn chunked() -> Vec<AttendCase> {
    cases_of(CHUNKED, &[None], false)
}

/// One row a request.
pub(crate) fn decode() -> Vec<AttendCase> {
    let mut segments = DECODE.to_vec();
    if crate::cover::long() {
        segments.extend(FAR);
    }
    cases_of(&segments, &[None], false)
}

/// All of these in one step.
pub(crate) fn mixed() -> Vec<AttendCase> {
    cases_of(MIXED, &[None], false)
}

/// Windows below, at and above each boundary.
pub(crate) fn windows() -> Vec<AttendCase> {
    let windows: Vec<Option<u32>> = [1, 2, 5, 63, 64, 65, 100, 512, 513, 5000].into_iter().map(Some).collect();
    cases_of(WINDOWED, &windows, false)
}

/// Requests that share the pages of a common beginning.
pub(crate) fn shared() -> Vec<AttendCase> {
    cases_of(SHARED, &[None, Some(100)], true)
}

impl AttendCase {
    fn scene(&self, random: &mut Random) -> Scene {
        let mut scene = Scene::of_segments(random, self.segments, self.page_tokens, VOCABULARY);
        if self.shared {
            let common = 128 / self.page_tokens;
            let first = scene.inputs.pages[..common].to_vec();
            for segment in &scene.inputs.segments {
                let at = segment.first_page as usize;
                scene.inputs.pages[at..at + common].copy_from_slice(&first);
            }
        }
        scene
    }
}

/// Pages hold poison wherever no row may look: later positions, earlier ones than a window's, other layers and pages.
pub(crate) fn check<B: Attention>(device: &B, case: &AttendCase) -> Result<(), Mismatch> {
    let mut random = Random::new(case.seed);
    let AttendCase { heads: (q_heads, kv_heads), head_dim, page_tokens, window, .. } = *case;
    let scene = case.scene(&mut random);
    let rows = scene.inputs.tokens.len();
    let shape = KvShape { layers: LAYERS, kv_heads, head_dim, page_tokens };
    let mut pages = Pages::poisoned(shape, case.kv, scene.limits.pages);
    pages.fill(&mut random, &scene, LAYER, window);
    let q = Values::random(&mut random, case.q, rows, q_heads * head_dim);
    let scale = if case.sharp { 1.0 } else { 1.0 / (head_dim as f32).sqrt() };

    let q_sheet = Sheet::new(device, &q, case.frame)?;
    let kv = PagedKv::new(upload(device, &pages.held)?, shape)?;
    let mut out = Sheet::poisoned(device, case.out, rows, q_heads * head_dim, case.frame)?;
    let mut sums = Sheet::poisoned(device, DType::F32, rows, q_heads, case.frame)?;
    let step = device.step(scene.inputs.clone(), scene.limits)?;
    device.attention(
        &step,
        Attend {
            q: q_sheet.reading()?,
            kv: &kv,
            layer: LAYER,
            scale,
            window,
            out: out.writing()?,
            log_sum_exp: if case.log_sum_exp { Some(sums.writing()?) } else { None },
        },
    )?;
    let (want, want_sums) = Attending { scene: &scene, q: &q, pages: &pages, layer: LAYER, scale, window }.wanted();
    compare(device, "out", &out, &want)?;
    if case.log_sum_exp { compare(device, "log_sum_exp", &sums, &want_sums) } else { Ok(()) }
}
