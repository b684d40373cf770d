//! `loam.v1.Adapters`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use loam_engine::adapter::{Expected, Generation};
use loam_ledger_core::Hash;
use loam_proto::v1;
use loam_wire::Problem;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::{admitted, caller, onlooker, status};
use crate::access::Scope;
use crate::serve::node::{Node, Standing};
use crate::serve::patience::say;

/// The service.
pub(super) struct Service(pub(super) Arc<Node>);

/// Names in one answer of a list.
const PAGE_MAX: usize = 1_000;

/// How often a watcher looks.
const WATCH_EVERY: Duration = Duration::from_millis(200);

#[tonic::async_trait]
impl v1::adapters_server::Adapters for Service {
    type WatchStream = ReceiverStream<Result<v1::WatchAdaptersResponse, Status>>;

    async fn load(&self, request: Request<v1::LoadAdapterRequest>) -> Result<Response<v1::Adapter>, Status> {
        let key = Arc::clone(caller(&request, Scope::Admin)?.name());
        let v1::LoadAdapterRequest { name, source, expected, pin } = request.into_inner();
        let loaded = self.0.blocking(move |node| {
            node.load_adapter(&key, (&name, &source), self::expected(expected)?)?;
            if pin {
                node.engine.pin_adapter(&name, true)?;
            }
            Ok(adapter(&node.adapter(&name)?))
        });
        loaded.await.map(Response::new).map_err(|problem| status(&problem))
    }

    async fn unload(
        &self,
        request: Request<v1::UnloadAdapterRequest>,
    ) -> Result<Response<v1::UnloadAdapterResponse>, Status> {
        let key = Arc::clone(caller(&request, Scope::Admin)?.name());
        let v1::UnloadAdapterRequest { name, expected } = request.into_inner();
        let unload = |node: &Node| {
            node.unload_adapter(&key, &name, self::expected(expected)?)?;
            Ok(v1::UnloadAdapterResponse {})
        };
        unload(&self.0).map(Response::new).map_err(|problem| status(&problem))
    }

    async fn list(
        &self,
        request: Request<v1::ListAdaptersRequest>,
    ) -> Result<Response<v1::ListAdaptersResponse>, Status> {
        onlooker(&request)?;
        let v1::ListAdaptersRequest { page_size, after } = request.into_inner();
        let page = match page_size as usize {
            0 => PAGE_MAX,
            size => size.min(PAGE_MAX),
        };
        let mut left = self.0.adapters().into_iter().skip_while(|it| !after.is_empty() && it.listed.name <= after);
        let adapters: Vec<_> = left.by_ref().take(page).map(|it| adapter(&it)).collect();
        let last = adapters.last().map(|it| it.name.clone()).filter(|_| left.next().is_some());
        Ok(Response::new(v1::ListAdaptersResponse { adapters, next_after: last.unwrap_or_default() }))
    }

    async fn get(&self, request: Request<v1::GetAdapterRequest>) -> Result<Response<v1::Adapter>, Status> {
        onlooker(&request)?;
        let found = self.0.adapter(&request.into_inner().name).map_err(|problem| status(&problem))?;
        Ok(Response::new(adapter(&found)))
    }

    async fn pin(&self, request: Request<v1::PinAdapterRequest>) -> Result<Response<v1::Adapter>, Status> {
        caller(&request, Scope::Admin)?;
        let v1::PinAdapterRequest { name, pinned } = request.into_inner();
        let pin = || {
            self.0.engine.pin_adapter(&name, pinned)?;
            self.0.adapter(&name)
        };
        pin().map(|found| Response::new(adapter(&found))).map_err(|problem: Problem| status(&problem))
    }

    async fn watch(&self, request: Request<v1::WatchAdaptersRequest>) -> Result<Response<Self::WatchStream>, Status> {
        onlooker(&request)?;
        let permit = admitted(&request)?;
        let (sender, receiver) = mpsc::channel(1);
        let node = Arc::clone(&self.0);
        tokio::spawn(async move {
            let _permit = permit;
            let mut seen: BTreeMap<String, v1::Adapter> = BTreeMap::new();
            let mut first = true;
            while !node.is_draining() {
                let now: BTreeMap<String, v1::Adapter> =
                    node.adapters().iter().map(|it| (it.listed.name.clone(), adapter(it))).collect();
                let changed: Vec<_> = now.values().filter(|it| seen.get(&it.name) != Some(*it)).cloned().collect();
                let gone: Vec<_> = seen.keys().filter(|name| !now.contains_key(*name)).cloned().collect();
                let any = first || !changed.is_empty() || !gone.is_empty();
                if any && say(&sender, Ok(v1::WatchAdaptersResponse { changed, gone })).await.is_err() {
                    return;
                }
                (seen, first) = (now, false);
                tokio::select! {
                    () = sender.closed() => return,
                    () = tokio::time::sleep(WATCH_EVERY) => {}
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

fn expected(expected: Option<v1::Expected>) -> Result<Expected, Problem> {
    use v1::expected::Expected as Given;
    match expected.and_then(|it| it.expected) {
        None | Some(Given::Nothing(false)) => Ok(Expected::Anything),
        Some(Given::Nothing(true)) => Ok(Expected::Nothing),
        Some(Given::Generation(bytes)) => match Hash::from_slice(&bytes) {
            Ok(hash) => Ok(Expected::Generation(Generation(hash))),
            Err(_) => Err(Problem::field(
                "expected",
                format!("`expected.generation` has {} bytes; it can have 32", bytes.len()),
            )),
        },
    }
}

/// An adapter as a message.
fn adapter(standing: &Standing) -> v1::Adapter {
    let residency = match standing.level() {
        Some("gpu") => v1::Residency::Device,
        Some(_) => v1::Residency::Host,
        None => v1::Residency::Disk,
    };
    let listed = &standing.listed;
    v1::Adapter {
        name: listed.name.clone(),
        generation: listed.generation.map(|generation| generation.0.0.to_vec()).unwrap_or_default(),
        source: listed.source.to_string(),
        pinned: listed.pinned,
        references: listed.references as u64,
        residency: residency.into(),
        running: standing.counts.map_or(0, |counts| counts.running),
        waiting: standing.counts.map_or(0, |counts| counts.waiting),
        refused: standing.refused.clone().unwrap_or_default(),
    }
}
