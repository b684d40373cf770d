//! Where a ledger is: in a folder of this machine, or behind a server that has it open.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::Args;
use loam_ledger::RESERVE_BYTES;

use super::Place;
use crate::clients;

/// The variable that stands for --data. Whoever has set it, and names a server, means the server.
const DATA: &str = "LOAM_DATA";

/// What commands take that can ask a server instead.
#[derive(Args)]
pub(crate) struct Whereabouts {
    /// The ledger's folder, where it lies on this machine and no server has it open.
    #[arg(long, value_name = "DIR", env = DATA)]
    data: Option<PathBuf>,
    /// The floor file, where it lies on another device than the ledger's folder.
    #[arg(long, value_name = "FILE", env = "LOAM_FLOOR")]
    floor: Option<PathBuf>,
    /// Free bytes below which nothing more is taken.
    #[arg(long, value_name = "BYTES", env = "LOAM_RESERVE_BYTES", default_value_t = RESERVE_BYTES)]
    reserve_bytes: u64,
    /// A running server, which is asked instead: it has the ledger, and you have your key.
    #[arg(long, visible_alias = "url", value_name = "URL")]
    server: Option<String>,
    /// The key to ask a server with. Better in the environment: other users of this machine can read a command line.
    #[arg(long, value_name = "KEY", env = "LOAM_KEY", hide_env_values = true)]
    key: Option<String>,
    /// Certificates that vouch for the server, as PEM, where the URL begins with https: else those that this system
    /// trusts.
    #[arg(long, value_name = "FILE", env = "LOAM_CA")]
    ca: Option<PathBuf>,
}

/// Where that is.
pub(crate) enum At {
    Here(Place),
    There(clients::Place),
}

impl Whereabouts {
    pub(crate) fn find(&self) -> anyhow::Result<At> {
        let is_typed = |data: &PathBuf| std::env::var_os(DATA).is_none_or(|set| *data != *set);
        match (&self.server, &self.data) {
            (Some(_), Some(data)) if is_typed(data) => {
                bail!("--server and --data are two places: say one of them, the server where it has the ledger open")
            }
            (Some(url), _) => Ok(At::There(clients::Place::new(url.clone(), self.key.clone(), self.ca.clone()))),
            (None, data) => {
                let data = data.clone();
                let data = data.context("name the ledger's folder (--data DIR) or a running server (--server URL)")?;
                Ok(At::Here(Place::new(data, self.floor.clone(), self.reserve_bytes)))
            }
        }
    }
}
