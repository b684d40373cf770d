//! Log-probabilities of given tokens on the device, a few tiles of the vocabulary at a time.

use std::ops::Range;
use std::ptr;

use super::backend::{Cuda, CudaStep, Scratch};
use super::device::{DeviceMemory, checked};
use super::ffi::{
    LoamColumns, LoamLayer, LoamRows, LoamScores, LoamTiles, LoamType, loam_add, loam_gather_rows, loam_lora_expand,
    loam_score_rows, loam_score_targets, loam_score_tiles,
};
use super::sampling::TILE_TOKENS;
use super::{gemm, loam_type, written};
use crate::backend::{HeadDelta, Score};
use crate::error::{self, Error};
use crate::layout::{DType, Linear, Memory, Part, RowSet, Stored};

/// Tokens whose logits exist at once, of all rows: what comes from the head goes through the cache.
const TOKENS_AT_ONCE: usize = 2 * TILE_TOKENS;
/// Rows whose own tokens' logits are made together: so many times more than are wanted.
const TARGETS_AT_ONCE: usize = 128;

/// See [`Score`]. Never by a library: a token's logit is made twice, once to be compared with, and must be the same.
pub(super) fn score(gpu: &Cuda, step: &CudaStep, mut op: Score<'_, Cuda>) -> Result<(), Error> {
    let pairs = step.plan().pairs(RowSet::Scored);
    if let Some(delta) = &op.delta {
        delta.adapters.check(delta.site, pairs)?;
    }
    op.check(step.plan(), op.delta.iter().flat_map(|delta| delta.adapters.places(delta.site, pairs)))?;
    if op.x.rows() == 0 {
        return Ok(());
    }
    let vocabulary = op.head.out_features();
    let mut scratch = gpu.outer_scratch();
    let room = Room::new(&mut scratch, op.x.rows(), op.head.in_features(), vocabulary)?;
    let delta = op.delta.filter(|_| !pairs.is_empty());
    let head = Head { gpu, step, x: LoamRows::of(&op.x)?, weights: op.head, delta, room };

    head.targets(&mut scratch)?;
    for from in (0..vocabulary).step_by(TOKENS_AT_ONCE) {
        head.see(from, (from + TOKENS_AT_ONCE).min(vocabulary))?;
    }
    let said = LoamScores {
        log_probabilities: written(&mut op.log_probabilities)?,
        ranks: written(&mut op.ranks)?,
        best_tokens: written(&mut op.best_tokens)?,
        best_log_probabilities: written(&mut op.best_log_probabilities)?,
    };
    let Room { targets, seen, above, best, .. } = head.room;
    // SAFETY: `check` has seen that there is a value for each row, and all tiles were seen.
    Ok(checked(unsafe { loam_score_rows(targets, seen, above, best, said, gpu.order()) })?)
}

/// The layer that makes logits, with its adapters.
struct Head<'a> {
    gpu: &'a Cuda,
    step: &'a CudaStep,
    x: LoamRows,
    weights: &'a Linear<DeviceMemory>,
    /// Where some row has one.
    delta: Option<HeadDelta<'a, Cuda>>,
    room: Room,
}

