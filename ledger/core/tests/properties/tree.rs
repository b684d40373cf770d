//! Trees: whatever is proved checks, and whatever is changed does not.

use std::convert::Infallible;

use loam_ledger_core::hash::{leaf_hash, node_hash};
use loam_ledger_core::tree::{
    Edge, Nodes, check_consistency, check_inclusion, inclusion_root, leaves_of, prove_consistency, prove_inclusion,
    root_at, root_of_leaves,
};
use loam_ledger_core::{Error, Hash};
use proptest::prelude::*;

use super::tier;

/// A tree of any size without its leaves: all are alike but one, so that a subtree's hash depends on its level alone
/// unless it holds that one. The one sets each node above it apart, so that no two paths lead to the same root by chance.
struct Sparse {
    alike: Vec<Hash>,
    one: u64,
}

impl Sparse {
    fn new(one: u64) -> Self {
        let levels = core::iter::successors(Some(leaf_hash(b"alike")), |below| Some(node_hash(below, below)));
        Self { alike: levels.take(64).collect(), one }
    }

    fn leaf(&self) -> Hash {
        leaf_hash(b"the one")
    }
}

impl Nodes for Sparse {
    type Error = Infallible;

    fn node(&self, level: u8, index: u64) -> Result<Hash, Infallible> {
        if self.one >> level != index {
            return Ok(self.alike[usize::from(level)]);
        }
        let one = (0..level).fold(self.leaf(), |hash, below| {
            let alike = &self.alike[usize::from(below)];
            if self.one >> below & 1 == 1 { node_hash(alike, &hash) } else { node_hash(&hash, alike) }
        });
        Ok(one)
    }
}

/// Where RFC 6962 splits so many leaves.
fn split(leaves: u64) -> u64 {
    let half = leaves.next_power_of_two() / 2;
    half.max(1)
}

/// On which side of the path to the leaf each hash of the path stands, as RFC 6962 defines paths: all that a checker
/// reads out of index and size.
fn inclusion_shape(index: u64, size: u64) -> Vec<bool> {
    if size == 1 {
        return Vec::new();
    }
    let left = split(size);
    let (mut shape, side) = if index < left {
        (inclusion_shape(index, left), true)
    } else {
        (inclusion_shape(index - left, size - left), false)
    };
    shape.push(side);
    shape
}

/// The same of consistency: whether the old root itself begins, and the sides.
fn consistency_shape(old: u64, new: u64, whole: bool) -> (bool, Vec<bool>) {
    if old == new {
        return (whole, Vec::new());
    }
    let left = split(new);
    let ((begins, mut shape), side) = if old <= left {
        (consistency_shape(old, left, whole), true)
    } else {
        (consistency_shape(old - left, new - left, false), false)
    };
    shape.push(side);
    (begins, shape)
}

fn leaves(count: u64) -> Vec<Hash> {
    (0..count).map(|n| leaf_hash(&n.to_be_bytes())).collect()
}

#[test]
fn every_leaf_of_every_small_tree_is_proved() {
    let all = leaves(130);
    for size in 1..=130u64 {
        let leaves = &all[..usize::try_from(size).unwrap()];
        let root = root_of_leaves(leaves);
        assert_eq!(root_at(leaves, size), Ok(root));
        for (index, leaf) in (0..).zip(leaves) {
            let Ok(path) = prove_inclusion(leaves, index, size);
            assert_eq!(path.len(), inclusion_shape(index, size).len());
            assert_eq!(check_inclusion(index, size, leaf, &path, &root), Ok(()), "{index} of {size}");
        }
    }
}

#[test]
fn every_two_small_trees_are_proved() {
    let all = leaves(130);
    let roots: Vec<Hash> = (0..=all.len()).map(|size| root_of_leaves(&all[..size])).collect();
    for (new, new_root) in (1..=130u64).zip(&roots[1..]) {
        for (old, old_root) in (1..=new).zip(&roots[1..]) {
            let Ok(path) = prove_consistency(&all[..], old, new);
            assert_eq!(check_consistency(old, new, old_root, new_root, &path), Ok(()), "{old} to {new}");
        }
    }
}

