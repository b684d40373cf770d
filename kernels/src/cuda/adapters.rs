//! Resident adapters: by slot on the host, and a table on the device of where each has its values.

use std::ops::Range;
use std::ptr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::device::{DeviceMemory, Stream};
use super::ffi::{LAYERS, LoamColumns, LoamPlaces, LoamType};
use super::loam_type;
use crate::error::{Error, expect_below, expect_shape};
use crate::layout::{Adapter, AdapterLayout, B_TILE_COLUMNS, DType, Group, PairList, SitePlace, SiteShape};

/// Words of `LoamPlace` and of `LoamModule`.
const PLACE_WORDS: usize = 4;
const MODULE_WORDS: usize = 8;

/// Adapters that steps can use, by slot.
#[derive(Debug)]
pub struct CudaAdapters {
    sites: Vec<SiteShape>,
    slots: Vec<Option<Arc<Adapter<DeviceMemory>>>>,
    ranks: Arc<Ranks>,
    table: DeviceMemory,
    /// Words of the table that a slot has.
    slot_words: usize,
}

/// Ranks of resident adapters, by slot and site: what is asked of them when an operation is replayed, which sees no
/// adapters.
#[derive(Debug)]
pub(super) struct Ranks(Mutex<Vec<Option<Box<[usize]>>>>);

impl Ranks {
    fn slots(&self) -> MutexGuard<'_, Vec<Option<Box<[usize]>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Refuses slots that hold nothing, and ranks that an `h` of this width has no room for.
    pub(super) fn check(&self, site: usize, width: usize, groups: &[Group]) -> Result<(), Error> {
        let slots = self.slots();
        groups.iter().try_for_each(|group| match slots.get(group.slot as usize) {
            Some(Some(ranks)) if ranks[site] <= width => Ok(()),
            Some(Some(ranks)) => {
                Err(Error::Shape { what: "a graph's h, by rank,", expected: ranks[site], found: width })
            }
            _ => Err(Error::EmptySlot { slot: group.slot }),
        })
    }
}

/// Graphs that know the table outlive it, and must find nobody in it.
impl Drop for CudaAdapters {
    fn drop(&mut self) {
        self.ranks.slots().clear();
    }
}

impl CudaAdapters {
    pub(super) fn new(sites: Vec<SiteShape>, slots: usize) -> Result<Self, Error> {
        for site in &sites {
            expect_below("a site's number of modules", site.modules.len(), LAYERS + 1)?;
        }
        let slot_words = words_before(&sites, sites.len());
        let table = DeviceMemory::new("the table of adapters", DType::U32, slot_words * slots)?;
        let ranks = Arc::new(Ranks(Mutex::new(vec![None; slots])));
        Ok(Self { sites, slots: (0..slots).map(|_| None).collect(), ranks, table, slot_words })
    }

    /// Puts an adapter into a slot. The table is written in the stream's order, after steps that read what was there.
    pub(super) fn install(
        &mut self,
        stream: &Stream,
        slot: u32,
        adapter: Option<Arc<Adapter<DeviceMemory>>>,
    ) -> Result<Option<Arc<Adapter<DeviceMemory>>>, Error> {
        expect_below("a slot", slot as usize, self.slots.len())?;
        if let Some(adapter) = &adapter {
            let shapes = adapter.layout().sites().iter().map(|place| &place.shape);
            expect_shape("an adapter's sites", shapes.len(), self.sites.len())?;
            let same = shapes.zip(&self.sites).take_while(|(found, expected)| found == expected).count();
            expect_shape("sites of the table's shapes", same, self.sites.len())?;
            let words = record(adapter.memory().address() as u64, adapter.layout());
            self.table.write_at(stream, slot as usize * self.slot_words, &words)?;
        }
        self.ranks.slots()[slot as usize] =
            adapter.as_ref().map(|adapter| adapter.layout().sites().iter().map(|site| site.rank).collect());
        Ok(std::mem::replace(&mut self.slots[slot as usize], adapter))
    }

    /// Refuses slots that hold nothing, and a site that is not there.
    pub(super) fn check(&self, site: usize, pairs: &PairList) -> Result<(), Error> {
        expect_below("a site", site, self.sites.len())?;
        pairs.groups().iter().try_for_each(|group| match self.slots.get(group.slot as usize) {
            Some(Some(_)) => Ok(()),
            _ => Err(Error::EmptySlot { slot: group.slot }),
        })
    }