impl Head<'_> {
    /// The logit of each row's own token.
    fn targets(&self, scratch: &mut Scratch) -> Result<(), Error> {
        let (rows, tokens) = (self.x.rows as usize, self.step.tables()?.scored_tokens());
        let mut first = 0;
        for part in self.weights.parts() {
            let Stored::Dense(weight) = &part.weight;
            let count = weight.len() / self.weights.in_features();
            // Rows whose token is another part's take this one's first, and nobody looks.
            let own = |token: u32| (token as usize).checked_sub(first).filter(|at| *at < count).unwrap_or(0) as u32;
            let which: Vec<u32> = self.step.plan().scored().iter().map(|scored| own(scored.token)).collect();
            let which = scratch.tables(&which)?;
            for from in (0..rows).step_by(TARGETS_AT_ONCE) {
                let together = TARGETS_AT_ONCE.min(rows - from);
                let products = LoamRows::packed(self.room.products, together, together)?;
                let layer = self.of_tokens(part, which.wrapping_add(from), together)?;
                gemm::apply(self.gpu, self.x.range(from, together), &[layer], products)?;
                let (tokens, targets) = (tokens.wrapping_add(from), self.room.targets.wrapping_add(from));
                let stream = self.gpu.order();
                // SAFETY: a square of so many rows; tokens and targets are one for each row.
                checked(unsafe { loam_score_targets(products, tokens, first as u32, count as u32, targets, stream) })?;
            }
            first += count;
        }
        self.add_delta(0..0, tokens, LoamRows::packed(self.room.targets, rows, 1)?)
    }

    /// A part's outputs for some tokens, as a layer of their own: the same values, widened to f32 where they were f16.
    fn of_tokens(
        &self,
        part: &Part<DeviceMemory>,
        which: *const u32,
        count: usize,
    ) -> Result<(LoamLayer, DType), Error> {
        let Stored::Dense(weight) = &part.weight;
        let k = self.weights.in_features();
        let dtype = if weight.dtype() == DType::Bf16 { DType::Bf16 } else { DType::F32 };
        let take = |from: &DeviceMemory, width: usize, to: *mut f32, dtype: DType| {
            let table = LoamRows {
                at: from.address(),
                dtype: loam_type(from.dtype()),
                ..LoamRows::packed(to, from.len() / width, width)?
            };
            let out = LoamRows { dtype: loam_type(dtype), ..LoamRows::packed(to, count, width)? };
            // SAFETY: every one of `which` is below the table's rows; there is room for so many of them.
            Ok::<_, Error>(checked(unsafe { loam_gather_rows(table, which, out, self.gpu.order()) })?)
        };
        take(weight, k, self.room.weights, dtype)?;
        let bias = part.bias.as_ref().map(|bias| take(bias, 1, self.room.biases, DType::F32)).transpose()?;
        let layer = LoamLayer {
            weight: self.room.weights.cast(),
            bias: bias.map_or(ptr::null(), |()| self.room.biases.cast_const().cast()),
            stride: k as i64,
            out_features: count as i32,
            bias_type: LoamType::F32,
        };
        Ok((layer, dtype))
    }

    /// Notes what tokens `from .. to` hold; `from` begins a tile.
    fn see(&self, from: usize, to: usize) -> Result<(), Error> {
        let logits = LoamRows::packed(self.room.logits, self.x.rows as usize, to - from)?;
        gemm::apply(self.gpu, self.x, &gemm::layers_of(self.weights, from..to)?, logits)?;
        self.add_delta(from..to, ptr::null(), logits)?;
        let Room { targets, seen, above, best, .. } = self.room;
        let first_tile = (from / TILE_TOKENS) as i32;
        // SAFETY: there is room for all tiles of all rows.
        Ok(checked(unsafe { loam_score_tiles(logits, targets, seen, above, best, first_tile, self.gpu.order()) })?)
    }

    /// Adds to logits of some columns, or of one column for each row, what adapters do, as `lora_expand` and `add` would.
    fn add_delta(&self, columns: Range<usize>, of_row: *const u32, logits: LoamRows) -> Result<(), Error> {
        let Some(of) = &self.delta else { return Ok(()) };
        let columns = LoamColumns { of_row, ..of.adapters.columns(of.site, columns) };
        let (pairs, places) = (self.step.tables()?.pairs(RowSet::Scored), of.adapters.raw(of.site));
        let (h, delta) = (LoamRows::of(&of.h)?, LoamRows { at: self.room.delta.cast(), ..logits });
        let stream = self.gpu.order();
        // SAFETY: `check` has seen that the site has the vocabulary's outputs, and `h` all pairs; `delta` is as large as
        // the logits.
        checked(unsafe { loam_lora_expand(h, delta, places, columns, pairs, stream) })?;
        // SAFETY: as above.
        Ok(checked(unsafe { loam_add(logits, delta, pairs.of_row, stream) })?)
    }
}

/// What exists meanwhile.
#[derive(Clone, Copy)]
struct Room {
    /// `[TOKENS_AT_ONCE]` for each row, as is `delta`.
    logits: *mut f32,
    delta: *mut f32,
    /// Some tokens' weights and biases, and the products of as many rows with them.
    weights: *mut f32,
    biases: *mut f32,
    products: *mut f32,
    /// Each row's own token's logit.
    targets: *mut f32,
    seen: LoamTiles,
    above: *mut u32,
    /// The first token with its tile's greatest logit.
    best: *mut u32,
}

impl Room {
    fn new(scratch: &mut Scratch, rows: usize, hidden: usize, vocabulary: usize) -> Result<Self, Error> {
        let (at_once, targets) = (TOKENS_AT_ONCE.min(vocabulary), TARGETS_AT_ONCE.min(rows));
        let tiles = vocabulary.div_ceil(TILE_TOKENS);
        let logits = error::product("logits to score", &[rows, at_once])?;
        let seen = error::product("tiles of logits", &[rows, tiles])?;
        let weights = error::product("weights of tokens", &[targets, hidden])?;
        // Sums are two words each.
        let lens = [logits, logits, weights, targets, targets * targets, rows, 2 * seen, seen, seen, seen];
        // Each begins on 16 bytes.
        let places: Vec<usize> = lens
            .iter()
            .scan(0_usize, |end, len| {
                let from = *end;
                *end = from.saturating_add(len.next_multiple_of(4));
                Some(from)
            })
            .collect();
        let all = places[9].saturating_add(seen);
        let room = scratch.values(all)?;
        let at = |index: usize| room.wrapping_add(places[index]);
        Ok(Self {
            logits: at(0),
            delta: at(1),
            weights: at(2),
            biases: at(3),
            products: at(4),
            targets: at(5),
            seen: LoamTiles { sums: at(6).cast(), peaks: at(7), tiles: tiles as i32 },
            above: at(8).cast(),
            best: at(9).cast(),
        })
    }
}
