//! The records of a ledger behind a server. They are folded here, from the log itself: of what the server answers, only
//! what nobody could check is believed.

use std::future::Future;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use loam_datanet::shown::line;
use loam_ledger::{Appended, Offer, Payload};
use loam_ledger_core::Hash;
use loam_ledger_core::checkpoint::Checkpoint;
use loam_ledger_core::entry::Entry;
use loam_ledger_core::epoch::{LeafFile, LeafOf, RowPlace, Statement};
use loam_ledger_core::hash::leaf_hash;
use loam_ledger_core::note::VerifierKey;
use loam_ledger_core::proof::Proof;
use loam_ledger_core::record::{
    Act, AuthorKey, Body, ContributorId, ListRoot, Operation, PolicyChanged, Record, RecordId, operations_root,
};
use loam_ledger_core::registry::Registry;
use loam_ledger_core::tree::{leaves_of, root_of_leaves};
use loam_proto::v1;
use loam_proto::v1::found_payload::Found as Sent;
use loam_proto::v1::ledger_client::LedgerClient;
use loam_proto::v1::provenance_client::ProvenanceClient;
use tokio::runtime::Runtime;
use tonic::{Response, Status, Streaming};

use super::book::{Book, Drafted, Found, Taken, Told, find_epoch};
use crate::clients::{self, Keyed, told};
use crate::offered;

/// Rows and texts that one call asks for.
const PAYLOADS_ASKED: usize = 256;

/// Characters of what a server says that are shown.
const NAME_CHARS_MAX: usize = 200;
const FINDING_CHARS_MAX: usize = 300;

/// Bytes of a message that is taken: 256 payloads of 64 KiB, and what is around them.
const MESSAGE_BYTES_MAX: usize = 32 << 20;

/// A ledger behind a server.
pub(super) struct There {
    runtime: Runtime,
    connection: Keyed,
    name: String,
    key: VerifierKey,
    registry: Registry,
    entries: Vec<Vec<u8>>,
}