#[test]
fn consistency_with_the_empty_tree_is_refused() {
    let empty = Hash::EMPTY_TREE;
    let root = root_of_leaves(&leaves(3));
    assert_eq!(check_consistency(0, 0, &empty, &empty, &[]), Ok(()));
    assert_eq!(check_consistency(0, 0, &root, &root, &[]), Err(Error::ConsistencyRoots));
    assert_eq!(check_consistency(0, 3, &empty, &root, &[]), Err(Error::ConsistencyFromEmpty));
    assert_eq!(check_consistency(3, 0, &root, &empty, &[]), Err(Error::SizesReversed { old: 3, new: 0 }));
    assert_eq!(check_consistency(3, 3, &root, &root, &[empty]), Err(Error::ProofTooLong));
}

#[test]
fn the_largest_sizes_do_not_overflow() {
    let (leaf, tree) = (leaf_hash(b"the one"), Sparse::new(u64::MAX - 1));
    let Ok(path) = prove_inclusion(&tree, u64::MAX - 1, u64::MAX);
    let Ok(root) = root_at(&tree, u64::MAX);
    assert_eq!(check_inclusion(u64::MAX - 1, u64::MAX, &leaf, &path, &root), Ok(()));
    let beyond = check_inclusion(u64::MAX, u64::MAX, &leaf, &path, &root);
    assert_eq!(beyond, Err(Error::IndexBeyondSize { index: u64::MAX, size: u64::MAX }));
    assert_eq!(inclusion_root(0, u64::MAX, &leaf, &[leaf; 63]), Err(Error::ProofTooShort));
    assert_eq!(inclusion_root(0, u64::MAX, &leaf, &[leaf; 65]), Err(Error::ProofTooLong));
    let Ok(path) = prove_consistency(&tree, u64::MAX - 1, u64::MAX);
    let Ok(old_root) = root_at(&tree, u64::MAX - 1);
    assert_eq!(check_consistency(u64::MAX - 1, u64::MAX, &old_root, &root, &path), Ok(()));
}

/// A size up to 2^40, small ones as often as large ones.
fn size() -> impl Strategy<Value = u64> {
    (0..=40u32).prop_flat_map(|bits| (1u64 << bits) / 2 + 1..=1 << bits)
}

fn size_and_index() -> impl Strategy<Value = (u64, u64)> {
    size().prop_flat_map(|size| (Just(size), 0..size))
}

fn flip(hash: &Hash, bit: u8) -> Hash {
    let mut hash = *hash;
    hash.0[usize::from(bit / 8)] ^= 1 << (bit % 8);
    hash
}

