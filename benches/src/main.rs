//! `loam-bench`: figures, each beside the roof that the same machine sets in the same run.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "a program speaks to whoever runs it")]

mod contest;
mod counts;
mod devices;
mod engine;
mod filled;
mod kernels;
mod ledger;
mod paged;
mod results;
mod rewards;
mod samples;
mod serve;
mod site;
mod table;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Measures Loam on this machine.
#[derive(Parser)]
#[command(name = "loam-bench", version)]
struct Arguments {
    /// Where to write the results: a .md to read and a .json to compare. Without it they are only printed.
    #[arg(long, value_name = "DIR", global = true)]
    results: Option<PathBuf>,
    /// What else ran on the machine meanwhile, for the head of the .md.
    #[arg(long, value_name = "WORDS", global = true)]
    beside: Option<String>,
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
    /// Rewards: an epoch of many answers drafted, closed, exported, and settled again by loam-audit.
    Rewards(rewards::Arguments),
    /// Adapters at one site of a layer, timed beside peers: cases come from standard input, a JSON object a line.
    Site(site::Arguments),
    /// The table of decode with adapters: steps of a model on a device, each figure beside the roof that a probe found.
    Table(table::Arguments),
    /// The server: what its ledger costs, how soon receipts come, what a crowd costs others.
    Serve(serve::Arguments),
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let figures = match &arguments.command {
        Command::Engine(arguments) => engine::run(arguments)?,
        Command::Kernels(arguments) => kernels::run(arguments)?,
        Command::Ledger(arguments) => ledger::run(arguments)?,
        Command::Rewards(arguments) => rewards::run(arguments)?,
        Command::Serve(arguments) => serve::run(arguments)?,
        Command::Site(arguments) => site::run(arguments)?,
        Command::Table(arguments) => table::run(arguments)?,
    };
    if let Some(folder) = &arguments.results {
        let path = results::write(folder, &figures, arguments.beside.as_deref())?;
        println!("\nwritten to {}.md and .json", path.display());
    }
    Ok(())
}
