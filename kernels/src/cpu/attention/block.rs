//! A few queries over one head's keys and values: tiles of 64 positions, splits of 512, in order.

use super::super::dot::{COLUMNS, dot_block, next_rows, with_rows};
use super::super::simd::{Kernel, Load, Simd};
use super::super::vector::{blend, scale};
use super::Over;
use crate::layout::{KV_SPLIT_TOKENS, KV_TILE_TOKENS, Segment};

/// One head of one token.
#[derive(Clone, Copy, Debug)]
pub(super) struct Query {
    pub(super) row: usize,
    pub(super) head: usize,
    pub(super) position: u32,
    /// The first position it sees.
    pub(super) first: u32,
}

/// A query's partial result: the greatest score, the sum of the scores' powers relative to it, and the values so summed.
pub(super) const fn state_len(head_dim: usize) -> usize {
    2 + head_dim
}

/// Queries that share keys.
pub(super) struct Block<'a, Q, K> {
    pub(super) over: &'a Over<'a, Q, K>,
    pub(super) segment: &'a Segment,
    pub(super) kv_head: usize,
    pub(super) queries: &'a [Query],
    /// One split alone, or all that some query sees.
    pub(super) only: Option<u32>,
}

impl<'a, Q, K> Block<'a, Q, K> {
    /// The work, given where its states go: one for each query.
    pub(super) const fn into_states(self, states: &'a mut [f32]) -> Work<'a, Q, K> {
        Work { block: self, states }
    }
}

/// A block and where its states go.
pub(super) struct Work<'a, Q, K> {
    block: Block<'a, Q, K>,
    states: &'a mut [f32],
}

/// A tile's positions: which are seen, and where their keys and values are.
#[derive(Clone, Copy)]
struct Tile<K> {
    /// The first position, seen or not.
    at: u32,
    from: usize,
    to: usize,
    keys: [*const K; KV_TILE_TOKENS],
    values: [*const K; KV_TILE_TOKENS],
}

impl<K> Tile<K> {
    const NOTHING: Self = Self {
        at: u32::MAX,
        from: 0,
        to: 0,
        keys: [std::ptr::null(); KV_TILE_TOKENS],
        values: [std::ptr::null(); KV_TILE_TOKENS],
    };
}

/// Scores of the queries over a tile, then their powers.
type Scores = [[f32; KV_TILE_TOKENS]];

impl<Q: Load, K: Load> Kernel for Work<'_, Q, K> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { block, states } = self;
        let len = state_len(block.over.heads.head_dim);
        let mut scores = vec![[0.0; KV_TILE_TOKENS]; block.queries.len()];
        clear(states, len);
        if let Some(split) = block.only {
            block.split(simd, split, &mut scores, states);
            return;
        }
        let first = block.queries.iter().map(|query| query.first).min().unwrap_or(0) / KV_SPLIT_TOKENS as u32;
        let last = block.queries.iter().map(|query| query.position).max().unwrap_or(0) / KV_SPLIT_TOKENS as u32;
        block.split(simd, first, &mut scores, states);
        let mut part = vec![0.0; if last > first { states.len() } else { 0 }];
        for split in first + 1..=last {
            clear(&mut part, len);
            block.split(simd, split, &mut scores, &mut part);
            merge(simd, states, &part, block.over.heads.head_dim);
        }
    }
}

fn clear(states: &mut [f32], len: usize) {
    for state in states.chunks_exact_mut(len) {
        state.fill(0.0);
        state[0] = f32::NEG_INFINITY;
    }
}