    /// What replays ask of those who are in the table then.
    pub(super) const fn ranks(&self) -> &Arc<Ranks> {
        &self.ranks
    }

    /// A checked site.
    pub(super) fn site(&self, site: usize) -> &SiteShape {
        &self.sites[site]
    }

    /// Some of a site's outputs, and the tiles of `B` in which they lie.
    pub(super) fn columns(&self, site: usize, columns: Range<usize>) -> LoamColumns {
        let (mut at, mut first_tile, mut end_tile, mut tile) = (0, 0, 0, 0);
        for &outputs in &self.sites[site].modules {
            let inside = |column: usize| column.clamp(at, at + outputs) - at;
            let (from, to) = (inside(columns.start), inside(columns.end));
            if end_tile == 0 {
                first_tile = tile + from / B_TILE_COLUMNS;
            }
            if from < to {
                end_tile = tile + to.div_ceil(B_TILE_COLUMNS);
            }
            at += outputs;
            tile += outputs.div_ceil(B_TILE_COLUMNS);
        }
        let tiles = end_tile.saturating_sub(first_tile);
        let [from, to, first_tile, tiles] = [columns.start, columns.end, first_tile, tiles].map(|count| count as u32);
        let mut outputs = [0; LAYERS];
        outputs.iter_mut().zip(&self.sites[site].modules).for_each(|(to, count)| *to = *count as u32);
        LoamColumns { from, to, first_tile, tiles, outputs, of_row: ptr::null() }
    }

    /// A site's places in the adapters of checked pairs, in order of groups.
    pub(super) fn places<'a>(&'a self, site: usize, pairs: &'a PairList) -> impl Iterator<Item = &'a SitePlace> {
        let adapter = |slot: u32| self.slots[slot as usize].as_ref().expect("`check` refused empty slots");
        pairs.groups().iter().map(move |group| &adapter(group.slot).layout().sites()[site])
    }

    /// What kernels read of a site.
    pub(super) fn raw(&self, site: usize) -> LoamPlaces {
        let from = self.table.address().cast::<u32>().wrapping_add(words_before(&self.sites, site)).cast();
        LoamPlaces { from, slot_bytes: (self.slot_words * size_of::<u32>()) as i64 }
    }
}

/// Words of the sites before one.
fn words_before(sites: &[SiteShape], site: usize) -> usize {
    sites[..site].iter().map(|site| PLACE_WORDS + site.modules.len() * MODULE_WORDS).sum()
}

/// `LoamPlace` and its `LoamModule`s for every site of an adapter.
fn record(slab: u64, layout: &AdapterLayout) -> Vec<u32> {
    let mut words = Vec::new();
    let address = |at: usize| {
        let address = slab + (at * layout.dtype().bytes()) as u64;
        [address as u32, (address >> 32) as u32]
    };
    let dtype: LoamType = loam_type(layout.dtype());
    for site in layout.sites() {
        words.extend(address(site.a_at));
        words.extend([site.rank as u32, dtype as u32]);
        for it in &site.modules {
            words.extend(address(it.b_at));
            words.extend([it.rank, it.h_at, it.out_at, it.out_features].map(|count| count as u32));
            words.extend([it.scale.to_bits(), 0]);
        }
    }
    words
}

#[cfg(all(test, feature = "emulate"))]
mod tests {
    use super::CudaAdapters;
    use crate::layout::{SiteKind, SiteShape};

    /// Tiles of a site of 60, 0, 197 and 64 outputs: one, none, four and one.
    #[track_caller]
    fn check(from: usize, to: usize, tiles: std::ops::Range<u32>) {
        let modules = vec![60, 0, 197, 64];
        let site = SiteShape { kind: SiteKind::Linear, in_features: 1, modules };
        let adapters = CudaAdapters::new(vec![site], 1).expect("a table");
        let columns = adapters.columns(0, from..to);
        assert_eq!((columns.from, columns.to), (from as u32, to as u32));
        assert_eq!(columns.first_tile..columns.first_tile + columns.tiles, tiles, "columns {from} to {to}");
    }

    #[test]
    fn columns_lie_in_tiles_of_modules() {
        check(0, 321, 0..6);
        check(10, 60, 0..1);
        check(60, 61, 1..2);
        check(59, 61, 0..2);
        check(64, 192, 1..4);
        check(256, 257, 4..5);
        check(257, 321, 5..6);
        check(192, 258, 3..6);
    }
}
