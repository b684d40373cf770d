//! Reading: entries, tiles, proofs, checkpoints and rows, from the store and what is still in memory.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::{Arc, Mutex, OnceLock};

use loam_ledger_core::Hash;
use loam_ledger_core::entry::Entry;
use loam_ledger_core::granted::GrantedRow;
use loam_ledger_core::hash::leaf_hash;
use loam_ledger_core::note::{KeyKind, VerifierKey};
use loam_ledger_core::origin::{LogId, LogName};
use loam_ledger_core::proof::Proof;
use loam_ledger_core::tile::{TILE_WIDTH, Tile, TileNodes, split_bundle, tile_hashes, width_at};
use loam_ledger_core::tree::{prove_consistency, prove_inclusion, root_at};

use crate::error::Error;
use crate::layout::{self, Identity, RequestRecord, log_number, log_of};
use crate::offers::RowsKept;
use crate::payers::Payers;
use crate::recorded::Recorded;
use crate::request::Secret;
use crate::sealed::{SealedRow, decode_sealed};
use crate::settling::Draft;
use crate::slots::Secrets;
use crate::speaking::Speaking;
use crate::store::{Space, Store};
use crate::view::{LogView, Shared};

/// Whose rows a reader may see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowScope {
    /// Nobody's.
    Public,
    /// Everybody's that are not erased: for settling accounts.
    Settlement,
    /// One request's.
    Request(Hash),
    /// Those of a tenant's requests that have a complete answer.
    Tenant(String),
}

/// The reading half of a ledger. Clones read the same one.
#[derive(Clone)]
pub(crate) struct Reader {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) secrets: Option<Arc<Secrets>>,
    /// Slots whose erasing was announced and cut short, as the ledger was found. They read as erased.
    pub(crate) erasing: Arc<HashSet<u64>>,
    pub(crate) identity: Arc<Identity>,
    pub(crate) shared: Arc<Shared>,
    /// Folded when it is first asked for.
    pub(crate) recorded: Arc<OnceLock<Recorded>>,
    pub(crate) rows_kept: Arc<RowsKept>,
    /// Held by whoever stores what a record holds digests of, or redacts it.
    pub(crate) offering: Arc<Mutex<()>>,
    pub(crate) speaking: Arc<Speaking>,
    pub(crate) draft: Arc<Draft>,
}

