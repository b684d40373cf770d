//! `loam adapter publish`, `train`, `state`, `lineage`: who made an adapter, and of what, as the records say it.
//!
//! ```text
//! datasets' revisions -> train, publish -> state: draft -> published <-> suspended -> retired
//!                              \-> statement (in-toto, DSSE)      \-> lineage: text, drawing, JSON
//! ```

mod called;
mod content;
mod lineage;
mod publish;
mod state;
mod training;

use std::process::ExitCode;

use clap::Subcommand;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Publish an adapter in the records: who made it, of what, under which licence.
    Publish(Box<publish::Publish>),
    /// Record a training alone: one that led nowhere, or that is published later.
    Train(Box<training::Train>),
    /// Change where a published adapter stands.
    State(state::State),
    /// Show what an adapter was made of, down to the people behind it.
    Lineage(lineage::Lineage),
}

/// Runs one command.
pub(crate) fn run(command: &Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Publish(publish) => publish::run(publish),
        Command::Train(train) => training::run(train),
        Command::State(state) => state::run(state),
        Command::Lineage(lineage) => lineage::run(lineage),
    }?;
    Ok(ExitCode::SUCCESS)
}
