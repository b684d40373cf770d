//! A growing log in memory: its right edge, and the tiles that are filling.

use loam_ledger_core::Hash;
use loam_ledger_core::tile::{TILE_BYTES, TILE_HEIGHT, TILE_WIDTH};
use loam_ledger_core::tree::Edge;

use crate::layout::{Head, tile_key};
use crate::store::{Batch, Space};

/// One log as the committer grows it. What it holds runs ahead of the store by the commit that is being made.
#[derive(Clone, Debug)]
pub(crate) struct Growing {
    pub(crate) number: u32,
    pub(crate) head: Head,
    /// For each tile level, the hashes of the tile that is filling; see [`Filling`].
    filling: Filling,
}

/// The hashes right of the last full tile, level by level from the leaves.
///
/// These are the partial tiles of the log's size. They are never stored: the entries and the full tiles below say them.
pub(crate) type Filling = Vec<Vec<Hash>>;

impl Growing {
    pub(crate) fn new(number: u32, head: Head, filling: Filling) -> Self {
        Self { number, head, filling }
    }

    pub(crate) fn size(&self) -> u64 {
        self.head.edge.size()
    }

    pub(crate) fn filling(&self) -> &Filling {
        &self.filling
    }

    /// Appends a leaf, and adds the tiles that it fills to the batch.
    pub(crate) fn append(&mut self, leaf: Hash, batch: &mut Batch) {
        let filling = &mut self.filling;
        push(filling, 0, leaf);
        self.head.edge.append(leaf, |level, _, hash| {
            if level % TILE_HEIGHT == 0 {
                push(filling, usize::from(level / TILE_HEIGHT), hash);
            }
        });
        let mut count = self.head.edge.size();
        for (level, hashes) in (0u8..).zip(&mut self.filling) {
            if hashes.len() as u64 == TILE_WIDTH {
                let mut tile = Vec::with_capacity(TILE_BYTES);
                hashes.drain(..).for_each(|hash| tile.extend_from_slice(&hash.0));
                batch.put(Space::Tile, tile_key(self.number, level, count / TILE_WIDTH - 1), tile);
            }
            count /= TILE_WIDTH;
        }
    }
}

fn push(filling: &mut Filling, level: usize, hash: Hash) {
    if filling.len() <= level {
        filling.push(Vec::with_capacity(256));
    }
    filling[level].push(hash);
}

/// The edge of a log, made again from the hashes right of its full tiles: how a reopened log checks its stored head.
pub(crate) fn edge_of(size: u64, filling: &Filling) -> Option<Edge> {
    let mut peaks = Vec::new();
    for hashes in filling.iter().rev() {
        let mut edge = Edge::default();
        hashes.iter().for_each(|hash| edge.append(*hash, |_, _, _| ()));
        peaks.extend_from_slice(edge.peaks());
    }
    Edge::new(size, peaks).ok()
}
