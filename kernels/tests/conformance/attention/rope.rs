//! Rotation and storing: tables of all kinds, partial rotation, shuffled pages.

use loam_kernels::backend::{Attention, RopeStore};
use loam_kernels::layout::{DType, KvShape, PagedKv, Rope, RopeScaling, RowSet};

use super::{LAYER, LAYERS};
use crate::check::{Mismatch, Want, compare};
use crate::cover::cases;
use crate::dense::ACTIVATIONS;
use crate::random::Random;
use crate::reference::attention::{Half, Pages, rotated};
use crate::reference::dense::{Sum, plus_delta};
use crate::scene::{Demand, POPULARITIES, Popularity, ROWS, Scene, VOCABULARY};
use crate::sheet::{FRAMES, Frame, Sheet, upload};
use crate::values::Values;

/// One layer's queries, keys and values.
#[derive(Clone, Debug)]
pub(crate) struct RopeCase {
    seed: u64,
    rows: usize,
    heads: (usize, usize),
    head_dim: usize,
    /// Values of a head that turn: all, a half, or the fewest.
    turning: usize,
    page_tokens: usize,
    scaling: RopeScaling,
    qkv: DType,
    kv: DType,
    delta: bool,
    popularity: Popularity,
    frame: Frame,
}

const SCALINGS: [RopeScaling; 4] = [
    RopeScaling::Default,
    RopeScaling::Linear { factor: 2.5 },
    RopeScaling::Llama3 { factor: 8.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_positions: 8192.0 },
    RopeScaling::Yarn {
        factor: 4.0,
        original_positions: 4096.0,
        beta_fast: 32.0,
        beta_slow: 1.0,
        attention_factor: 1.138_629_436,
        truncate: true,
    },
];

/// All of it, in pairs.
pub(crate) fn cases() -> Vec<RopeCase> {
    cases!(RopeCase {
        rows: ROWS,
        heads: [(1, 1), (4, 1), (4, 2), (3, 3)],
        head_dim: [64, 96, 128, 256],
        turning: [1, 2, 16],
        page_tokens: [16, 32, 64],
        scaling: SCALINGS,
        qkv: ACTIVATIONS,
        kv: ACTIVATIONS,
        delta: [true, false],
        popularity: POPULARITIES,
        frame: FRAMES,
    })
}

impl RopeCase {
    fn scene(&self, random: &mut Random) -> Scene {
        let (mut segments, mut left) = (vec![(7, 0)], self.rows as u32);
        while left > 0 {
            let rows = random.pick(&[0, 1, 1, 2, 70, left]).min(left);
            segments.push((random.pick(&[0, 1, 15, 16, 63, 200]), rows));
            left -= rows;
        }
        let demand = Demand { popularity: self.popularity, adapters: 3, some_without: true, per_row_max: 1 };
        Scene::of_segments(random, &segments, self.page_tokens, VOCABULARY).with_pairs(random, &demand)
    }
}

/// Queries are turned in place; keys are turned, values kept, both in their places; all else stays.
pub(crate) fn check<B: Attention>(device: &B, case: &RopeCase) -> Result<(), Mismatch> {
    let mut random = Random::new(case.seed);
    let RopeCase { rows, heads: (q_heads, kv_heads), head_dim, page_tokens, .. } = *case;
    let scene = case.scene(&mut random);
    let with_adapter = scene.with_adapter(RowSet::Batch);
    let width = (q_heads + 2 * kv_heads) * head_dim;
    let before = Values::random(&mut random, case.qkv, rows, width);
    let mut delta = Values::random(&mut random, DType::F32, rows, width);
    delta.poison_rows(|row| !with_adapter[row]);
    let delta = case.delta.then_some(delta);

    let rope = Rope { rotary_dim: head_dim / case.turning, theta: 10_000.0, scaling: case.scaling };
    // One position more than the step may reach.
    let positions = scene.limits.positions + 1;
    let table = rope.table(positions)?;
    let angles =
        Values::of(DType::F32, positions, rope.rotary_dim, |row, i| f64::from(table[row * rope.rotary_dim + i]));
    let angles_sheet = Sheet::new(device, &angles, case.frame)?;
    let delta_sheet = delta.as_ref().map(|delta| Sheet::new(device, delta, case.frame)).transpose()?;
    let mut qkv = Sheet::new(device, &before, case.frame)?;

    let shape = KvShape { layers: LAYERS, kv_heads, head_dim, page_tokens };
    let pages = Pages::poisoned(shape, case.kv, scene.limits.pages);
    let mut kv = PagedKv::new(upload(device, &pages.held)?, shape)?;
    let step = device.step(scene.inputs.clone(), scene.limits)?;
    device.rope_store(
        &step,
        RopeStore {
            qkv: qkv.writing()?,
            delta: delta_sheet.as_ref().map(Sheet::reading).transpose()?,
            q_heads,
            angles: angles_sheet.reading()?,
            kv: &mut kv,
            layer: LAYER,
        },
    )?;
    let sums = plus_delta(&before, delta.as_ref(), &with_adapter);
    let (want_qkv, want_pages) = wanted(&scene, &sums, &angles, &pages, q_heads);
    compare(device, "qkv", &qkv, &want_qkv)?;
    let mut held = Sheet::new(device, &pages.held, Frame::Packed)?;
    held.hold(device, kv.memory())?;
    compare(device, "pages", &held, &want_pages)
}

/// What `qkv` and the pages must be.
fn wanted(scene: &Scene, sums: &[Vec<Sum>], angles: &Values, pages: &Pages, q_heads: usize) -> (Vec<Want>, Vec<Want>) {
    let (kv_heads, head_dim) = (pages.shape.kv_heads, pages.shape.head_dim);
    let mut want_qkv = Vec::new();
    let mut want_pages = vec![Want::Untouched; pages.held.rows * pages.held.width];
    for (row, (position, page, place)) in sums.iter().zip(scene.places()) {
        let angles = angles.row(position as usize);
        let mut heads = row.chunks(head_dim);
        want_qkv.extend(heads.by_ref().take(q_heads).flat_map(|head| rotated(head, &angles)));
        want_qkv.extend(vec![Want::Anything; 2 * kv_heads * head_dim]);
        for (index, head) in heads.enumerate() {
            let (half, values) = if index < kv_heads {
                (Half::Keys, rotated(head, &angles))
            } else {
                (Half::Values, head.iter().map(|sum| sum.want()).collect())
            };
            let at = page as usize * pages.held.width + pages.at(LAYER, half, index % kv_heads, place);
            want_pages[at..at + head_dim].copy_from_slice(&values);
        }
    }
    (want_qkv, want_pages)
}
