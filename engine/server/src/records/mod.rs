//! Records from a command line: people's keys, datasets, adapters, prices, epochs.
//!
//! ```text
//! id, policy, epoch, ...: what is said  ->  say: signed by the key in its owner's file  ->  Book: here, or at a server
//! ```

mod adapter;
mod book;
mod epoch;
mod here;
mod key_file;
mod licence;
mod names;
mod people;
mod policy;
mod rehearsal;
mod there;

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use loam_ledger::{Offer, Payload};
use loam_ledger_core::record::{Act, AuthorKey, Body, Operation, RecordId, sign_record};

pub(crate) use adapter::Command as AdapterCommand;
pub(crate) use epoch::Command as EpochCommand;
pub(crate) use people::Command as IdCommand;
pub(crate) use policy::Command as PolicyCommand;

pub(crate) use adapter::run as adapter;
pub(crate) use epoch::run as epoch;
pub(crate) use people::run as id;
pub(crate) use policy::run as policy;

use book::{Book, BookArguments, Taken};
use key_file::KeyFile;

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

/// Somebody at a book, about to say something.
struct Pen {
    book: Box<dyn Book>,
    file: KeyFile,
    key: AuthorKey,
    receipt: Option<PathBuf>,
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
        let book = self.book.write()?;
        let key = file.standing(&*book)?;
        Ok(Pen { book, file, key, receipt: self.receipt.clone() })
    }
}

impl Pen {
    /// Signs what one author says, and appends it.
    fn say(&mut self, said: impl Into<Said>) -> anyhow::Result<Taken> {
        let Said { act, mut cites, text, operations, payloads } = said.into();
        cites.sort_unstable();
        let text = text.map(|text| Ok::<_, anyhow::Error>(Payload { salt: salt()?, bytes: text.into_bytes() }));
        let text = text.transpose()?;
        let digest = text.as_ref().map(Payload::digest);
        let body = Body { cites, text: digest, ..Body::by(self.key.contributor(), act) };
        let record = sign_record(self.book.registry().origin(), 0, body, &mut [&mut self.key]);
        let taken = self.book.offer(Offer { body: record.body, signed: record.signed, operations, payloads, text })?;
        if let Some(path) = &self.receipt {
            std::fs::write(path, &taken.receipt).with_context(|| path.display().to_string())?;
        }
        Ok(taken)
    }
}

impl From<Act> for Said {
    fn from(act: Act) -> Self {
        Self { act, cites: Vec::new(), text: None, operations: Vec::new(), payloads: Vec::new() }
    }
}

/// Sixteen random bytes, without which a digest tells nothing of what it is of.
fn salt() -> anyhow::Result<[u8; 16]> {
    let mut salt = [0; 16];
    getrandom::fill(&mut salt).map_err(|error| anyhow::anyhow!("no randomness: {error}"))?;
    Ok(salt)
}

/// Writes a file that a person asked for.
fn write(path: &Path, bytes: impl AsRef<[u8]>) -> anyhow::Result<()> {
    std::fs::write(path, bytes).with_context(|| path.display().to_string())
}

/// Nano-units as a person reads money: whole units, a point, nine digits.
fn units(nano: u128) -> String {
    format!("{}.{:09}", nano / 1_000_000_000, nano % 1_000_000_000)
}
