//! LoRA adapters in memory: all sites of all layers in one slab, at their own ranks.

use super::{DType, Memory};
use crate::error::{Error, WEIGHTS, expect_below, expect_shape, expect_type, product};

/// The largest rank.
pub const RANK_MAX: u32 = 256;

/// Columns of a tile of `B`.
pub const B_TILE_COLUMNS: usize = 64;

/// Every matrix begins at a multiple of so many bytes.
const ALIGNMENT_BYTES: usize = 64;

/// A place in the model where adapters add to linears that read one input: q, k and v; o; gate and up; down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteShape {
    /// How its input is read.
    pub kind: SiteKind,
    /// Values in an input row; of an embedding, the vocabulary.
    pub in_features: usize,
    /// Values that each module adds to, in order of the output row.
    pub modules: Vec<usize>,
}

/// How a site's input is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SiteKind {
    /// Rows of activations.
    Linear,
    /// Token ids: a column of `A` is chosen instead of multiplied.
    Embedding,
}

impl SiteShape {
    /// Values in an output row, over all modules.
    pub fn out_features(&self) -> usize {
        self.modules.iter().fold(0, |sum: usize, module| sum.saturating_add(*module))
    }
}

/// Where in an adapter's slab everything lies.
///
/// A site's `A` is one matrix `[rank of all its modules, in_features]` (an embedding's `[vocabulary, rank]`), so that one
/// product makes `h`. A module's `B` is kept in tiles of [`B_TILE_COLUMNS`] outputs, each `[rank, columns of the tile]`, the
/// last one narrower where it must be: expanding some outputs reads one run of memory from its beginning to its end.
#[derive(Clone, Debug, PartialEq)]
pub struct AdapterLayout {
    dtype: DType,
    sites: Vec<SitePlace>,
    len: usize,
}

/// One site of an adapter.
#[derive(Clone, Debug, PartialEq)]
pub struct SitePlace {
    /// The site.
    pub shape: SiteShape,
    /// Ranks of its modules together; 0 where the adapter does nothing here.
    pub rank: usize,
    /// Where `A` begins.
    pub a_at: usize,
    /// Its modules.
    pub modules: Vec<ModulePlace>,
}

/// One module of a site.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ModulePlace {
    /// Its rank; 0 for a hole.
    pub rank: usize,
    /// What its delta is multiplied by: alpha over rank, or over its root.
    pub scale: f32,
    /// Where its values begin in a row of `h`.
    pub h_at: usize,
    /// Where `B` begins.
    pub b_at: usize,
    /// Where its values begin in a row of the delta.
    pub out_at: usize,
    /// How many there are.
    pub out_features: usize,
}

impl AdapterLayout {
    /// Lays out an adapter of given ranks and scales: one for each module of each site, in order.
    pub fn new(dtype: DType, sites: &[SiteShape], ranks: &[Vec<(u32, f32)>]) -> Result<Self, Error> {
        expect_type("an adapter", dtype, WEIGHTS)?;
        expect_shape("an adapter's sites", ranks.len(), sites.len())?;
        let mut next = 0_usize;
        let mut place = |rank: usize, features: usize| {
            let at = next;
            let values = product("an adapter", &[rank, features])?;
            let end =
                values.checked_next_multiple_of(ALIGNMENT_BYTES / dtype.bytes()).and_then(|len| at.checked_add(len));
            next = product("an adapter", &[end.unwrap_or(usize::MAX)])?;
            Ok::<_, Error>(at)
        };
        let mut placed = Vec::with_capacity(sites.len());
        for (site, (shape, ranks)) in sites.iter().zip(ranks).enumerate() {
            expect_shape("a site's modules", ranks.len(), shape.modules.len())?;
            for (module, &(found, scale)) in ranks.iter().enumerate() {
                if found > RANK_MAX {
                    return Err(Error::Rank { site, module, found, max: RANK_MAX });
                }
                if !scale.is_finite() {
                    return Err(Error::NotFinite { what: "an adapter's scale", value: scale, also: "" });
                }
            }
            let rank = ranks.iter().map(|(rank, _)| *rank as usize).sum::<usize>();
            let a_at = place(rank, shape.in_features)?;
            let (mut h_at, mut out_at) = (0, 0);
            let mut modules = Vec::with_capacity(ranks.len());
            for (&(rank, scale), &out_features) in ranks.iter().zip(&shape.modules) {
                let rank = rank as usize;
                modules.push(ModulePlace { rank, scale, h_at, b_at: place(rank, out_features)?, out_at, out_features });
                (h_at, out_at) = (h_at + rank, product("a site's output", &[out_at.saturating_add(out_features)])?);
            }
            placed.push(SitePlace { shape: shape.clone(), rank, a_at, modules });
        }
        Ok(Self { dtype, sites: placed, len: next })
    }

