//! `loam.v1.Ledger`.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use loam_ledger::{Ledger, RowScope};
use loam_ledger_core::Hash;
use loam_ledger_core::granted::GrantedRow;
use loam_ledger_core::origin::LogId;
use loam_proto::v1;
use loam_wire::Problem;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::{admitted, caller, status};
use crate::access::Scope;
use crate::serve::guard::Admitted;
use crate::serve::node::{Node, ledger_problem};
use crate::serve::patience::{Patience, say};

/// The service.
pub(super) struct Service(pub(super) Arc<Node>);

/// Entries that a tail reads at once, and messages that wait for its reader.
const TAIL_ENTRIES: u64 = 256;

/// How often a tail looks for entries where there were none.
const TAIL_EVERY: Duration = Duration::from_millis(100);

/// Bytes of a file in one message.
const CHUNK_BYTES: usize = 1 << 20;

/// Messages of a stream that wait for its reader.
const MESSAGES_MAX: usize = 4;

/// Entries that a call for rows looks at before it makes room for others.
const ROWS_ENTRIES: u64 = 256;

type Streamed<T> = ReceiverStream<Result<T, Status>>;

impl Service {
    /// A short reading, apart from what others wait for.
    async fn read<T: Send + 'static>(
        &self,
        log: String,
        read: impl FnOnce(&Ledger, LogId) -> Result<T, loam_ledger::Error> + Send + 'static,
    ) -> Result<Response<T>, Status> {
        let outcome = self.0.blocking(move |node| {
            let log = node.log(&log)?;
            read(node.ledger()?, log).map_err(|error| ledger_problem(&error))
        });
        outcome.await.map(Response::new).map_err(|problem| status(&problem))
    }
}

#[tonic::async_trait]
impl v1::ledger_server::Ledger for Service {
    type TailStream = Streamed<v1::TailResponse>;
    type RowsStream = Streamed<v1::RowsResponse>;
    type ExportStream = Streamed<v1::ExportResponse>;

    async fn logs(&self, request: Request<v1::LogsRequest>) -> Result<Response<v1::LogsResponse>, Status> {
        caller(&request, Scope::AuditSelf)?;
        self.read(String::new(), |ledger, _| {
            let log = |log: LogId| {
                Ok(v1::Log {
                    log: log.to_string(),
                    size: ledger.size(log)?,
                    signed_size: ledger.signed_size(log)?.unwrap_or(0),
                    frozen: ledger.is_frozen(log)?,
                    verifier_key: ledger.verifier(log)?.to_string(),
                })
            };
            let logs = ledger.logs().into_iter().map(log).collect::<Result<_, loam_ledger::Error>>()?;
            Ok(v1::LogsResponse { name: ledger.name().to_owned(), logs })
        })
        .await
    }

    async fn checkpoint(
        &self,
        request: Request<v1::CheckpointRequest>,
    ) -> Result<Response<v1::CheckpointResponse>, Status> {
        caller(&request, Scope::AuditSelf)?;
        let v1::CheckpointRequest { log, size } = request.into_inner();
        self.read(log, move |ledger, log| {
            let found = match size {
                Some(size) => ledger.checkpoint_at(log, size)?,
                None => ledger.checkpoint(log)?,
            };
            let held = ledger.size(log)?;
            let none = || loam_ledger::Error::NotThatLarge { log, asked: size.unwrap_or(0), size: held };
            Ok(v1::CheckpointResponse { checkpoint: found.ok_or_else(none)? })
        })
        .await
    }

    async fn entry(&self, request: Request<v1::EntryRequest>) -> Result<Response<v1::EntryResponse>, Status> {
        caller(&request, Scope::AuditSelf)?;
        let v1::EntryRequest { log, index } = request.into_inner();
        self.read(log, move |ledger, log| Ok(v1::EntryResponse { entry: ledger.entry(log, index)? })).await
    }

    async fn inclusion_proof(
        &self,
        request: Request<v1::InclusionProofRequest>,
    ) -> Result<Response<v1::InclusionProofResponse>, Status> {
        caller(&request, Scope::AuditSelf)?;
        let v1::InclusionProofRequest { log, index } = request.into_inner();
        self.read(log, move |ledger, log| {
            Ok(v1::InclusionProofResponse { tlog_proof: ledger.prove(log, index)?.to_bytes() })
        })
        .await
    }

    async fn consistency_proof(
        &self,
        request: Request<v1::ConsistencyProofRequest>,
    ) -> Result<Response<v1::ConsistencyProofResponse>, Status> {
        caller(&request, Scope::AuditSelf)?;
        let v1::ConsistencyProofRequest { log, old_size, new_size } = request.into_inner();
        self.read(log, move |ledger, log| {
            let path = ledger.consistency(log, old_size, new_size)?;
            Ok(v1::ConsistencyProofResponse { path: path.iter().map(|hash| hash.0.to_vec()).collect() })
        })
        .await
    }

