//! Opening a ledger: look first, write only where the floor agrees.

use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use loam_ledger_core::checkpoint::Checkpoint;
use loam_ledger_core::entry::Entry;
use loam_ledger_core::hash::leaf_hash;
use loam_ledger_core::origin::LogName;
use loam_ledger_core::tile::{TILE_WIDTH, split_bundle, width_at};

use crate::committer::floor_heads;
use crate::engines::{Engines, RECENT_MAX};
use crate::error::Error;
use crate::floor::{Floor, FloorHead, StoreId};
use crate::growing::{Growing, edge_of};
use crate::home::{Access, Home, Plain};
use crate::layout::{self, EnginePosition, Head, Identity, LogPlace, log_of};
use crate::read_only::WhyReadOnly;
use crate::reader::Reader;
use crate::slots::Secrets;
use crate::store::{Space, Store};
use crate::view::{LogView, Shared};

/// A ledger as it was found.
pub(crate) struct Found {
    pub(crate) reader: Reader,
    pub(crate) logs: BTreeMap<u32, Growing>,
    pub(crate) slots_used: u64,
    /// What the committer needs; or why nothing may be written.
    pub(crate) writable: Result<(Floor, Engines), WhyReadOnly>,
}

/// Opens a ledger. It is looked at through a read-only open first: an open for writing would already cut off what a
/// damaged log's end holds, and with it the evidence.
pub(crate) fn open(home: &dyn Home, write: bool) -> Result<Found, Error> {
    if !write {
        return look(home);
    }
    // Somebody else may be writing until we hold the store: then what we saw is no more, and we look again.
    const TRIES: u32 = 3;
    for _ in 0..TRIES {
        // The floor before the store: a writer at work can only raise the store above it.
        let floor = read_floor(home)?;
        let looked = look(home)?;
        if let Some(why) = why_read_only(&looked, home, floor.as_ref())? {
            return Ok(Found { writable: Err(why), ..looked });
        }
        let before = heads(&looked);
        drop(looked);
        let found = read(home.store(Access::Write)?, home, Access::Write)?;
        if before == heads(&found) {
            return make_writable(found, home);
        }
    }
    Err(Error::damaged("the store", "it changes while it is opened, though nobody holds it"))
}

fn heads(found: &Found) -> Vec<(u32, Head)> {
    found.logs.values().map(|log| (log.number, log.head.clone())).collect()
}

/// What the floor says: whose it is, and the heads; nothing where its slots are damaged.
pub(crate) type FloorSays = Option<(StoreId, Vec<FloorHead>)>;

/// Reads the floor, if there is one.
pub(crate) fn read_floor(home: &dyn Home) -> Result<Option<FloorSays>, Error> {
    let Some(file) = home.file(Plain::Floor, Access::Read)? else { return Ok(None) };
    Ok(Some(Floor::open(file)?.map(|(_, store, heads)| (store, heads))))
}

/// Takes a store that is held for writing, and found to be what it should be.
fn make_writable(mut found: Found, home: &dyn Home) -> Result<Found, Error> {
    let gone = || Error::damaged("the floor", "it went away");
    let (mut floor, _, _) = Floor::open(home.file(Plain::Floor, Access::Write)?.ok_or_else(gone)?)?.ok_or_else(gone)?;
    let engines = read_engines(&found.reader)?;
    let secrets = found.reader.secrets.as_ref().ok_or_else(|| Error::damaged("the secrets", "they went away"))?;
    // The machine may have stopped between the store and the floor, so what is in the store may not have been
    // acknowledged. It is from now on, for it is about to be signed.
    secrets.sync()?;
    floor.raise(&floor_heads(&found.logs))?;
    found.reader.erasing.iter().try_for_each(|slot| secrets.erase(*slot))?;
    found.writable = Ok((floor, engines));
    Ok(found)
}

/// Opens a ledger for reading. A writer at work moves files while we look, so one stumble means nothing.
fn look(home: &dyn Home) -> Result<Found, Error> {
    const TRIES: u32 = 5;
    for _ in 1..TRIES {
        match home.store(Access::Read).and_then(|store| read(store, home, Access::Read)) {
            Err(Error::Store(_)) => std::thread::sleep(std::time::Duration::from_millis(20)),
            outcome => return outcome,
        }
    }
    let outcome = home.store(Access::Read).and_then(|store| read(store, home, Access::Read));
    outcome.map_err(|why| match why {
        Error::Store(why) => Error::damaged("the store", format!("{why}{}", floor_in_words(home))),
        other => other,
    })
}

