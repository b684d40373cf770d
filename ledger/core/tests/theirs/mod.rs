//! The same trees and proofs in crate `tlog_tiles`, which knows nothing of ours.
#![allow(dead_code, reason = "each test uses the part that it needs")]

use loam_ledger_core::Hash;
use tlog_tiles::{Error, HashReader, check_record, check_tree, prove_record, prove_tree};

/// A tree, with all its nodes in their storage order.
#[derive(Default)]
pub(crate) struct Tree {
    leaves: u64,
    stored: Vec<tlog_tiles::Hash>,
}

impl HashReader for Tree {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<tlog_tiles::Hash>, Error> {
        let stored = |&index: &u64| self.stored.get(usize::try_from(index).ok()?).copied();
        indexes.iter().map(stored).collect::<Option<_>>().ok_or(Error::IndexesNotInTree)
    }
}

impl Tree {
    pub(crate) fn of(leaves: &[Hash]) -> Self {
        let mut tree = Self::default();
        for leaf in leaves {
            let stored = tlog_tiles::stored_hashes_for_record_hash(tree.leaves, hash(leaf), &tree);
            tree.stored.extend(stored.expect("the nodes to the left are stored"));
            tree.leaves += 1;
        }
        tree
    }

    pub(crate) fn root(&self, size: u64) -> Hash {
        ours(tlog_tiles::tree_hash(size, self).expect("the nodes are stored"))
    }

    pub(crate) fn prove_inclusion(&self, index: u64, size: u64) -> Vec<Hash> {
        let path = prove_record(size, index, self).expect("the nodes are stored");
        path.into_iter().map(ours).collect()
    }

    pub(crate) fn prove_consistency(&self, old: u64, new: u64) -> Vec<Hash> {
        let path = prove_tree(new, old, self).expect("the nodes are stored");
        path.into_iter().map(ours).collect()
    }
}

pub(crate) fn includes(index: u64, size: u64, leaf: &Hash, path: &[Hash], root: &Hash) -> bool {
    check_record(&path.iter().map(hash).collect(), size, hash(root), index, hash(leaf)).is_ok()
}

pub(crate) fn consistent(old: u64, new: u64, old_root: &Hash, new_root: &Hash, path: &[Hash]) -> bool {
    check_tree(&path.iter().map(hash).collect(), new, hash(new_root), old, hash(old_root)).is_ok()
}

pub(crate) fn hash(hash: &Hash) -> tlog_tiles::Hash {
    tlog_tiles::Hash(hash.0)
}

pub(crate) fn ours(hash: tlog_tiles::Hash) -> Hash {
    Hash(hash.0)
}
