//! `loam-gpu-bench`: what of `loam-bench` is carried to a machine with a GPU: no ledger and no server, so that it is small.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "a program speaks to whoever runs it")]

mod contest;
mod counts;
mod devices;
mod filled;
mod paged;
mod results;
mod site;
mod table;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Measures Loam's kernels on a GPU.
#[derive(Parser)]
#[command(name = "loam-gpu-bench", version)]
struct Arguments {
    /// Where to write the results: a .md to read and a .json to compare. Without it they are only printed.
    #[arg(long, value_name = "DIR", global = true)]
    results: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Adapters at one site of a layer, timed beside peers: cases come from standard input, a JSON object a line.
    Site(site::Arguments),
    /// The table of decode with adapters: steps of a model on a device, each figure beside the roof that a probe found.
    Table(table::Arguments),
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let figures = match &arguments.command {
        Command::Site(arguments) => site::run(arguments)?,
        Command::Table(arguments) => table::run(arguments)?,
    };
    if let Some(folder) = &arguments.results {
        let path = results::write(folder, &figures, None)?;
        println!("\nwritten to {}.md and .json", path.display());
    }
    Ok(())
}
