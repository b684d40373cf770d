//! `loam id`: keys are made and kept by their owners.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Subcommand;
use loam_ledger_core::record::{Act, ContributorKind, ContributorRegistered};
use loam_ledger_core::text::hex_encode;
use serde_json::json;

use super::Pen;
use super::book::BookArguments;
use super::key_file::KeyFile;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make a key in a file of its own, and register whoever holds it.
    New {
        #[command(flatten)]
        book: BookArguments,
        /// The file to write, which must not be there. Keep it: nobody can make it again.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// What stands behind the key. A ledger's first is its operator, and there is no other.
        #[arg(long, value_name = "KIND", value_parser = ["person", "organisation", "tool", "operator"])]
        kind: String,
        /// Say it as one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Say whose a key is. The private part is not shown.
    Show {
        /// The key's file.
        file: PathBuf,
        /// Say it as one JSON object.
        #[arg(long)]
        json: bool,
    },
}

/// Runs one command.
pub(crate) fn run(command: &Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::New { book, out, kind, json } => {
            let (file, book) = (KeyFile::draw()?, book.write()?);
            // On disk before it is registered: a key that is known and lost would be nobody's for ever.
            file.write(out)?;
            let key = file.fresh();
            let (public_key, kind) = (key.public_key(), kind_of(kind));
            let act = Act::ContributorRegistered(ContributorRegistered { public_key, kind, heir: None });
            let mut pen = Pen { book, file, key, receipt: None };
            let taken = pen.say(act).or_else(|why| {
                // A key that nobody knows is of no use.
                std::fs::remove_file(out).with_context(|| out.display().to_string())?;
                Err(why)
            })?;
            tell(&pen.file, *json);
            if !json {
                println!("registered in {} as record {}, entry {}", pen.book.name(), taken.at.id, taken.at.index);
            }
            pen.book.close()?;
        }
        Command::Show { file, json } => tell(&KeyFile::read(file)?, *json),
    }
    Ok(ExitCode::SUCCESS)
}

fn tell(file: &KeyFile, json: bool) {
    let (contributor, public_key) = (file.contributor().to_hex(), hex_encode(&file.fresh().public_key()));
    if json {
        println!("{}", json!({"contributor": contributor, "public_key": public_key}));
    } else {
        println!("contributor {contributor}\npublic key  {public_key}");
    }
}

fn kind_of(word: &str) -> ContributorKind {
    match word {
        "operator" => ContributorKind::Operator,
        "organisation" => ContributorKind::Organisation,
        "tool" => ContributorKind::Tool,
        _ => ContributorKind::Person,
    }
}