    /// Type of all its values.
    pub const fn dtype(&self) -> DType {
        self.dtype
    }

    /// Its sites.
    pub fn sites(&self) -> &[SitePlace] {
        &self.sites
    }

    /// Values in its slab.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds none: every rank is 0.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Puts a module's `A`, as PEFT stores it (`[rank, in_features]`), where it belongs in the slab's bytes.
    pub fn write_a(&self, slab: &mut [u8], site: usize, module: usize, a: &[u8]) -> Result<(), Error> {
        let (place, ModulePlace { rank, h_at, .. }) = self.module(site, module)?;
        let (bytes, width) = (self.dtype.bytes(), place.shape.in_features);
        self.check_sizes(slab, a, rank * width)?;
        match place.shape.kind {
            SiteKind::Linear => {
                let at = (place.a_at + h_at * width) * bytes;
                slab[at..at + a.len()].copy_from_slice(a);
            }
            SiteKind::Embedding => {
                let matrix = &mut slab[(place.a_at + h_at) * bytes..];
                transpose(a, rank, width, matrix, place.rank, bytes);
            }
        }
        Ok(())
    }

    /// Puts a module's `B`, as PEFT stores it (`[out_features, rank]`), where it belongs in the slab's bytes.
    pub fn write_b(&self, slab: &mut [u8], site: usize, module: usize, b: &[u8]) -> Result<(), Error> {
        let (_, place) = self.module(site, module)?;
        let (bytes, rank) = (self.dtype.bytes(), place.rank);
        self.check_sizes(slab, b, rank * place.out_features)?;
        for from in (0..place.out_features).step_by(B_TILE_COLUMNS) {
            let columns = B_TILE_COLUMNS.min(place.out_features - from);
            let tile = &b[from * rank * bytes..][..columns * rank * bytes];
            transpose(tile, columns, rank, &mut slab[(place.b_at + from * rank) * bytes..], columns, bytes);
        }
        Ok(())
    }

    fn module(&self, site: usize, module: usize) -> Result<(&SitePlace, ModulePlace), Error> {
        expect_below("a site", site, self.sites.len())?;
        let place = &self.sites[site];
        expect_below("a module", module, place.modules.len())?;
        Ok((place, place.modules[module]))
    }

    fn check_sizes(&self, slab: &[u8], matrix: &[u8], values: usize) -> Result<(), Error> {
        expect_shape("an adapter's slab in bytes", slab.len(), self.len * self.dtype.bytes())?;
        expect_shape("an adapter's matrix in bytes", matrix.len(), values * self.dtype.bytes())
    }
}

/// `[rows, columns]` to `[columns, rows]`, whose rows begin `stride` values apart.
fn transpose(from: &[u8], rows: usize, columns: usize, to: &mut [u8], stride: usize, bytes: usize) {
    for row in 0..rows {
        for column in 0..columns {
            let value = &from[(row * columns + column) * bytes..][..bytes];
            to[(column * stride + row) * bytes..][..bytes].copy_from_slice(value);
        }
    }
}

/// An adapter in a backend's memory.
#[derive(Debug)]
pub struct Adapter<M> {
    memory: M,
    layout: AdapterLayout,
}

impl<M: Memory> Adapter<M> {
    /// A slab and what lies where in it.
    pub fn new(memory: M, layout: AdapterLayout) -> Result<Self, Error> {
        expect_type("an adapter's slab", memory.dtype(), &[layout.dtype])?;
        expect_shape("an adapter's slab", memory.len(), layout.len)?;
        Ok(Self { memory, layout })
    }

    /// The slab.
    pub const fn memory(&self) -> &M {
        &self.memory
    }

    /// What lies where in it.
    pub const fn layout(&self) -> &AdapterLayout {
        &self.layout
    }
}
