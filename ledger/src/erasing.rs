//! Erasing a request: its rows can be proven to exist for ever, and never be opened again.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use loam_ledger_core::Hash;
use loam_ledger_core::entry::{Entry, Redaction};
use loam_ledger_core::epoch::RowPlace;
use loam_ledger_core::row::Row;

use crate::committer::{Command, Erasure};
use crate::erased::Stage;
use crate::error::Error;
use crate::layout::{
    AnswerRecord, ErasedAccount, LogPlace, RequestRecord, answer_range, boot_key, log_number, log_of, place_key,
    place_number,
};
use crate::ledger::Ledger;
use crate::reader::Reader;
use crate::sealed::decode_sealed;
use crate::store::Space;

impl Ledger {
    /// Erases a request that has ended. Its tokens and fees move into the erased accounts, a redaction without any
    /// identity goes into the records log, and then its secret is overwritten. `reason` is one of the codes of
    /// [`Redaction::reason`]. A request runs as long as anybody holds its handle; only then can no row of it come.
    pub fn erase(&self, request: &Hash, reason: u8) -> Result<(), Error> {
        let inlet = self.inlet()?;
        // Exports are made of one view: what is erased is announced in it, and what is announced is erased.
        let _alone = self.reader.shared.erasing();
        let record = self.reader.request_record(request)?;
        if self.reader.secrets.as_ref().is_some_and(|secrets| secrets.is_live(record.slot)) {
            return Err(Error::StillOpen);
        }
        let erasure = match self.reader.secret_of(record.slot) {
            Err(Error::Erased) => return Ok(()),
            Err(why) => return Err(why),
            Ok(_) => self.reader.gather(request, &record, reason)?,
        };
        inlet.ask(|done| Command::Erase(Box::new(erasure), done))
    }
}

/// Keys of [`Space::Erased`], each with what is added there.
type Accounts = Vec<(Vec<u8>, ErasedAccount)>;

/// Keys of [`Space::Erased`], each with what is kept of a row that was settled.
type Rows = Vec<(Vec<u8>, Vec<u8>)>;

/// What rows of one request came to, as they are found.
struct Gathered {
    stage: Stage,
    accounts: BTreeMap<Vec<u8>, ErasedAccount>,
    settled: Rows,
    /// Emitted tokens of answers whose completion was not met yet, by choice, with the account that they would count to.
    unfinished: BTreeMap<u32, (Vec<u8>, u64)>,
}

impl Reader {
    /// Finds all rows of a request, and what they came to.
    fn gather(&self, request: &Hash, record: &RequestRecord, reason: u8) -> Result<Erasure, Error> {
        let (last, secret) = (self.last_place(request, record)?, self.secret_of(record.slot)?);
        let (mut redactions, mut gathered) = (Vec::new(), Gathered::at(self.stage()?));
        for log in record.first.log..=last.log {
            let from = if log == record.first.log { record.first.index } else { 0 };
            let to = if log == last.log { last.index } else { self.size(log_of(log))? };
            let mut found: Option<Redaction> = None;
            self.store.scan(
                Space::Rows,
                &place_key(log, from),
                &place_key(log, to.saturating_add(1)),
                &mut |key, rows| {
                    let index = place_number(key)?;
                    let mine = (0u32..).zip(decode_sealed(rows)?).filter(|(_, row)| row.slot == record.slot);
                    for (number, row) in mine {
                        let redaction = found.get_or_insert(Redaction {
                            time_ms: 0,
                            shard: log,
                            first_index: index,
                            last_index: index,
                            row_count: 0,
                            reason,
                        });
                        redaction.last_index = index;
                        redaction.row_count += 1;
                        let entry = Entry::decode(&self.entry(log_of(log), index)?)?;
                        let place = entry.place().ok_or_else(|| Error::damaged("an entry with rows", "no engine's"))?;
                        let (_, row) = row.open(&secret, &place.boot, place.sequence, number)?;
                        gathered.count(RowPlace { shard: log, index, row: number }, &Row::decode(&row)?)?;
                    }
                    Ok(ControlFlow::Continue(()))
                },
            )?;
            redactions.extend(found);
        }
        let (accounts, settled) = gathered.finish()?;
        Ok(Erasure { request: *request, slot: record.slot, redactions, accounts, settled })
    }

    /// The last place that rows of a request can have: its last completion, where every answer is complete; otherwise
    /// where its boot was closed, for no request outlives its boot; or the end, while that boot runs.
    fn last_place(&self, request: &Hash, record: &RequestRecord) -> Result<LogPlace, Error> {
        let (mut last, mut all_complete) = (None, true);
        let (first, end) = answer_range(request);
        self.store.scan(Space::Request, &first, &end, &mut |_, answer| {
            let answer = AnswerRecord::decode(answer)?;
            all_complete &= answer.completed.is_some();
            last = last.max(Some(answer.place));
            Ok(ControlFlow::Continue(()))
        })?;
        if let (Some(last), true) = (last, all_complete) {
            return Ok(last);
        }
        let begun = Entry::decode(&self.entry(log_of(record.first.log), record.first.index)?)?;
        let place = begun.place().ok_or_else(|| Error::damaged("a request's record", "it leads to no batch"))?;
        if let Some(closed) = self.store.value(Space::Boot, &boot_key(&place.engine, &place.boot))? {
            return LogPlace::decode(&closed);
        }
        let newest = self.shared.newest_shard();
        Ok(LogPlace { log: log_number(newest), index: self.size(newest)? })
    }
}

impl Gathered {
    fn at(stage: Stage) -> Self {
        Self { stage, accounts: BTreeMap::new(), settled: Vec::new(), unfinished: BTreeMap::new() }
    }

    fn count(&mut self, place: RowPlace, row: &Row) -> Result<(), Error> {
        match row {
            Row::Usage(usage) => {
                let key = self.stage.account_key(&place, &Hash::ZERO, &usage.pairs);
                let (_, emitted) = self.unfinished.entry(usage.choice).or_insert((key, 0));
                *emitted = emitted.saturating_add(usage.tokens.emitted);
            }
            Row::Completion(completion) => {
                self.unfinished.remove(&completion.choice);
                self.settled.extend(self.stage.settled_row(&place, completion));
                self.add(
                    self.stage.account_key(&place, &completion.price_policy, &completion.pairs),
                    &ErasedAccount {
                        emitted_tokens: completion.tokens.emitted,
                        delivered_tokens: completion.delivered_tokens,
                        fee_nano: completion.fee_nano,
                    },
                )?;
            }
        }
        Ok(())
    }

    fn add(&mut self, key: Vec<u8>, account: &ErasedAccount) -> Result<(), Error> {
        let sum = self.accounts.entry(key).or_default();
        *sum = sum.plus(account)?;
        Ok(())
    }

    /// Answers that never completed count what they emitted, and cost nothing.
    fn finish(mut self) -> Result<(Accounts, Rows), Error> {
        for (key, emitted_tokens) in std::mem::take(&mut self.unfinished).into_values() {
            self.add(key, &ErasedAccount { emitted_tokens, ..ErasedAccount::default() })?;
        }
        Ok((self.accounts.into_iter().collect(), self.settled))
    }
}
