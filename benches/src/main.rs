//! `loam-bench`: figures, each beside the roof that the same machine sets in the same run.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "a program speaks to whoever runs it")]

mod engine;
mod kernels;
mod ledger;
mod results;
mod samples;
mod serve;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Measures Loam on this machine.
#[derive(Parser)]
#[command(name = "loam-bench", version)]
struct Arguments {
    /// Where to write the results: a .md to read and a .json to compare. Without it they are only printed.
    #[arg(long, value_name = "DIR", global = true)]
    results: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The engine on the CPU: prefill and decode with none, one and eight adapters.
    Engine(engine::Arguments),
    /// The kernels: linears, adapters, attention, sampling, each beside the machine's roof.
    Kernels(kernels::Arguments),
    /// The ledger: appends, acknowledgements, receipts, proofs, audit, bytes.
    Ledger(ledger::Arguments),
    /// The server: what its ledger costs, how soon receipts come, what a crowd costs others.
    Serve(serve::Arguments),
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let figures = match &arguments.command {
        Command::Engine(arguments) => engine::run(arguments)?,
        Command::Kernels(arguments) => kernels::run(arguments)?,
        Command::Ledger(arguments) => ledger::run(arguments)?,
        Command::Serve(arguments) => serve::run(arguments)?,
    };
    if let Some(folder) = &arguments.results {
        let path = results::write(folder, &figures)?;
        println!("\nwritten to {}.md and .json", path.display());
    }
    Ok(())
}