impl There {
    /// Takes the whole records log and folds it. `key` is the log's, where it is known from elsewhere than the server.
    pub(super) fn open(server: &clients::Place, key: Option<&str>) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let connection = runtime.block_on(server.connect())?;
        let logs = runtime.block_on(LedgerClient::new(connection.clone()).logs(v1::LogsRequest {}));
        let v1::LogsResponse { name, logs } = logs.map_err(told)?.into_inner();
        let records = logs.into_iter().find(|log| log.log == "records").context("the server keeps no records log")?;
        let key = VerifierKey::parse(key.unwrap_or(&records.verifier_key)).context("the records log's key")?;
        ensure!(key.to_string() == records.verifier_key, "the server's records log has another key than --vkey says");
        let registry = Registry::new(key.name());
        let name = line(&name, NAME_CHARS_MAX);
        let mut there = Self { runtime, connection, name, key, registry, entries: Vec::new() };
        // The checkpoint first: what the log has grown by since only adds to what it is signed over.
        let asked = v1::CheckpointRequest { log: "records".to_owned(), size: None };
        let checkpoint = there.runtime.block_on(LedgerClient::new(there.connection.clone()).checkpoint(asked));
        let checkpoint = Checkpoint::open(&checkpoint.map_err(told)?.into_inner().checkpoint, &there.key)?;
        there.follow()?;
        there.check(&checkpoint)?;
        Ok(there)
    }

    /// Takes what the log has beyond what is known.
    fn follow(&mut self) -> anyhow::Result<()> {
        let first = self.registry.size();
        let asked = v1::TailRequest { log: "records".to_owned(), first, stop_at_end: true };
        let mut client = LedgerClient::new(self.connection.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let (entries, registry) = (&mut self.entries, &mut self.registry);
        self.runtime.block_on(async {
            let mut stream = client.tail(asked).await.map_err(told)?.into_inner();
            while let Some(v1::TailResponse { index, entry }) = stream.message().await.map_err(told)? {
                ensure!(index == registry.size(), "the server left entries of the records log out");
                // A void record is the audit's to report; it changes nothing here either.
                let _ = registry.fold(&Entry::decode(&entry)?);
                entries.push(entry);
            }
            Ok(())
        })
    }

    /// Holds what the server sent against a checkpoint of its log: none of it may be missing, and none another.
    fn check(&self, checkpoint: &Checkpoint) -> anyhow::Result<()> {
        let there = usize::try_from(checkpoint.size).ok().and_then(|size| self.entries.get(..size));
        let there = there.context("the server holds records back that its log's checkpoint is signed over")?;
        let root = root_of_leaves(&leaves_of(there.iter().map(Vec::as_slice)));
        ensure!(
            root == checkpoint.root,
            "the records that the server sends are not those that its log's checkpoint is signed over"
        );
        Ok(())
    }

    /// Where a record lies that was offered, and the proof of it. Whatever the server says, or fails to say: what lies in
    /// the log is what counts.
    fn taken(&mut self, record: &Record) -> anyhow::Result<Option<Taken>> {
        self.follow()?;
        let id = record.id(self.registry.origin());
        let Some(index) = self.registry.record(&id).map(|noted| noted.index) else { return Ok(None) };
        let entry = usize::try_from(index).ok().and_then(|index| self.entries.get(index));
        let entry = entry.context("the registry was folded of these entries")?;
        let there = super::here::record(entry)?;
        ensure!((&there.body, &there.signed) == (&record.body, &record.signed), "the log has another record there");
        let asked = v1::InclusionProofRequest { log: "records".to_owned(), index };
        let proven = self.runtime.block_on(LedgerClient::new(self.connection.clone()).inclusion_proof(asked));
        let receipt = proven.map_err(told)?.into_inner().tlog_proof;
        let proof = Proof::parse(&receipt)?;
        ensure!(proof.index == index, "the receipt is for another place in the log");
        let checkpoint = proof.check(&leaf_hash(entry), &self.key).context("the record's receipt")?;
        // The checkpoint may cover what came after the log was looked at.
        self.follow()?;
        self.check(&checkpoint)?;
        Ok(Some(Taken { at: Appended { id, index }, receipt }))
    }

    fn ask<T, F>(&self, call: impl FnOnce(ProvenanceClient<Keyed>) -> F) -> anyhow::Result<T>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let client = ProvenanceClient::new(self.connection.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX);
        Ok(self.runtime.block_on(call(client)).map_err(told)?.into_inner())
    }

    fn each<T>(&self, mut stream: Streaming<T>, mut take: impl FnMut(T) -> anyhow::Result<()>) -> anyhow::Result<()> {
        while let Some(message) = self.runtime.block_on(stream.message()).map_err(told)? {
            take(message)?;
        }
        Ok(())
    }

    fn drafted(drafted: v1::DraftEpochResponse) -> anyhow::Result<Drafted> {
        let v1::DraftEpochResponse { body, findings, first_findings } = drafted;
        match Body::decode(&body)?.act {
            Act::EpochClosed(act) => {
                let first = first_findings.iter().map(|finding| line(finding, FINDING_CHARS_MAX)).collect();
                Ok(Drafted { act, findings, first })
            }
            act => bail!("the server answers with {} where an epoch is closed", act.words()),
        }
    }
}

impl Book for There {
    fn name(&self) -> &str {
        &self.name
    }

    fn registry(&self) -> &Registry {
        &self.registry
    }

    fn record(&self, id: &RecordId) -> anyhow::Result<Record> {
        let noted = self.registry.record(id).with_context(|| format!("no record {id} is in this ledger"))?;
        let entry = usize::try_from(noted.index).ok().and_then(|index| self.entries.get(index));
        super::here::record(entry.context("the registry was folded of these entries")?)
    }

    fn offer(&mut self, offer: Offer) -> anyhow::Result<Taken> {
        let record = Record { time_ms: 0, body: offer.body.clone(), signed: offer.signed.clone() };
        let messages = tokio_stream::iter(offered::messages(offer));
        let answered = self.ask(|mut client| async move { client.offer(messages).await });
        match (answered, self.taken(&record)) {
            // A connection that broke off tells nothing of what became of the offer; the log does.
            (_, Ok(Some(taken))) => Ok(taken),
            (Err(why), Ok(None)) => Err(why),
            (Ok(_), Ok(None)) => bail!("the server says that it took the record, and its log does not have it"),
            (Err(why), Err(_)) => {
                Err(why.context("it is not known whether the record was taken: look at the log later"))
            }
            (Ok(_), Err(why)) => Err(why.context("the server says that it took the record, and cannot show it")),
        }
    }

    fn surely_unknown(&self, _: &[u8; 32]) -> bool {
        // A server can be slow to say, or never say it.
        false
    }

