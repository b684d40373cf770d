//! Commands that ask a running server, over gRPC like any other client.

mod adapters;
mod fetch;
mod standing;
mod trusted;

use std::future::Future;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, anyhow, bail};
use clap::Args;
use loam_datanet::shown::line;
use loam_ledger_core::Hash;
use loam_proto::v1;
use loam_proto::v1::ledger_client::LedgerClient;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig};
use tonic::{Code, Request, Status};

pub(crate) use adapters::Command as AdapterCommand;
pub(crate) use fetch::{Arguments as FetchArguments, fetch_all};
pub(crate) use standing::Arguments as StandingArguments;

/// Which server, and who asks.
#[derive(Args)]
pub(crate) struct Place {
    /// Where the server is.
    #[arg(
        long,
        visible_alias = "server",
        value_name = "URL",
        env = "LOAM_URL",
        default_value = "http://127.0.0.1:8000"
    )]
    url: String,
    /// The key to ask with. Better in the environment: other users of this machine can read a command line.
    #[arg(long, value_name = "KEY", env = "LOAM_KEY", hide_env_values = true)]
    key: Option<String>,
    /// Certificates that vouch for the server, as PEM, where the URL begins with https: else those that this system trusts.
    #[arg(long, value_name = "FILE", env = "LOAM_CA")]
    ca: Option<PathBuf>,
}

/// A connection under a key.
pub(crate) type Keyed = InterceptedService<Channel, Key>;

/// What puts the key before each call.
#[derive(Clone)]
pub(crate) struct Key(Option<MetadataValue<Ascii>>);

impl Interceptor for Key {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(key) = &self.0 {
            request.metadata_mut().insert("authorization", key.clone());
        }
        Ok(request)
    }
}

impl Place {
    /// Somewhere that was named in another way.
    pub(crate) fn new(url: String, key: Option<String>, ca: Option<PathBuf>) -> Self {
        Self { url, key, ca }
    }

    pub(crate) async fn connect(&self) -> anyhow::Result<Keyed> {
        if !self.url.starts_with("http://") && !self.url.starts_with("https://") {
            bail!("{}: begin a server's address with http:// or https://", self.url);
        }
        let mut endpoint = Channel::from_shared(self.url.clone()).with_context(|| self.url.clone())?;
        if self.ca.is_some() || self.url.starts_with("https://") {
            let pem = trusted::certificates(self.ca.as_deref())?;
            endpoint = endpoint.tls_config(ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem)))?;
        }
        let channel = endpoint.connect().await;
        let channel = channel.map_err(|error| self.unanswered(error))?;
        let key = self.key.as_ref().map(|key| format!("Bearer {key}").parse()).transpose();
        Ok(InterceptedService::new(channel, Key(key.map_err(|_| anyhow!("the key is no plain text"))?)))
    }
}

impl Place {
    /// Why there is no connection: where a server refused to speak, starting one is no help.
    fn unanswered(&self, error: tonic::transport::Error) -> anyhow::Error {
        let error = anyhow::Error::new(error);
        let io = error.chain().find_map(|cause| cause.downcast_ref::<std::io::Error>());
        if io.is_some_and(|io| io.kind() == std::io::ErrorKind::ConnectionRefused) {
            return error.context(format!("no server answers at {}: start one with `loam serve MODEL`", self.url));
        }
        match trusted::advice(&format!("{error:?}"), self.ca.is_some()) {
            Some(advice) => anyhow!("no connection to {}: {advice}", self.url),
            None => error.context(format!("no connection to {}", self.url)),
        }
    }
}

/// Runs one command to its end.
fn block_on(work: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

/// Characters of a server's message that are shown.
const MESSAGE_CHARS_MAX: usize = 2_000;

/// A refusal as a person reads it: the sentence, without the protocol around it.
pub(crate) fn told(status: Status) -> anyhow::Error {
    match status.message() {
        message if status.code() == Code::Unauthenticated => {
            anyhow!("{} (--key KEY or LOAM_KEY, for which `loam key new` makes one)", line(message, MESSAGE_CHARS_MAX))
        }
        // That is all the transport says where the other side speaks something else: which of them, is a matter of who was
        // quicker.
        "transport error" | "h2 protocol error: http2 error" => {
            anyhow!("the connection broke off: does the server speak TLS (https://), or none?")
        }
        message => anyhow!("{}", line(message, MESSAGE_CHARS_MAX)),
    }
}

/// Runs `loam adapter`.
pub(crate) fn adapter(command: &AdapterCommand) -> anyhow::Result<ExitCode> {
    block_on(adapters::run(command))
}

/// Runs `loam ls`.
pub(crate) fn ls(arguments: &StandingArguments) -> anyhow::Result<ExitCode> {
    block_on(standing::ls(arguments))
}

/// Runs `loam ps`.
pub(crate) fn ps(arguments: &StandingArguments) -> anyhow::Result<ExitCode> {
    block_on(standing::ps(arguments))
}

/// Runs `loam ledger erase` where a server has the ledger open.
pub(crate) fn erase(place: &Place, request: &Hash, reason: u8) -> anyhow::Result<()> {
    let asked = v1::EraseRequest { receipt_id: request.0.to_vec(), reason: reason.into() };
    block_on(async {
        LedgerClient::new(place.connect().await?).erase(asked).await.map_err(told)?;
        Ok(ExitCode::SUCCESS)
    })
    .map(drop)
}

/// Runs `loam ledger fetch`.
pub(crate) fn fetch(arguments: &FetchArguments) -> anyhow::Result<ExitCode> {
    block_on(fetch::run(arguments))
}
