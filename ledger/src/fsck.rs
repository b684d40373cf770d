//! Examining a store: whether everything in it belongs together, and everything that was acknowledged is there.

use std::collections::BTreeMap;

use loam_ledger_core::Hash;
use loam_ledger_core::audit::{Failure, Options as AuditOptions, audit_ledger};
use loam_ledger_core::origin::LogId;
use loam_ledger_core::tile::{TILE_WIDTH, Tile, width_at};

use crate::error::Error;
use crate::export::AllFiles;
use crate::floor::Floor;
use crate::home::{Access, Home, Plain};
use crate::ledger::Ledger;
use crate::opening::below_floor;
use crate::reader::{Reader, RowScope};

/// An acknowledgement that somebody kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acked {
    /// The entry's place.
    pub index: u64,
    /// Its leaf hash.
    pub leaf: Hash,
}

/// What an examination found.
#[derive(Clone, Debug, Default)]
pub struct Examined {
    /// Each log's durable size.
    pub sizes: BTreeMap<LogId, u64>,
    /// Acknowledgements that were looked up.
    pub acks: u64,
    /// Everything that is wrong, the gravest first.
    pub wrong: Vec<String>,
}

impl Ledger {
    /// Examines a ledger without changing it.
    pub fn examine(home: &dyn Home, acks: &[Acked]) -> Result<Examined, Error> {
        let mut examined = Examined::default();
        let floor = home.file(Plain::Floor, Access::Read)?.map(Floor::open);
        let ledger = match Self::open_read_only(home) {
            Ok(ledger) => ledger,
            Err(why @ (Error::Damaged { .. } | Error::Core(_))) => {
                examined.wrong.push(why.to_string());
                return Ok(examined);
            }
            Err(why) => return Err(why),
        };
        let reader = &ledger.reader;
        match floor {
            None => examined.wrong.push("the floor file is missing".to_owned()),
            Some(Err(why)) => examined.wrong.push(why.to_string()),
            Some(Ok((_, store, _))) if store != reader.identity.store => {
                examined.wrong.push("the floor file is that of another store".to_owned());
            }
            Some(Ok((_, _, heads))) => {
                examined.wrong.extend(below_floor(reader, &heads)?.map(|why| why.to_string()));
            }
        }
        for log in ledger.logs() {
            examined.sizes.insert(log, reader.size(log)?);
        }
        check_acks(reader, acks, &mut examined)?;
        let files = AllFiles { reader, scope: &RowScope::Settlement };
        let options = AuditOptions { allow_erased: true, unsigned_head: true, ..AuditOptions::default() };
        match audit_ledger(&files, &reader.key(LogId::Records)?, options, &mut |_, _, _| ()) {
            Ok(_) => {}
            Err(Failure::Unreadable { path, why }) => examined.wrong.push(format!("{path}: {why}")),
            Err(fault) => examined.wrong.push(fault.to_string()),
        }
        Ok(examined)
    }
}

/// Every acknowledged entry is where it was said to be, in the newest shard or in one before it.
fn check_acks(reader: &Reader, acks: &[Acked], examined: &mut Examined) -> Result<(), Error> {
    let mut shards: Vec<LogId> = examined.sizes.keys().copied().filter(|log| *log != LogId::Records).collect();
    shards.reverse();
    let mut at_hand: Option<(LogId, u64, Vec<Hash>)> = None;
    for acked in acks {
        examined.acks += 1;
        let number = acked.index / TILE_WIDTH;
        let place = usize::try_from(acked.index % TILE_WIDTH).expect("a place in a tile is below 256");
        let mut found = false;
        for &shard in &shards {
            let size = examined.sizes[&shard];
            if acked.index >= size {
                continue;
            }
            if at_hand.as_ref().is_none_or(|(log, tile, _)| (*log, *tile) != (shard, number)) {
                let hashes = reader.tile(shard, Tile { level: 0, index: number, width: width_at(number, size) })?;
                at_hand = Some((shard, number, hashes));
            }
            found |= at_hand.as_ref().is_some_and(|(_, _, hashes)| hashes.get(place) == Some(&acked.leaf));
            if found {
                break;
            }
        }
        if !found {
            examined.wrong.push(format!("acknowledged entry {} is missing or another: {}", acked.index, acked.leaf));
        }
    }
    Ok(())
}
