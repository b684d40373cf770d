//! Erasing a request: its rows can be proven to exist for ever, and never be opened again.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use loam_ledger_core::Hash;
use loam_ledger_core::entry::{Entry, Redaction};
use loam_ledger_core::row::Row;

use crate::committer::{Command, Erasure};
use crate::error::Error;
use crate::layout::{
    CompletionRecord, EnginePosition, ErasedAccount, LogPlace, RequestRecord, completion_key, erased_key, log_of,
    place_key, place_number,
};
use crate::ledger::Ledger;
use crate::reader::Reader;
use crate::sealed::decode_sealed;
use crate::store::Space;

impl Ledger {
    /// Erases a request that has ended. Its tokens and fees move into the erased accounts, a redaction without any
    /// identity goes into the records log, and then its secret is overwritten. `reason` is one of the codes of
    /// [`Redaction::reason`].
    pub fn erase(&self, request: &Hash, reason: u8) -> Result<(), Error> {
        let inlet = self.inlet()?;
        let record = self.reader.request_record(request)?;
        let erasure = match self.reader.request_of(record.slot, None) {
            Err(Error::Erased) => return Ok(()),
            Err(why) => return Err(why),
            Ok(_) => self.reader.gather(request, &record, reason)?,
        };
        inlet.ask(|done| Command::Erase(Box::new(erasure), done))
    }
}

impl Reader {
    /// Finds all rows of a request, and what they came to.
    fn gather(&self, request: &Hash, record: &RequestRecord, reason: u8) -> Result<Erasure, Error> {
        let last = self.last_place(request, record)?;
        let mut redactions = Vec::new();
        let mut accounts: BTreeMap<Vec<u8>, ErasedAccount> = BTreeMap::new();
        for log in record.first.log..=last.log {
            let from = if log == record.first.log { record.first.index } else { 0 };
            let to = if log == last.log { last.index } else { self.size(log_of(log))? };
            let (mut count, mut first_index, mut last_index) = (0, 0, 0);
            self.store.scan(Space::Rows, &place_key(log, from), &place_key(log, to + 1), &mut |key, rows| {
                let index = place_number(key)?;
                for (number, row) in (0u32..).zip(decode_sealed(rows)?) {
                    if row.slot != record.slot {
                        continue;
                    }
                    (first_index, last_index) = (if count == 0 { index } else { first_index }, index);
                    count += 1;
                    let entry = Entry::decode(&self.entry(log_of(log), index)?)?;
                    let place = entry.place().ok_or_else(|| Error::damaged("an entry with rows", "no engine's"))?;
                    let secret = self.request_of(record.slot, None)?;
                    let (_, row) = row.open(&secret, &place.boot, place.sequence, number)?;
                    if let Row::Completion(row) = Row::decode(&row)? {
                        let account = ErasedAccount { delivered_tokens: row.delivered_tokens, fee_nano: row.fee_nano };
                        let sum = accounts.entry(erased_key(log, &row.price_policy, &row.pairs)).or_default();
                        *sum = sum.plus(&account);
                    }
                }
                Ok(ControlFlow::Continue(()))
            })?;
            if count > 0 {
                redactions.push(Redaction {
                    time_ms: 0,
                    shard: log,
                    first_index,
                    last_index,
                    row_count: count,
                    reason,
                });
            }
        }
        Ok(Erasure { request: *request, slot: record.slot, redactions, accounts: accounts.into_iter().collect() })
    }

    /// The last place that rows of a request can have: that of its last completion. Where its engine's boot ended
    /// before it did, the end of the newest shard; while that boot runs, the request is refused.
    fn last_place(&self, request: &Hash, record: &RequestRecord) -> Result<LogPlace, Error> {
        let mut last = None;
        for choice in 0.. {
            let Some(bytes) = self.store.value(Space::Request, &completion_key(request, choice))? else {
                break;
            };
            last = last.max(Some(CompletionRecord::decode(&bytes)?.place));
        }
        if let Some(last) = last {
            return Ok(last);
        }
        let begun = Entry::decode(&self.entry(log_of(record.first.log), record.first.index)?)?;
        if let Some(place) = begun.place() {
            let engine = self.store.value(Space::Engine, &place.engine)?;
            let engine = engine.map(|bytes| EnginePosition::decode(&bytes)).transpose()?;
            if engine.is_some_and(|engine| engine.boot == place.boot && !engine.clean) {
                return Err(Error::StillOpen);
            }
        }
        let newest = self.shared.newest_shard();
        Ok(LogPlace { log: crate::layout::log_number(newest), index: self.size(newest)? })
    }
}
