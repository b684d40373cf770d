//! `loam.v1.Provenance`.

use std::sync::Arc;
use std::time::Instant;

use loam_datanet::Row;
use loam_ledger::{Ledger, Offer, Payload};
use loam_ledger_core::Hash;
use loam_ledger_core::epoch::{LeafFile, RowPlace, Settled};
use loam_ledger_core::granted::GrantedRow;
use loam_ledger_core::origin::LogId;
use loam_ledger_core::record::{Act, Body, EpochClosed, ListRoot, Operation, Record, envelope_message, is_signed};
use loam_proto::v1;
use loam_wire::{Kind, Problem};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{admitted, caller, status};
use crate::access::{Caller, Scope};
use crate::offered;
use crate::serve::node::{Held, Node, ledger_problem};
use crate::serve::patience::Patience;

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

/// How far a signed request's time may be from the server's.
const REQUEST_SECONDS_MAX: u64 = 300;

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
        let (offer, place) = gather(&self.0, &caller, request.into_inner()).await?;
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
        let recorded = if waits { self.0.erasing(record).await } else { self.0.recording(record).await };
        recorded.map(Response::new).map_err(|problem| status(&problem))
    }

    async fn operations(
        &self,
        request: Request<v1::OperationsRequest>,
    ) -> Result<Response<Self::OperationsStream>, Status> {
        caller(&request, Scope::RecordsWrite)?;
        let v1::OperationsRequest { root, count } = request.get_ref().clone();
        let list = ListRoot { root: hash("root", &root)?, count };
        let read = self.0.blocking(move |node| {
            let found = node.ledger()?.operations(&list).map_err(|error| ledger_problem(&error))?;
            found.ok_or_else(|| ledger_problem(&loam_ledger::Error::NoList { root: list.root }))
        });
        let operations = read.await.map_err(|problem| status(&problem))?;
        let chunks: Vec<Vec<Operation>> = operations.chunks(OPERATIONS_SENT).map(<[Operation]>::to_vec).collect();
        self.stream(&request, chunks, |_, chunk| {
            Ok(v1::OperationsResponse { operations: chunk.iter().map(Operation::encode).collect() })
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
        let chunks: Vec<Vec<Hash>> = digests.chunks(PAYLOADS_SENT).map(<[Hash]>::to_vec).collect();
        self.stream(&request, chunks, |ledger, chunk| {
            let found = chunk.iter().map(|digest| found(ledger, digest)).collect::<Result<_, _>>()?;
            Ok(v1::PayloadsResponse { found })
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
        let caller = caller(&request, Scope::RecordsWrite)?;
        let asked = request.into_inner();
        let (epoch, contributor) = (asked.epoch, hash("contributor", &asked.contributor)?);
        let told = self.0.blocking(move |node| {
            if caller.need(Scope::AuditAll).is_err() {
                check_own(node, &asked, &contributor)?;
            }
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
    /// Answers with what is read piece by piece. While a message waits for its reader, nothing else of the server does.
    fn stream<A, C: Send + 'static, T: prost::Message + 'static>(
        &self,
        request: &Request<A>,
        chunks: Vec<C>,
        read: fn(&Ledger, &C) -> Result<T, loam_ledger::Error>,
    ) -> Result<Response<Streamed<T>>, Status> {
        let permit = admitted(request)?;
        let (sender, receiver) = mpsc::channel(MESSAGES_MAX);
        let node = Arc::clone(&self.0);
        tokio::spawn(async move {
            let _permit = permit;
            let mut patience = Patience::new();
            for chunk in chunks {
                let piece =
                    node.blocking(move |node| read(node.ledger()?, &chunk).map_err(|error| ledger_problem(&error)));
                let message = piece.await.map_err(|problem| status(&problem));
                let (bytes, is_last) = (message.as_ref().map_or(0, T::encoded_len), message.is_err());
                let began = Instant::now();
                if sender.send_timeout(message, patience.left()).await.is_err() || is_last {
                    return;
                }
                patience.moved(bytes, began.elapsed());
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

/// Takes an offer, message by message, until the client has ended its side. What more than one message is said in is held
/// meanwhile, so that it has a place, and comes from somebody whose signature holds.
async fn gather(
    node: &Arc<Node>,
    caller: &Caller,
    mut messages: Streaming<v1::OfferRequest>,
) -> Result<(Offer, Option<Held>), Status> {
    let (mut offer, mut patience, mut bytes, mut place) = (None::<Offer>, Patience::new(), 0_usize, None);
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
        if offer.is_some() && place.is_none() {
            place = Some(node.offering(caller).map_err(|problem| status(&problem))?);
        }
        let (is_first, rows) = (offer.is_none(), offer.as_ref().map_or(0, |offer| offer.payloads.len()));
        offered::add(&mut offer, message).map_err(|problem| status(&problem))?;
        if let Some(offer) = &offer {
            check(node, offer, is_first, rows).map_err(|problem| status(&problem))?;
        }
    }
    let missing = || status(&Problem::field("record", "`record` is missing: it is said in the first message"));
    Ok((offer.ok_or_else(missing)?, place))
}

/// Refuses what will be refused before more of it is held. So many rows were looked at before.
fn check(node: &Node, offer: &Offer, is_first: bool, rows: usize) -> Result<(), Problem> {
    if is_first {
        let record = Record { time_ms: 0, body: offer.body.clone(), signed: offer.signed.clone() };
        let signed = node.ledger()?.with_registry(|registry| registry.check_authors(&record));
        signed.map_err(|error| ledger_problem(&error))?.map_err(|why| ledger_problem(&why.into()))?;
    }
    let said = match &offer.body.act {
        Act::ContributionProposed(act) => act.operations.count,
        _ => 0,
    };
    if offer.operations.len() as u64 > said {
        return Err(Problem::field("operations", format!("`operations` are more than the {said} that were signed")));
    }
    let is_row = |row: &Payload| Row::stored(&row.bytes).is_some();
    match offer.payloads[rows..].iter().find(|row| !is_row(row)) {
        Some(_) => Err(Problem::field("rows", "`rows` has one that is no row: a JSON object in its one spelling")),
        None => Ok(()),
    }
}

/// Whether it is the contributor themselves who asks.
fn check_own(node: &Node, asked: &v1::StatementRequest, contributor: &Hash) -> Result<(), Problem> {
    let key = node.ledger()?.with_registry(|registry| {
        let people = registry.people();
        let stands = people.find(&people.standing(contributor)).map(|found| found.public_key);
        stands.map(|key| (key, registry.origin().to_owned()))
    });
    let own = "a statement is told to whom it is of: sign the request with their key (--id), or ask with a key that may audit all";
    let refused = || Problem::new(Kind::Forbidden, own);
    let (public_key, origin) = key.map_err(|error| ledger_problem(&error))?.ok_or_else(refused)?;
    let payload = offered::statement_request(&origin, asked.epoch, asked.time_s, contributor);
    let signature: [u8; 64] = asked.signature[..].try_into().map_err(|_| refused())?;
    let message = envelope_message(offered::STATEMENT_REQUEST, &payload);
    let is_now = asked.time_s.abs_diff(crate::serve::now_s()) <= REQUEST_SECONDS_MAX;
    if is_now && is_signed(&public_key, &message, &signature) { Ok(()) } else { Err(refused()) }
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
