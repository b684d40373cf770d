//! Why a ledger was opened for reading only, and what to do about it.

use std::fmt;

use loam_ledger_core::Hash;
use loam_ledger_core::origin::LogId;

/// Why nothing can be written or signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WhyReadOnly {
    /// The caller asked for no more.
    Asked,
    /// The store is behind what was acknowledged, or beside it.
    BelowFloor {
        /// Which log.
        log: LogId,
        /// How large it was when something was last acknowledged, and its root then.
        floor: (u64, Hash),
        /// How large it is in the store, and its root there.
        store: (u64, Hash),
    },
    /// There is no floor, so nobody knows what was acknowledged.
    NoFloor,
    /// Neither of the floor's slots is whole.
    DamagedFloor,
    /// The floor is that of another store.
    ForeignFloor,
    /// There are no secrets, or those of another store, so no row can be opened and none can be written.
    NoSecrets,
    /// A log's private key is not there.
    LostKey {
        /// Which log.
        log: LogId,
    },
    /// A log's private key cannot be read.
    DamagedKey {
        /// Which log.
        log: LogId,
        /// Why.
        why: String,
    },
    /// A log's private key is not the one that its checkpoints were signed with.
    ForeignKey {
        /// Which log.
        log: LogId,
    },
    /// A checkpoint was signed that the log does not lead to.
    Disagrees {
        /// Which log.
        log: LogId,
        /// The size in that checkpoint.
        size: u64,
    },
}

impl fmt::Display for WhyReadOnly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asked => write!(f, "it was opened so"),
            Self::BelowFloor { log, floor, store } => write!(
                f,
                "the store is not what was acknowledged of {log}\n  \
                 floor: {} entries, root {}\n  store: {} entries, root {}\n  \
                 Nothing will be signed here, for it would contradict what others were told. Put back the store that \
                 belongs to this floor, from the disk it was on or from a snapshot taken since.",
                floor.0, floor.1, store.0, store.1
            ),
            Self::NoFloor => write!(
                f,
                "the floor file is missing, so nobody can tell whether the end of the store is there\n  \
                 Put it back. If it lies on another device, name its path."
            ),
            Self::DamagedFloor => write!(
                f,
                "the floor file is damaged in both its slots, so nobody can tell whether the end of the store is there\n  \
                 Put back a copy of it."
            ),
            Self::ForeignFloor => {
                write!(f, "the floor file is that of another store\n  Put back the one that belongs to this folder.")
            }
            Self::NoSecrets => write!(
                f,
                "the file of secrets is missing, or that of another store, so no row can be opened\n  \
                 Put it back from its own backup; proofs of entries still work."
            ),
            Self::LostKey { log } => {
                write!(f, "the private key of {log} is missing\n  Put it back; a new one would make this another log.")
            }
            Self::DamagedKey { log, why } => write!(
                f,
                "the private key of {log} cannot be read: {why}\n  Put it back; a new one would make this another log."
            ),
            Self::ForeignKey { log } => {
                write!(f, "the private key of {log} is not the one that signed it before\n  Put back the right one.")
            }
            Self::Disagrees { log, size } => write!(
                f,
                "a checkpoint of {log} at size {size} was signed that this store does not lead to\n  \
                 Put back the store that belongs to it."
            ),
        }
    }
}
