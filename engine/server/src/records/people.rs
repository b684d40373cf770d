//! `loam id`: keys are made and kept by their owners.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Subcommand;
use loam_ledger::Appended;
use loam_ledger_core::Hash;
use loam_ledger_core::record::{Act, ContributorKind, ContributorRegistered, KeyRotated, Succession};
use loam_ledger_core::text::hex_encode;
use serde_json::json;

use super::book::BookArguments;
use super::key_file::KeyFile;
use super::paper::Paper;
use super::{Pen, Signing, parse_contributor};

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
        /// Who may take this one's place, should the key be lost.
        #[arg(long, value_name = "ID", value_parser = parse_contributor)]
        heir: Option<Hash>,
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
    /// Sign a paper that others sign too, and record it where nobody is missing.
    Sign {
        #[command(flatten)]
        signing: Signing,
        /// The paper, as a command with --paper wrote it. It is written again, with this signature.
        file: PathBuf,
        /// Say it as one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Say what a paper says, without signing it.
    Paper {
        /// The paper.
        file: PathBuf,
        /// Say it as one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Sign with another key from now on. The old file is of no use then.
    Rotate {
        #[command(flatten)]
        signing: Signing,
        /// The file to write, which must not be there.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// Who may take this one's place from now on; nobody where it is absent.
        #[arg(long, value_name = "ID", value_parser = parse_contributor)]
        heir: Option<Hash>,
        /// Say it as one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Take the place of somebody who named you as heir: what they are owed is yours, and they sign nothing any more.
    Succeed {
        #[command(flatten)]
        signing: Signing,
        /// Whose place.
        #[arg(value_parser = parse_contributor)]
        of: Hash,
        /// Say it as one JSON object.
        #[arg(long)]
        json: bool,
    },
}

/// Runs one command.
pub(crate) fn run(command: &Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::New { book, out, kind, heir, json } => new(book, out, kind_of(kind), *heir, *json),
        Command::Show { file, json } => {
            tell(&KeyFile::read(file)?, *json);
            Ok(())
        }
        Command::Sign { signing, file, json } => sign(signing, file, *json),
        Command::Paper { file, json } => {
            let paper = Paper::read(file)?;
            if *json {
                println!("{}", paper.shown())
            } else {
                print!("{}", paper.words())
            }
            Ok(())
        }
        Command::Rotate { signing, out, heir, json } => rotate(signing, out, *heir, *json),
        Command::Succeed { signing, of, json } => succeed(signing, of, *json),
    }?;
    Ok(ExitCode::SUCCESS)
}

fn new(book: &BookArguments, out: &Path, kind: ContributorKind, heir: Option<Hash>, json: bool) -> anyhow::Result<()> {
    let (file, book) = (KeyFile::draw()?, book.write()?);
    // On disk before it is registered: a key that is known and lost would be nobody's for ever.
    file.write(out)?;
    let key = file.fresh();
    let act = Act::ContributorRegistered(ContributorRegistered { public_key: file.public_key(), kind, heir });
    let mut pen = Pen::alone(book, file, key);
    let (public_key, said) = (pen.file.public_key(), pen.say(act));
    let taken = or_forget(&pen, out, &public_key, said)?;
    tell(&pen.file, json);
    if !json {
        println!("registered in {} as record {}, entry {}", pen.book.name(), taken.at.id, taken.at.index);
    }
    pen.book.close()
}

fn sign(signing: &Signing, path: &Path, json: bool) -> anyhow::Result<()> {
    let mut paper = Paper::read(path)?;
    let mut pen = Pen { paper: Some(path.to_owned()), json, ..signing.open()? };
    if let Some(id) = paper.recorded(pen.book.registry()) {
        bail!("{} is recorded already, as {id}: nothing is left to sign", path.display());
    }
    if !json {
        print!("{}", paper.words());
    }
    paper.sign(pen.book.registry(), &pen.key)?;
    let said = paper.shown();
    if let Some(taken) = pen.pass_on(paper)? {
        let Appended { id, index } = taken.at;
        if json {
            println!("{}", json!({"record": id.to_hex(), "entry": index, "said": said}));
        } else {
            println!("all have signed: it is record {id}, entry {index}");
        }
    }
    pen.book.close()
}

fn succeed(signing: &Signing, of: &Hash, json: bool) -> anyhow::Result<()> {
    let mut pen = signing.open()?;
    let Appended { id, index } = pen.say(Act::Succession(Succession { of: *of }))?.at;
    let contributor = pen.file.contributor();
    if json {
        let (contributor, of) = (contributor.to_hex(), of.to_hex());
        println!("{}", json!({"contributor": contributor, "of": of, "record": id.to_hex(), "entry": index}));
    } else {
        println!("{contributor} stands in the place of {of}");
    }
    pen.book.close()
}

fn rotate(signing: &Signing, out: &Path, heir: Option<Hash>, json: bool) -> anyhow::Result<()> {
    let mut pen = signing.open()?;
    let (file, seed) = pen.file.rotated()?;
    let (key, proof) = pen.key.rotated(pen.book.registry().origin(), &seed);
    file.write(out)?;
    let act = Act::KeyRotated(KeyRotated { public_key: key.public_key(), proof, heir });
    let (public_key, said) = (key.public_key(), pen.say(act));
    let Appended { id, index } = or_forget(&pen, out, &public_key, said)?.at;
    let contributor = file.contributor();
    if json {
        let (contributor, public_key) = (contributor.to_hex(), hex_encode(&public_key));
        let (record, file) = (id.to_hex(), out.display().to_string());
        let told = json!({
            "contributor": contributor, "public_key": public_key, "record": record, "entry": index, "file": file,
        });
        println!("{told}");
    } else {
        println!("{contributor} signs with the key in {} from now on", out.display());
    }
    pen.book.close()
}

/// A key that nobody came to know is of no use. One that somebody may know by now is never thrown away: where it was
/// registered, it is the only one.
fn or_forget<T>(pen: &Pen, file: &Path, public_key: &[u8; 32], outcome: anyhow::Result<T>) -> anyhow::Result<T> {
    outcome.or_else(|why| {
        if pen.book.surely_unknown(public_key) {
            std::fs::remove_file(file).with_context(|| file.display().to_string())?;
            return Err(why);
        }
        Err(why.context(format!("{} is kept: it may be registered, and then it is the only key", file.display())))
    })
}

fn tell(file: &KeyFile, json: bool) {
    let (contributor, public_key) = (file.contributor().to_hex(), hex_encode(&file.public_key()));
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
