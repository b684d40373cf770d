//! `loam adapter`: loads, unloads and lists a running server's adapters.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use loam_ledger_core::text::hex_encode;
use loam_proto::v1;
use loam_proto::v1::adapters_client::AdaptersClient;

use super::{Keyed, Place, told};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Load a PEFT folder under a name.
    Add {
        #[command(flatten)]
        place: Place,
        /// What requests will call it.
        name: String,
        /// The folder, under one of the server's adapter roots.
        source: PathBuf,
        /// Keep it where steps can use it.
        #[arg(long)]
        pin: bool,
        /// Let a name that is in use stand for this one from now on. Requests in flight keep what they began with.
        #[arg(long)]
        replace: bool,
    },
    /// Take a name away.
    Rm {
        #[command(flatten)]
        place: Place,
        /// The adapter's name.
        name: String,
    },
    /// List adapters, and where each is.
    Ls {
        #[command(flatten)]
        place: Place,
    },
}

pub(super) async fn run(command: &Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Add { place, name, source, pin, replace } => {
            let mut client = AdaptersClient::new(place.connect().await?);
            let source = std::path::absolute(source)?;
            let nothing = v1::Expected { expected: Some(v1::expected::Expected::Nothing(true)) };
            let request = v1::LoadAdapterRequest {
                name: name.clone(),
                source: source.display().to_string(),
                expected: (!replace).then_some(nothing),
                pin: *pin,
            };
            let adapter = client.load(request).await.map_err(told)?.into_inner();
            println!("{name} is {}", hex_encode(&adapter.generation));
        }
        Command::Rm { place, name } => {
            let mut client = AdaptersClient::new(place.connect().await?);
            client.unload(v1::UnloadAdapterRequest { name: name.clone(), expected: None }).await.map_err(told)?;
            println!("{name} stands for nothing any more");
        }
        Command::Ls { place } => {
            for adapter in list(place.connect().await?).await? {
                println!("{}", line(&adapter));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// All adapters of a server, page by page.
pub(super) async fn list(connection: Keyed) -> anyhow::Result<Vec<v1::Adapter>> {
    let mut client = AdaptersClient::new(connection);
    let (mut all, mut after) = (Vec::new(), String::new());
    loop {
        let page = client.list(v1::ListAdaptersRequest { page_size: 0, after }).await.map_err(told)?.into_inner();
        all.extend(page.adapters);
        after = page.next_after;
        if after.is_empty() {
            return Ok(all);
        }
    }
}

/// An adapter in one line.
pub(super) fn line(adapter: &v1::Adapter) -> String {
    let place = match adapter.residency() {
        v1::Residency::Device => "ready",
        v1::Residency::Host => "in memory",
        _ => "on disk",
    };
    let generation = if adapter.generation.is_empty() {
        "not read yet".to_owned()
    } else {
        hex_encode(&adapter.generation)[..12].to_owned()
    };
    let pinned = if adapter.pinned { ", pinned" } else { "" };
    let refused = if adapter.refused.is_empty() { String::new() } else { format!(", refused: {}", adapter.refused) };
    format!("{:24} {generation:14} {place}{pinned}{refused}  {}", adapter.name, adapter.source)
}
