//! `loam`: the one server program. So far it answers requests from files, and keeps ledgers.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "a program speaks to whoever runs it")]

mod generate;
mod ledger;
mod recorder;

use std::process::ExitCode;

use clap::Parser;

/// Loam serves many LoRA adapters over one base model, and keeps an account of who made each answer possible.
#[derive(Parser)]
#[command(name = "loam", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Answer requests: one for a person to read, or a file of them side by side.
    Generate(Box<generate::Arguments>),
    /// Keep a ledger: make one, append to it, prove, export, examine.
    Ledger(ledger::Arguments),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Generate(arguments) => generate::run(&arguments),
        Command::Ledger(arguments) => ledger::run(&arguments),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("loam: {error:#}");
            ExitCode::from(1)
        }
    }
}
