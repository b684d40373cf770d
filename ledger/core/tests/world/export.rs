//! Exports: a sealed world as signed files, in the layout that `loam ledger export` writes.

use loam_ledger_core::Hash;
use loam_ledger_core::checkpoint::Checkpoint;
use loam_ledger_core::granted::{GrantedRow, encode_granted, push_to_row_bundle};
use loam_ledger_core::hash::{digest, leaf_hash};
use loam_ledger_core::origin::LogId;
use loam_ledger_core::row::Row;
use loam_ledger_core::tile::{TILE_WIDTH, Tile, bundle_path, bundles_of, push_to_bundle, row_bundle_path, tiles_of};
use loam_ledger_core::tree::root_of_leaves;

use super::Files;
use super::sealed::{Sealed, key, origin};

/// How much of the rows an export shows.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Grant {
    Nothing,
    Request(Hash),
    All,
}

/// One log, ready to be signed: entries, each with what is granted of its rows.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    pub(crate) id: LogId,
    pub(crate) entries: Vec<Vec<u8>>,
    /// As many as entries, or none.
    pub(crate) granted: Vec<Vec<u8>>,
}

impl Sealed {
    /// All logs, each in its folder.
    pub(crate) fn export(&self, grant: Grant) -> Files {
        let mut files = Files::default();
        for log in self.logs(grant) {
            let below = log.export().0.into_iter();
            files.0.extend(below.map(|(path, bytes)| (format!("{}/{path}", log.id), bytes)));
        }
        files
    }

    /// The records log, and then each shard.
    pub(crate) fn logs(&self, grant: Grant) -> Vec<Log> {
        let records = Log {
            id: LogId::Records,
            entries: self.records.iter().map(|entry| entry.encode()).collect(),
            granted: Vec::new(),
        };
        let shards = (1..).zip(&self.shards).map(|(number, leaves)| Log {
            id: LogId::Usage(number),
            entries: leaves.iter().map(|leaf| leaf.bytes.clone()).collect(),
            granted: match grant {
                Grant::Nothing => Vec::new(),
                _ => leaves.iter().map(|leaf| granted(&leaf.rows, grant)).collect(),
            },
        });
        [records].into_iter().chain(shards).collect()
    }
}

/// An entry without rows is granted nothing.
fn granted(rows: &[GrantedRow], grant: Grant) -> Vec<u8> {
    let shown = |row: &GrantedRow| match (row, grant) {
        (GrantedRow::Open { row: bytes, .. }, Grant::Request(request))
            if Row::decode(bytes).is_ok_and(|row| row.request() != request) =>
        {
            GrantedRow::Hidden(row.leaf())
        }
        (row, _) => row.clone(),
    };
    if rows.is_empty() { Vec::new() } else { encode_granted(&rows.iter().map(shown).collect::<Vec<_>>()) }
}

impl Log {
    /// Signs and lays out the log, with its checkpoint at a few older sizes.
    pub(crate) fn export(&self) -> Files {
        let size = self.entries.len();
        self.export_with(&[0, 1, size / 3, size / 2, size.saturating_sub(1), size])
    }

    /// The same, with these older checkpoints.
    pub(crate) fn export_with(&self, older: &[usize]) -> Files {
        let mut files = Files::default();
        let mut put = |path: String, bytes: Vec<u8>| files.0.insert(path, bytes);
        let leaves = self.leaves();
        let size = leaves.len() as u64;
        put("checkpoint".to_owned(), self.checkpoint(&leaves));
        for &old in older.iter().filter(|&&old| old <= leaves.len()) {
            put(format!("checkpoints/{old}"), self.checkpoint(&leaves[..old]));
        }
        let mut level = leaves;
        for tile in tiles_of(size) {
            // Tiles come level by level; the hashes of a level are the roots of the full tiles below it.
            if tile.level > 0 && tile.index == 0 {
                let (full, _) = level.as_chunks::<{ TILE_WIDTH as usize }>();
                level = full.iter().map(|tile| root_of_leaves(tile)).collect();
            }
            put(tile.path(), tile_bytes(tile, &level));
        }
        for (number, width) in bundles_of(size) {
            let (mut bundle, mut rows) = (Vec::new(), Vec::new());
            let first = usize::try_from(number * TILE_WIDTH).expect("few entries");
            for at in first..first + usize::try_from(width).expect("a width is at most 256") {
                push_to_bundle(&mut bundle, &self.entries[at]).expect("an entry fits a bundle");
                push_to_row_bundle(&mut rows, self.granted.get(at).map_or(&[], |granted| granted));
            }
            put(bundle_path(number, width), bundle);
            if !self.granted.is_empty() {
                put(row_bundle_path(number, width), rows);
            }
        }
        put("policy.txt".to_owned(), format!("log {}\nquorum none\n", key(self.id).verifier()).into_bytes());
        let manifest: Vec<String> =
            files.0.iter().map(|(path, bytes)| format!("{}  {path}\n", digest(bytes))).collect();
        files.0.insert("MANIFEST.sha256".to_owned(), manifest.concat().into_bytes());
        files
    }

    pub(crate) fn leaves(&self) -> Vec<Hash> {
        self.entries.iter().map(|entry| leaf_hash(entry)).collect()
    }

    /// The signed head over these leaves.
    pub(crate) fn checkpoint(&self, leaves: &[Hash]) -> Vec<u8> {
        let checkpoint =
            Checkpoint { origin: origin(self.id), size: leaves.len() as u64, root: root_of_leaves(leaves) };
        checkpoint.sign(&key(self.id)).expect("the key has the log's name")
    }
}

fn tile_bytes(tile: Tile, level: &[Hash]) -> Vec<u8> {
    let first = usize::try_from(tile.index * TILE_WIDTH).expect("few entries");
    let hashes = level[first..].iter().take(usize::try_from(tile.width).expect("a width is at most 256"));
    hashes.flat_map(|hash| hash.0).collect()
}