impl<Q: Load, K: Load> Block<'_, Q, K> {
    #[inline(always)]
    fn split<S: Simd>(&self, simd: S, split: u32, scores: &mut Scores, states: &mut [f32]) {
        let tiles_a_split = (KV_SPLIT_TOKENS / KV_TILE_TOKENS) as u32;
        let tiles = (split * tiles_a_split..(split + 1) * tiles_a_split).map(|tile| tile * KV_TILE_TOKENS as u32);
        let mut next = Tile::NOTHING;
        for tile in tiles.clone().filter(|tile| self.seen(*tile).is_some()).take(1) {
            next = self.find(tile);
        }
        for tile in tiles {
            if next.at != tile {
                continue;
            }
            let this = next;
            next = self.find(tile + KV_TILE_TOKENS as u32);
            // One query after the other waits for memory; what many queries share, the cache has.
            let ahead = if self.only.is_some() && next.from < next.to { Some(&next) } else { None };
            // SAFETY: `find` has set the pointers of positions that are seen, each to `head_dim` values.
            unsafe {
                self.score(simd, &this, ahead, scores);
                self.add_values(simd, &this, ahead, scores, states);
            }
        }
    }

    /// Which of a tile's positions some query sees.
    #[inline(always)]
    fn seen(&self, tile: u32) -> Option<(usize, usize)> {
        let (mut from, mut to) = (KV_TILE_TOKENS, 0);
        for query in self.queries {
            let (first, end) = seen_of_tile(query, tile);
            if first < end {
                (from, to) = (from.min(first), to.max(end));
            }
        }
        (from < to).then_some((from, to))
    }

    /// Where the keys and values of a tile's positions are.
    #[inline(always)]
    fn find(&self, at: u32) -> Tile<K> {
        let mut tile = Tile::NOTHING;
        let Some((from, to)) = self.seen(at) else { return tile };
        (tile.at, tile.from, tile.to) = (at, from, to);
        let Over { kv, values: stored, layer, step, .. } = self.over;
        let (shape, pages) = (kv.shape(), step.pages(self.segment));
        let (page_tokens, head_dim) = (shape.page_tokens, shape.head_dim);
        let first_page = at as usize / page_tokens;
        // A tile is whole pages, and a page's positions stand one after the other.
        for page in from / page_tokens..=(to - 1) / page_tokens {
            let stored_page = pages[first_page + page] as usize;
            let keys = &stored[shape.keys_at(stored_page, *layer, self.kv_head)..][..page_tokens * head_dim];
            let values = &stored[shape.values_at(stored_page, *layer, self.kv_head)..][..page_tokens * head_dim];
            for position in 0..page_tokens {
                tile.keys[page * page_tokens + position] = keys[position * head_dim..].as_ptr();
                tile.values[page * page_tokens + position] = values[position * head_dim..].as_ptr();
            }
        }
        tile
    }

    /// Scores of all queries for the tile's positions that are seen.
    ///
    /// # Safety
    /// `head_dim` values can be read at each of those positions' keys.
    #[inline(always)]
    unsafe fn score<S: Simd>(&self, simd: S, tile: &Tile<K>, ahead: Option<&Tile<K>>, scores: &mut Scores) {
        let mut row = 0;
        while row < self.queries.len() {
            let count = next_rows::<S>(self.queries.len() - row);
            // SAFETY: the caller's.
            with_rows!(S, count, R => unsafe { self.score_rows::<S, R>(simd, row, tile, ahead, scores) });
            row += count;
        }
    }

    /// # Safety
    /// As `score`.
    #[inline(always)]
    unsafe fn score_rows<S: Simd, const R: usize>(
        &self,
        simd: S,
        row: usize,
        tile: &Tile<K>,
        ahead: Option<&Tile<K>>,
        scores: &mut Scores,
    ) {
        let head_dim = self.over.heads.head_dim;
        let mut q = [std::ptr::null(); R];
        for r in 0..R {
            let query = &self.queries[row + r];
            q[r] = self.over.q.row(query.row)[query.head * head_dim..][..head_dim].as_ptr();
        }
        let scores = &mut scores[row..row + R];
        // Four at a time, from a multiple of four on: what is not seen is computed beside, where it can be read.
        for at in (tile.from / COLUMNS * COLUMNS..tile.to).step_by(COLUMNS) {
            let key = |position: usize| tile.keys[position.clamp(tile.from, tile.to - 1)];
            let four = [key(at), key(at + 1), key(at + 2), key(at + 3)];
            let ahead = ahead.map(|next| [next.keys[at], next.keys[at + 1], next.keys[at + 2], next.keys[at + 3]]);
            // SAFETY: the caller's; queries are as long.
            let block = unsafe { dot_block::<S, Q, K, R>(simd, q, four, head_dim, ahead) };
            for r in 0..R {
                for c in 0..COLUMNS {
                    scores[r][at + c] = block[r][c] * self.over.scale;
                }
            }
        }
    }

    /// Turns scores into powers and adds the values so weighted.
    ///
    /// # Safety
    /// `head_dim` values can be read at each position that some query sees.
    #[inline(always)]
    unsafe fn add_values<S: Simd>(
        &self,
        simd: S,
        tile: &Tile<K>,
        ahead: Option<&Tile<K>>,
        scores: &mut Scores,
        states: &mut [f32],
    ) {
        let len = state_len(self.over.heads.head_dim);
        let mut row = 0;
        while row < self.queries.len() {
            // Queries that see the same part of the tile share what is read of it.
            let seen = seen_of_tile(&self.queries[row], tile.at);
            let same = |query: &Query| seen_of_tile(query, tile.at) == seen;
            let count = if self.queries[row..].iter().take(4).filter(|query| same(query)).count() == 4 { 4 } else { 1 };
            if seen.0 < seen.1 {
                for r in row..row + count {
                    powers(simd, &mut scores[r], seen, &mut states[r * len..][..len]);
                }
                // SAFETY: the caller's.
                unsafe {
                    if count == 4 {
                        self.add_rows::<S, 4>(simd, row, tile, ahead, seen, scores, states);
                    } else {
                        self.add_rows::<S, 1>(simd, row, tile, ahead, seen, scores, states);
                    }
                }
            }
            row += count;
        }
    }

    /// # Safety
    /// As `add_values`.
    #[inline(always)]
    #[expect(clippy::too_many_arguments, reason = "rows of a tile, and what they meet")]
    unsafe fn add_rows<S: Simd, const R: usize>(
        &self,
        simd: S,
        row: usize,
        tile: &Tile<K>,
        ahead: Option<&Tile<K>>,
        (from, to): (usize, usize),
        scores: &Scores,
        states: &mut [f32],
    ) {
        let head_dim = self.over.heads.head_dim;
        let states = &mut states[row * state_len(head_dim)..][..R * state_len(head_dim)];
        let scores = &scores[row..row + R];
        // SAFETY: every head's size is a multiple of two vectors of each level; `from .. to` are seen.
        unsafe {
            let state = states.as_mut_ptr();
            for at in (0..head_dim).step_by(2 * S::LANES) {
                let mut sums = [[simd.splat(0.0); 2]; R];
                for r in 0..R {
                    let sum = state.add(r * state_len(head_dim) + 2 + at);
                    sums[r] = [simd.load(sum), simd.load(sum.add(S::LANES))];
                }
                for position in from..to {
                    let value = tile.values[position].add(at);
                    if let Some(next) = ahead {
                        simd.prefetch(next.values[position].wrapping_add(at));
                    }
                    let (low, high) = (K::load(simd, value), K::load(simd, value.add(S::LANES)));
                    for r in 0..R {
                        let power = simd.splat(scores[r][position]);
                        sums[r] = [simd.mul_add(power, low, sums[r][0]), simd.mul_add(power, high, sums[r][1])];
                    }
                }
                for r in 0..R {
                    let sum = state.add(r * state_len(head_dim) + 2 + at);
                    simd.store(sum, sums[r][0]);
                    simd.store(sum.add(S::LANES), sums[r][1]);
                }
            }
        }
    }
}

