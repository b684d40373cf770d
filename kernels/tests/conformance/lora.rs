//! The lora group: stacked sites with holes, ranks of all sizes, several adapters on a row, embeddings.

use std::sync::Arc;

use loam_kernels::backend::{Expand, Lora, Shrink};
use loam_kernels::layout::{Adapter, AdapterLayout, DType, Pair, RowSet, SiteKind, SiteShape};

use crate::check::{Mismatch, Want, compare};
use crate::cover::cases;
use crate::dense::{ACTIVATIONS, SETS, WEIGHTS};
use crate::random::Random;
use crate::reference::lora::{Module, expand, shrink, shrink_token};
pub(crate) use crate::scene::Popularity;
use crate::scene::{Demand, ROWS, Scene, VOCABULARY};
use crate::sheet::{FRAMES, Frame, Sheet, upload};
use crate::values::{Values, poison};

/// One site's adapters, used by a step.
#[derive(Clone, Debug)]
pub(crate) struct LoraCase {
    seed: u64,
    rows: usize,
    set: RowSet,
    in_features: usize,
    /// Outputs of the site's modules.
    modules: Vec<usize>,
    adapters: usize,
    /// Ranks to choose from, for each module of each adapter.
    ranks: &'static [u32],
    popularity: Popularity,
    some_without: bool,
    per_row_max: usize,
    x: DType,
    adapter: DType,
    frame: Frame,
}

/// All the same; small; holes; from the least to the largest, holes among them.
const RANKS: &[&[u32]] = &[&[1], &[16], &[8, 8, 0], &[1, 2, 3, 8, 16, 33, 64, 255, 256, 0]];

/// All of it, in pairs.
pub(crate) fn cases(popularity: Popularity) -> Vec<LoraCase> {
    let stacks = [vec![1], vec![64], vec![96, 32, 32], vec![7, 0, 130], vec![255, 257]];
    let cases = cases!(LoraCase {
        rows: ROWS,
        set: SETS,
        in_features: super::dense::widths(),
        modules: stacks,
        adapters: [1, 2, 9, 128],
        ranks: RANKS,
        popularity: [popularity],
        some_without: [false, true],
        per_row_max: [1, 4],
        x: ACTIVATIONS,
        adapter: WEIGHTS,
        frame: FRAMES,
    });
    // 128 large adapters of real widths are gigabytes.
    cases.into_iter().filter(|case| case.adapters * case.in_features <= 128 * 512).collect()
}

/// Embeddings, over the batch only.
pub(crate) fn embedding_cases() -> Vec<LoraCase> {
    cases!(LoraCase {
        rows: ROWS,
        set: [RowSet::Batch],
        in_features: [VOCABULARY],
        modules: [vec![1], vec![129]],
        adapters: [1, 9, 128],
        ranks: RANKS,
        popularity: [Popularity::Nobody, Popularity::Uniform, Popularity::Distinct],
        some_without: [false, true],
        per_row_max: [1, 4],
        x: [DType::F32],
        adapter: WEIGHTS,
        frame: FRAMES,
    })
}

/// Adapters resident on a device, and what they hold.
pub(crate) struct Resident<B: Lora> {
    pub(crate) table: B::Adapters,
    /// By slot; empty where nobody uses it.
    pub(crate) adapters: Vec<Vec<Module>>,
}

/// The site that is worked on stands between others, and every slab begins as poison.
pub(crate) const SITE: usize = 1;

impl<B: Lora> Resident<B> {
    /// Makes and installs those adapters that a scene uses, into one slot more than there are adapters.
    pub(crate) fn new(
        device: &B,
        random: &mut Random,
        scene: &Scene,
        site: &SiteShape,
        dtype: DType,
        ranks: &[u32],
    ) -> Result<Self, Mismatch> {
        let other = SiteShape { kind: SiteKind::Linear, in_features: 5, modules: vec![3] };
        let sites = [other.clone(), site.clone(), other];
        let mut table = device.adapters(&sites, scene.limits.slots)?;
        let mut adapters = vec![Vec::new(); scene.limits.slots];
        for slot in 0..scene.limits.slots {
            if !scene.inputs.pairs.iter().any(|pair| pair.slot as usize == slot) {
                continue;
            }
            let of_site: Vec<(u32, f32)> =
                site.modules.iter().map(|_| (random.pick(ranks), (0.25 + 2.0 * random.unit()) as f32)).collect();
            let layout = AdapterLayout::new(dtype, &sites, &[vec![(2, 1.0)], of_site.clone(), vec![(0, 1.0)]])?;
            let mut slab = poison(dtype).repeat(layout.len());
            for (module, ((rank, scale), out)) in of_site.into_iter().zip(&site.modules).enumerate() {
                let a = Values::random(random, dtype, rank as usize, site.in_features);
                let b = Values::random(random, dtype, *out, rank as usize);
                layout.write_a(&mut slab, SITE, module, &a.bytes)?;
                layout.write_b(&mut slab, SITE, module, &b.bytes)?;
                adapters[slot].push(Module { scale, a: a.widened(), b: b.widened() });
            }
            let values = Values { dtype, rows: 1, width: layout.len(), bytes: slab };
            let adapter = Adapter::new(upload(device, &values)?, layout)?;
            device.install(&mut table, slot as u32, Some(Arc::new(adapter)))?;
        }
        Ok(Self { table, adapters })
    }

    pub(crate) fn modules(&self, pair: &Pair) -> &[Module] {
        &self.adapters[pair.slot as usize]
    }

