//! Keys of logs: one Ed25519 key each, in a file that only its owner may read, made when its log is.

use std::path::{Path, PathBuf};

use loam_ledger_core::note::SigningKey;
use loam_ledger_core::origin::{LogId, LogName};
use zeroize::Zeroizing;

use crate::disk::write_private;
use crate::error::Error;

/// Where private keys come from. A key is made with its log, never on a later open.
pub trait Keys: Send + Sync {
    /// Draws the key of a log that is about to be made. One that was drawn for it before, by an attempt that was
    /// cut short, serves again.
    fn draw(&self, name: &LogName) -> Result<SigningKey, Error>;

    /// The key of a log; none where it is lost.
    fn key(&self, name: &LogName) -> Result<Option<SigningKey>, Error>;
}

/// Keys as files in a folder.
pub(crate) struct KeyFolder {
    folder: PathBuf,
}

impl KeyFolder {
    pub(crate) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    fn path(&self, log: LogId) -> PathBuf {
        self.folder.join(match log {
            LogId::Records => "records.key".to_owned(),
            LogId::Usage(shard) => format!("usage-{shard}.key"),
        })
    }
}

impl Keys for KeyFolder {
    fn draw(&self, name: &LogName) -> Result<SigningKey, Error> {
        if let Some(key) = self.key(name)? {
            return Ok(key);
        }
        let key = random_key(name)?;
        write_private(&self.path(name.log), Zeroizing::new(key.to_text() + "\n").as_bytes())?;
        Ok(key)
    }

    fn key(&self, name: &LogName) -> Result<Option<SigningKey>, Error> {
        let path = self.path(name.log);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => Zeroizing::new(text),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::io(&path, &e)),
        };
        let key = SigningKey::parse(text.trim_end()).map_err(|e| Error::damaged(path.display(), e))?;
        Ok(Some(key))
    }
}

fn random_key(name: &LogName) -> Result<SigningKey, Error> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *seed).map_err(|e| Error::Store(format!("no randomness: {e}")))?;
    Ok(SigningKey::from_seed(&name.to_string(), &seed)?)
}

/// Keys in memory, beside a store in memory.
#[derive(Default)]
pub struct MemoryKeys {
    keys: std::sync::Mutex<std::collections::BTreeMap<LogId, Zeroizing<String>>>,
}

impl Keys for std::sync::Arc<MemoryKeys> {
    fn draw(&self, name: &LogName) -> Result<SigningKey, Error> {
        if let Some(key) = self.key(name)? {
            return Ok(key);
        }
        let key = random_key(name)?;
        let mut keys = self.keys.lock().expect("nobody panics while keys are held");
        keys.insert(name.log, Zeroizing::new(key.to_text()));
        Ok(key)
    }

    fn key(&self, name: &LogName) -> Result<Option<SigningKey>, Error> {
        let keys = self.keys.lock().expect("nobody panics while keys are held");
        Ok(keys.get(&name.log).map(|text| SigningKey::parse(text)).transpose()?)
    }
}
