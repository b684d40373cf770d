//! Receipts: what one client is given of what was recorded.

use loam_ledger_core::Hash;
use loam_ledger_core::commitment::What;
use loam_ledger_core::entry::Entry;
use loam_ledger_core::receipt::{Opening, Receipt};
use loam_ledger_core::tree::prove_inclusion;

use crate::error::Error;
use crate::layout::{CompletionRecord, completion_key, log_of};
use crate::ledger::Ledger;
use crate::store::Space;

impl Ledger {
    /// The receipt of a request's answer, for which a checkpoint is signed if none covers it yet.
    pub fn receipt(&self, request: &Hash, choice: u32) -> Result<Receipt, Error> {
        let reader = &self.reader;
        let record = reader.request_record(request)?;
        let completion = reader.store.value(Space::Request, &completion_key(request, choice))?;
        let completion = CompletionRecord::decode(&completion.ok_or(Error::NotCompleted)?)?;
        let (log, index) = (log_of(completion.place.log), completion.place.index);
        let secret = reader.request_of(record.slot, record.masked_nonce)?;
        if secret.commitment() != *request {
            return Err(Error::damaged("a request's record", "it leads to another request's secret"));
        }
        self.publish_to(log, index + 1)?;
        let entry = reader.entry(log, index)?;
        let misplaced = || Error::damaged("a completion's record", "it leads to no row of the request");
        let place = Entry::decode(&entry)?.place().ok_or_else(misplaced)?;
        let rows = reader.sealed_rows(log, index)?;
        let row = usize::try_from(completion.row).ok().and_then(|row| rows.get(row)).ok_or_else(misplaced)?;
        let (salt, row) = row.open(&secret, &place.boot, place.sequence, completion.row)?;
        let leaves: Vec<Hash> = rows.iter().map(|row| row.leaf).collect();
        let Ok(row_path) = prove_inclusion(&leaves[..], completion.row.into(), leaves.len() as u64);
        let opening = Opening {
            entry,
            row_index: completion.row,
            row_path,
            row,
            salt,
            seed: secret.seed(),
            keys: What::ALL.map(|what| secret.key(what, choice)),
        };
        Ok(Receipt { proof: reader.prove(log, index)?, opening })
    }
}
