//! A ledger as commands on records see it: on this machine, or behind a server. What was recorded is folded here either
//! way, and what is asked for by a digest is held against it, so that a server is believed nothing that can be checked.

use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use loam_ledger::{Appended, Offer, Payload};
use loam_ledger_core::Hash;
use loam_ledger_core::epoch::{LeafFile, RowPlace, Statement};
use loam_ledger_core::record::{
    AuthorKey, ContributorId, EpochClosed, ListRoot, Operation, PolicyChanged, Record, RecordId, Rows, apply, rows_root,
};
use loam_ledger_core::registry::Registry;

use super::here::Here;
use super::there::There;
use crate::clients;
use crate::ledger::{At, Whereabouts};

/// Where the records are: in a folder of this machine, or behind a server.
#[derive(Args)]
pub(crate) struct BookArguments {
    #[command(flatten)]
    whereabouts: Whereabouts,
    /// The key of the server's records log, where you have it from elsewhere: else the server's own word is taken.
    #[arg(long, value_name = "KEY", requires = "server")]
    vkey: Option<String>,
}

/// Where a record came to lie.
pub(super) struct Taken {
    pub(super) at: Appended,
    /// That it is in the log (a C2SP tlog-proof): whoever holds it can show what the log later denies.
    pub(super) receipt: Vec<u8>,
}

/// What there is of a row or a text.
pub(super) enum Found {
    Here(Payload),
    /// Nobody can open it any more.
    Redacted,
    /// It was never given to this ledger.
    Absent,
}

/// An epoch as it would be closed.
pub(super) struct Drafted {
    pub(super) act: EpochClosed,
    /// Rows whose fee the policy in force at their first step does not make; all of them counted, the first of them told.
    pub(super) findings: u64,
    pub(super) first: Vec<String>,
}

/// What an epoch came to for one contributor.
pub(super) struct Told {
    pub(super) close: RecordId,
    pub(super) act: EpochClosed,
    /// What was paid, with its way to the close.
    pub(super) file: LeafFile,
    /// What waits for evidence, revision by revision, which concerns them among others.
    pub(super) waiting: Vec<Statement>,
}

/// A ledger's records, and what they hold digests of.
pub(super) trait Book {
    /// The ledger's name.
    fn name(&self) -> &str;
    /// What all records came to when the book was opened, or since something was said.
    fn registry(&self) -> &Registry;
    /// A record as it lies in the log.
    fn record(&self, id: &RecordId) -> anyhow::Result<Record>;
    /// Appends a record, and returns when its place in the log is proven.
    fn offer(&mut self, offer: Offer) -> anyhow::Result<Taken>;
    /// Whether a key is known to nobody, for certain.
    fn surely_unknown(&self, public_key: &[u8; 32]) -> bool;
    /// What lies under digests, one by one in their order.
    fn payloads(
        &self,
        digests: &[Hash],
        each: &mut dyn FnMut(&Hash, Found) -> anyhow::Result<()>,
    ) -> anyhow::Result<()>;
    /// The operations under a root.
    fn operations(&self, list: &ListRoot) -> anyhow::Result<Vec<Operation>>;
    /// Divides what came in since the last close, which committed to `opened`; `next_seed` is this one's commitment.
    fn draft_epoch(&self, opened: Hash, next_seed: Hash) -> anyhow::Result<Drafted>;
    /// What a closed epoch would have come to by another policy.
    fn simulate_epoch(&self, epoch: u32, policy: &PolicyChanged) -> anyhow::Result<Drafted>;
    /// What a closed epoch paid somebody. A server tells it to whom it is of, by their key, or to who may audit all.
    fn statement(&self, epoch: u32, contributor: &ContributorId, key: Option<&AuthorKey>) -> anyhow::Result<Told>;
    /// That a row is in the usage that an epoch was closed over.
    fn usage_proof(&self, place: &RowPlace) -> anyhow::Result<LeafFile>;
    /// Writes all logs with everybody's rows, for an audit, and says the records log's key.
    fn export(&self, out: &Path) -> anyhow::Result<String>;
    /// Ends what was opened.
    fn close(self: Box<Self>) -> anyhow::Result<()>;
}

impl BookArguments {
    /// Opens the records to read them.
    pub(super) fn read(&self) -> anyhow::Result<Box<dyn Book>> {
        match self.whereabouts.find()? {
            At::There(server) => self.there(&server),
            At::Here(place) => Ok(Box::new(Here::read(&place)?)),
        }
    }

    /// Opens the records to say something.
    pub(super) fn write(&self) -> anyhow::Result<Box<dyn Book>> {
        match self.whereabouts.find()? {
            At::There(server) => self.there(&server),
            At::Here(place) => Ok(Box::new(Here::write(&place)?)),
        }
    }

    fn there(&self, server: &clients::Place) -> anyhow::Result<Box<dyn Book>> {
        Ok(Box::new(There::open(server, self.vkey.as_deref())?))
    }
}

/// What lies under one digest.
pub(super) fn payload(book: &dyn Book, digest: &Hash) -> anyhow::Result<Found> {
    let mut found = Found::Absent;
    book.payloads(std::slice::from_ref(digest), &mut |_, one| {
        found = one;
        Ok(())
    })?;
    Ok(found)
}

/// A record's text, as far as it is here and is one.
pub(super) fn text_of(book: &dyn Book, id: &RecordId) -> anyhow::Result<Option<String>> {
    let Some(digest) = book.record(id)?.body.text else { return Ok(None) };
    match payload(book, &digest)? {
        Found::Here(text) => Ok(String::from_utf8(text.bytes).ok()),
        Found::Redacted | Found::Absent => Ok(None),
    }
}

/// The rows of a revision: those that its contributions make of nothing, held against what was signed.
pub(super) fn rows(book: &dyn Book, revision: &RecordId) -> anyhow::Result<Rows> {
    let datasets = book.registry().datasets();
    let chain: Vec<_> = datasets.chain(revision).collect();
    let signed = chain.first().with_context(|| format!("{revision} is no revision"))?.1.rows;
    let mut rows = Rows::new();
    for id in chain.iter().rev().flat_map(|(_, revision)| &revision.contributions) {
        let contribution = datasets.contribution(id).with_context(|| format!("{id} is no contribution"))?;
        apply(&mut rows, &book.operations(&contribution.operations)?).with_context(|| format!("contribution {id}"))?;
    }
    ensure!(rows_root(&rows) == signed, "the operations do not make the rows that revision {revision} was signed over");
    Ok(rows)
}

/// The record that closed an epoch.
pub(super) fn find_epoch(book: &dyn Book, epoch: u32) -> anyhow::Result<(RecordId, EpochClosed)> {
    let closed = book.registry().money().epochs().iter().find(|(_, act)| act.epoch == epoch);
    closed.cloned().with_context(|| format!("epoch {epoch} is not closed"))
}

/// The last epoch that was closed.
pub(super) fn last_epoch(book: &dyn Book) -> anyhow::Result<u32> {
    match book.registry().money().next_epoch() {
        1 => bail!("no epoch is closed yet: `loam epoch close` closes one"),
        next => Ok(next - 1),
    }
}
