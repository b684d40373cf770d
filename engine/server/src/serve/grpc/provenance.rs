//! `loam.v1.Provenance`.

use std::sync::Arc;
use std::time::Instant;

use loam_ledger::{Ledger, Offer};
use loam_ledger_core::Hash;
use loam_ledger_core::epoch::{LeafFile, RowPlace, Settled};
use loam_ledger_core::granted::GrantedRow;
use loam_ledger_core::origin::LogId;
use loam_ledger_core::record::{Act, Body, EpochClosed, ListRoot, Operation};
use loam_proto::v1;
use loam_wire::{Kind, Problem};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::patience::Patience;
use super::{admitted, caller, status};
use crate::access::Scope;
use crate::offered;
use crate::serve::node::{Node, ledger_problem};

/// The service.
pub(super) struct Service(pub(super) Arc<Node>);

/// Bytes of one message of an offer.
pub(super) const MESSAGE_BYTES_MAX: usize = 4 << 20;

/// Bytes of all messages of one offer: they are held until the client has ended its side.
const OFFER_BYTES_MAX: usize = 256 << 20;

/// Digests that one call asks about.
const PAYLOADS_MAX: usize = 256;

/// Payloads, and operations, in one message. A payload has 64 KiB at the most, an operation some kilobytes.
const PAYLOADS_SENT: usize = 32;
const OPERATIONS_SENT: usize = 256;

/// Messages of a stream that wait for its reader.
const MESSAGES_MAX: usize = 4;

/// Findings of a draft that are told one by one.
const FINDINGS_TOLD: usize = 10;

type Streamed<T> = ReceiverStream<Result<T, Status>>;

#[tonic::async_trait]
impl v1::provenance_server::Provenance for Service {
    type OperationsStream = Streamed<v1::OperationsResponse>;
    type PayloadsStream = Streamed<v1::PayloadsResponse>;

    async fn offer(
        &self,
        request: Request<Streaming<v1::OfferRequest>>,
    ) -> Result<Response<v1::OfferResponse>, Status> {
        let caller = caller(&request, Scope::RecordsWrite)?;
        let place = self.0.offering().await.map_err(|problem| status(&problem))?;
        let offer = gather(request.into_inner()).await?;
        let words = offer.body.act.words();
        // These wait for exports, and erasures have places of their own for that.
        let waits = matches!(offer.body.act, Act::RowRedacted(_) | Act::EpochClosed(_));
        let record = move |node: &Node| {
            // The place goes with the work: a caller who leaves must not free it while the work goes on.
            let _place = place;
            let ledger = node.ledger()?;
            let taken = ledger.offer(offer).map_err(|error| ledger_problem(&error))?;
            let (key, tenant) = (&**caller.name(), &**caller.tenant());
            tracing::info!(key, tenant, record = %taken.id, index = taken.index, "recorded: {words}");
            let proof = ledger.prove(LogId::Records, taken.index).map_err(|error| ledger_problem(&error))?;
            Ok(v1::OfferResponse { record_id: taken.id.0.to_vec(), index: taken.index, tlog_proof: proof.to_bytes() })
        };
        let recorded = if waits { self.0.erasing(record).await } else { self.0.apart(record).await };
        recorded.map(Response::new).map_err(|problem| status(&problem))
    }

    async fn operations(
        &self,
        request: Request<v1::OperationsRequest>,
    ) -> Result<Response<Self::OperationsStream>, Status> {
        caller(&request, Scope::RecordsWrite)?;
        let v1::OperationsRequest { root, count } = request.get_ref().clone();
        let list = ListRoot { root: hash("root", &root)?, count };
        self.stream(&request, move |ledger, send| {
            let operations = ledger.operations(&list)?.ok_or(loam_ledger::Error::NoList { root: list.root })?;
            for some in operations.chunks(OPERATIONS_SENT) {
                let operations = some.iter().map(Operation::encode).collect();
                if !send(v1::OperationsResponse { operations }) {
                    break;
                }
            }
            Ok(())
        })
    }

