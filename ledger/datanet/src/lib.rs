//! Rows in and out: what people give to a dataset, what they change in it, and how it is shown and handed on.
//!
//! No I/O, no clock, no threads, no chance of its own: bytes come in as slices, salts by a function. In reading order:
//!
//! * [`json`], [`row`], [`rows`]: one spelling of a row, and files of rows in three formats;
//! * [`edits`]: a file of edits as the ledger's operations, with the texts that they bring;
//! * [`duplicates`]: rows that say the same, or nearly;
//! * [`diff`], [`picture`]: what changed and who did it, a lineage as text and as a drawing; [`shown`] keeps it
//!   legible;
//! * [`statement`]: what an adapter was made of, signed in the form that other tools read;
//! * [`croissant`]: a revision as Croissant 1.1 with PROV-O, and rows from such a file;
//! * [`fault`]: what is wrong with a file, at which line, and what to do about it.
#![forbid(unsafe_code)]

pub mod croissant;
mod csv;
pub mod diff;
pub mod duplicates;
pub mod edits;
pub mod fault;
pub mod json;
pub mod picture;
pub mod row;
pub mod rows;
pub mod shown;
pub mod statement;

pub use edits::Proposal;
pub use fault::{Fault, What};
pub use row::Row;
