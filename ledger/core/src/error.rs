//! One named error for each way in which bytes can fail to be what they claim.

use thiserror::Error as ThisError;

use crate::hash::Hash;
use crate::tile::Tile;

/// Why bytes are not what they claim to be. Nothing here is about reading them: this crate does no I/O.
#[derive(Clone, Debug, PartialEq, Eq, ThisError)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each variant's message is its documentation")]
pub enum Error {
    // Text.
    #[error("not lower-case hexadecimal")]
    NotHex,
    #[error("not canonical base64")]
    NotBase64,
    #[error("not a plain decimal number")]
    NotDecimal,
    #[error("a hash has 32 bytes, not {found}")]
    HashLength { found: usize },

    // Deterministic CBOR.
    #[error("the value ends early")]
    CborTruncated,
    #[error("{bytes} bytes stand after the value's end")]
    CborTrailing { bytes: usize },
    #[error("not the deterministic encoding of the value")]
    CborNotCanonical,
    #[error("expected {expected}")]
    CborType { expected: &'static str },
    #[error("a byte string has {found} bytes where {expected} belong")]
    CborLength { expected: usize, found: usize },
    #[error("a number is out of its range")]
    CborRange,
    #[error("the map has {found} fields where {expected} belong")]
    CborFields { expected: u64, found: u64 },
    #[error("field {expected} is missing or out of order")]
    CborKey { expected: u64 },

    // The tree and its tiles.
    #[error("a tree of {size} leaves does not have that many complete subtrees")]
    EdgePeaks { size: u64 },
    #[error("index {index} is beyond the tree of {size}")]
    IndexBeyondSize { index: u64, size: u64 },
    #[error("the proof is too long")]
    ProofTooLong,
    #[error("the proof is too short")]
    ProofTooShort,
    #[error("the path does not lead to the root")]
    InclusionRoot,
    #[error("the roots are not of one growing tree")]
    ConsistencyRoots,
    #[error("consistency with the empty tree says nothing")]
    ConsistencyFromEmpty,
    #[error("the older size {old} is beyond the newer size {new}")]
    SizesReversed { old: u64, new: u64 },
    #[error("{tile} has {bytes} bytes, not 32 for each of its hashes")]
    TileLength { tile: Tile, bytes: usize },
    #[error("the bundle ends early")]
    BundleShort,
    #[error("{bytes} bytes are left over after the bundle's last entry")]
    BundleLong { bytes: usize },

    // Notes, keys, checkpoints, policies, proofs.
    #[error("a key's name may not be empty, nor hold spaces, control characters or a plus sign")]
    KeyName,
    #[error("not a key: name+id+base64 is expected")]
    KeyShape,
    #[error("keys and signatures of type {kind:#04x} cannot be used here")]
    KeyKind { kind: u8 },
    #[error("not an Ed25519 key")]
    KeyBytes,
    #[error("the key's id does not match the key")]
    KeyId,
    #[error("{key} is not a witness's cosignature/v1 key")]
    WitnessKey { key: String },
    #[error("a note of {bytes} bytes is too long")]
    NoteTooLong { bytes: usize },
    #[error("the note is not plain UTF-8 text")]
    NoteNotText,
    #[error("the note has no signatures")]
    NoteWithoutSignatures,
    #[error("a signature line that is none")]
    NoteLine,
    #[error("{count} signatures on one note are too many")]
    NoteSignatures { count: usize },
    #[error("the signature of {key} does not fit the text")]
    Signature { key: String },
    #[error("no signature by the given key {key}")]
    NotSignedBy { key: String },
    #[error("a checkpoint is an origin, a size and a root, each on a line of its own")]
    CheckpointShape,
    #[error("the root of an empty tree is the hash of nothing")]
    CheckpointEmptyRoot,
    #[error("the checkpoint's origin {origin} is not the name of the key, {key}")]
    Origin { origin: String, key: String },
    #[error("policy line {line}: {why}")]
    Policy { line: usize, why: &'static str },
    #[error("too few witnesses cosigned for the quorum {quorum}")]
    Quorum { quorum: String },
    #[error("not a c2sp.org/tlog-proof@v1")]
    ProofShape,

    // Entries, rows and receipts.
    #[error("this program does not know version {version} of a {what}")]
    Version { what: &'static str, version: u64 },
    #[error("an entry of {bytes} bytes is too long")]
    EntryTooLong { bytes: usize },
    #[error("this program does not know entries of type {kind}")]
    EntryKind { kind: u64 },
    #[error("the entry's fields contradict each other")]
    EntryFields,
    #[error("a row of {bytes} bytes is too long")]
    RowTooLong { bytes: usize },
    #[error("this program does not know rows of type {kind}")]
    RowKind { kind: u64 },
    #[error("the row's fields contradict each other")]
    RowFields,
    #[error("{count} adapters in one row are too many")]
    RowPairs { count: usize },
    #[error("the row is not below its entry's row root")]
    RowRoot,
    #[error("the receipt carries no record of Loam's")]
    ReceiptExtra,
    #[error("the receipt's entry is not a batch entry")]
    ReceiptEntry,
    #[error("the receipt's row is not a completion row of its entry")]
    ReceiptRow,
    #[error("{subject} is not what the record commits to")]
    NotCommitted { subject: &'static str },
    #[error("{generation} is in the mix with weight 0: it took no part")]
    NoPart { generation: Hash },

    // Records and sum trees.
    #[error("a record's body of {bytes} bytes is too long")]
    RecordTooLong { bytes: usize },
    #[error("this program does not know records of kind {kind}")]
    RecordKind { kind: u64 },
    #[error("{code} is none of the codes of {what}")]
    RecordCode { what: &'static str, code: u64 },
    #[error("a list of {count} items is too long for a record")]
    RecordList { count: usize },
    #[error("a record has authors, each once and each with a signature, whose shares sum to one")]
    RecordAuthors,
    #[error("a record cites earlier ones in ascending order, each once, and not too many")]
    RecordCites,
    #[error("the fields of {what} contradict each other")]
    RecordFields { what: &'static str },
    #[error("the key does not have the length of the tree's keys")]
    SumKey,
    #[error("the path's bits do not strictly ascend towards the leaf, or lie beyond the key")]
    SumBits,
    #[error("the path does not lead to the root of the sum tree")]
    SumRoot,
    #[error("the sums along the path do not add up to the tree's")]
    SumTotal,
    #[error("the proof does not show the key to be absent")]
    SumPresent,
    #[error("more than {most} items are in the list")]
    ListLong { most: usize },
    #[error("the list's items are not in ascending order, each once")]
    ListOrder,
    #[error("the origin {origin} is not that of a Loam log: NAME/records or NAME/usage/N")]
    LogOrigin { origin: String },
}