/// Which of a tile's positions a query sees: from, to.
#[inline(always)]
fn seen_of_tile(query: &Query, tile: u32) -> (usize, usize) {
    let end = tile + KV_TILE_TOKENS as u32;
    let (from, to) = (query.first.max(tile), (query.position + 1).min(end));
    if from < to { ((from - tile) as usize, (to - tile) as usize) } else { (0, 0) }
}

/// A tile's scores to powers relative to the greatest so far; what was summed before is brought to the same.
#[inline(always)]
fn powers<S: Simd>(simd: S, scores: &mut [f32; KV_TILE_TOKENS], (from, to): (usize, usize), state: &mut [f32]) {
    scores[..from].fill(f32::NEG_INFINITY);
    scores[to..].fill(f32::NEG_INFINITY);
    let mut greatest = simd.splat(f32::NEG_INFINITY);
    for at in (0..KV_TILE_TOKENS).step_by(S::LANES) {
        // SAFETY: a tile is a multiple of each level's lanes; so below.
        greatest = simd.max(unsafe { simd.load(scores.as_ptr().add(at)) }, greatest);
    }
    let greatest = state[0].max(simd.greatest(greatest));
    if greatest > state[0] {
        if state[0] > f32::NEG_INFINITY {
            let factor = power(simd, state[0] - greatest);
            scale(simd, factor, &mut state[1..]);
        }
        state[0] = greatest;
    }
    let mut sum = simd.splat(0.0);
    for at in (0..KV_TILE_TOKENS).step_by(S::LANES) {
        // SAFETY: as above.
        unsafe {
            let score = simd.sub(simd.load(scores.as_ptr().add(at)), simd.splat(greatest));
            let power = simd.exp(score);
            simd.store(scores.as_mut_ptr().add(at), power);
            sum = simd.add(sum, power);
        }
    }
    state[1] += simd.sum(sum);
}

/// `e^x` of one number, with the bits that a vector's lane would have.
#[inline(always)]
fn power<S: Simd>(simd: S, x: f32) -> f32 {
    simd.greatest(simd.exp(simd.splat(x)))
}

/// Adds later splits' states to those before.
pub(super) struct Merge<'a> {
    pub(super) states: &'a mut [f32],
    pub(super) parts: &'a [f32],
    pub(super) head_dim: usize,
}

impl Kernel for Merge<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        merge(simd, self.states, self.parts, self.head_dim);
    }
}

#[inline(always)]
fn merge<S: Simd>(simd: S, states: &mut [f32], parts: &[f32], head_dim: usize) {
    let len = state_len(head_dim);
    for (state, part) in states.chunks_exact_mut(len).zip(parts.chunks_exact(len)) {
        // A sum is 0 where nothing was seen, and nowhere else: the greatest score alone adds 1.
        if part[1] == 0.0 {
            continue;
        }
        if state[1] == 0.0 {
            state.copy_from_slice(part);
            continue;
        }
        let greatest = state[0].max(part[0]);
        let (before, after) = (power(simd, state[0] - greatest), power(simd, part[0] - greatest));
        state[0] = greatest;
        blend(simd, before, &mut state[1..], after, &part[1..]);
    }
}
