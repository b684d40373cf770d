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
        // Whoever read what was printed has read enough.
        Err(error) if is_broken_pipe(&error) => ExitCode::from(1),
        Err(error) => {
            eprintln!("loam: {}", told(&error));
            ExitCode::from(1)
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = |cause: &(dyn std::error::Error + 'static)| cause.downcast_ref().map(std::io::Error::kind);
    error.chain().any(|cause| io(cause) == Some(std::io::ErrorKind::BrokenPipe))
}

/// An error and its causes, in one line. Some errors name their cause themselves: it is not told twice.
fn told(error: &anyhow::Error) -> String {
    let mut told = error.to_string();
    let mut last = told.clone();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !last.ends_with(&cause) {
            told = format!("{told}: {cause}");
        }
        last = cause;
    }
    told
}
