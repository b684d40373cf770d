//! Resident adapters, by slot.

use std::sync::Arc;

use super::memory::CpuMemory;
use crate::error::{Error, expect_below, expect_shape};
use crate::layout::{Adapter, PairList, SitePlace, SiteShape};

/// A table of adapters. On the CPU a slot is a reference to what was loaded.
#[derive(Debug)]
pub struct CpuAdapters {
    sites: Vec<SiteShape>,
    slots: Vec<Option<Arc<Adapter<CpuMemory>>>>,
}

impl CpuAdapters {
    pub(super) fn new(sites: Vec<SiteShape>, slots: usize) -> Result<Self, Error> {
        let mut empty = Vec::new();
        let bytes = slots.saturating_mul(size_of::<Option<Arc<Adapter<CpuMemory>>>>());
        empty.try_reserve_exact(slots).map_err(|_| Error::OutOfMemory { what: "slots for adapters", bytes })?;
        empty.resize(slots, None);
        Ok(Self { sites, slots: empty })
    }

    pub(super) fn install(
        &mut self,
        slot: u32,
        adapter: Option<Arc<Adapter<CpuMemory>>>,
    ) -> Result<Option<Arc<Adapter<CpuMemory>>>, Error> {
        expect_below("a slot", slot as usize, self.slots.len())?;
        if let Some(adapter) = &adapter {
            let shapes = adapter.layout().sites().iter().map(|place| &place.shape);
            expect_shape("an adapter's sites", shapes.len(), self.sites.len())?;
            let same = shapes.zip(&self.sites).take_while(|(found, expected)| found == expected).count();
            expect_shape("sites of the table's shapes", same, self.sites.len())?;
        }
        Ok(std::mem::replace(&mut self.slots[slot as usize], adapter))
    }

    /// Refuses slots that hold nothing, and a site that is not there.
    pub(super) fn check(&self, site: usize, pairs: &PairList) -> Result<(), Error> {
        expect_below("a site", site, self.sites.len())?;
        pairs.groups().iter().try_for_each(|group| match self.slots.get(group.slot as usize) {
            Some(Some(adapter)) => adapter.memory().expect_unchanged(),
            _ => Err(Error::EmptySlot { slot: group.slot }),
        })
    }

    /// A checked site.
    pub(super) fn site(&self, site: usize) -> &SiteShape {
        &self.sites[site]
    }

    /// The adapter of a slot that was checked.
    pub(super) fn adapter(&self, slot: u32) -> &Adapter<CpuMemory> {
        self.slots[slot as usize].as_ref().expect("`check` refused empty slots")
    }

    /// A site's places in the adapters of checked pairs, in order of groups.
    pub(super) fn places<'a>(&'a self, site: usize, pairs: &'a PairList) -> impl Iterator<Item = &'a SitePlace> {
        pairs.groups().iter().map(move |group| &self.adapter(group.slot).layout().sites()[site])
    }
}
