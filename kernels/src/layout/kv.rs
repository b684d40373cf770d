//! Keys and values, in pages.

use super::{DType, Memory};
use crate::error::{ACTIVATIONS, Error, expect_shape, expect_type, product};

/// Attention walks a sequence in tiles of so many positions, counted from position 0: the order of its sums.
pub const KV_TILE_TOKENS: usize = 64;

/// Attention's partial results cover so many positions, counted from position 0, and are merged in order. CUDA's fast mode
/// has shorter ones in decode.
pub const KV_SPLIT_TOKENS: usize = 512;

/// What a page holds: `[layers, 2 (keys, values), kv_heads, page_tokens, head_dim]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvShape {
    /// Layers of the model.
    pub layers: usize,
    /// Heads that keys and values have; query heads are a multiple.
    pub kv_heads: usize,
    /// Values in a head.
    pub head_dim: usize,
    /// Positions in a page.
    pub page_tokens: usize,
}

/// Head sizes that attention is written for.
const HEAD_DIMS: [usize; 4] = [64, 96, 128, 256];

impl KvShape {
    /// Refuses what attention is not written for.
    pub fn check(&self) -> Result<(), Error> {
        let unsupported = |what, found: usize, allowed| Error::Unsupported { what, found: found.to_string(), allowed };
        if !HEAD_DIMS.contains(&self.head_dim) {
            return Err(unsupported("a head's size", self.head_dim, "64, 96, 128 or 256"));
        }
        if ![16, 32, 64].contains(&self.page_tokens) {
            return Err(unsupported("a page's number of positions", self.page_tokens, "16, 32 or 64"));
        }
        if self.layers == 0 || self.kv_heads == 0 {
            return Err(unsupported("the number of layers or heads", 0, "1 or more"));
        }
        product("a page", &[self.layers, 2, self.kv_heads, self.page_tokens, self.head_dim])?;
        Ok(())
    }

    /// Values in a page.
    pub const fn page_len(&self) -> usize {
        self.layers * 2 * self.head_len() * self.kv_heads
    }

    /// Values of one head's keys, or values, in a page.
    const fn head_len(&self) -> usize {
        self.page_tokens * self.head_dim
    }

    /// Where a head's keys begin; row `i` of them is the page's position `i`.
    pub const fn keys_at(&self, page: usize, layer: usize, kv_head: usize) -> usize {
        page * self.page_len() + (layer * 2 * self.kv_heads + kv_head) * self.head_len()
    }

    /// Where a head's values begin.
    pub const fn values_at(&self, page: usize, layer: usize, kv_head: usize) -> usize {
        self.keys_at(page, layer, kv_head) + self.kv_heads * self.head_len()
    }
}

/// All pages there are. Who owns which is the caller's to know.
#[derive(Debug)]
pub struct PagedKv<M> {
    memory: M,
    shape: KvShape,
    pages: usize,
}

impl<M: Memory> PagedKv<M> {
    /// Pages in a memory, whose type is what keys and values are stored as.
    pub fn new(memory: M, shape: KvShape) -> Result<Self, Error> {
        shape.check()?;
        expect_type("a page", memory.dtype(), ACTIVATIONS)?;
        expect_shape("the last page", memory.len() % shape.page_len(), 0)?;
        Ok(Self { pages: memory.len() / shape.page_len(), memory, shape })
    }

    /// Type of stored keys and values.
    pub fn dtype(&self) -> DType {
        self.memory.dtype()
    }

    /// What a page holds.
    pub const fn shape(&self) -> &KvShape {
        &self.shape
    }

    /// How many pages there are.
    pub const fn pages(&self) -> usize {
        self.pages
    }

    /// Where they lie.
    pub const fn memory(&self) -> &M {
        &self.memory
    }

    /// Where they lie, to write.
    pub const fn memory_mut(&mut self) -> &mut M {
        &mut self.memory
    }
}
