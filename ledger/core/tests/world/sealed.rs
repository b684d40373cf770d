//! A world whose hashes are drawn: entries and rows as they would be stored, cut into shards, and the records log.

use std::collections::{BTreeSet, HashMap};

use loam_ledger_core::Hash;
use loam_ledger_core::entry::{Entry, Id16, Redaction, ShardHead, ShardOpened};
use loam_ledger_core::granted::GrantedRow;
use loam_ledger_core::hash::leaf_hash;
use loam_ledger_core::note::SigningKey;
use loam_ledger_core::origin::{LogId, LogName};
use loam_ledger_core::tree::root_of_leaves;

use super::engines::World;
use super::{NAME, bytes32};

/// Entries and rows of all logs.
#[derive(Clone, Debug)]
pub(crate) struct Sealed {
    /// The usage shards, from 1.
    pub(crate) shards: Vec<Vec<Leaf>>,
    /// The records log's entries.
    pub(crate) records: Vec<Entry>,
}

/// One entry, with its rows in clear or erased.
#[derive(Clone, Debug)]
pub(crate) struct Leaf {
    pub(crate) bytes: Vec<u8>,
    pub(crate) rows: Vec<GrantedRow>,
}

impl Sealed {
    /// Writes the records log anew, of the shards as they now are.
    pub(crate) fn record(&mut self) {
        self.records = records_of(&self.shards);
    }
}

impl Leaf {
    /// Changes what the entry says, whatever the entries after it say of its hash.
    pub(crate) fn edit(&mut self, change: impl FnOnce(&mut Entry)) {
        let mut entry = Entry::decode(&self.bytes).expect("a sealed entry is an entry");
        change(&mut entry);
        self.bytes = entry.encode();
    }
}

/// The key of one log.
pub(crate) fn key(log: LogId) -> SigningKey {
    SigningKey::from_seed(&origin(log), &bytes32("key", log_number(log))).expect("the world's name fits a key")
}

pub(crate) fn origin(log: LogId) -> String {
    LogName::new(NAME, log).expect("the world's name fits a log").to_string()
}

fn log_number(log: LogId) -> u64 {
    match log {
        LogId::Records => 0,
        LogId::Usage(shard) => shard.into(),
    }
}

impl World {
    /// One shard, nothing erased.
    pub(crate) fn seal(&self) -> Sealed {
        self.seal_in(&[], &BTreeSet::new())
    }

    /// Draws all hashes. Shards end at these entries; the rows of these requests are erased, and announced to be.
    pub(crate) fn seal_in(&self, cuts: &[usize], erased: &BTreeSet<Hash>) -> Sealed {
        let mut leaves = self.leaves(erased);
        let mut shards: Vec<Vec<Leaf>> =
            cuts.iter().rev().map(|&cut| leaves.split_off(cut)).chain([Vec::new()]).collect();
        shards.pop();
        shards.push(leaves);
        shards.reverse();
        let records = records_of(&shards);
        Sealed { shards, records }
    }

    fn leaves(&self, erased: &BTreeSet<Hash>) -> Vec<Leaf> {
        let mut last: HashMap<Id16, Hash> = HashMap::new();
        let mut leaves = Vec::with_capacity(self.entries.len());
        for drafted in &self.entries {
            let mut entry = drafted.entry.clone();
            let engine = entry.place().map(|place| place.engine);
            let previous = engine.and_then(|engine| last.get(&engine)).copied().unwrap_or(Hash::ZERO);
            match &mut entry {
                Entry::Boot(boot) => {
                    if let Some(before) = &mut boot.previous {
                        before.leaf = previous;
                    }
                }
                Entry::Batch(batch) => {
                    let rows: Vec<Hash> = drafted.rows.iter().map(|row| row.leaf()).collect();
                    batch.row_count = u32::try_from(rows.len()).expect("few rows");
                    batch.rows_root = root_of_leaves(&rows);
                    batch.previous = previous;
                }
                _ => {}
            }
            let bytes = entry.encode();
            if let Some(engine) = engine {
                last.insert(engine, leaf_hash(&bytes));
            }
            let rows = drafted.rows.iter().map(|salted| {
                if erased.contains(&salted.row.request()) {
                    GrantedRow::Erased(salted.leaf())
                } else {
                    GrantedRow::Open { salt: salted.salt, row: salted.row.encode() }
                }
            });
            leaves.push(Leaf { bytes, rows: rows.collect() });
        }
        leaves
    }
}

/// What a records log says of shards like these: each was opened, stood somewhere at an epoch's close, and was frozen
/// before the next; the last one is running, and the ledger was stopped cleanly.
fn records_of(shards: &[Vec<Leaf>]) -> Vec<Entry> {
    let mut records = Vec::new();
    for (shard, leaves) in (1..).zip(shards) {
        let time_ms = 1_700_000_000_000 + 1000 * u64::from(shard);
        let hashes: Vec<Hash> = leaves.iter().map(|leaf| leaf_hash(&leaf.bytes)).collect();
        let head = |size: usize| ShardHead { time_ms, shard, size: size as u64, root: root_of_leaves(&hashes[..size]) };
        records.push(Entry::ShardOpened(ShardOpened {
            time_ms,
            shard,
            public_key: *key(LogId::Usage(shard)).verifier().public(),
        }));
        records.push(Entry::ShardClosed(head(leaves.len() / 2)));
        let erased = |leaf: &Leaf| leaf.rows.iter().filter(|row| matches!(row, GrantedRow::Erased(_))).count();
        let with_erased: Vec<usize> = (0..leaves.len()).filter(|&at| erased(&leaves[at]) > 0).collect();
        if let (Some(&first), Some(&last)) = (with_erased.first(), with_erased.last()) {
            records.push(Entry::Redaction(Redaction {
                time_ms,
                shard,
                first_index: first as u64,
                last_index: last as u64,
                row_count: leaves.iter().map(erased).sum::<usize>() as u64,
                reason: 1,
            }));
        }
        let end = head(leaves.len());
        records.push(if usize::try_from(shard).is_ok_and(|shard| shard < shards.len()) {
            Entry::ShardFrozen(end)
        } else {
            Entry::ShardStopped(end)
        });
    }
    records
}
