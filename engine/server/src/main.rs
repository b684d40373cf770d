//! `loam`: the one server program. It serves, answers requests from files, and keeps ledgers.
#![forbid(unsafe_code)]

/// What the standard library's macros of these names do, but where nobody reads any more: there they would panic.
macro_rules! print {
    ($($what:tt)*) => { $crate::printed(format_args!($($what)*)) };
}
macro_rules! println {
    () => { $crate::printed(format_args!("\n")) };
    ($($what:tt)*) => { $crate::printed(format_args!("{}\n", format_args!($($what)*))) };
}

mod access;
mod clients;
mod flags;
mod generate;
mod kept;
mod keys;
mod ledger;
mod metrics;
mod offered;
mod progress;
mod recorder;
mod records;
mod run;
mod serve;
mod settings;

use std::process::ExitCode;

use clap::Parser;

use crate::settings::{Gathered, Settings};

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
    /// Serve a model and its adapters over gRPC and HTTP, with receipts.
    Serve(settings::Given),
    /// Talk with a model, here and now, without a server.
    Run(Box<run::Arguments>),
    /// List what a running server serves.
    Ls(clients::StandingArguments),
    /// Say how busy a running server is.
    Ps(clients::StandingArguments),
    /// Load, unload and list a running server's adapters; publish adapters, and show what they were made of.
    Adapter {
        #[command(subcommand)]
        command: AdapterCommand,
    },
    /// Make the key of somebody who signs records, or say whose a key is.
    Id {
        #[command(subcommand)]
        command: records::IdCommand,
    },
    /// Make a dataset together: rows offered, reviewed and committed, and who made each of them.
    Datanet {
        #[command(subcommand)]
        command: records::DatanetCommand,
    },
    /// Record prices and the lanes that fees are split to, or print them.
    Policy {
        #[command(subcommand)]
        command: records::PolicyCommand,
    },
    /// Close epochs, tell people what they are paid, try other policies.
    Epoch {
        #[command(subcommand)]
        command: records::EpochCommand,
    },
    /// Make keys for clients.
    Key {
        #[command(subcommand)]
        command: keys::Command,
    },
    /// Show the configuration.
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Keep a ledger: make one, append to it, prove, export, examine.
    Ledger(ledger::Arguments),
}

#[derive(clap::Subcommand)]
enum AdapterCommand {
    /// What a server is asked.
    #[command(flatten)]
    Served(clients::AdapterCommand),
    /// What the records say.
    #[command(flatten)]
    Recorded(records::AdapterCommand),
}

#[derive(clap::Subcommand)]
enum ConfigCommand {
    /// Print each setting of `loam serve` with its origin.
    Show(settings::Given),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Generate(arguments) => generate::run(&arguments),
        Command::Serve(given) => serve(&given),
        Command::Config { command: ConfigCommand::Show(given) } => show(&given),
        Command::Run(arguments) => run::run(&arguments),
        Command::Ls(arguments) => clients::ls(&arguments),
        Command::Ps(arguments) => clients::ps(&arguments),
        Command::Adapter { command: AdapterCommand::Served(command) } => clients::adapter(&command),
        Command::Adapter { command: AdapterCommand::Recorded(command) } => records::adapter(&command),
        Command::Id { command } => records::id(&command),
        Command::Datanet { command } => records::datanet(&command),
        Command::Policy { command } => records::policy(&command),
        Command::Epoch { command } => records::epoch(&command),
        Command::Key { command } => keys::run(&command),
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

fn serve(given: &settings::Given) -> anyhow::Result<ExitCode> {
    let mut warnings = settings::check_environment(std::env::vars_os())?;
    warnings.extend(settings::ignored(&given.matches));
    let mut settings = Settings::resolve(&given.matches, &variable, &read_file)?;
    settings.warnings.append(&mut warnings);
    serve::run(settings)
}

fn show(given: &settings::Given) -> anyhow::Result<ExitCode> {
    for warning in settings::check_environment(std::env::vars_os())? {
        eprintln!("loam: {warning}");
    }
    print!("{}", settings::show(&Gathered::gather(&given.matches, &variable, &read_file)?));
    Ok(ExitCode::SUCCESS)
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn read_file(path: &std::path::Path) -> std::io::Result<String> {
    std::fs::read_to_string(path)
}

/// Prints what a program says to whoever runs it.
fn printed(what: std::fmt::Arguments<'_>) {
    let Err(error) = std::io::Write::write_fmt(&mut std::io::stdout().lock(), what) else { return };
    // Whoever read what was printed has read enough.
    if error.kind() != std::io::ErrorKind::BrokenPipe {
        eprintln!("loam: standard output: {error}");
    }
    std::process::exit(1);
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
        if cause.starts_with(&format!("{last}: ")) {
            told.truncate(told.len() - last.len());
            told += &cause;
        } else if !last.ends_with(&cause) {
            told = format!("{told}: {cause}");
        }
        last = cause;
    }
    told
}
