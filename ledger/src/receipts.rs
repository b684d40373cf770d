//! Receipts: what one client is given of what was recorded.

use loam_ledger_core::Hash;
use loam_ledger_core::commitment::What;
use loam_ledger_core::entry::Entry;
use loam_ledger_core::receipt::{Opening, Receipt};
use loam_ledger_core::tree::prove_inclusion;

use crate::error::Error;
use crate::layout::{AnswerRecord, answer_key, log_of};
use crate::ledger::Ledger;
use crate::store::Space;

impl Ledger {
    /// The receipt of a request's answer, for which a checkpoint is signed if none covers it yet.
    pub fn receipt(&self, request: &Hash, choice: u32) -> Result<Receipt, Error> {
        let reader = &self.reader;
        let record = reader.request_record(request)?;
        let answer = reader.store.value(Space::Request, &answer_key(request, choice))?;
        let answer = answer.map(|bytes| AnswerRecord::decode(&bytes)).transpose()?;
        let (place, row_index) =
            answer.and_then(|answer| Some((answer.place, answer.completed?))).ok_or(Error::NotCompleted)?;
        let (log, index) = (log_of(place.log), place.index);
        let secret = reader.secret_of(record.slot)?;
        let seed = secret.seed(record.masked_nonce.map(|masked| secret.mask(masked)));
        if seed.commitment(&reader.identity.name) != *request {
            return Err(Error::damaged("a request's record", "it leads to another request's secret"));
        }
        self.publish_to(log, index)?;
        let entry = reader.entry(log, index)?;
        let misplaced = || Error::damaged("an answer's record", "it leads to no row of the request");
        let engine = Entry::decode(&entry)?.place().ok_or_else(misplaced)?;
        let rows = reader.sealed_rows(log, index)?;
        let row = usize::try_from(row_index).ok().and_then(|row| rows.get(row)).ok_or_else(misplaced)?;
        let (salt, row) = row.open(&secret, &engine.boot, engine.sequence, row_index)?;
        let leaves: Vec<Hash> = rows.iter().map(|row| row.leaf).collect();
        let Ok(row_path) = prove_inclusion(&leaves[..], row_index.into(), leaves.len() as u64);
        let keys = What::ALL.map(|what| secret.key(what, choice));
        let opening = Opening { entry, row_index, row_path, row, salt, seed, keys };
        Ok(Receipt { proof: reader.prove(log, index)?, opening })
    }
}
