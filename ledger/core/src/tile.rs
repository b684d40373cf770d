//! Tiles and entry bundles as C2SP tlog-tiles lays them out: 256 hashes, or 256 entries, to a file.
//!
//! Tile `(level, index)` holds nodes of tree level `8 * level`. A partial tile is the beginning of the full one,
//! so a store keeps full tiles alone and cuts the rest from what it has.

use core::fmt;

use crate::error::Error;
use crate::hash::Hash;
use crate::text::decimal;
use crate::tree::{Nodes, root_of_complete};

/// Hashes in a full tile, and entries in a full bundle.
pub const TILE_WIDTH: u64 = 256;

/// Tree levels that one tile level spans.
pub const TILE_HEIGHT: u8 = 8;

/// Bytes in a full tile.
pub const TILE_BYTES: usize = 256 * Hash::LEN;

/// The largest entry that a bundle can hold.
pub const ENTRY_BYTES_MAX: usize = 65_535;

/// A tile's place: its level, its number there, and how many hashes it holds (1 to 256).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tile {
    /// Level of the tile: 0 holds leaf hashes, 1 the roots of full tiles of level 0, and so on.
    pub level: u8,
    /// Number of the tile within its level.
    pub index: u64,
    /// Hashes in it; 256 in a full one.
    pub width: u64,
}

impl Tile {
    /// The path below a log's folder, such as `tile/0/x001/234.p/17`.
    pub fn path(&self) -> String {
        format!("tile/{}/{}", self.level, numbered(self.index, self.width))
    }
}

impl fmt::Display for Tile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path())
    }
}

/// The path of the entry bundle `index` that holds `width` entries.
pub fn bundle_path(index: u64, width: u64) -> String {
    format!("tile/entries/{}", numbered(index, width))
}

/// The path of the row bundle beside the entry bundle `index` of `width` entries (not of C2SP: see FORMAT.md).
pub fn row_bundle_path(index: u64, width: u64) -> String {
    format!("rows/{}", numbered(index, width))
}

/// A number in groups of three digits, all but the last behind an `x`, and the width where it is partial.
fn numbered(index: u64, width: u64) -> String {
    let mut path = format!("{:03}", index % 1000);
    let mut rest = index / 1000;
    while rest > 0 {
        path = format!("x{:03}/{path}", rest % 1000);
        rest /= 1000;
    }
    if width < TILE_WIDTH { format!("{path}.p/{width}") } else { path }
}

/// What a path below a log's folder names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// A tile of hashes.
    Tile(Tile),
    /// An entry bundle, by number and width.
    Bundle(u64, u64),
    /// The row bundle beside an entry bundle, by number and width.
    Rows(u64, u64),
}

impl Resource {
    /// Reads a path. Only the one spelling that each resource has is known.
    pub fn parse(path: &str) -> Option<Self> {
        let (kind, rest) = path.split_once('/')?;
        let resource = match kind {
            "rows" => parse_numbered(rest).map(|(number, width)| Self::Rows(number, width)),
            "tile" => match rest.split_once('/')? {
                ("entries", rest) => parse_numbered(rest).map(|(number, width)| Self::Bundle(number, width)),
                (level, rest) => {
                    let level = decimal(level).ok().and_then(|level| u8::try_from(level).ok())?;
                    parse_numbered(rest).map(|(index, width)| Self::Tile(Tile { level, index, width }))
                }
            },
            _ => None,
        }?;
        (resource.path() == path).then_some(resource)
    }

    /// Its path.
    pub fn path(&self) -> String {
        match *self {
            Self::Tile(tile) => tile.path(),
            Self::Bundle(number, width) => bundle_path(number, width),
            Self::Rows(number, width) => row_bundle_path(number, width),
        }
    }

    /// Whether a log of `size` has it, in whole or in part.
    pub fn is_within(&self, size: u64) -> bool {
        let (count, index, width) = match *self {
            Self::Tile(tile) => {
                let shift = u32::from(tile.level) * u32::from(TILE_HEIGHT);
                (size.checked_shr(shift).unwrap_or(0), tile.index, tile.width)
            }
            Self::Bundle(number, width) | Self::Rows(number, width) => (size, number, width),
        };
        0 < width && width <= width_at(index, count)
    }
}

