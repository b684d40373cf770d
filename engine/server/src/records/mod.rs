//! Records from a command line: people's keys, datasets, adapters, prices, epochs.
//!
//! ```text
//! id, policy, epoch, ...: what is said  ->  say: signed by the key in its owner's file  ->  Book: here, or at a server
//! ```

mod adapter;
mod book;
mod datanet;
mod epoch;
mod here;
mod key_file;
mod licence;
mod names;
mod paper;
mod people;
mod policy;
mod rehearsal;
mod shares;
mod spdx;
mod there;

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use clap::Args;
use loam_ledger::{Offer, Payload};
use loam_ledger_core::Hash;
use loam_ledger_core::record::{Act, Author, AuthorKey, Body, MILLION, Operation, RecordId};
use serde_json::json;

pub(crate) use adapter::Command as AdapterCommand;
pub(crate) use datanet::Command as DatanetCommand;
pub(crate) use epoch::Command as EpochCommand;
pub(crate) use people::Command as IdCommand;
pub(crate) use policy::Command as PolicyCommand;

pub(crate) use adapter::run as adapter;
pub(crate) use datanet::run as datanet;
pub(crate) use epoch::run as epoch;
pub(crate) use people::run as id;
pub(crate) use policy::run as policy;

use book::{Book, BookArguments, Taken};
use key_file::KeyFile;
use paper::Paper;

/// Where the records are, and who signs.
#[derive(Args)]
pub(crate) struct Signing {
    #[command(flatten)]
    book: BookArguments,
    /// The file with the key of whoever signs, as `loam id new` made it.
    #[arg(long, value_name = "FILE", env = "LOAM_ID")]
    id: PathBuf,
    /// A file to write: the proof that the record is in the log, which shows it even where the log later denies it.
    #[arg(long, value_name = "FILE")]
    receipt: Option<PathBuf>,
}

/// The same, where others can sign with them.
#[derive(Args)]
pub(crate) struct CoSigning {
    #[command(flatten)]
    signing: Signing,
    /// Another author, and their share: `CONTRIBUTOR=30%`. What is left is the share of whoever signs first.
    #[arg(long = "with", value_name = "ID=SHARE", value_parser = author, requires = "paper")]
    with: Vec<Author>,
    /// A file to write where others sign too: each of them signs it with `loam id sign`, and the last one records it.
    #[arg(long, value_name = "FILE")]
    paper: Option<PathBuf>,
}

/// Somebody at a book, about to say something.
struct Pen {
    book: Box<dyn Book>,
    file: KeyFile,
    key: AuthorKey,
    receipt: Option<PathBuf>,
    with: Vec<Author>,
    paper: Option<PathBuf>,
    /// Whether a program reads what is told.
    json: bool,
}

/// What is said, before it is signed.
struct Said {
    act: Act,
    /// Earlier records that it rests on.
    cites: Vec<RecordId>,
    /// In the author's own words.
    text: Option<String>,
    operations: Vec<Operation>,
    payloads: Vec<Payload>,
}

impl Signing {
    fn open(&self) -> anyhow::Result<Pen> {
        let file = KeyFile::read(&self.id)?;
        // What cannot be written is better known before anything is recorded.
        if let Some(path) = &self.receipt {
            write_new(path, "")?;
            std::fs::remove_file(path).with_context(|| path.display().to_string())?;
        }
        let book = self.book.write()?;
        let key = file.standing(&*book)?;
        Ok(Pen { receipt: self.receipt.clone(), ..Pen::alone(book, file, key) })
    }
}

impl CoSigning {
    fn open(&self, json: bool) -> anyhow::Result<Pen> {
        Ok(Pen { with: self.with.clone(), paper: self.paper.clone(), json, ..self.signing.open()? })
    }
}

impl Pen {
    /// Whoever holds this key, and nobody with them.
    fn alone(book: Box<dyn Book>, file: KeyFile, key: AuthorKey) -> Self {
        Self { book, file, key, receipt: None, with: Vec::new(), paper: None, json: false }
    }

    /// Signs what one author says, and appends it.
    fn say(&mut self, said: impl Into<Said>) -> anyhow::Result<Taken> {
        self.say_together(said)?.context("others sign too: with them nothing is said by this command")
    }

    /// Signs what is said, and appends it; or, where others sign too, writes the paper for them, and there is nothing more
    /// to tell.
    fn say_together(&mut self, said: impl Into<Said>) -> anyhow::Result<Option<Taken>> {
        let Said { act, mut cites, text, operations, payloads } = said.into();
        cites.sort_unstable();
        let text = text.map(|text| Ok::<_, anyhow::Error>(Payload { salt: salt()?, bytes: text.into_bytes() }));
        let text = text.transpose()?;
        let digest = text.as_ref().map(Payload::digest);
        let body = Body { authors: self.authors()?, cites, text: digest, ..Body::by(self.key.contributor(), act) };
        let registry = self.book.registry();
        let mut paper = Paper::new(registry.origin(), Offer { body, signed: Vec::new(), operations, payloads, text });
        paper.sign(registry, &self.key)?;
        self.pass_on(paper)
    }

