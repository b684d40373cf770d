//! Epochs: fees become payouts, once, by rules that anybody can run again.
//!
//! [`Settlement`] takes the entries and completion rows of the covered logs in their order. At the end each account is
//! divided: between generations by weight, up the lineage, to dataset revisions, and inside them by shares that all
//! contributors signed. What evidence does not divide waits, visibly, in an [`Account`] of its own, and is looked at again
//! when the next epoch is closed.

mod account;
mod carried;
mod distribution;
mod leaf_file;
mod left;
mod pace;
mod settled;
mod settlement;

pub use account::{Account, Accounts, ContributorStatement, Line, Reason, Statement};
pub use carried::Carried;
pub use leaf_file::{LeafFault, LeafFile, LeafOf, ProofFault};
pub use left::{
    FEES_MAX, MIXES_MAX, decode_fees, decode_mixes, decode_rows, encode_fees, encode_mixes, encode_rows, erased_path,
    fees_path, forgotten_path,
};
pub use pace::{Pace, UnknownStep};
pub use settled::{FINDINGS_MAX, Finding, Findings, Settled};
pub use settlement::{ErasedRows, RowPlace, Settlement, Simulated};
