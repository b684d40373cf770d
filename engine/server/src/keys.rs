//! `loam key`: keys for clients. A server is given digests only; the key itself is printed once.

use std::process::ExitCode;

use anyhow::anyhow;
use clap::Subcommand;

use crate::access::{FreshKey, Scope, fresh_key};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make a key: it is printed once, and its entry for the file of `--api-keys` beside it.
    New {
        /// What logs call it.
        #[arg(long)]
        name: String,
        /// Who pays for what is asked with it, and sees its own receipts and rows.
        #[arg(long)]
        tenant: String,
        /// What it may do: infer, audit:self, audit:all, records:write, admin. May be repeated.
        #[arg(long = "scope", value_name = "SCOPE", value_parser = Scope::parse, default_values = ["infer", "audit:self"])]
        scopes: Vec<Scope>,
    },
}

/// Runs one command.
pub(crate) fn run(command: &Command) -> anyhow::Result<ExitCode> {
    let Command::New { name, tenant, scopes } = command;
    let mut random = [0; 32];
    getrandom::fill(&mut random).map_err(|error| anyhow!("no randomness: {error}"))?;
    let FreshKey { key, stanza } = fresh_key(random, name, tenant, scopes).map_err(|why| anyhow!(why))?;
    eprintln!("The key, which nobody can show again, and its entry for the file of --api-keys:");
    println!("{key}\n\n{}", stanza.trim_end());
    Ok(ExitCode::SUCCESS)
}