    async fn receipt(&self, request: Request<v1::ReceiptRequest>) -> Result<Response<v1::ReceiptResponse>, Status> {
        let caller = caller(&request, Scope::AuditSelf)?;
        let v1::ReceiptRequest { receipt_id, choice } = request.into_inner();
        let outcome = self.0.blocking(move |node| {
            let tlog_proof = node.receipt(&caller, &self::receipt_id(&receipt_id)?, choice)?;
            Ok(v1::ReceiptResponse { tlog_proof })
        });
        outcome.await.map(Response::new).map_err(|problem| status(&problem))
    }

    async fn tail(&self, request: Request<v1::TailRequest>) -> Result<Response<Self::TailStream>, Status> {
        caller(&request, Scope::AuditSelf)?;
        let permit = admitted(&request)?;
        let v1::TailRequest { log, first, stop_at_end } = request.into_inner();
        let log = self.0.log(&log).map_err(|problem| status(&problem))?;
        let (sender, receiver) = mpsc::channel(MESSAGES_MAX);
        let node = Arc::clone(&self.0);
        tokio::spawn(async move {
            let _permit = permit;
            if let Err(problem) = tail(&node, log, first, stop_at_end, &sender).await {
                let _ = say(&sender, Err(status(&problem))).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn rows(&self, request: Request<v1::RowsRequest>) -> Result<Response<Self::RowsStream>, Status> {
        let (permit, scope) = scoped(&request, request.get_ref().scope(), "Rows")?;
        let v1::RowsRequest { log, first, count, .. } = request.into_inner();
        let log = self.0.log(&log).map_err(|problem| status(&problem))?;
        let (sender, receiver) = mpsc::channel(MESSAGES_MAX);
        let node = Arc::clone(&self.0);
        tokio::spawn(async move {
            let _permit = permit;
            if let Err(problem) = rows(&node, log, (first, count), scope, &sender).await {
                let _ = say(&sender, Err(status(&problem))).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn export(&self, request: Request<v1::ExportRequest>) -> Result<Response<Self::ExportStream>, Status> {
        let (permit, scope) = scoped(&request, request.get_ref().scope(), "Export")?;
        let logs = &request.get_ref().log;
        let logs = if logs.is_empty() { None } else { Some(self.0.log(logs).map_err(|problem| status(&problem))?) };
        let (sender, receiver) = mpsc::channel(MESSAGES_MAX);
        let node = Arc::clone(&self.0);
        let place = node.exporting(&caller(&request, Scope::AuditSelf)?).map_err(|problem| status(&problem))?;
        tokio::spawn(async move {
            let _held = (permit, place);
            let files = sender.clone();
            let exported = node.apart(move |node| {
                let ledger = node.ledger()?;
                let logs = logs.map_or_else(|| ledger.logs(), |log| vec![log]);
                let mut patience = Patience::new();
                let mut send = |path: String, bytes: Vec<u8>| send_file(&files, &mut patience, &path, &bytes);
                ledger.export_to(&logs, &scope, &mut send).map_err(|error| ledger_problem(&error))
            });
            if let Err(problem) = exported.await {
                let _ = say(&sender, Err(status(&problem))).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn erase(&self, request: Request<v1::EraseRequest>) -> Result<Response<v1::EraseResponse>, Status> {
        let admin = caller(&request, Scope::Admin).is_ok();
        let caller = caller(&request, if admin { Scope::Admin } else { Scope::RecordsWrite })?;
        let v1::EraseRequest { receipt_id, reason } = request.into_inner();
        let outcome = self.0.erasing(move |node| {
            let name = self::receipt_id(&receipt_id)?;
            let code = u8::try_from(reason).ok().filter(|code| [1, 2, 3, 255].contains(code));
            let wrong = || Problem::field("reason", format!("`reason` is {reason}; it can be 1, 2, 3 or 255"));
            let code = code.ok_or_else(wrong)?;
            // Whoever runs the server erases what the law says, whoever's it is.
            if !admin {
                node.check_own(&caller, &name)?;
            }
            node.ledger()?.erase(&name, code).map_err(|error| ledger_problem(&error))?;
            let (key, tenant) = (&**caller.name(), &**caller.tenant());
            tracing::warn!(key, tenant, receipt_id = %name, reason, "a request was erased");
            Ok(v1::EraseResponse {})
        });
        outcome.await.map(Response::new).map_err(|problem| status(&problem))
    }
}

fn receipt_id(bytes: &[u8]) -> Result<Hash, Problem> {
    let wrong = |_| Problem::field("receipt_id", format!("`receipt_id` has {} bytes; it can have 32", bytes.len()));
    Hash::from_slice(bytes).map_err(wrong)
}

/// Whose rows a caller asks for, if it may; reading everybody's is logged each time.
fn scoped<T>(request: &Request<T>, scope: v1::Scope, method: &str) -> Result<(Admitted, RowScope), Status> {
    let asked = caller(request, Scope::AuditSelf)?;
    let rows = match scope {
        v1::Scope::Public => RowScope::Public,
        v1::Scope::Unspecified => RowScope::Tenant(asked.tenant().to_string()),
        v1::Scope::All => {
            let reader = caller(request, Scope::AuditAll)?;
            tracing::warn!(key = &**reader.name(), tenant = &**reader.tenant(), method, "everybody's rows are read");
            RowScope::Settlement
        }
    };
    Ok((admitted(request)?, rows))
}

async fn tail(
    node: &Arc<Node>,
    log: LogId,
    first: u64,
    stop_at_end: bool,
    sender: &mpsc::Sender<Result<v1::TailResponse, Status>>,
) -> Result<(), Problem> {
    let mut next = first;
    loop {
        let entries = node.blocking(move |node| {
            let entries = node.ledger()?.tail(log, next, TAIL_ENTRIES, Duration::ZERO);
            entries.map_err(|error| ledger_problem(&error))
        });
        let entries = entries.await?;
        let at_end = entries.is_empty();
        for entry in entries {
            if say(sender, Ok(v1::TailResponse { index: next, entry })).await.is_err() {
                return Ok(());
            }
            next += 1;
        }
        if at_end && (stop_at_end || node.is_draining()) {
            return Ok(());
        }
        if at_end {
            tokio::select! {
                () = sender.closed() => return Ok(()),
                () = tokio::time::sleep(TAIL_EVERY) => {}
            }
        }
    }
}

async fn rows(
    node: &Arc<Node>,
    log: LogId,
    (first, count): (u64, u64),
    scope: RowScope,
    sender: &mpsc::Sender<Result<v1::RowsResponse, Status>>,
) -> Result<(), Problem> {
    let size = node.ledger()?.size(log).map_err(|error| ledger_problem(&error))?;
    let end = if count == 0 { size } else { first.saturating_add(count).min(size) };
    let mut next = first;
    while next < end {
        let (from, to, scope) = (next, end.min(next + ROWS_ENTRIES), scope.clone());
        let found = node.blocking(move |node| {
            let ledger = node.ledger()?;
            let granted = |index| Ok((index, ledger.rows(log, index, &scope)?));
            (from..to).map(granted).collect::<Result<Vec<_>, _>>().map_err(|error| ledger_problem(&error))
        });
        for (index, granted) in found.await? {
            let Some(granted) = granted else { continue };
            let rows = granted.into_iter().map(row).collect();
            if say(sender, Ok(v1::RowsResponse { index, rows })).await.is_err() {
                return Ok(());
            }
        }
        next = to;
    }
    Ok(())
}

fn row(granted: GrantedRow) -> v1::Row {
    use v1::row::Row;
    let row = match granted {
        GrantedRow::Hidden(leaf) => Row::Hidden(leaf.0.to_vec()),
        GrantedRow::Erased(leaf) => Row::Erased(leaf.0.to_vec()),
        GrantedRow::Open { salt, row } => Row::Open(v1::OpenRow { salt: salt.to_vec(), row }),
    };
    v1::Row { row: Some(row) }
}

/// A file in messages, for a reader that may be slow or gone.
fn send_file(
    sender: &mpsc::Sender<Result<v1::ExportResponse, Status>>,
    patience: &mut Patience,
    path: &str,
    bytes: &[u8],
) -> ControlFlow<()> {
    let chunks = bytes.len().div_ceil(CHUNK_BYTES).max(1);
    for number in 0..chunks {
        let chunk = bytes.get(number * CHUNK_BYTES..).unwrap_or_default();
        let message = v1::ExportResponse {
            path: path.to_owned(),
            bytes: chunk[..chunk.len().min(CHUNK_BYTES)].to_vec(),
            last: number + 1 == chunks,
        };
        let (began, size) = (Instant::now(), message.bytes.len());
        if Handle::current().block_on(sender.send_timeout(Ok(message), patience.left())).is_err() {
            return ControlFlow::Break(());
        }
        patience.moved(size, began.elapsed());
    }
    ControlFlow::Continue(())
}
