//! The records of a ledger on this machine.

use std::path::Path;

use anyhow::{Context as _, bail};
use loam_ledger::{Error, Ledger, Offer, RowScope};
use loam_ledger_core::Hash;
use loam_ledger_core::entry::Entry;
use loam_ledger_core::epoch::{LeafFile, RowPlace, Settled};
use loam_ledger_core::origin::LogId;
use loam_ledger_core::record::{
    AuthorKey, ContributorId, EpochClosed, ListRoot, Operation, PolicyChanged, Record, RecordId,
};
use loam_ledger_core::registry::Registry;

use super::book::{Book, Drafted, Found, Taken, Told};
use crate::ledger::Place;

/// Findings that are told one by one.
const FINDINGS_TOLD: usize = 10;

/// A ledger on this machine.
pub(super) struct Here {
    ledger: Ledger,
    registry: Registry,
}

impl Here {
    pub(super) fn read(place: &Place) -> anyhow::Result<Self> {
        Self::of(Ledger::open_read_only(&place.home())?)
    }

    pub(super) fn write(place: &Place) -> anyhow::Result<Self> {
        Self::of(place.open()?)
    }

    fn of(ledger: Ledger) -> anyhow::Result<Self> {
        let registry = ledger.with_registry(Registry::clone)?;
        Ok(Self { ledger, registry })
    }
}

impl Book for Here {
    fn name(&self) -> &str {
        self.ledger.name()
    }

    fn registry(&self) -> &Registry {
        &self.registry
    }

    fn record(&self, id: &RecordId) -> anyhow::Result<Record> {
        let noted = self.registry.record(id).with_context(|| format!("no record {id} is in this ledger"))?;
        record(&self.ledger.entry(LogId::Records, noted.index)?)
    }

    fn offer(&mut self, offer: Offer) -> anyhow::Result<Taken> {
        if let Some(why) = self.ledger.read_only() {
            bail!("nothing can be recorded: the ledger is open for reading only: {why}");
        }
        let at = self.ledger.offer(offer)?;
        self.registry = self.ledger.with_registry(Registry::clone)?;
        let receipt = self.ledger.prove(LogId::Records, at.index)?.to_bytes();
        Ok(Taken { at, receipt })
    }

    fn surely_unknown(&self, public_key: &[u8; 32]) -> bool {
        let known = self.ledger.with_registry(|registry| {
            registry.people().all().any(|(_, contributor)| contributor.public_key == *public_key)
        });
        known.is_ok_and(|known| !known)
    }

    fn payloads(
        &self,
        digests: &[Hash],
        each: &mut dyn FnMut(&Hash, Found) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        digests.iter().try_for_each(|digest| each(digest, found(&self.ledger, digest)?))
    }

    fn operations(&self, list: &ListRoot) -> anyhow::Result<Vec<Operation>> {
        self.ledger.operations(list)?.context("the operations of a contribution were never given to this ledger")
    }

    fn draft_epoch(&self, opened: Hash, next_seed: Hash) -> anyhow::Result<Drafted> {
        let draft = self.ledger.draft_epoch(opened, next_seed)?;
        Ok(drafted(draft.act, &draft.settled))
    }

    fn simulate_epoch(&self, epoch: u32, policy: &PolicyChanged) -> anyhow::Result<Drafted> {
        let draft = self.ledger.simulate_epoch(epoch, policy)?;
        Ok(drafted(draft.act, &draft.settled))
    }

    fn statement(&self, epoch: u32, contributor: &ContributorId, _: Option<&AuthorKey>) -> anyhow::Result<Told> {
        let (close, act, statement) = self.ledger.statement(epoch, contributor)?;
        let file = LeafFile::payout(close, contributor, &statement.paid, statement.proof);
        let waiting = statement.waiting.into_iter().map(|(_, waits)| waits).collect();
        Ok(Told { close, act, file, waiting })
    }

    fn usage_proof(&self, place: &RowPlace) -> anyhow::Result<LeafFile> {
        let (close, _, proof) = self.ledger.usage_proof(place)?;
        Ok(LeafFile::usage(close, place, proof))
    }

    fn export(&self, out: &Path) -> anyhow::Result<String> {
        self.ledger.export_all(&RowScope::Settlement, out)?;
        Ok(self.ledger.verifier(LogId::Records)?.to_string())
    }

    fn close(self: Box<Self>) -> anyhow::Result<()> {
        Ok(self.ledger.close()?)
    }
}

/// What a ledger has under a digest.
fn found(ledger: &Ledger, digest: &Hash) -> Result<Found, Error> {
    match ledger.payload(digest) {
        Ok(Some(payload)) => Ok(Found::Here(payload)),
        Ok(None) => Ok(Found::Absent),
        Err(Error::Erased) => Ok(Found::Redacted),
        Err(error) => Err(error),
    }
}

/// An entry that is a record.
pub(super) fn record(entry: &[u8]) -> anyhow::Result<Record> {
    match Entry::decode(entry)? {
        Entry::Record(record) => Ok(*record),
        _ => bail!("the log has something else where the record should be"),
    }
}

fn drafted(act: EpochClosed, settled: &Settled) -> Drafted {
    let findings = &settled.findings;
    let first = findings.first.iter().take(FINDINGS_TOLD).map(ToString::to_string).collect();
    Drafted { act, findings: findings.count, first }
}