    fn payloads(
        &self,
        digests: &[Hash],
        each: &mut dyn FnMut(&Hash, Found) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        for asked in digests.chunks(PAYLOADS_ASKED) {
            let request = v1::PayloadsRequest { digests: asked.iter().map(|digest| digest.0.to_vec()).collect() };
            let stream = self.ask(|mut client| async move { client.payloads(request).await })?;
            let mut left = asked.iter();
            self.each(stream, |message| {
                message.found.into_iter().try_for_each(|found| {
                    let digest = left.next().context("the server answers with more rows than were asked for")?;
                    each(digest, given(digest, found)?)
                })
            })?;
            ensure!(left.next().is_none(), "the server left rows out");
        }
        Ok(())
    }

    fn operations(&self, list: &ListRoot) -> anyhow::Result<Vec<Operation>> {
        let request = v1::OperationsRequest { root: list.root.0.to_vec(), count: list.count };
        let stream = self.ask(|mut client| async move { client.operations(request).await })?;
        let mut operations = Vec::new();
        self.each(stream, |message| {
            for bytes in message.operations {
                operations.push(Operation::decode(&bytes)?);
            }
            Ok(())
        })?;
        ensure!(operations_root(&operations) == *list, "the server gives other operations than those that were signed");
        Ok(operations)
    }

    fn draft_epoch(&self, opened: Hash, next_seed: Hash) -> anyhow::Result<Drafted> {
        let request = v1::DraftEpochRequest { seed: opened.0.to_vec(), next_seed: next_seed.0.to_vec() };
        Self::drafted(self.ask(|mut client| async move { client.draft_epoch(request).await })?)
    }

    fn simulate_epoch(&self, epoch: u32, policy: &PolicyChanged) -> anyhow::Result<Drafted> {
        let policy = Body::by(Hash::ZERO, Act::PolicyChanged(policy.clone())).encode();
        let request = v1::SimulateEpochRequest { epoch, policy };
        Self::drafted(self.ask(|mut client| async move { client.simulate_epoch(request).await })?)
    }

    fn statement(&self, epoch: u32, contributor: &ContributorId, key: Option<&AuthorKey>) -> anyhow::Result<Told> {
        let time_s = super::policy::now_ms() / 1_000;
        let payload = offered::statement_request(self.registry.origin(), epoch, time_s, contributor);
        let sign = |key: &AuthorKey| key.sign_envelope(offered::STATEMENT_REQUEST, &payload).to_vec();
        let signature = key.map(sign).unwrap_or_default();
        let request = v1::StatementRequest { epoch, contributor: contributor.0.to_vec(), time_s, signature };
        let v1::StatementResponse { leaf_file, waiting } =
            self.ask(|mut client| async move { client.statement(request).await })?;
        let (close, act) = find_epoch(self, epoch)?;
        let file = LeafFile::decode(&leaf_file)?;
        ensure!(
            file.of == LeafOf::Payouts && file.sought == contributor.0,
            "the server gives somebody else's statement"
        );
        let waiting = waiting.iter().map(|bytes| Statement::decode(bytes)).collect::<Result<_, _>>()?;
        Ok(Told { close, act, file, waiting })
    }

    fn usage_proof(&self, place: &RowPlace) -> anyhow::Result<LeafFile> {
        let request = v1::UsageProofRequest { shard: place.shard, index: place.index, row: place.row };
        let answered = self.ask(|mut client| async move { client.usage_proof(request).await })?;
        let file = LeafFile::decode(&answered.leaf_file)?;
        ensure!(file.of == LeafOf::Usage && file.sought == place.key(), "the server gives another row's proof");
        Ok(file)
    }

    fn export(&self, out: &Path) -> anyhow::Result<String> {
        let connection = self.connection.clone();
        self.runtime.block_on(clients::fetch_all(connection, out, "", v1::Scope::All))?;
        Ok(self.key.to_string())
    }

    fn close(self: Box<Self>) -> anyhow::Result<()> {
        Ok(())
    }
}

/// What a server gave under a digest, if it is that.
fn given(digest: &Hash, found: v1::FoundPayload) -> anyhow::Result<Found> {
    match found.found.context("the server answers with nothing for a row")? {
        Sent::Payload(payload) => {
            let payload = Payload {
                salt: payload.salt.try_into().ok().context("the server gives a salt that is none")?,
                bytes: payload.bytes,
            };
            ensure!(payload.digest() == *digest, "the server gives another text than the one that was signed");
            Ok(Found::Here(payload))
        }
        Sent::Redacted(_) => Ok(Found::Redacted),
        Sent::Absent(_) => Ok(Found::Absent),
    }
}
