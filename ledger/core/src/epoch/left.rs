//! What an export tells of rows that nobody can open any more, so that epochs can be settled again without them.
//!
//! Three files for each closed epoch, in the folder of the records log; one that would be empty is left out.

use crate::epoch::{ErasedRows, RowPlace};
use crate::error::Error;

/// Items that a list of [`ErasedRows`] has at most: one for each mix of adapters and policy.
pub const MIXES_MAX: usize = 1 << 20;

/// Fees of an epoch's rows that were erased since.
pub const FEES_MAX: usize = 1 << 22;

const FEE_BYTES: usize = 24;

/// The file with rows that were erased before an epoch was closed; its record commits to them.
pub fn erased_path(epoch: u32) -> String {
    format!("epochs/{epoch}/erased")
}

/// The file with rows that were settled in an epoch and erased since, each alone.
pub fn forgotten_path(epoch: u32) -> String {
    format!("epochs/{epoch}/forgotten")
}

/// The file with the fees of rows that were settled in an epoch and erased since, by place.
pub fn fees_path(epoch: u32) -> String {
    format!("epochs/{epoch}/fees")
}

/// The bytes of a list of erased rows, which must be in ascending order of their bytes, one for each mix and policy.
pub fn encode_mixes(mixes: &[ErasedRows]) -> Result<Vec<u8>, Error> {
    encode(mixes, decode_mixes)
}

/// Reads a list of erased rows strictly, one for each mix and policy.
pub fn decode_mixes(bytes: &[u8]) -> Result<Vec<ErasedRows>, Error> {
    decode(bytes, MIXES_MAX, |before, rows| (&before.pairs, before.policy) != (&rows.pairs, rows.policy))
}

/// The bytes of a list of rows each alone, which must be in ascending order of their bytes; some may be the same.
///
/// Rows that were settled cannot be told by their sums: a fee was split to lanes row by row.
pub fn encode_rows(rows: &[ErasedRows]) -> Result<Vec<u8>, Error> {
    encode(rows, decode_rows)
}

/// Reads a list of rows each alone, strictly.
pub fn decode_rows(bytes: &[u8]) -> Result<Vec<ErasedRows>, Error> {
    decode(bytes, FEES_MAX, |_, _| true)
}

fn encode(list: &[ErasedRows], decode: impl FnOnce(&[u8]) -> Result<Vec<ErasedRows>, Error>) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::with_capacity(128 * list.len());
    for rows in list {
        crate::tile::push_to_bundle(&mut bytes, &rows.encode())?;
    }
    // What this refuses no reader would take.
    decode(&bytes)?;
    Ok(bytes)
}

fn decode(
    bytes: &[u8],
    most: usize,
    follows: impl Fn(&ErasedRows, &ErasedRows) -> bool,
) -> Result<Vec<ErasedRows>, Error> {
    let mut list: Vec<ErasedRows> = Vec::new();
    let (mut rest, mut last): (&[u8], &[u8]) = (bytes, &[]);
    while let Some((length, tail)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_be_bytes(*length));
        let (item, tail) = tail.split_at_checked(length).ok_or(Error::BundleShort)?;
        if list.len() == most {
            return Err(Error::ListLong { most });
        }
        let rows = ErasedRows::decode(item)?;
        if item < last || list.last().is_some_and(|before| !follows(before, &rows)) {
            return Err(Error::ListOrder);
        }
        list.push(rows);
        (rest, last) = (tail, item);
    }
    if rest.is_empty() { Ok(list) } else { Err(Error::BundleShort) }
}

/// The bytes of fees by place, which must be in ascending order, each place once.
pub fn encode_fees(fees: &[(RowPlace, u64)]) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::with_capacity(FEE_BYTES * fees.len());
    for (place, fee_nano) in fees {
        bytes.extend_from_slice(&place.key());
        bytes.extend_from_slice(&fee_nano.to_be_bytes());
    }
    decode_fees(&bytes)?;
    Ok(bytes)
}

/// Reads fees by place strictly.
pub fn decode_fees(bytes: &[u8]) -> Result<Vec<(RowPlace, u64)>, Error> {
    let (items, rest) = bytes.as_chunks::<FEE_BYTES>();
    if !rest.is_empty() {
        return Err(Error::BundleShort);
    }
    if items.len() > FEES_MAX {
        return Err(Error::ListLong { most: FEES_MAX });
    }
    let fees: Vec<(RowPlace, u64)> = items.iter().map(fee).collect();
    if fees.is_sorted_by(|(one, _), (next, _)| one < next) { Ok(fees) } else { Err(Error::ListOrder) }
}

fn fee(item: &[u8; FEE_BYTES]) -> (RowPlace, u64) {
    let (shard, rest) = item.split_first_chunk().expect("24 bytes begin with 4");
    let (index, rest) = rest.split_first_chunk().expect("20 bytes begin with 8");
    let (row, fee_nano) = rest.split_first_chunk().expect("12 bytes begin with 4");
    let place = RowPlace {
        shard: u32::from_be_bytes(*shard),
        index: u64::from_be_bytes(*index),
        row: u32::from_be_bytes(*row),
    };
    (place, u64::from_be_bytes(*fee_nano.first_chunk().expect("8 bytes are left")))
}
