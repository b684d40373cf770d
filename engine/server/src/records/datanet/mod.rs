//! `loam datanet`: people make a dataset together, row by row, and everybody can see who made what.
//!
//! ```text
//! create, import -> add, propose -> review -> commit -> show, log, diff, blame, statement -> export
//!                                                       redact
//! ```
//!
//! What somebody gives is read whole before anything is recorded: a file with a fault in it changes nothing.

mod agree;
pub(super) mod calendar;
mod carry;
mod changes;
mod commit;
mod create;
mod grant;
mod ground;
mod history;
mod join;
mod offer;
mod redact;
mod review;
mod show;
mod statement;
mod twins;

use std::process::ExitCode;

use clap::Subcommand;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Begin a dataset. Who signs owns it.
    Create(create::Create),
    /// Offer rows from a file.
    Add(offer::Add),
    /// Offer edits from a file: corrections, labels, splits, copies to remove, decisions.
    Propose(offer::Propose),
    /// Say what you found of somebody else's contribution.
    Review(review::Review),
    /// Make a revision of contributions. An owner signs.
    Commit(commit::Commit),
    /// Say with all other contributors which part each has in what a revision earns.
    Agree(agree::Agree),
    /// Let somebody use a dataset that is not open.
    Grant(grant::Grant),
    /// End that. What was trained under it must be retrained or retired.
    Revoke(grant::Revoke),
    /// Show a dataset, a row of it, or what a contribution would change.
    Show(show::Show),
    /// Show what changed from one revision to another.
    Diff(changes::Compare),
    /// Show who made a row what it is.
    Blame(changes::Trace),
    /// Tell all that was recorded of a dataset: contributions, reviews, revisions.
    Log(history::Log),
    /// Tell what one contributor did, and what of it stands.
    Statement(statement::Account),
    /// Make what a row says unreadable for ever. An owner or the operator signs.
    Redact(redact::Redact),
    /// Write a revision as a Croissant folder, with who made what as PROV-O.
    Export(carry::Export),
    /// Begin a dataset with the rows of a Croissant folder.
    Import(carry::Import),
}

/// Runs one command.
pub(crate) fn run(command: &Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Create(create) => create::run(create),
        Command::Add(add) => offer::add(add),
        Command::Propose(propose) => offer::propose(propose),
        Command::Review(review) => review::run(review),
        Command::Commit(commit) => commit::run(commit),
        Command::Agree(agree) => agree::run(agree),
        Command::Grant(grant) => grant::give(grant),
        Command::Revoke(revoke) => grant::take_back(revoke),
        Command::Show(show) => show::run(show),
        Command::Diff(compare) => changes::diff(compare),
        Command::Blame(trace) => changes::blame(trace),
        Command::Log(log) => history::run(log),
        Command::Statement(account) => statement::run(account),
        Command::Redact(redact) => redact::run(redact),
        Command::Export(export) => carry::export(export),
        Command::Import(import) => carry::import(import),
    }?;
    Ok(ExitCode::SUCCESS)
}

/// What is shown of a row that was redacted, or whose text was never given here.
const CLOSED: &str = "(can no longer be opened)";

/// Many things in words: `1 row`, `1,200 rows`.
fn many(count: usize, one: &str, more: &str) -> String {
    format!("{} {}", thousands(count), if count == 1 { one } else { more })
}

/// A number with commas, as people read long ones.
fn thousands(count: usize) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (place, digit) in digits.char_indices() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