    async fn payloads(&self, request: Request<v1::PayloadsRequest>) -> Result<Response<Self::PayloadsStream>, Status> {
        caller(&request, Scope::RecordsWrite)?;
        let asked = request.get_ref().digests.len();
        if asked > PAYLOADS_MAX {
            let message = format!("`digests` are {asked}; they can be {PAYLOADS_MAX} in one call");
            return Err(status(&Problem::field("digests", message)));
        }
        let digests = request.get_ref().digests.iter();
        let digests = digests.map(|digest| hash("digests", digest)).collect::<Result<Vec<_>, _>>()?;
        self.stream(&request, move |ledger, send| {
            for some in digests.chunks(PAYLOADS_SENT) {
                let found = some.iter().map(|digest| found(ledger, digest)).collect::<Result<_, _>>()?;
                if !send(v1::PayloadsResponse { found }) {
                    break;
                }
            }
            Ok(())
        })
    }

    async fn draft_epoch(
        &self,
        request: Request<v1::DraftEpochRequest>,
    ) -> Result<Response<v1::DraftEpochResponse>, Status> {
        caller(&request, Scope::Admin)?;
        let v1::DraftEpochRequest { seed, next_seed } = request.into_inner();
        let (seed, next_seed) = (hash("seed", &seed)?, hash("next_seed", &next_seed)?);
        let drafted = self.0.erasing(move |node| {
            let draft = node.ledger()?.draft_epoch(seed, next_seed).map_err(|error| ledger_problem(&error))?;
            Ok(drafted(draft.act, &draft.settled))
        });
        drafted.await.map(Response::new).map_err(|problem| status(&problem))
    }

    async fn simulate_epoch(
        &self,
        request: Request<v1::SimulateEpochRequest>,
    ) -> Result<Response<v1::DraftEpochResponse>, Status> {
        let caller = caller(&request, Scope::AuditAll)?;
        let v1::SimulateEpochRequest { epoch, policy } = request.into_inner();
        let wrong = |why: &str| status(&Problem::field("policy", format!("`policy` is no policy: {why}")));
        let policy = match Body::decode(&policy).map_err(|error| wrong(&error.to_string()))?.act {
            Act::PolicyChanged(policy) => policy,
            act => return Err(wrong(act.words())),
        };
        // It reads every row of an epoch, as an export does.
        let place = self.0.exporting(&caller).map_err(|problem| status(&problem))?;
        let simulated = self.0.apart(move |node| {
            let _place = place;
            let draft = node.ledger()?.simulate_epoch(epoch, &policy).map_err(|error| ledger_problem(&error))?;
            Ok(drafted(draft.act, &draft.settled))
        });
        simulated.await.map(Response::new).map_err(|problem| status(&problem))
    }

    async fn statement(
        &self,
        request: Request<v1::StatementRequest>,
    ) -> Result<Response<v1::StatementResponse>, Status> {
        caller(&request, Scope::RecordsWrite)?;
        let v1::StatementRequest { epoch, contributor } = request.into_inner();
        let contributor = hash("contributor", &contributor)?;
        let told = self.0.blocking(move |node| {
            let told = node.ledger()?.statement(epoch, &contributor);
            let (close, _, told) = told.map_err(|error| ledger_problem(&error))?;
            let file = LeafFile::payout(close, &contributor, &told.paid, told.proof);
            let waiting = told.waiting.iter().map(|(_, waits)| waits.encode()).collect();
            Ok(v1::StatementResponse { leaf_file: file.encode(), waiting })
        });
        told.await.map(Response::new).map_err(|problem| status(&problem))
    }

    async fn usage_proof(
        &self,
        request: Request<v1::UsageProofRequest>,
    ) -> Result<Response<v1::UsageProofResponse>, Status> {
        let caller = caller(&request, Scope::AuditSelf)?;
        let v1::UsageProofRequest { shard, index, row } = request.into_inner();
        let all = caller.need(Scope::AuditAll).is_ok();
        let place = self.0.exporting(&caller).map_err(|problem| status(&problem))?;
        let proven = self.0.apart(move |node| {
            let _place = place;
            let (ledger, at) = (node.ledger()?, RowPlace { shard, index, row });
            let told = |error| ledger_problem(&error);
            // A neighbour's fee is on the way to one's own, and no more of it than a sum: but nobody picks whose.
            let scope = loam_ledger::RowScope::Tenant(caller.tenant().to_string());
            let rows = ledger.rows(LogId::Usage(shard), index, &scope).map_err(told)?.unwrap_or_default();
            let own = usize::try_from(row).ok().and_then(|row| rows.get(row));
            if !all && !matches!(own, Some(GrantedRow::Open { .. })) {
                return Err(Problem::new(Kind::NotFound, "no answer of your own lies there"));
            }
            let (close, _, proof) = ledger.usage_proof(&at).map_err(told)?;
            Ok(v1::UsageProofResponse { leaf_file: LeafFile::usage(close, &at, proof).encode() })
        });
        proven.await.map(Response::new).map_err(|problem| status(&problem))
    }
}

