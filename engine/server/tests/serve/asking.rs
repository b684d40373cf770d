//! Clients over gRPC: what one asks, and what it is told.

use loam_proto::v1;
use loam_proto::v1::adapters_client::AdaptersClient;
use loam_proto::v1::generate_request::Prompt;
use loam_proto::v1::generate_response::Event;
use loam_proto::v1::inference_client::InferenceClient;
use loam_proto::v1::ledger_client::LedgerClient;
use loam_proto::v1::server_client::ServerClient;
use tonic::metadata::MetadataValue;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Status};

use crate::running::Server;

/// What puts a key before each call.
#[derive(Clone)]
pub(crate) struct Key(Option<String>);

impl tonic::service::Interceptor for Key {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(key) = &self.0 {
            let value: MetadataValue<_> = format!("Bearer {key}").parse().unwrap();
            request.metadata_mut().insert("authorization", value);
        }
        Ok(request)
    }
}

type Keyed = InterceptedService<Channel, Key>;

/// A client under one key.
pub(crate) struct Client {
    pub(crate) inference: InferenceClient<Keyed>,
    pub(crate) adapters: AdaptersClient<Keyed>,
    pub(crate) ledger: LedgerClient<Keyed>,
    pub(crate) server: ServerClient<Keyed>,
}

/// What an answer came to.
#[derive(Debug, Default, Clone)]
pub(crate) struct Told {
    pub(crate) receipt_id: Vec<u8>,
    pub(crate) text: String,
    pub(crate) tokens: Vec<u32>,
    pub(crate) finished: Option<v1::Finished>,
    pub(crate) receipts: Vec<Vec<u8>>,
}

impl Client {
    pub(crate) async fn new(server: &Server, key: Option<&str>) -> Self {
        let (channel, key) = (server.channel().await, Key(key.map(str::to_owned)));
        Self {
            inference: InferenceClient::with_interceptor(channel.clone(), key.clone()),
            adapters: AdaptersClient::with_interceptor(channel.clone(), key.clone()),
            ledger: LedgerClient::with_interceptor(channel.clone(), key.clone()),
            server: ServerClient::with_interceptor(channel, key),
        }
    }

    /// Asks, and hears everything.
    pub(crate) async fn ask(&mut self, request: v1::GenerateRequest) -> Result<Told, Status> {
        let mut stream = self.inference.generate(request).await?.into_inner();
        let mut told = Told::default();
        while let Some(message) = stream.message().await? {
            match message.event.unwrap() {
                Event::Started(started) => told.receipt_id = started.receipt_id,
                Event::Prompt(_) => {}
                Event::Tokens(tokens) => {
                    told.text.push_str(&tokens.text);
                    told.tokens.extend(tokens.tokens.iter().map(|token| token.id));
                }
                Event::Finished(finished) => told.finished = Some(finished),
                Event::Receipt(receipt) => told.receipts.push(receipt.tlog_proof),
            }
        }
        Ok(told)
    }

    /// A log's rows as far as a scope opens them.
    pub(crate) async fn rows(&mut self, scope: v1::Scope) -> Result<Vec<v1::Row>, Status> {
        let request = v1::RowsRequest { scope: scope.into(), ..v1::RowsRequest::default() };
        let mut stream = self.ledger.rows(request).await?.into_inner();
        let mut rows = Vec::new();
        while let Some(message) = stream.message().await? {
            rows.extend(message.rows);
        }
        Ok(rows)
    }
}

/// A greedy question of so many tokens, to the base model or an adapter.
pub(crate) fn question(text: &str, adapter: Option<&str>, max_tokens: u32) -> v1::GenerateRequest {
    v1::GenerateRequest {
        prompt: Some(Prompt::Text(text.to_owned())),
        adapters: adapter.map(|name| v1::AdapterUse { name: name.to_owned(), weight: None }).into_iter().collect(),
        sampling: Some(v1::Sampling { temperature: Some(0.0), ..v1::Sampling::default() }),
        ends: Some(v1::Ends { max_tokens: Some(max_tokens), ignore_eos: true, ..v1::Ends::default() }),
        ..v1::GenerateRequest::default()
    }
}
