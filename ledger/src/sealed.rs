//! Sealed rows: an entry's rows as they lie in the store, each hidden under a key that grows from its request's secret.

use loam_ledger_core::Hash;
use loam_ledger_core::commitment::Key16;
use loam_ledger_core::entry::Id16;
use loam_ledger_core::hash::row_leaf_hash;

use crate::error::Error;
use crate::request::{Request, Secret};

/// One row at rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SealedRow {
    /// The slot of the secret that opens it.
    pub(crate) slot: u64,
    /// Its leaf, which stays when the row is erased.
    pub(crate) leaf: Hash,
    hidden: Vec<u8>,
}

impl SealedRow {
    /// Hides a row. `place` is where it will lie: its boot, its sequence, its number in the entry.
    pub(crate) fn seal(request: &Request, boot: &Id16, sequence: u64, number: u32, mut row: Vec<u8>) -> Self {
        let leaf = row_leaf_hash(&request.secret().salt(boot, sequence, number), &row);
        request.secret().veil(boot, sequence, number, &mut row);
        Self { slot: request.slot(), leaf, hidden: row }
    }

    /// Shows a row again, with its salt, once it is seen to be the one that was sealed.
    pub(crate) fn open(
        &self,
        secret: &Secret,
        boot: &Id16,
        sequence: u64,
        number: u32,
    ) -> Result<(Key16, Vec<u8>), Error> {
        let mut row = self.hidden.clone();
        secret.veil(boot, sequence, number, &mut row);
        let salt = secret.salt(boot, sequence, number);
        if row_leaf_hash(&salt, &row) == self.leaf {
            Ok((salt, row))
        } else {
            Err(Error::damaged("a row at rest", "it does not open to what its leaf says"))
        }
    }
}

/// Writes an entry's rows as one value.
pub(crate) fn encode_sealed(rows: &[SealedRow]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(rows.iter().map(|row| row.hidden.len() + 42).sum());
    for row in rows {
        let length = u16::try_from(row.hidden.len()).expect("a row is at most 4,096 bytes");
        bytes.extend_from_slice(&row.slot.to_be_bytes());
        bytes.extend_from_slice(&row.leaf.0);
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(&row.hidden);
    }
    bytes
}

/// Reads an entry's rows.
pub(crate) fn decode_sealed(bytes: &[u8]) -> Result<Vec<SealedRow>, Error> {
    let short = || Error::damaged("the rows of an entry", "they end early");
    let (mut rows, mut rest) = (Vec::new(), bytes);
    while !rest.is_empty() {
        let (slot, tail) = rest.split_first_chunk::<8>().ok_or_else(short)?;
        let (leaf, tail) = tail.split_first_chunk::<{ Hash::LEN }>().ok_or_else(short)?;
        let (length, tail) = tail.split_first_chunk::<2>().ok_or_else(short)?;
        let (hidden, tail) = tail.split_at_checked(usize::from(u16::from_be_bytes(*length))).ok_or_else(short)?;
        rows.push(SealedRow { slot: u64::from_be_bytes(*slot), leaf: Hash(*leaf), hidden: hidden.to_vec() });
        rest = tail;
    }
    Ok(rows)
}
