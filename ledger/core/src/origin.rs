//! The names of a ledger's logs: `NAME/records`, and `NAME/usage/N` for each usage shard.

use core::fmt;

use crate::error::Error;
use crate::text::decimal;

/// Bytes that a ledger's name may have.
pub const LEDGER_NAME_BYTES_MAX: usize = 200;

/// Which of a ledger's logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LogId {
    /// What must stay for ever: provenance, policy, keys, the heads of shards.
    Records,
    /// One entry for each token batch; shards are numbered from 1.
    Usage(u32),
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Records => f.write_str("records"),
            Self::Usage(shard) => write!(f, "usage/{shard}"),
        }
    }
}

impl core::str::FromStr for LogId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let unknown = || Error::LogOrigin { origin: text.to_owned() };
        if text == "records" {
            return Ok(Self::Records);
        }
        let shard = decimal(text.strip_prefix("usage/").ok_or_else(unknown)?)?;
        match u32::try_from(shard) {
            Ok(shard) if shard > 0 => Ok(Self::Usage(shard)),
            _ => Err(unknown()),
        }
    }
}

/// A log's full name, which is the origin of its checkpoints and the name of its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogName {
    /// The ledger's name, common to its logs.
    pub ledger: String,
    /// Which of its logs.
    pub log: LogId,
}

impl LogName {
    /// The name of one log of a ledger, which must be fit for a key and short enough for a commitment.
    pub fn new(ledger: &str, log: LogId) -> Result<Self, Error> {
        let printable = ledger.chars().all(|c| !c.is_whitespace() && !c.is_control() && c != '+');
        if ledger.is_empty() || ledger.len() > LEDGER_NAME_BYTES_MAX || !printable {
            return Err(Error::KeyName);
        }
        Ok(Self { ledger: ledger.to_owned(), log })
    }

    /// Reads an origin.
    pub fn parse(origin: &str) -> Result<Self, Error> {
        let unknown = || Error::LogOrigin { origin: origin.to_owned() };
        let (ledger, log) = match origin.strip_suffix("/records") {
            Some(ledger) => (ledger, LogId::Records),
            None => {
                let (ledger, shard) = origin.rsplit_once("/usage/").ok_or_else(unknown)?;
                (ledger, format!("usage/{shard}").parse().map_err(|_| unknown())?)
            }
        };
        Self::new(ledger, log)
    }
}

impl fmt::Display for LogName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ledger, self.log)
    }
}
