//! Records from a command line: people's keys, prices, epochs. What is signed is signed here, by the key in its owner's
//! file, and offered to a ledger on this machine.

mod epoch;
mod key_file;
mod people;
mod policy;

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use loam_ledger::{Appended, Ledger, Offer};
use loam_ledger_core::record::{Act, AuthorKey, Body, sign_record};

pub(crate) use epoch::Command as EpochCommand;
pub(crate) use people::Command as IdCommand;
pub(crate) use policy::Command as PolicyCommand;

pub(crate) use epoch::run as epoch;
pub(crate) use people::run as id;
pub(crate) use policy::run as policy;

use crate::ledger::Place;
use key_file::KeyFile;

/// Where the ledger lies, and who signs.
#[derive(Args)]
pub(crate) struct Signing {
    #[command(flatten)]
    place: Place,
    /// The file with the key of whoever signs, as `loam id new` made it.
    #[arg(long, value_name = "FILE", env = "LOAM_ID")]
    id: PathBuf,
}

impl Signing {
    /// Opens the ledger, which must be this process's to write, and the key with the place in its owner's chain.
    fn open(&self) -> anyhow::Result<(Ledger, KeyFile, AuthorKey)> {
        let file = KeyFile::read(&self.id)?;
        let ledger = self.place.open()?;
        let key = file.standing(&ledger)?;
        Ok((ledger, file, key))
    }
}

/// Signs what one author says, and appends it.
fn say(ledger: &Ledger, key: &mut AuthorKey, act: Act) -> anyhow::Result<Appended> {
    if let Some(why) = ledger.read_only() {
        bail!("nothing can be recorded: the ledger is open for reading only: {why}");
    }
    let origin = ledger.with_registry(|registry| registry.origin().to_owned())?;
    let body = Body::by(key.contributor(), act);
    let record = sign_record(&origin, 0, body, &mut [key]);
    let (operations, payloads) = (Vec::new(), Vec::new());
    Ok(ledger.offer(Offer { body: record.body, signed: record.signed, operations, payloads, text: None })?)
}

/// Nano-units as a person reads money: whole units, a point, nine digits.
fn units(nano: u128) -> String {
    format!("{}.{:09}", nano / 1_000_000_000, nano % 1_000_000_000)
}
