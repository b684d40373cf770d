//! `loam ledger fetch`: the logs of a running server, as the static files that an auditor reads.

use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use loam_proto::v1;
use loam_proto::v1::ledger_client::LedgerClient;

use super::{Keyed, Place, told};

/// What it takes.
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: Place,
    /// The folder to write, which must be new or empty.
    #[arg(long, value_name = "OUT")]
    out: PathBuf,
    /// records or usage/SHARD; all logs where it is absent.
    #[arg(long, value_name = "LOG", default_value = "")]
    log: String,
    /// Whose rows are opened: one's own, nobody's, or everybody's, which needs a key for it.
    #[arg(long, value_name = "SCOPE", value_parser = ["own", "public", "all"], default_value = "own")]
    scope: String,
}

pub(super) async fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let Arguments { place, out, log, scope } = arguments;
    let scope = match scope.as_str() {
        "public" => v1::Scope::Public,
        "all" => v1::Scope::All,
        _ => v1::Scope::Unspecified,
    };
    let connection = place.connect().await?;
    let files = fetch_all(connection.clone(), out, log, scope).await?;
    for log in LedgerClient::new(connection).logs(v1::LogsRequest {}).await.map_err(told)?.into_inner().logs {
        println!("{}: loam-audit log {} --vkey '{}'", log.log, out.join(&log.log).display(), log.verifier_key);
    }
    eprintln!("loam: {files} files written; a key is only as good as where you have it from");
    Ok(ExitCode::SUCCESS)
}

/// Writes a server's logs, all of them or one, into a folder that is new or empty. Gives the number of files.
pub(crate) async fn fetch_all(connection: Keyed, out: &Path, log: &str, scope: v1::Scope) -> anyhow::Result<u64> {
    let shown = || out.display().to_string();
    fs::create_dir_all(out).with_context(shown)?;
    if fs::read_dir(out).with_context(shown)?.next().is_some() {
        bail!("{} is not empty: name a folder that is new or empty", out.display());
    }
    let mut client = LedgerClient::new(connection);
    let request = v1::ExportRequest { log: log.to_owned(), scope: scope.into() };
    let mut stream = client.export(request).await.map_err(told)?.into_inner();
    let (mut bytes, mut files) = (Vec::new(), 0);
    while let Some(message) = stream.message().await.map_err(told)? {
        bytes.extend_from_slice(&message.bytes);
        if message.last {
            write(out, &message.path, &bytes)?;
            bytes.clear();
            files += 1;
        }
    }
    Ok(files)
}

/// Writes one file below a folder: a server says what it is called, and is not trusted to stay inside.
fn write(out: &Path, path: &str, bytes: &[u8]) -> anyhow::Result<()> {
    let inside = !path.is_empty() && Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    if !inside {
        bail!("the server names a file {path:?}, which leads out of the folder");
    }
    let path = out.join(path);
    let place = || path.display().to_string();
    fs::create_dir_all(path.parent().unwrap_or(out)).with_context(place)?;
    fs::write(&path, bytes).with_context(place)
}