impl Service {
    /// Answers with what is read piece by piece, as fast as it is taken.
    fn stream<T: prost::Message + 'static, A>(
        &self,
        request: &Request<A>,
        read: impl FnOnce(&Ledger, &mut dyn FnMut(T) -> bool) -> Result<(), loam_ledger::Error> + Send + 'static,
    ) -> Result<Response<Streamed<T>>, Status> {
        let permit = admitted(request)?;
        let (sender, receiver) = mpsc::channel(MESSAGES_MAX);
        let node = Arc::clone(&self.0);
        tokio::spawn(async move {
            let _permit = permit;
            let pieces = sender.clone();
            let done = node.blocking(move |node| {
                let mut patience = Patience::new();
                let mut send = |message: T| {
                    let bytes = message.encoded_len();
                    let began = Instant::now();
                    let sent = pieces.send_timeout(Ok(message), patience.left());
                    let sent = tokio::runtime::Handle::current().block_on(sent).is_ok();
                    patience.moved(bytes, began.elapsed());
                    sent
                };
                read(node.ledger()?, &mut send).map_err(|error| ledger_problem(&error))
            });
            if let Err(problem) = done.await {
                let _ = sender.send(Err(status(&problem))).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

/// Takes an offer, message by message, until the client has ended its side.
async fn gather(mut messages: Streaming<v1::OfferRequest>) -> Result<Offer, Status> {
    let (mut offer, mut patience, mut bytes) = (None::<Offer>, Patience::new(), 0_usize);
    loop {
        let began = Instant::now();
        let message = tokio::time::timeout(patience.left(), messages.message()).await;
        let slow = |_| status(&Problem::new(Kind::Deadline, "the offer came too slowly; send it again, in one go"));
        let Some(message) = message.map_err(slow)?? else { break };
        let size = prost::Message::encoded_len(&message);
        patience.moved(size, began.elapsed());
        bytes = bytes.saturating_add(size);
        if bytes > OFFER_BYTES_MAX {
            let most = OFFER_BYTES_MAX >> 20;
            let message = format!("an offer has {most} MiB at the most; make several contributions of it");
            return Err(status(&Problem::new(Kind::TooLarge, message)));
        }
        offered::add(&mut offer, message).map_err(|problem| status(&problem))?;
    }
    offer.ok_or_else(|| status(&Problem::field("record", "`record` is missing: it is said in the first message")))
}

/// What a ledger has under a digest.
fn found(ledger: &Ledger, digest: &Hash) -> Result<v1::FoundPayload, loam_ledger::Error> {
    use v1::found_payload::Found;
    let found = match ledger.payload(digest) {
        Ok(Some(payload)) => Found::Payload(v1::Payload { salt: payload.salt.to_vec(), bytes: payload.bytes }),
        Ok(None) => Found::Absent(true),
        Err(loam_ledger::Error::Erased) => Found::Redacted(true),
        Err(error) => return Err(error),
    };
    Ok(v1::FoundPayload { found: Some(found) })
}

fn drafted(act: EpochClosed, settled: &Settled) -> v1::DraftEpochResponse {
    let findings = &settled.findings;
    v1::DraftEpochResponse {
        body: Body::by(Hash::ZERO, Act::EpochClosed(act)).encode(),
        findings: findings.count,
        first_findings: findings.first.iter().take(FINDINGS_TOLD).map(ToString::to_string).collect(),
    }
}

fn hash(field: &str, bytes: &[u8]) -> Result<Hash, Status> {
    let wrong = |_| Problem::field(field, format!("`{field}` has {} bytes; it can have 32", bytes.len()));
    Hash::from_slice(bytes).map_err(|error| status(&wrong(error)))
}
