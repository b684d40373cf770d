//! Who pays for a request: found from its own completion row, so that nothing beside that row says it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::ControlFlow;

use loam_ledger_core::Hash;
use loam_ledger_core::commitment::{What, commit};
use loam_ledger_core::entry::Entry;
use loam_ledger_core::row::{Completion, Row};

use crate::error::Error;
use crate::layout::{AnswerRecord, RequestRecord, answer_range, log_of};
use crate::ledger::Ledger;
use crate::reader::Reader;
use crate::store::Space;

/// What was found out about requests of one tenant while one question is answered, by their slots.
#[derive(Default)]
pub(crate) struct Payers(RefCell<HashMap<u64, bool>>);

impl Ledger {
    /// Whether a tenant pays for a request. Until it has a complete answer, nobody is known to.
    pub fn pays(&self, request: &Hash, tenant: &str) -> Result<bool, Error> {
        let record = self.reader.request_record(request)?;
        self.reader.pays(request, &record, tenant)
    }
}

impl Payers {
    /// Whether a tenant pays for the request that a row belongs to.
    pub(crate) fn pays(&self, reader: &Reader, slot: u64, row: &[u8], tenant: &str) -> Result<bool, Error> {
        if let Some(known) = self.0.borrow().get(&slot) {
            return Ok(*known);
        }
        let request = match Row::decode(row)? {
            Row::Usage(usage) => usage.request,
            Row::Completion(completion) => completion.request,
        };
        let found = reader.pays(&request, &reader.request_record(&request)?, tenant)?;
        self.0.borrow_mut().insert(slot, found);
        Ok(found)
    }
}

impl Reader {
    fn pays(&self, request: &Hash, record: &RequestRecord, tenant: &str) -> Result<bool, Error> {
        let secret = self.secret_of(record.slot)?;
        let Some(completion) = self.any_completion(request, record)? else { return Ok(false) };
        let key = secret.key(What::Tenant, completion.choice);
        Ok(commit(What::Tenant, &key, tenant.as_bytes()) == completion.tenant)
    }

    /// The completion row of one of a request's answers, whichever is found first.
    fn any_completion(&self, request: &Hash, record: &RequestRecord) -> Result<Option<Box<Completion>>, Error> {
        let (first, end) = answer_range(request);
        let mut found = None;
        self.store.scan(Space::Request, &first, &end, &mut |_, answer| {
            let answer = AnswerRecord::decode(answer)?;
            found = answer.completed.map(|number| (answer.place, number));
            Ok(if found.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        let Some((place, number)) = found else { return Ok(None) };
        let misplaced = || Error::damaged("an answer's record", "it leads to no completion row");
        let log = log_of(place.log);
        let engine = Entry::decode(&self.entry(log, place.index)?)?.place().ok_or_else(misplaced)?;
        let rows = self.sealed_rows(log, place.index)?;
        let row = usize::try_from(number).ok().and_then(|number| rows.get(number)).ok_or_else(misplaced)?;
        let (_, row) = row.open(&self.secret_of(record.slot)?, &engine.boot, engine.sequence, number)?;
        match Row::decode(&row)? {
            Row::Completion(completion) => Ok(Some(completion)),
            Row::Usage(_) => Err(misplaced()),
        }
    }
}
