//! The server's figures: asked over gRPC as by anybody, with its ledger and without.
//!
//! ```text
//! pairs      two servers of one large model, with ledger and without, take turns: what the ledger costs
//! receipts   one server of the small bundled model: from an answer's last token to its receipt
//! crowd      the same, and one key floods it: what another key waits, what the process grows by
//! ```

mod asking;
mod crowd;
mod pairs;
mod receipts;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use running::Server;
use tonic::transport::Channel;

use crate::results::Figure;

/// What `loam-bench serve` takes.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Where the ledgers lie: their disk is part of what is measured.
    #[arg(long, value_name = "DIR", default_value = ".")]
    at: PathBuf,
    /// A model's folder for what the ledger costs. Without one: the shape of Llama-3.2-1B with random weights.
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// A small model's folder for receipts and crowds.
    #[arg(long, value_name = "DIR", default_value = "examples/model/base")]
    small: PathBuf,
    /// A tenth of the size: for a look, not to be quoted.
    #[arg(long)]
    quick: bool,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<Vec<Figure>> {
    ensure!(arguments.small.join("config.json").is_file(), "{} has no model: say --small", arguments.small.display());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let top = tempfile::Builder::new().prefix("loam-bench-").tempdir_in(&arguments.at)?;
    let bench = Bench { loam: running::folder_of(&["loam"])?.join("loam"), top: top.path().to_owned() };
    runtime.block_on(async {
        let mut figures = receipts::run(&bench, arguments).await?;
        figures.extend(crowd::run(&bench, arguments).await?);
        figures.extend(pairs::run(&bench, arguments).await?);
        Ok(figures)
    })
}

/// The program under measurement, and a folder for what it keeps.
struct Bench {
    loam: PathBuf,
    top: PathBuf,
}

/// A server that is ready, and a connection to it.
struct Running {
    server: Server,
    url: String,
    channel: Channel,
}

impl Bench {
    /// Starts a server in a folder of its own, under this name.
    async fn start(&self, name: &str, arguments: &[&str]) -> anyhow::Result<Running> {
        let folder = self.top.join(name);
        std::fs::create_dir(&folder)?;
        let mut said: Vec<OsString> = arguments.iter().map(Into::into).collect();
        if !arguments.contains(&"--ledger") {
            said.extend(["--ledger".into(), folder.join("ledger").into(), "--ledger-reserve-mib".into(), "64".into()]);
        }
        let mut server = Server::start(&self.loam, &folder, said)?;
        let url = server.ready().await?;
        Ok(Running { server, channel: connected(&url).await?, url })
    }
}

async fn connected(url: &str) -> anyhow::Result<Channel> {
    Channel::from_shared(url.to_owned())?.connect().await.with_context(|| format!("connecting to {url}"))
}

fn said(path: &Path) -> anyhow::Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))
}