/// What the floor says, beside a store that says nothing.
fn floor_in_words(home: &dyn Home) -> String {
    let floor = home.file(Plain::Floor, Access::Read).ok().flatten().and_then(|file| Floor::open(file).ok().flatten());
    let heads = floor.map(|(_, _, heads)| heads).unwrap_or_default();
    let head =
        |head: &FloorHead| format!("; the floor of {} is {} entries, root {}", log_of(head.log), head.size, head.root);
    heads.iter().map(head).collect()
}

/// Reads where everything stands. Every log's head is made again from its entries and tiles, and must come out.
fn read(store: Arc<dyn Store>, home: &dyn Home, access: Access) -> Result<Found, Error> {
    let identity = store.value(Space::Meta, layout::IDENTITY)?;
    let identity = identity.ok_or_else(|| Error::damaged("the store", "making it was cut short: make another"))?;
    let identity = Arc::new(Identity::decode(&identity)?);
    let slots_used = match store.value(Space::Meta, layout::SLOTS_USED)? {
        Some(bytes) => u64::from_be_bytes(bytes.try_into().map_err(|_| Error::damaged("the store", "slots"))?),
        None => 1,
    };
    let mut heads = Vec::new();
    let (first, end) = layout::head_range();
    store.scan(Space::Meta, &first, &end, &mut |key, head| {
        let number = key.last_chunk::<4>().ok_or_else(|| Error::damaged("a head's key", "it is too short"))?;
        heads.push((u32::from_be_bytes(*number), Head::decode(head)?));
        Ok(ControlFlow::Continue(()))
    })?;
    let secrets = home.file(Plain::Slots, access)?;
    let secrets = secrets.map(|file| Secrets::open(file, &identity.store, slots_used)).transpose()?.flatten();
    let secrets = secrets.map(Arc::new);
    let erasing = Arc::new(unfinished_erasures(&*store, secrets.as_deref())?);
    let mut reader = Reader::new(store, secrets, erasing, identity, Arc::new(Shared::new(BTreeMap::new())));
    let (mut logs, mut views) = (BTreeMap::new(), BTreeMap::new());
    for (number, head) in heads {
        let filling = reader.rebuild_filling(number, head.edge.size())?;
        if edge_of(head.edge.size(), &filling).as_ref() != Some(&head.edge) {
            let how = "its entries and tiles do not lead to its head";
            return Err(Error::damaged(log_of(number), how));
        }
        let published = reader.newest_checkpoint(log_of(number))?.map(|(size, _)| size);
        let log = Growing::new(number, head, filling);
        views.insert(number, LogView::of(&log, published.filter(|size| *size <= log.size())));
        logs.insert(number, log);
    }
    reader.shared = Arc::new(Shared::new(views));
    Ok(Found { reader, logs, slots_used, writable: Err(WhyReadOnly::Asked) })
}

/// Why a ledger that was asked for writing must not be written, if anything says so.
/// `floor` must have been read before the store was.
pub(crate) fn why_read_only(
    found: &Found,
    home: &dyn Home,
    floor: Option<&FloorSays>,
) -> Result<Option<WhyReadOnly>, Error> {
    let reader = &found.reader;
    let Some(floor) = floor else { return Ok(Some(WhyReadOnly::NoFloor)) };
    let Some((store, floor)) = floor else { return Ok(Some(WhyReadOnly::DamagedFloor)) };
    if *store != reader.identity.store {
        return Ok(Some(WhyReadOnly::ForeignFloor));
    }
    if let Some(why) = below_floor(reader, floor)? {
        return Ok(Some(why));
    }
    if reader.secrets.is_none() {
        return Ok(Some(WhyReadOnly::NoSecrets));
    }
    let keys = home.keys();
    for (number, log) in &found.logs {
        let id = log_of(*number);
        if let Some((size, note)) = reader.newest_checkpoint(id)? {
            let signed = Checkpoint::open(&note, &reader.key(id)?);
            if size > log.size() || !signed.is_ok_and(|signed| reader.root_at(id, size) == Ok(signed.root)) {
                return Ok(Some(WhyReadOnly::Disagrees { log: id, size }));
            }
        }
        // A frozen shard that is signed to its end needs its key no more.
        let signed_for_good = log.head.frozen && reader.log_view(id)?.published == Some(log.size());
        match keys.key(&LogName::new(&reader.identity.name, id)?) {
            Ok(Some(key)) if *key.verifier().public() != log.head.public_key => {
                return Ok(Some(WhyReadOnly::ForeignKey { log: id }));
            }
            Ok(None) if !signed_for_good => return Ok(Some(WhyReadOnly::LostKey { log: id })),
            Err(why) if !signed_for_good => return Ok(Some(WhyReadOnly::DamagedKey { log: id, why: why.to_string() })),
            _ => {}
        }
    }
    Ok(None)
}