    /// Records a paper that all have signed; else writes it for the next one.
    fn pass_on(&mut self, paper: Paper) -> anyhow::Result<Option<Taken>> {
        let missing = paper.missing();
        if !missing.is_empty() {
            let path = self.paper.as_ref().context("others sign too: name a file to write for them with --paper")?;
            paper.write(path)?;
            let path = path.display();
            if self.json {
                let missing: Vec<String> = missing.iter().map(Hash::to_hex).collect();
                println!("{}", json!({"paper": path.to_string(), "missing": missing}));
            } else {
                println!("{path} is signed; it is recorded when these have signed it too, with `loam id sign`:");
                missing.iter().for_each(|author| println!("  {author}"));
            }
            return Ok(None);
        }
        let taken = self.book.offer(paper.offer)?;
        self.key.moved_on(taken.at.id);
        if let Some(path) = &self.receipt {
            let recorded = || format!("it is recorded as {}, but for its receipt", taken.at.id);
            write_new(path, &taken.receipt).with_context(recorded)?;
        }
        Ok(Some(taken))
    }

    fn authors(&self) -> anyhow::Result<Vec<Author>> {
        let others: u64 = self.with.iter().map(|author| u64::from(author.share)).sum();
        let left = u64::from(MILLION).checked_sub(others).and_then(|left| u32::try_from(left).ok());
        let share = left.context("--with: the shares of the others are more than the whole")?;
        let first = Author { contributor: self.key.contributor(), share };
        let mut named = BTreeSet::from([first.contributor]);
        if let Some(again) = self.with.iter().find(|author| !named.insert(author.contributor)) {
            let contributor = again.contributor;
            let how = match contributor == first.contributor {
                true => "this one signs first, and has what the others leave: leave it out",
                false => "this one is named twice: name each of the others once, with all of their share",
            };
            bail!("--with {contributor}: {how}");
        }
        Ok(std::iter::once(first).chain(self.with.iter().copied()).collect())
    }
}

impl From<Act> for Said {
    fn from(act: Act) -> Self {
        Self { act, cites: Vec::new(), text: None, operations: Vec::new(), payloads: Vec::new() }
    }
}

/// `ID=SHARE`, as another author is named.
fn author(text: &str) -> Result<Author, String> {
    let (id, part) = text.split_once('=').ok_or("write it as CONTRIBUTOR=SHARE, as in 0123...=30%")?;
    let contributor = Hash::from_hex(id).map_err(|_| "a contributor is named by 64 hexadecimal digits".to_owned())?;
    Ok(Author { contributor, share: shares::read(part)? })
}

/// A contributor, as an argument names one.
fn parse_contributor(text: &str) -> Result<Hash, String> {
    Hash::from_hex(text)
        .map_err(|_| "a contributor is named by 64 hexadecimal digits: `loam id show` tells them".to_owned())
}

/// Sixteen random bytes, without which a digest tells nothing of what it is of.
fn salt() -> anyhow::Result<[u8; 16]> {
    let mut salt = [0; 16];
    getrandom::fill(&mut salt).map_err(|error| anyhow::anyhow!("no randomness: {error}"))?;
    Ok(salt)
}

/// Writes a file that a person asked for; over anything but a key, which nobody could make again.
fn write(path: &Path, bytes: impl AsRef<[u8]>) -> anyhow::Result<()> {
    if KeyFile::is_at(path) {
        bail!("{} holds a key, and is not written over", path.display());
    }
    std::fs::write(path, bytes).with_context(|| path.display().to_string())
}

/// Writes a file that must not be there yet.
fn write_new(path: &Path, bytes: impl AsRef<[u8]>) -> anyhow::Result<()> {
    let file = std::fs::OpenOptions::new().write(true).create_new(true).open(path);
    let mut file = file.map_err(|error| not_made(path, error))?;
    std::io::Write::write_all(&mut file, bytes.as_ref()).with_context(|| path.display().to_string())
}

/// Why a file was not made that must be new.
fn not_made(path: &Path, error: std::io::Error) -> anyhow::Error {
    match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            anyhow!("{} is there already and is left as it is: name a new file", path.display())
        }
        _ => anyhow!(error).context(path.display().to_string()),
    }
}

/// Writes a file that only its owner may read: it says what is not published yet.
fn write_private(path: &Path, bytes: impl AsRef<[u8]>) -> anyhow::Result<()> {
    write(path, "")?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
        .with_context(|| path.display().to_string())?;
    write(path, bytes)
}

/// Nano-units as a person reads money: whole units, a point, nine digits.
fn units(nano: u128) -> String {
    format!("{}.{:09}", nano / 1_000_000_000, nano % 1_000_000_000)
}
