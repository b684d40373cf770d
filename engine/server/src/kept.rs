//! A record that lasts: the ledger that a program's engine writes.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use loam_engine::recorder::{RecordFailed, Recorder};
use loam_ledger::{BootInfo, Folder, Ledger, Options};
use loam_ledger_core::Hash;
use sha2::{Digest as _, Sha256};

use crate::ledger::random_name;
use crate::recorder::LedgerRecorder;

/// Opens a ledger, or makes one under this name, or one that nobody else has.
pub(crate) fn open(home: &Folder, data: &Path, name: Option<&str>, options: Options) -> anyhow::Result<Arc<Ledger>> {
    let place = || data.display().to_string();
    let ledger = if home.holds_ledger() {
        Ledger::open(home, options).with_context(place)?
    } else {
        let name = name.map_or_else(random_name, |name| Ok(name.to_owned()))?;
        Ledger::create(home, &name, options).with_context(place)?
    };
    if let Some(why) = ledger.read_only() {
        bail!("{} is open for reading only: {why}", data.display());
    }
    Ok(Arc::new(ledger))
}

/// Begins a boot of this program over a base model.
pub(crate) fn record(ledger: &Arc<Ledger>, base: Hash, config: Hash) -> Result<Box<dyn Recorder>, RecordFailed> {
    let build =
        own_digest().map_err(|error| RecordFailed { reason: format!("reading the program itself: {error}") })?;
    let info = BootInfo { engine: ledger.engine_id(), base, build, config };
    let writer = ledger.boot(info).map_err(|error| RecordFailed { reason: error.to_string() })?;
    Ok(Box::new(LedgerRecorder::new(Arc::clone(ledger), writer)))
}

/// Bytes of the program that are read at once: the whole of it would be most of what a small server holds.
const PIECE_BYTES: usize = 64 << 10;

/// The digest of this very program, as `sha256sum` has it.
fn own_digest() -> std::io::Result<Hash> {
    // What runs, and not what has taken its place meanwhile; elsewhere than on Linux, what lies where it was started from.
    let mut file = File::open("/proc/self/exe").or_else(|_| File::open(std::env::current_exe()?))?;
    let (mut hasher, mut piece) = (Sha256::new(), vec![0; PIECE_BYTES]);
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(Hash(hasher.finalize().into())),
            bytes => hasher.update(&piece[..bytes]),
        }
    }
}

/// Signs what is there and closes.
pub(crate) fn close(ledger: Arc<Ledger>) -> anyhow::Result<()> {
    match Arc::into_inner(ledger) {
        Some(ledger) => Ok(ledger.close()?),
        None => bail!("the ledger is still in use"),
    }
}