/// Reads a number in groups of three digits, and the width where it is partial.
fn parse_numbered(path: &str) -> Option<(u64, u64)> {
    let (number, width) = match path.split_once(".p/") {
        Some((number, width)) => (number, decimal(width).ok().filter(|width| *width < TILE_WIDTH)?),
        None => (path, TILE_WIDTH),
    };
    let mut index = 0u64;
    for group in number.split('/') {
        let digits = group.strip_prefix('x').unwrap_or(group);
        let value = digits.parse::<u64>().ok().filter(|value| digits.len() == 3 && *value < 1000)?;
        index = index.checked_mul(1000)?.checked_add(value)?;
    }
    Some((index, width))
}

/// The width that tile or bundle `index` has where its level holds `count` hashes: 0 where it does not exist yet.
pub fn width_at(index: u64, count: u64) -> u64 {
    count.saturating_sub(index.saturating_mul(TILE_WIDTH)).min(TILE_WIDTH)
}

/// All tiles of a tree of `size`, level by level from the leaves.
pub fn tiles_of(size: u64) -> impl Iterator<Item = Tile> {
    let levels = core::iter::successors(Some((0u8, size)), |&(level, count)| {
        let above = count / TILE_WIDTH;
        (above > 0).then_some((level + 1, above))
    });
    levels.flat_map(|(level, count)| {
        (0..count.div_ceil(TILE_WIDTH)).map(move |index| Tile { level, index, width: width_at(index, count) })
    })
}

/// All entry bundles of a log of `size`, as (number, width).
pub fn bundles_of(size: u64) -> impl Iterator<Item = (u64, u64)> {
    (0..size.div_ceil(TILE_WIDTH)).map(move |index| (index, width_at(index, size)))
}

/// Cuts a bundle of exactly `width` entries into its entries.
pub fn split_bundle(bundle: &[u8], width: u64) -> Result<Vec<&[u8]>, Error> {
    let mut rest = bundle;
    let mut entries = Vec::with_capacity(usize::try_from(width.min(TILE_WIDTH)).expect("a width is at most 256"));
    for _ in 0..width {
        let (length, tail) = rest.split_first_chunk::<2>().ok_or(Error::BundleShort)?;
        let (entry, tail) =
            tail.split_at_checked(usize::from(u16::from_be_bytes(*length))).ok_or(Error::BundleShort)?;
        entries.push(entry);
        rest = tail;
    }
    if rest.is_empty() { Ok(entries) } else { Err(Error::BundleLong { bytes: rest.len() }) }
}

/// Appends an entry to a bundle.
pub fn push_to_bundle(bundle: &mut Vec<u8>, entry: &[u8]) -> Result<(), Error> {
    let length = u16::try_from(entry.len()).map_err(|_| Error::EntryTooLong { bytes: entry.len() })?;
    bundle.extend_from_slice(&length.to_be_bytes());
    bundle.extend_from_slice(entry);
    Ok(())
}

/// Reads a tile's bytes as hashes.
pub fn tile_hashes(tile: Tile, bytes: &[u8]) -> Result<Vec<Hash>, Error> {
    let (chunks, rest) = bytes.as_chunks::<{ Hash::LEN }>();
    if !rest.is_empty() || chunks.len() as u64 != tile.width {
        return Err(Error::TileLength { tile, bytes: bytes.len() });
    }
    Ok(chunks.iter().copied().map(Hash).collect())
}

/// The nodes of a tree of `size`, told from its tiles, which `read` brings as hashes.
pub struct TileNodes<R> {
    size: u64,
    read: R,
}

impl<E, T: AsRef<[Hash]>, R: Fn(Tile) -> Result<T, E>> TileNodes<R> {
    /// A tree of `size` whose tiles `read` brings; it is asked for the widest tile that this size has.
    pub fn new(size: u64, read: R) -> Self {
        Self { size, read }
    }
}

impl<E, T: AsRef<[Hash]>, R: Fn(Tile) -> Result<T, E>> Nodes for TileNodes<R> {
    type Error = E;

    fn node(&self, level: u8, index: u64) -> Result<Hash, E> {
        let (tile_level, height) = (level / TILE_HEIGHT, level % TILE_HEIGHT);
        let first = index << height;
        let tile_index = first / TILE_WIDTH;
        let hashes_in_level = self.size >> (TILE_HEIGHT * tile_level);
        let hashes =
            (self.read)(Tile { level: tile_level, index: tile_index, width: width_at(tile_index, hashes_in_level) })?;
        let start = usize::try_from(first % TILE_WIDTH).expect("a place in a tile is below 256");
        Ok(root_of_complete(&hashes.as_ref()[start..start + (1 << height)]))
    }
}