    /// Values of `h` that a pair's adapter has.
    pub(crate) fn rank(&self, pair: &Pair) -> usize {
        self.modules(pair).iter().map(Module::rank).sum()
    }

    /// A row's pairs, each with its place in the list.
    pub(crate) fn of_row(&self, pairs: &[Pair], row: usize) -> Vec<(usize, Pair, &[Module])> {
        let own = pairs.iter().enumerate().filter(|(_, pair)| pair.row as usize == row);
        own.map(|(at, pair)| (at, *pair, self.modules(pair))).collect()
    }

    /// An `h` as shrinking would leave it: values up to each adapter's rank, poison beyond.
    pub(crate) fn h(&self, random: &mut Random, pairs: &[Pair], width: usize) -> Values {
        let mut h = Values::poisoned(DType::F32, pairs.len() + 1, width);
        for (at, pair) in pairs.iter().enumerate() {
            (0..self.rank(pair)).for_each(|r| h.set(at, r, random.signed()));
        }
        h
    }
}

impl LoraCase {
    fn scene(&self, random: &mut Random) -> Scene {
        let Self { popularity, adapters, some_without, per_row_max, .. } = *self;
        let demand = Demand { popularity, adapters, some_without, per_row_max };
        Scene::of_rows(random, self.rows).with_sets(random).with_pairs(random, &demand)
    }

    fn site(&self, kind: SiteKind) -> SiteShape {
        SiteShape { kind, in_features: self.in_features, modules: self.modules.clone() }
    }
}

/// Both halves over rows of activations.
pub(crate) fn check<B: Lora>(device: &B, case: &LoraCase) -> Result<(), Mismatch> {
    let mut random = Random::new(case.seed);
    let scene = case.scene(&mut random);
    let site = case.site(SiteKind::Linear);
    let resident = Resident::new(device, &mut random, &scene, &site, case.adapter, case.ranks)?;
    let (rows, pairs) = (scene.rows(case.set).len(), scene.pairs(case.set));
    let mut x = Values::random(&mut random, case.x, rows, case.in_features);
    x.poison_rows(|row| pairs.iter().all(|pair| pair.row as usize != row));
    let x_sheet = Sheet::new(device, &x, case.frame)?;
    let width = pairs.iter().map(|pair| resident.rank(pair)).max().unwrap_or(0) + 3;
    let mut h = Sheet::poisoned(device, DType::F32, pairs.len() + 1, width, case.frame)?;
    let step = device.step(scene.inputs.clone(), scene.limits)?;
    let op =
        Shrink { adapters: &resident.table, site: SITE, set: case.set, x: Some(x_sheet.reading()?), h: h.writing()? };
    device.lora_shrink(&step, op)?;
    let x = x.widened();
    let mut want: Vec<Want> =
        pairs.iter().flat_map(|pair| shrink(&x[pair.row as usize], resident.modules(pair), width)).collect();
    want.resize((pairs.len() + 1) * width, Want::Untouched);
    compare(device, "h", &h, &want)?;
    check_expand(device, &mut random, case, &resident, (&step, &pairs, rows, width))
}

/// The second half, from an `h` of its own.
fn check_expand<B: Lora>(
    device: &B,
    random: &mut Random,
    case: &LoraCase,
    resident: &Resident<B>,
    (step, pairs, rows, width): (&B::Step, &[Pair], usize, usize),
) -> Result<(), Mismatch> {
    let out_features = case.modules.iter().sum();
    let h = resident.h(random, pairs, width);
    let h_sheet = Sheet::new(device, &h, case.frame)?;
    let mut delta = Sheet::poisoned(device, DType::F32, rows, out_features, case.frame)?;
    let op =
        Expand { adapters: &resident.table, site: SITE, set: case.set, h: h_sheet.reading()?, delta: delta.writing()? };
    device.lora_expand(step, op)?;
    let of_row = |row: usize| {
        let own = resident.of_row(pairs, row);
        if own.is_empty() {
            return vec![Want::Untouched; out_features];
        }
        expand(&h, &own).iter().map(|sum| sum.want()).collect()
    };
    compare(device, "delta", &delta, &(0..rows).flat_map(of_row).collect::<Vec<_>>())
}

/// Both halves over tokens.
pub(crate) fn check_embedding<B: Lora>(device: &B, case: &LoraCase) -> Result<(), Mismatch> {
    let mut random = Random::new(case.seed);
    let scene = case.scene(&mut random);
    let site = case.site(SiteKind::Embedding);
    let resident = Resident::new(device, &mut random, &scene, &site, case.adapter, case.ranks)?;
    let pairs = scene.pairs(RowSet::Batch);
    let width = pairs.iter().map(|pair| resident.rank(pair)).max().unwrap_or(0) + 3;
    let mut h = Sheet::poisoned(device, DType::F32, pairs.len() + 1, width, case.frame)?;
    let step = device.step(scene.inputs.clone(), scene.limits)?;
    let op = Shrink { adapters: &resident.table, site: SITE, set: case.set, x: None, h: h.writing()? };
    device.lora_shrink(&step, op)?;
    let token = |pair: &Pair| scene.inputs.tokens[pair.row as usize];
    let mut want: Vec<Want> =
        pairs.iter().flat_map(|pair| shrink_token(token(pair), resident.modules(pair), width)).collect();
    want.resize((pairs.len() + 1) * width, Want::Untouched);
    compare(device, "h", &h, &want)?;
    check_expand(device, &mut random, case, &resident, (&step, &pairs, case.rows, width))
}
