//! Granted rows: what an export shows of one entry's rows to the reader it is made for.

use crate::cbor::{Decoder, Encoder};
use crate::commitment::Key16;
use crate::entry::ROWS_MAX;
use crate::error::Error;
use crate::hash::{Hash, row_leaf_hash};
use crate::row::ROW_BYTES_MAX;
use crate::tile::TILE_WIDTH;

/// One row of an entry, as far as its reader may see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GrantedRow {
    /// The export's scope does not cover the row.
    Hidden(Hash),
    /// Nobody can open the row any more.
    Erased(Hash),
    /// The row in clear.
    Open {
        /// What its leaf was salted with.
        salt: Key16,
        /// Its bytes.
        row: Vec<u8>,
    },
}

impl GrantedRow {
    /// The row's leaf, which must lie below its entry's row root however little is shown.
    pub fn leaf(&self) -> Hash {
        match self {
            Self::Hidden(leaf) | Self::Erased(leaf) => *leaf,
            Self::Open { salt, row } => row_leaf_hash(salt, row),
        }
    }
}

/// Writes an entry's rows.
pub fn encode_granted(rows: &[GrantedRow]) -> Vec<u8> {
    let mut e = Encoder::with_capacity(rows.len() * 64);
    e.array(rows.len());
    for row in rows {
        match row {
            GrantedRow::Hidden(leaf) => e.bytes(&leaf.0),
            GrantedRow::Erased(leaf) => e.array(1).bytes(&leaf.0),
            GrantedRow::Open { salt, row } => e.array(2).bytes(salt).bytes(row),
        };
    }
    e.finish()
}

/// Reads an entry's rows, strictly.
pub fn decode_granted(bytes: &[u8]) -> Result<Vec<GrantedRow>, Error> {
    let mut d = Decoder::new(bytes);
    let count = d.array()?;
    if count > u64::from(ROWS_MAX) {
        return Err(Error::CborRange);
    }
    let mut rows = Vec::new();
    for _ in 0..count {
        rows.push(if let Some(leaf) = d.bytes_if_next()? {
            GrantedRow::Hidden(Hash::from_slice(leaf)?)
        } else {
            match d.array()? {
                1 => GrantedRow::Erased(Hash(d.bytes_of()?)),
                2 => {
                    let (salt, row) = (d.bytes_of()?, d.bytes()?);
                    if row.len() > ROW_BYTES_MAX {
                        return Err(Error::RowTooLong { bytes: row.len() });
                    }
                    GrantedRow::Open { salt, row: row.to_vec() }
                }
                _ => return Err(Error::CborRange),
            }
        });
    }
    d.finish()?;
    Ok(rows)
}

/// Appends one entry's rows to the row bundle beside its entry bundle; nothing granted is an empty value.
pub fn push_to_row_bundle(bundle: &mut Vec<u8>, granted: &[u8]) {
    let length = u32::try_from(granted.len()).expect("65,535 rows of 4 KiB are under 4 GiB");
    bundle.extend_from_slice(&length.to_be_bytes());
    bundle.extend_from_slice(granted);
}

/// Cuts a row bundle beside `width` entries into what is granted for each.
pub fn split_row_bundle(bundle: &[u8], width: u64) -> Result<Vec<&[u8]>, Error> {
    let mut rest = bundle;
    let mut entries = Vec::with_capacity(usize::try_from(width.min(TILE_WIDTH)).expect("a width is at most 256"));
    for _ in 0..width {
        let (length, tail) = rest.split_first_chunk::<4>().ok_or(Error::BundleShort)?;
        let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| Error::BundleShort)?;
        let (granted, tail) = tail.split_at_checked(length).ok_or(Error::BundleShort)?;
        entries.push(granted);
        rest = tail;
    }
    if rest.is_empty() { Ok(entries) } else { Err(Error::BundleLong { bytes: rest.len() }) }
}
