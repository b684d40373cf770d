//! Examining a store: whether everything in it belongs together, and everything that was acknowledged is there.

use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;

use loam_ledger_core::Hash;
use loam_ledger_core::audit::{Failure, Options as AuditOptions, audit_ledger};
use loam_ledger_core::origin::LogId;
use loam_ledger_core::tile::{TILE_WIDTH, Tile, width_at};

use crate::error::Error;
use crate::export::AllFiles;
use crate::home::Home;
use crate::layout::{AnswerRecord, RequestRecord, log_of};
use crate::ledger::Ledger;
use crate::opening::{self, read_engines, why_read_only};
use crate::reader::{Reader, RowScope};
use crate::sealed::{SealedRow, decode_sealed};
use crate::store::Space;

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
    /// Everything that is wrong.
    pub wrong: Vec<String>,
}

impl Ledger {
    /// Examines a ledger without changing it. It should be at rest: beside a writer at work, what is half done may
    /// look wrong.
    pub fn examine(home: &dyn Home, acks: &[Acked]) -> Result<Examined, Error> {
        let mut examined = Examined::default();
        let floor = opening::read_floor(home)?;
        let found = match opening::open(home, false) {
            Ok(found) => found,
            Err(why @ (Error::Damaged { .. } | Error::Core(_))) => {
                examined.wrong.push(why.to_string());
                return Ok(examined);
            }
            Err(why) => return Err(why),
        };
        let reader = &found.reader;
        for log in found.logs.keys().map(|number| log_of(*number)) {
            examined.sizes.insert(log, reader.size(log)?);
        }
        examined.note(why_read_only(&found, home, floor.as_ref()).map(|why| why.map(|why| why.to_string())));
        let acked = check_acks(reader, acks, &mut examined);
        examined.note(acked.map(|()| None));
        examined.note(audit(reader));
        examined.note(read_engines(reader).map(|_| None));
        let requests = check_requests(reader, found.slots_used, &mut examined);
        examined.note(requests.map(|()| None));
        Ok(examined)
    }
}

impl Examined {
    /// Keeps what a check found, be it a fault or that it could not go on.
    fn note(&mut self, found: Result<Option<String>, Error>) {
        self.wrong.extend(found.unwrap_or_else(|why| Some(why.to_string())));
    }
}

/// The audit that anyone can run, up to the last durable entry, with all rows in clear.
fn audit(reader: &Reader) -> Result<Option<String>, Error> {
    let files = AllFiles { reader, scope: &RowScope::Settlement };
    let options = AuditOptions { allow_erased: true, unsigned_head: true, ..AuditOptions::default() };
    Ok(match audit_ledger(&files, &reader.key(LogId::Records)?, options, &mut |_, _, _| ()) {
        Ok(report) => {
            let hidden = report.logs.iter().find(|(_, log)| log.rows_open + log.rows_erased != log.rows);
            hidden.map(|(id, log)| {
                let lost = log.rows - log.rows_open - log.rows_erased;
                format!(
                    "{lost} rows of {id} are neither erased nor can they be opened: they or their secrets are missing"
                )
            })
        }
        Err(Failure::Unreadable { path, why }) => Some(format!("{path}: {why}")),
        Err(fault) => Some(fault.to_string()),
    })
}

/// Every row leads to its request and back, so that each can be receipted and erased.
fn check_requests(reader: &Reader, slots_used: u64, examined: &mut Examined) -> Result<(), Error> {
    let mut known = HashSet::new();
    let mut answers = Vec::new();
    reader.store.scan(Space::Request, &[], &[0xff; 40], &mut |key, value| {
        match key.len() {
            Hash::LEN => drop(known.insert(RequestRecord::decode(value)?.slot)),
            _ => answers.push((Hash::from_slice(&key[..Hash::LEN])?, AnswerRecord::decode(value)?)),
        }
        Ok(ControlFlow::Continue(()))
    })?;
    let mut orphans = 0u64;
    reader.store.scan(Space::Rows, &[], &[0xff; 13], &mut |_, rows| {
        let strange = |row: &SealedRow| !known.contains(&row.slot) || row.slot >= slots_used;
        orphans += decode_sealed(rows)?.iter().filter(|row| strange(row)).count() as u64;
        Ok(ControlFlow::Continue(()))
    })?;
    if orphans > 0 {
        examined.wrong.push(format!("{orphans} rows lead to no request: they can be neither receipted nor erased"));
    }
    let mut lost = 0u64;
    for (request, answer) in answers {
        let slot = reader.request_record(&request).map(|record| record.slot);
        let rows = reader.sealed_rows(log_of(answer.place.log), answer.place.index)?;
        let leads_to_row = match (slot, answer.completed) {
            (Ok(slot), Some(row)) => {
                usize::try_from(row).ok().and_then(|row| rows.get(row)).is_some_and(|row| row.slot == slot)
            }
            (Ok(slot), None) => rows.iter().any(|row| row.slot == slot),
            (Err(_), _) => false,
        };
        lost += u64::from(!leads_to_row);
    }
    if lost > 0 {
        examined.wrong.push(format!("{lost} answers lead to no row"));
    }
    Ok(())
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
