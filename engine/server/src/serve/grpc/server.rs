//! `loam.v1.Server`.

use std::sync::Arc;

use loam_proto::v1;
use tonic::{Request, Response, Status};

use super::{caller, onlooker, status};
use crate::access::Scope;
use crate::serve::node::Node;

/// The service.
pub(super) struct Service(pub(super) Arc<Node>);

#[tonic::async_trait]
impl v1::server_server::Server for Service {
    async fn info(&self, request: Request<v1::InfoRequest>) -> Result<Response<v1::InfoResponse>, Status> {
        onlooker(&request)?;
        let node = &*self.0;
        let limits = node.engine.limits();
        let counted = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Ok(Response::new(v1::InfoResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            models: node.names.clone(),
            base: node.engine.base().0.to_vec(),
            device: node.engine.describe().to_owned(),
            dtype: node.engine.mode().dtype.to_string(),
            max_model_len: counted(limits.step.positions),
            vocabulary: counted(limits.step.vocabulary),
            max_loras: counted(limits.step.slots),
            ledger: node.ledger.as_ref().map(|ledger| ledger.name().to_owned()).unwrap_or_default(),
            delivery: node.delivery().to_owned(),
        }))
    }

    async fn load(&self, request: Request<v1::LoadRequest>) -> Result<Response<v1::LoadResponse>, Status> {
        onlooker(&request)?;
        let load = self.0.blocking(|node| node.load());
        load.await.map(Response::new).map_err(|problem| status(&problem))
    }

    async fn drain(&self, request: Request<v1::DrainRequest>) -> Result<Response<v1::DrainResponse>, Status> {
        caller(&request, Scope::Admin)?;
        self.0.ask_to_end(request.into_inner().timeout_s);
        Ok(Response::new(v1::DrainResponse {}))
    }
}