impl Reader {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        secrets: Option<Arc<Secrets>>,
        erasing: Arc<HashSet<u64>>,
        identity: Arc<Identity>,
        shared: Arc<Shared>,
    ) -> Self {
        let (recorded, rows_kept, offering, speaking, draft) = Default::default();
        Self { store, secrets, erasing, identity, shared, recorded, rows_kept, offering, speaking, draft }
    }

    pub(crate) fn log_view(&self, log: LogId) -> Result<LogView, Error> {
        self.shared.view().log(log_number(log)).cloned()
    }

    pub(crate) fn size(&self, log: LogId) -> Result<u64, Error> {
        self.shared.view().log(log_number(log)).map(|view| view.size)
    }

    pub(crate) fn name(&self, log: LogId) -> Result<LogName, Error> {
        Ok(LogName::new(&self.identity.name, log)?)
    }

    pub(crate) fn key(&self, log: LogId) -> Result<VerifierKey, Error> {
        let public = self.shared.view().log(log_number(log))?.public_key;
        Ok(VerifierKey::new(&self.name(log)?.to_string(), KeyKind::Ed25519, public)?)
    }

    /// An entry's bytes.
    pub(crate) fn entry(&self, log: LogId, index: u64) -> Result<Vec<u8>, Error> {
        self.within(log, index)?;
        let number = log_number(log);
        let first = index / TILE_WIDTH * TILE_WIDTH;
        let found =
            self.store.last(Space::Entry, &layout::place_key(number, first), &layout::place_key(number, index))?;
        let missing = || Error::damaged(format!("entry {index} of {log}"), "it is not in the store");
        let (key, segment) = found.ok_or_else(missing)?;
        let mut rest = &segment[..];
        for _ in layout::place_number(&key)?..index {
            rest = split_entry(rest).ok_or_else(missing)?.1;
        }
        split_entry(rest).map(|(entry, _)| entry.to_vec()).ok_or_else(missing)
    }

    /// The entries from `first` up to, but without, `end`.
    pub(crate) fn entries(&self, log: LogId, first: u64, end: u64) -> Result<Vec<Vec<u8>>, Error> {
        let mut entries = Vec::new();
        let (mut index, size) = (first, self.size(log)?);
        while index < end.min(size) {
            let number = index / TILE_WIDTH;
            let width = width_at(number, end.min(size));
            let bundle = self.bundle(log, number, width)?;
            let skipped = usize::try_from(index % TILE_WIDTH).expect("a place in a bundle is below 256");
            entries.extend(split_bundle(&bundle, width)?.into_iter().skip(skipped).map(<[u8]>::to_vec));
            index = number * TILE_WIDTH + width;
        }
        Ok(entries)
    }

    /// The bundle `number` with its first `width` entries.
    pub(crate) fn bundle(&self, log: LogId, number: u64, width: u64) -> Result<Vec<u8>, Error> {
        let (log_number, first) = (log_number(log), number * TILE_WIDTH);
        let mut bundle = Vec::new();
        let (from, end) = (layout::place_key(log_number, first), layout::place_key(log_number, first + width));
        self.store.scan(Space::Entry, &from, &end, &mut |_, entries| {
            bundle.extend_from_slice(entries);
            Ok(ControlFlow::Continue(()))
        })?;
        let mut rest = &bundle[..];
        for index in first..first + width {
            let missing = || Error::damaged(format!("entry {index} of {log}"), "it is not in the store");
            rest = split_entry(rest).ok_or_else(missing)?.1;
        }
        let length = bundle.len() - rest.len();
        bundle.truncate(length);
        Ok(bundle)
    }

    /// A tile's hashes: from memory while it fills, from the store when it is full.
    pub(crate) fn tile(&self, log: LogId, tile: Tile) -> Result<Vec<Hash>, Error> {
        let width = usize::try_from(tile.width).expect("a tile has at most 256 hashes");
        if tile.width < TILE_WIDTH {
            let view = self.shared.view();
            let view = view.log(log_number(log))?;
            let count = view.size >> (8 * u32::from(tile.level));
            let filling = view.filling.get(usize::from(tile.level)).filter(|_| count / TILE_WIDTH == tile.index);
            if let Some(hashes) = filling.and_then(|hashes| hashes.get(..width)) {
                return Ok(hashes.to_vec());
            }
        }
        let mut hashes = self.full_tile(log_number(log), tile.level, tile.index)?;
        hashes.truncate(width);
        Ok(hashes)
    }

    fn full_tile(&self, log: u32, level: u8, index: u64) -> Result<Vec<Hash>, Error> {
        let tile = Tile { level, index, width: TILE_WIDTH };
        let bytes = self.store.value(Space::Tile, &layout::tile_key(log, level, index))?;
        let missing = || Error::damaged(format!("{tile} of {}", log_of(log)), "it is not in the store");
        Ok(tile_hashes(tile, &bytes.ok_or_else(missing)?)?)
    }

    /// The tree of a log's first `size` entries, for proofs: each tile is read once.
    fn with_nodes<T>(
        &self,
        log: LogId,
        size: u64,
        make: impl FnOnce(&TileNodes<&dyn Fn(Tile) -> Result<Rc<[Hash]>, Error>>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let held = self.size(log)?;
        if size > held {
            return Err(Error::NotThatLarge { log, asked: size, size: held });
        }
        let seen: RefCell<BTreeMap<Tile, Rc<[Hash]>>> = RefCell::default();
        let read = |tile: Tile| {
            if let Some(hashes) = seen.borrow().get(&tile) {
                return Ok(Rc::clone(hashes));
            }
            let hashes: Rc<[Hash]> = self.tile(log, tile)?.into();
            seen.borrow_mut().insert(tile, Rc::clone(&hashes));
            Ok(hashes)
        };
        make(&TileNodes::new(size, &read))
    }

    pub(crate) fn root_at(&self, log: LogId, size: u64) -> Result<Hash, Error> {
        self.with_nodes(log, size, |nodes| root_at(nodes, size))
    }

    /// The consistency proof between two sizes of a log.
    pub(crate) fn consistency(&self, log: LogId, old: u64, new: u64) -> Result<Vec<Hash>, Error> {
        if old == 0 {
            return Err(loam_ledger_core::Error::ConsistencyFromEmpty.into());
        }
        if old > new {
            return Err(loam_ledger_core::Error::SizesReversed { old, new }.into());
        }
        self.with_nodes(log, new, |nodes| prove_consistency(nodes, old, new))
    }

    /// A proof that an entry is in its log, under the newest checkpoint that was signed.
    pub(crate) fn prove(&self, log: LogId, index: u64) -> Result<Proof, Error> {
        let view = self.log_view(log)?;
        self.within(log, index)?;
        let unsigned =
            || Error::NotPublished { log, size: index.saturating_add(1), why: "nothing signs it now".to_owned() };
        let size = view.published.filter(|size| index < *size).ok_or_else(unsigned)?;
        let path = self.with_nodes(log, size, |nodes| prove_inclusion(nodes, index, size))?;
        let checkpoint = self.checkpoint(log, size)?.ok_or_else(unsigned)?;
        Ok(Proof { extra: None, index, path, checkpoint })
    }

    /// The note that was signed at a size.
    pub(crate) fn checkpoint(&self, log: LogId, size: u64) -> Result<Option<Vec<u8>>, Error> {
        self.store.value(Space::Checkpoint, &layout::place_key(log_number(log), size))
    }

    /// The newest note of a log, and its size.
    pub(crate) fn newest_checkpoint(&self, log: LogId) -> Result<Option<(u64, Vec<u8>)>, Error> {
        let number = log_number(log);
        let (first, last) = (layout::place_key(number, 0), layout::place_key(number, u64::MAX));
        let found = self.store.last(Space::Checkpoint, &first, &last)?;
        found.map(|(key, note)| Ok((layout::place_number(&key)?, note))).transpose()
    }

    /// The sizes at which a log was signed.
    pub(crate) fn checkpoint_sizes(&self, log: LogId) -> Result<Vec<u64>, Error> {
        let number = log_number(log);
        let mut sizes = Vec::new();
        let (first, end) = (layout::place_key(number, 0), layout::place_key(number, u64::MAX));
        self.store.scan(Space::Checkpoint, &first, &end, &mut |key, _| {
            sizes.push(layout::place_number(key)?);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(sizes)
    }

    /// An entry's rows as they lie in the store.
    pub(crate) fn sealed_rows(&self, log: LogId, index: u64) -> Result<Vec<SealedRow>, Error> {
        let bytes = self.store.value(Space::Rows, &layout::place_key(log_number(log), index))?;
        bytes.map_or(Ok(Vec::new()), |bytes| decode_sealed(&bytes))
    }

    /// The secret in a slot: an error says whether it was erased, or is not here.
    pub(crate) fn secret_of(&self, slot: u64) -> Result<Secret, Error> {
        if self.erasing.contains(&slot) {
            return Err(Error::Erased);
        }
        let secrets = self.secrets.as_ref().ok_or(Error::SecretMissing)?;
        secrets.secret(slot).map(|secret| Secret::new(&secret))
    }

    pub(crate) fn request_record(&self, request: &Hash) -> Result<RequestRecord, Error> {
        let record = self.store.value(Space::Request, &request.0)?.ok_or(Error::UnknownRequest)?;
        RequestRecord::decode(&record)
    }

    /// An entry's rows as far as the scope grants them; nothing where it grants none of them.
    pub(crate) fn granted_rows(
        &self,
        log: LogId,
        index: u64,
        scope: &RowScope,
        payers: &Payers,
    ) -> Result<Option<Vec<GrantedRow>>, Error> {
        match scope {
            RowScope::Public => Ok(None),
            _ => self.granted_rows_of(log, index, &Entry::decode(&self.entry(log, index)?)?, scope, payers),
        }
    }

    /// The same of an entry that is at hand.
    pub(crate) fn granted_rows_of(
        &self,
        log: LogId,
        index: u64,
        entry: &Entry,
        scope: &RowScope,
        payers: &Payers,
    ) -> Result<Option<Vec<GrantedRow>>, Error> {
        let only = match scope {
            RowScope::Public => return Ok(None),
            RowScope::Settlement | RowScope::Tenant(_) => None,
            RowScope::Request(request) => Some(self.request_record(request)?.slot),
        };
        let sealed = self.sealed_rows(log, index)?;
        if sealed.is_empty() || only.is_some_and(|slot| sealed.iter().all(|row| row.slot != slot)) {
            return Ok(None);
        }
        let place = entry.place().ok_or_else(|| Error::damaged(format!("entry {index} of {log}"), "it has rows"))?;
        let mut granted = Vec::with_capacity(sealed.len());
        for (number, row) in (0u32..).zip(&sealed) {
            if only.is_some_and(|slot| slot != row.slot) {
                granted.push(GrantedRow::Hidden(row.leaf));
                continue;
            }
            granted.push(match (self.secret_of(row.slot), scope) {
                (Ok(secret), _) => {
                    let (salt, opened) = row.open(&secret, &place.boot, place.sequence, number)?;
                    match scope {
                        RowScope::Tenant(tenant) if !payers.pays(self, row.slot, &opened, tenant)? => {
                            GrantedRow::Hidden(row.leaf)
                        }
                        _ => GrantedRow::Open { salt, row: opened },
                    }
                }
                // Whose an erased row was, nobody can say.
                (Err(Error::Erased), RowScope::Tenant(_)) | (Err(Error::SecretMissing), _) => {
                    GrantedRow::Hidden(row.leaf)
                }
                (Err(Error::Erased), _) => GrantedRow::Erased(row.leaf),
                (Err(why), _) => return Err(why),
            });
        }
        let any = granted.iter().any(|row| !matches!(row, GrantedRow::Hidden(_)));
        Ok((any || only.is_some() || *scope == RowScope::Settlement).then_some(granted))
    }

    /// Rebuilds what lies right of a log's full tiles from the store, when a ledger is opened.
    pub(crate) fn rebuild_filling(&self, log: u32, size: u64) -> Result<Vec<Vec<Hash>>, Error> {
        let mut filling = Vec::new();
        let last = size / TILE_WIDTH;
        if size > 0 {
            let width = width_at(last, size);
            let bundle = self.bundle(log_of(log), last, width)?;
            filling.push(split_bundle(&bundle, width)?.into_iter().map(leaf_hash).collect::<Vec<_>>());
        }
        let mut count = last;
        for level in 0u8.. {
            if count == 0 {
                break;
            }
            let first = count / TILE_WIDTH * TILE_WIDTH;
            let roots = (first..count)
                .map(|index| Ok(loam_ledger_core::tree::root_of_complete(&self.full_tile(log, level, index)?)));
            filling.push(roots.collect::<Result<Vec<_>, Error>>()?);
            count /= TILE_WIDTH;
        }
        Ok(filling)
    }

    fn within(&self, log: LogId, index: u64) -> Result<(), Error> {
        let size = self.size(log)?;
        if index < size { Ok(()) } else { Err(Error::NotInLog { log, index, size }) }
    }
}

/// The first entry of what is left of a bundle, and the rest.
fn split_entry(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}
