//! Rows of an epoch, read and opened ahead of whoever counts them.
//!
//! ```text
//! reader 0: stretch 0, 2, 4, ..  \
//! reader 1: stretch 1, 3, 5, ..   -> one after the other, in the order of the logs
//! ```
//!
//! Reading and opening take most of a settlement's time and depend on nothing before them; counting depends on all of it.

use std::num::NonZero;
use std::sync::mpsc;
use std::thread;

use loam_ledger_core::Hash;
use loam_ledger_core::entry::Entry;
use loam_ledger_core::epoch::RowPlace;
use loam_ledger_core::granted::GrantedRow;
use loam_ledger_core::record::Covered;
use loam_ledger_core::row::{Completion, Row};

use crate::error::Error;
use crate::layout::log_of;
use crate::payers::Payers;
use crate::reader::{Reader, RowScope};

/// Entries that are read at once: with the rows under them they are held until they are counted.
const STRETCH_ENTRIES: usize = 64;

/// Stretches that wait for their turn, for each reader; and readers at most.
const STRETCHES_AHEAD: usize = 2;
const READERS_MAX: usize = 4;

/// An entry, and its completion rows with their leaves; without the row where it was erased.
struct Opened {
    entry: Entry,
    rows: Vec<(RowPlace, Hash, Option<Box<Completion>>)>,
}

impl Reader {
    /// Shows entries in their order, and under each its completion rows with their leaves; without the row where it was
    /// erased.
    pub(crate) fn each_row(
        &self,
        covered: &[Covered],
        each_entry: &mut dyn FnMut(&Entry),
        each_row: &mut dyn FnMut(RowPlace, &Hash, Option<&Completion>),
    ) -> Result<(), Error> {
        let stretches = || {
            covered.iter().flat_map(|part| {
                let from = (part.from..part.to).step_by(STRETCH_ENTRIES);
                from.map(|from| (part.shard, from, part.to.min(from + STRETCH_ENTRIES as u64)))
            })
        };
        let readers = thread::available_parallelism().map_or(1, NonZero::get).min(READERS_MAX);
        thread::scope(|scope| {
            let read = |number: usize| {
                let (sender, receiver) = mpsc::sync_channel(STRETCHES_AHEAD);
                scope.spawn(move || {
                    for (shard, from, to) in stretches().skip(number).step_by(readers) {
                        let stretch = self.stretch(shard, from, to);
                        // Whoever counts has stopped, and says why.
                        if sender.send(stretch).is_err() {
                            return;
                        }
                    }
                });
                receiver
            };
            let ahead: Vec<_> = (0..readers).map(read).collect();
            for (number, _) in stretches().enumerate() {
                let stretch = ahead[number % readers].recv().expect("a reader sends each of its stretches");
                for Opened { entry, rows } in stretch? {
                    each_entry(&entry);
                    rows.iter().for_each(|(place, leaf, row)| each_row(*place, leaf, row.as_deref()));
                }
            }
            Ok(())
        })
    }

    fn stretch(&self, shard: u32, from: u64, to: u64) -> Result<Vec<Opened>, Error> {
        let log = log_of(shard);
        let opened = |(index, bytes): (u64, Vec<u8>)| {
            let entry = Entry::decode(&bytes)?;
            let granted = self.granted_rows_of(log, index, &entry, &RowScope::Settlement, &Payers::default())?;
            let mut rows = Vec::new();
            for (row, granted) in (0..).zip(granted.unwrap_or_default()) {
                let (place, leaf) = (RowPlace { shard, index, row }, granted.leaf());
                match granted {
                    GrantedRow::Open { row, .. } => {
                        if let Row::Completion(completion) = Row::decode(&row)? {
                            rows.push((place, leaf, Some(completion)));
                        }
                    }
                    GrantedRow::Erased(_) => rows.push((place, leaf, None)),
                    GrantedRow::Hidden(_) => return Err(Error::SecretMissing),
                }
            }
            Ok(Opened { entry, rows })
        };
        (from..).zip(self.entries(log, from, to)?).map(opened).collect()
    }
}
