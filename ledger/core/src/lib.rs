//! What Loam's ledger means: trees, notes, entries, rows, receipts, and the audit that checks them all.
//!
//! No I/O, no clock, no threads, no floats, no unsafe code. The writer of logs and the auditor who trusts nobody
//! run the same functions here. In reading order:
//!
//! * [`hash`] and [`tree`]: RFC 6962, provers beside checkers;
//! * [`tile`]: the files that C2SP tlog-tiles makes of a tree;
//! * [`note`], [`checkpoint`], [`cosignature`], [`policy`], [`proof`]: what is signed, by whom, and proofs in a file;
//! * [`origin`], [`entry`], [`row`], [`commitment`], [`granted`]: what Loam's leaves say;
//! * [`record`], [`registry`]: what people signed, and what it comes to; [`lineage`]: who stands behind what;
//! * [`fee`], [`division`], [`sum_tree`], [`epoch`]: what was paid, and to whom it goes;
//! * [`receipt`]: what one client is given; [`audit`]: what everybody can check.
#![forbid(unsafe_code)]
#![deny(clippy::float_arithmetic, clippy::cast_possible_truncation)]

pub mod audit;
mod cbor;
pub mod checkpoint;
pub mod commitment;
pub mod cosignature;
pub mod division;
pub mod entry;
pub mod epoch;
mod error;
pub mod fee;
pub mod granted;
pub mod hash;
pub mod lineage;
pub mod note;
pub mod origin;
pub mod policy;
pub mod proof;
pub mod receipt;
pub mod record;
pub mod registry;
pub mod row;
pub mod sum_tree;
pub mod text;
pub mod tile;
pub mod tree;

pub use error::Error;
pub use hash::Hash;
