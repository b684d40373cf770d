//! `loam.v1` over the node, with health and reflection beside it.

mod adapters;
mod inference;
mod ledger;
mod provenance;
mod raw;
mod server;
mod status;

use std::sync::Arc;

use axum::Router;
use loam_proto::v1;
use loam_wire::{Kind, Problem};
use tonic::{Request, Status};
use tonic_health::server::HealthReporter;

use super::guard::Admitted;
use super::node::Node;
use crate::access::{Caller, Scope};

pub(crate) use status::{kind, status};

/// Names of the services whose health is told.
pub(crate) const SERVICES: [&str; 6] =
    ["", "loam.v1.Inference", "loam.v1.Adapters", "loam.v1.Ledger", "loam.v1.Provenance", "loam.v1.Server"];

/// All services as routes.
pub(crate) fn router(node: &Arc<Node>) -> anyhow::Result<(Router, HealthReporter)> {
    let (reporter, health) = tonic_health::server::health_reporter();
    let described = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(loam_proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    // Python's grpcio still asks in the older way.
    let (reflection, older) = (described().build_v1()?, described().build_v1alpha()?);
    let bytes = node.settings.limits.body_bytes;
    let inference = v1::inference_server::InferenceServer::new(inference::Service(Arc::clone(node)));
    let adapters = v1::adapters_server::AdaptersServer::new(adapters::Service(Arc::clone(node)));
    let ledger = v1::ledger_server::LedgerServer::new(ledger::Service(Arc::clone(node)));
    let provenance = v1::provenance_server::ProvenanceServer::new(provenance::Service(Arc::clone(node)));
    let server = v1::server_server::ServerServer::new(server::Service(Arc::clone(node)));
    let mut routes = tonic::service::Routes::new(inference.max_decoding_message_size(bytes));
    routes = routes.add_service(adapters.max_decoding_message_size(SMALL_MESSAGE_BYTES_MAX));
    routes = routes.add_service(ledger.max_decoding_message_size(SMALL_MESSAGE_BYTES_MAX));
    routes = routes.add_service(provenance.max_decoding_message_size(provenance::MESSAGE_BYTES_MAX));
    routes = routes.add_service(server.max_decoding_message_size(SMALL_MESSAGE_BYTES_MAX));
    routes = routes.add_service(health).add_service(reflection).add_service(older);
    let raw = axum::middleware::from_fn_with_state(bytes, raw::take_in);
    Ok((routes.into_axum_router().layer(raw), reporter))
}

/// Bytes of a message that holds names and numbers.
const SMALL_MESSAGE_BYTES_MAX: usize = 64 << 10;

/// Who asks, if the key allows it.
fn caller<T>(request: &Request<T>, scope: Scope) -> Result<Caller, Status> {
    let caller = request.extensions().get::<Caller>().cloned().ok_or_else(unknown)?;
    caller.need(scope).map_err(|problem| status(&problem))?;
    Ok(caller)
}

/// Who looks how the server stands, if the key allows it.
fn onlooker<T>(request: &Request<T>) -> Result<(), Status> {
    let caller = request.extensions().get::<Caller>().ok_or_else(unknown)?;
    caller.need_to_see().map_err(|problem| status(&problem))
}

/// The key's place that a call has, to be kept as long as it is answered.
fn admitted<T>(request: &Request<T>) -> Result<Admitted, Status> {
    request.extensions().get::<Admitted>().cloned().ok_or_else(unknown)
}

fn unknown() -> Status {
    status(&Problem::new(Kind::Unauthenticated, "no key was presented; send `authorization: Bearer KEY`"))
}