/// Whether a log is not what it was when something was last acknowledged: shorter, or another.
pub(crate) fn below_floor(reader: &Reader, floor: &[FloorHead]) -> Result<Option<WhyReadOnly>, Error> {
    for head in floor {
        let log = log_of(head.log);
        let view = reader.log_view(log);
        let store = view.as_ref().map_or((0, loam_ledger_core::Hash::EMPTY_TREE), |view| (view.size, view.root));
        if view.is_err() || store.0 < head.size || reader.root_at(log, head.size)? != head.root {
            return Ok(Some(WhyReadOnly::BelowFloor { log, floor: (head.size, head.root), store }));
        }
    }
    Ok(None)
}

/// Where every engine stands, and the newest entries, among which a repetition is recognised.
pub(crate) fn read_engines(reader: &Reader) -> Result<Engines, Error> {
    let mut engines = Engines::default();
    reader.store.scan(Space::Engine, &[], &[0xff; 17], &mut |engine, position| {
        let engine = engine.try_into().map_err(|_| Error::damaged("an engine's key", "it is not an id"))?;
        engines.restore(engine, EnginePosition::decode(position)?);
        Ok(ControlFlow::Continue(()))
    })?;
    // The newest bundles first, over as many shards as it takes; then in the order in which they were appended.
    let (mut bundles, mut left, mut last) = (Vec::new(), RECENT_MAX as u64, BTreeMap::new());
    let shards: Vec<u32> = reader.shared.view().logs.keys().copied().filter(|number| *number > 0).collect();
    for shard in shards.into_iter().rev() {
        let size = reader.size(log_of(shard))?;
        for number in (0..size.div_ceil(TILE_WIDTH)).rev() {
            if left == 0 {
                break;
            }
            left = left.saturating_sub(TILE_WIDTH);
            bundles.push((shard, number, width_at(number, size)));
        }
    }
    for (shard, number, width) in bundles.into_iter().rev() {
        let bundle = reader.bundle(log_of(shard), number, width)?;
        for (index, entry) in (number * TILE_WIDTH..).zip(split_bundle(&bundle, width)?) {
            let (entry, leaf) = (Entry::decode(entry)?, leaf_hash(entry));
            engines.restore_recent(&entry, leaf, LogPlace { log: shard, index });
            if let Some(place) = entry.place() {
                last.insert(place.engine, (place.boot, place.sequence, leaf));
            }
        }
    }
    for (engine, last) in last {
        let position = engines.position(&engine).map(|position| (position.boot, position.sequence, position.leaf));
        if position != Some(last) {
            return Err(Error::damaged("an engine's position", "it is not that of the engine's last entry"));
        }
    }
    Ok(engines)
}

/// Slots whose erasing was announced and accounted for, and cut short before they were overwritten.
fn unfinished_erasures(store: &dyn Store, secrets: Option<&Secrets>) -> Result<HashSet<u64>, Error> {
    let mut unfinished = HashSet::new();
    for (first, end) in [layout::erasing_range(), layout::erasing_rows_range()] {
        store.scan(Space::Meta, &first, &end, &mut |_, slot| {
            let slot = slot.try_into().map_err(|_| Error::damaged("an erasure", "it names no slot"))?;
            let slot = u64::from_be_bytes(slot);
            if secrets.is_some_and(|secrets| !matches!(secrets.secret(slot), Err(Error::Erased))) {
                unfinished.insert(slot);
            }
            Ok(ControlFlow::Continue(()))
        })?;
    }
    Ok(unfinished)
}
