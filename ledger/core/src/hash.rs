//! SHA-256 as the ledger uses it: RFC 6962 leaves and nodes, row leaves, and labelled commitments.

use core::fmt;

use sha2::{Digest, Sha256};

use crate::error::Error;

/// A SHA-256 value: a leaf, a node, a root, a digest or a commitment.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hash(pub [u8; Self::LEN]);

impl Hash {
    /// Bytes in a hash.
    pub const LEN: usize = 32;

    /// The root of a tree without leaves: the hash of nothing.
    pub const EMPTY_TREE: Self = Self([
        0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24, 0x27, 0xae,
        0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
    ]);

    /// Thirty-two zero bytes: how a record says "none yet" where a digest belongs.
    pub const ZERO: Self = Self([0; Self::LEN]);

    /// Reads a hash from exactly 32 bytes.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, Error> {
        bytes.try_into().map(Self).map_err(|_| Error::HashLength { found: bytes.len() })
    }

    /// Reads a hash from 64 lower-case hexadecimal digits.
    pub fn from_hex(text: &str) -> Result<Self, Error> {
        let bytes = crate::text::hex_decode(text).ok_or(Error::NotHex)?;
        Self::from_slice(&bytes)
    }

    /// Writes the hash as 64 lower-case hexadecimal digits.
    pub fn to_hex(&self) -> String {
        crate::text::hex_encode(&self.0)
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

/// The hash of an entry in the tree: `H(0x00 || entry)`.
pub fn leaf_hash(entry: &[u8]) -> Hash {
    Hash(Sha256::new().chain_update([0x00]).chain_update(entry).finalize().into())
}

/// The hash of two subtrees: `H(0x01 || left || right)`.
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut block = [0x01; 1 + 2 * Hash::LEN];
    block[1..=Hash::LEN].copy_from_slice(&left.0);
    block[1 + Hash::LEN..].copy_from_slice(&right.0);
    Hash(Sha256::digest(block).into())
}

/// Marks a row's leaf, so that no row can ever be read as an entry.
const ROW_LABEL: &[u8] = b"loam/row/v1\0";

/// The hash of a row in its entry's row tree: `H(0x00 || "loam/row/v1\0" || salt || row)`.
///
/// The salt hides the row from whoever sees only its leaf.
pub fn row_leaf_hash(salt: &[u8; 16], row: &[u8]) -> Hash {
    let digest = Sha256::new().chain_update([0x00]).chain_update(ROW_LABEL).chain_update(salt).chain_update(row);
    Hash(digest.finalize().into())
}

/// The plain SHA-256 of some bytes.
pub fn digest(bytes: &[u8]) -> Hash {
    Hash(Sha256::digest(bytes).into())
}

/// `H(part || part || ...)`, for labelled digests whose parts have known lengths.
pub(crate) fn digest_parts(parts: &[&[u8]]) -> Hash {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part);
    }
    Hash(hasher.finalize().into())
}
