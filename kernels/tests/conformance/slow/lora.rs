//! Adapters, one pair at a time.

use loam_kernels::Error;
use loam_kernels::backend::{Expand, Lora, Shrink};
use loam_kernels::layout::{B_TILE_COLUMNS, PairList, Rows, SiteKind};

use super::memory::{dot, put, put_row, row};
use super::{Slow, SlowAdapters, SlowMemory, SlowStep};

impl Lora for Slow {
    fn lora_shrink(&self, step: &SlowStep, mut op: Shrink<'_, Self>) -> Result<(), Error> {
        let pairs = step.0.pairs(op.set);
        let places = op.adapters.places(op.site, pairs)?;
        op.check(&step.0, op.adapters.site(op.site), places.into_iter())?;
        for (index, pair) in pairs.pairs().iter().enumerate() {
            let adapter = op.adapters.adapter(pair.slot)?;
            let place = &adapter.layout().sites()[op.site];
            let (slab, width) = (adapter.memory(), place.shape.in_features);
            let value = |r: usize, x: &[f32]| match place.shape.kind {
                SiteKind::Linear => {
                    let a: Vec<f32> = (0..width).map(|k| slab.value(place.a_at + r * width + k)).collect();
                    dot(x, &a)
                }
                SiteKind::Embedding => {
                    let token = step.tokens()[pair.row as usize] as usize;
                    slab.value(place.a_at + token * place.rank + r)
                }
            };
            let x = op.x.as_ref().map_or(Vec::new(), |x| row(x, pair.row as usize));
            let h: Vec<f32> = (0..place.rank).map(|r| value(r, &x)).collect();
            put(&mut op.h, index, 0, &h);
        }
        Ok(())
    }

    fn lora_expand(&self, step: &SlowStep, mut op: Expand<'_, Self>) -> Result<(), Error> {
        let pairs = step.0.pairs(op.set);
        let places = op.adapters.places(op.site, pairs)?;
        op.check(&step.0, op.adapters.site(op.site), places.into_iter())?;
        if pairs.is_empty() {
            return Ok(());
        }
        for at in 0..op.delta.rows() {
            if let Some(delta) = delta_of_row(pairs, op.adapters, op.site, &op.h, at)? {
                put_row(&mut op.delta, at, &delta);
            }
        }
        Ok(())
    }
}

/// What a row's adapters add to its output; nothing where it has none.
pub(super) fn delta_of_row(
    pairs: &PairList,
    adapters: &SlowAdapters,
    site: usize,
    h: &Rows<'_, SlowMemory>,
    at: usize,
) -> Result<Option<Vec<f32>>, Error> {
    let mut delta: Option<Vec<f32>> = None;
    for &index in pairs.of_row(at) {
        let pair = pairs.pairs()[index as usize];
        let adapter = adapters.adapter(pair.slot)?;
        let place = &adapter.layout().sites()[site];
        let delta = delta.get_or_insert_with(|| vec![0.0; place.shape.out_features()]);
        let h = row(h, index as usize);
        for module in &place.modules {
            for r in 0..module.rank {
                let factor = pair.weight * module.scale * h[module.h_at + r];
                for o in 0..module.out_features {
                    // Tiles of outputs, in each a row of values for each rank.
                    let tile = o / B_TILE_COLUMNS * B_TILE_COLUMNS;
                    let columns = B_TILE_COLUMNS.min(module.out_features - tile);
                    let at = module.b_at + tile * module.rank + r * columns + o - tile;
                    delta[module.out_at + o] += factor * adapter.memory().value(at);
                }
            }
        }
    }
    Ok(delta)
}
