//! Receipts, as a server would make them of its log.

use loam_ledger_core::Hash;
use loam_ledger_core::commitment::What;
use loam_ledger_core::proof::Proof;
use loam_ledger_core::receipt::{Held, Opening, Receipt};
use loam_ledger_core::row::Row;
use loam_ledger_core::tree::prove_inclusion;

use super::engines::World;
use super::export::Grant;
use super::requests::Request;

/// A receipt, and all that its client holds.
#[derive(Clone)]
pub(crate) struct Received {
    pub(crate) receipt: Receipt,
    pub(crate) request: Request,
    pub(crate) bytes: Vec<u8>,
    pub(crate) text: Vec<u8>,
    pub(crate) tokens: u64,
}

impl World {
    /// The receipt of this completion row, in a log of one shard.
    pub(crate) fn receipt(&self, (entry, row): (usize, usize)) -> Received {
        let log = self.seal().logs(Grant::Nothing).remove(1);
        let leaves = log.leaves();
        let rows: Vec<Hash> = self.entries[entry].rows.iter().map(|row| row.leaf()).collect();
        let salted = &self.entries[entry].rows[row];
        let Row::Completion(completion) = &salted.row else {
            panic!("row {row} of entry {entry} is a usage row");
        };
        let request = self.requests.iter().find(|request| request.id() == completion.request);
        let request = request.expect("the world knows its requests").clone();
        let opening = Opening {
            entry: log.entries[entry].clone(),
            row_index: u32::try_from(row).expect("few rows"),
            row_path: path(&rows, row),
            row: salted.row.encode(),
            salt: salted.salt,
            seed: request.seed,
            keys: request.keys,
        };
        let proof = Proof {
            extra: Some(opening.encode()),
            index: entry as u64,
            path: path(&leaves, entry),
            checkpoint: log.checkpoint(&leaves),
        };
        Received {
            receipt: Receipt { proof, opening },
            bytes: request.said(What::Request),
            text: request.said(What::Text),
            tokens: completion.delivered_tokens,
            request,
        }
    }
}

impl Received {
    /// All of it, held against the receipt.
    pub(crate) fn held(&self) -> Held<'_> {
        Held {
            policy: None,
            nonce: self.request.seed.client_nonce.as_ref(),
            request: Some(&self.bytes),
            output: Some(&self.text),
            adapter: self.request.pairs.first().map(|pair| &pair.generation),
            tokens: Some(self.tokens),
        }
    }
}

fn path(leaves: &[Hash], index: usize) -> Vec<Hash> {
    let Ok(path) = prove_inclusion(leaves, index as u64, leaves.len() as u64);
    path
}