proptest! {
    #![proptest_config(tier::cases())]

    #[test]
    fn inclusion((size, index) in size_and_index(), bit in any::<u8>(), nth in any::<usize>(), shift in 0..42u32) {
        let tree = Sparse::new(index);
        let (leaf, Ok(root), Ok(path)) = (tree.leaf(), root_at(&tree, size), prove_inclusion(&tree, index, size));
        let check = |index, size, leaf: &Hash, path: &[Hash], root: &Hash| check_inclusion(index, size, leaf, path, root);
        prop_assert_eq!(check(index, size, &leaf, &path, &root), Ok(()));
        prop_assert_eq!(check(index, size, &flip(&leaf, bit), &path, &root), Err(Error::InclusionRoot));
        prop_assert_eq!(check(index, size, &leaf, &path, &flip(&root, bit)), Err(Error::InclusionRoot));
        if !path.is_empty() {
            let mut changed = path.clone();
            let nth = nth % path.len();
            changed[nth] = flip(&path[nth], bit);
            prop_assert_eq!(check(index, size, &leaf, &changed, &root), Err(Error::InclusionRoot));
            prop_assert_eq!(check(index, size, &leaf, &path[1..], &root), Err(Error::ProofTooShort));
        }
        let long = [&path[..], &[root]].concat();
        prop_assert_eq!(check(index, size, &leaf, &long, &root), Err(Error::ProofTooLong));
        let other = index ^ (1 << shift);
        let refused = check(other, size, &leaf, &path, &root).unwrap_err();
        match refused {
            Error::IndexBeyondSize { index, .. } => prop_assert!(index == other && other >= size),
            Error::InclusionRoot | Error::ProofTooLong | Error::ProofTooShort => prop_assert!(other < size),
            other => prop_assert!(false, "{}", other),
        }
    }

    /// A path does not say of which size its tree is: the signed checkpoint does. Another size passes exactly where the
    /// leaf hangs in the same place of both trees.
    #[test]
    fn inclusion_in_another_size((size, index) in size_and_index(), shift in 0..42u32) {
        let tree = Sparse::new(index);
        let (Ok(root), Ok(path)) = (root_at(&tree, size), prove_inclusion(&tree, index, size));
        let other = size ^ (1 << shift);
        let found = check_inclusion(index, other, &tree.leaf(), &path, &root);
        if index >= other {
            prop_assert_eq!(found, Err(Error::IndexBeyondSize { index, size: other }));
        } else {
            let same = inclusion_shape(index, size) == inclusion_shape(index, other);
            prop_assert_eq!(found.is_ok(), same, "{:?}", found);
        }
    }

    #[test]
    fn consistency((new, old) in size_and_index(), bit in any::<u8>(), nth in any::<usize>()) {
        let old = old + 1;
        let tree = Sparse::new(old - 1);
        let (Ok(old_root), Ok(new_root)) = (root_at(&tree, old), root_at(&tree, new));
        let Ok(path) = prove_consistency(&tree, old, new);
        let check = |old_root: &Hash, new_root: &Hash, path: &[Hash]| check_consistency(old, new, old_root, new_root, path);
        prop_assert_eq!(check(&old_root, &new_root, &path), Ok(()));
        prop_assert_eq!(check(&flip(&old_root, bit), &new_root, &path), Err(Error::ConsistencyRoots));
        prop_assert_eq!(check(&old_root, &flip(&new_root, bit), &path), Err(Error::ConsistencyRoots));
        let long = [&path[..], &[old_root]].concat();
        prop_assert_eq!(check(&old_root, &new_root, &long), Err(Error::ProofTooLong));
        if !path.is_empty() {
            let mut changed = path.clone();
            let nth = nth % path.len();
            changed[nth] = flip(&path[nth], bit);
            prop_assert_eq!(check(&old_root, &new_root, &changed), Err(Error::ConsistencyRoots));
            let short = &path[..path.len() - 1];
            prop_assert_eq!(check(&old_root, &new_root, short), Err(Error::ProofTooShort));
        }
    }

    /// As with inclusion, sizes are the checkpoints' to say; but for that, only the two that were proved pass.
    #[test]
    fn consistency_of_other_sizes((new, old) in size_and_index(), shift in 0..42u32, which in any::<bool>()) {
        let old = old + 1;
        let tree = Sparse::new(old - 1);
        let (Ok(old_root), Ok(new_root)) = (root_at(&tree, old), root_at(&tree, new));
        let Ok(path) = prove_consistency(&tree, old, new);
        let (a, b) = if which { (old ^ (1 << shift), new) } else { (old, new ^ (1 << shift)) };
        let found = check_consistency(a, b, &old_root, &new_root, &path);
        if a > b {
            prop_assert_eq!(found, Err(Error::SizesReversed { old: a, new: b }));
        } else if a == b {
            prop_assert_eq!(found, Err(Error::ConsistencyRoots));
        } else if a == 0 {
            prop_assert_eq!(found, Err(Error::ConsistencyFromEmpty));
        } else {
            let same = consistency_shape(a, b, true) == consistency_shape(old, new, true);
            prop_assert_eq!(found.is_ok(), same, "{:?}", found);
        }
    }

    #[test]
    fn edges_grow_as_trees_do(entries in proptest::collection::vec(any::<[u8; 3]>(), 0..400)) {
        let leaves = leaves_of(entries.iter().map(|entry| &entry[..]));
        let mut edge = Edge::default();
        for (size, leaf) in (1u64..).zip(&leaves) {
            let mut told = Vec::new();
            edge.append(*leaf, |level, index, hash| told.push((level, index, hash)));
            prop_assert_eq!(edge.size(), size);
            prop_assert_eq!(told.len() as u64, u64::from(size.trailing_zeros()));
            for (level, index, hash) in told {
                prop_assert_eq!(leaves.node(level, index), Ok(hash));
            }
        }
        prop_assert_eq!(edge.root(), root_of_leaves(&leaves));
        prop_assert_eq!(root_at(&leaves[..], leaves.len() as u64), Ok(edge.root()));
        prop_assert_eq!(Edge::new(edge.size(), edge.peaks().to_vec()), Ok(edge.clone()));
        let more = [edge.peaks(), &[Hash::ZERO]].concat();
        prop_assert_eq!(Edge::new(edge.size(), more), Err(Error::EdgePeaks { size: edge.size() }));
    }
}
