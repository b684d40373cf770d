//! The RFC 6962 tree: appending, proving, checking. Provers and checkers stand side by side.
//!
//! A *node* `(level, index)` is the root of the complete subtree over leaves `[index << level, (index + 1) << level)`.
//! Everything else, the root of a tree of any size included, is made of such nodes; whoever can say them
//! ([`Nodes`]) can prove anything about the tree.

use crate::error::Error;
use crate::hash::{Hash, leaf_hash, node_hash};

/// The right edge of a growing tree: the roots of its complete subtrees, largest first.
///
/// There is one for each bit that is set in the size, so at most 64.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edge {
    size: u64,
    peaks: Vec<Hash>,
}

impl Edge {
    /// The edge of a tree of `size` leaves whose complete subtrees, largest first, have these roots.
    pub fn new(size: u64, peaks: Vec<Hash>) -> Result<Self, Error> {
        if peaks.len() == size.count_ones() as usize {
            Ok(Self { size, peaks })
        } else {
            Err(Error::EdgePeaks { size })
        }
    }

    /// Leaves in the tree.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The roots of the complete subtrees, largest first.
    pub fn peaks(&self) -> &[Hash] {
        &self.peaks
    }

    /// Appends a leaf, and tells `completed(level, index, hash)` of each node above it that is now complete.
    pub fn append(&mut self, leaf: Hash, mut completed: impl FnMut(u8, u64, Hash)) {
        let (mut hash, mut level, mut index) = (leaf, 0, self.size);
        while index & 1 == 1 {
            let left = self.peaks.pop().expect("an odd index has a complete subtree to its left");
            hash = node_hash(&left, &hash);
            (level, index) = (level + 1, index >> 1);
            completed(level, index, hash);
        }
        self.peaks.push(hash);
        self.size += 1;
    }

    /// The root of the tree as it stands.
    pub fn root(&self) -> Hash {
        fold_right(&self.peaks)
    }
}

/// The root over leaf hashes that are all at hand.
pub fn root_of_leaves(leaves: &[Hash]) -> Hash {
    let mut edge = Edge::default();
    for leaf in leaves {
        edge.append(*leaf, |_, _, _| ());
    }
    edge.root()
}

/// The root over a power of two of hashes: what the edge of a growing tree gives, without growing one.
pub fn root_of_complete(hashes: &[Hash]) -> Hash {
    match hashes {
        [] => Hash::EMPTY_TREE,
        [only] => *only,
        [left, right] => node_hash(left, right),
        _ => {
            let (left, right) = hashes.split_at(hashes.len() / 2);
            node_hash(&root_of_complete(left), &root_of_complete(right))
        }
    }
}

/// The root over complete subtrees of falling size, as they hang together at the right edge.
fn fold_right(peaks: &[Hash]) -> Hash {
    peaks.iter().rev().copied().reduce(|right, left| node_hash(&left, &right)).unwrap_or(Hash::EMPTY_TREE)
}

/// Whoever can tell the nodes of a tree: a store, a folder of tiles, a slice of leaves.
pub trait Nodes {
    /// Why a node could not be told.
    type Error;

    /// The hash of the complete subtree `index` at `level`.
    fn node(&self, level: u8, index: u64) -> Result<Hash, Self::Error>;
}

/// Leaves in memory, for small trees such as the rows of one entry.
impl Nodes for [Hash] {
    type Error = core::convert::Infallible;

    fn node(&self, level: u8, index: u64) -> Result<Hash, Self::Error> {
        let first = usize::try_from(index << level).expect("a node lies within its leaves");
        Ok(root_of_complete(&self[first..first + (1 << level)]))
    }
}

/// The root over leaves `[first, end)`, a range that the recursion of RFC 6962 can reach.
fn range_root<N: Nodes + ?Sized>(nodes: &N, mut first: u64, end: u64) -> Result<Hash, N::Error> {
    let mut peaks = Vec::new();
    while first < end {
        let level = (end - first).ilog2();
        peaks.push(nodes.node(u8::try_from(level).expect("a level is below 64"), first >> level)?);
        first += 1 << level;
    }
    Ok(fold_right(&peaks))
}

/// The root of the tree's first `size` leaves.
pub fn root_at<N: Nodes + ?Sized>(nodes: &N, size: u64) -> Result<Hash, N::Error> {
    range_root(nodes, 0, size)
}

/// The largest power of two below `width`, where RFC 6962 splits a range of at least two leaves.
fn split(width: u64) -> u64 {
    1 << (width - 1).ilog2()
}

/// The path that leads from leaf `index` to the root of the first `size` leaves, the leaf's sibling first.
///
/// # Panics
/// Where `index` is not below `size`.
pub fn prove_inclusion<N: Nodes + ?Sized>(nodes: &N, index: u64, size: u64) -> Result<Vec<Hash>, N::Error> {
    assert!(index < size, "leaf {index} is not in a tree of {size}");
    let (mut first, mut end) = (0, size);
    let mut path = Vec::new();
    while end - first > 1 {
        let middle = first + split(end - first);
        if index < middle {
            path.push(range_root(nodes, middle, end)?);
            end = middle;
        } else {
            path.push(range_root(nodes, first, middle)?);
            first = middle;
        }
    }
    path.reverse();
    Ok(path)
}

/// Checks that `path` leads from `leaf` at `index` to `root`, the root of a tree of `size` (RFC 9162, 2.1.3.2).
pub fn check_inclusion(index: u64, size: u64, leaf: &Hash, path: &[Hash], root: &Hash) -> Result<(), Error> {
    if inclusion_root(index, size, leaf, path)? == *root { Ok(()) } else { Err(Error::InclusionRoot) }
}

/// The root that `path` leads to from `leaf` at `index` of a tree of `size`.
pub fn inclusion_root(index: u64, size: u64, leaf: &Hash, path: &[Hash]) -> Result<Hash, Error> {
    if index >= size {
        return Err(Error::IndexBeyondSize { index, size });
    }
    let (mut fn_, mut sn, mut hash) = (index, size - 1, *leaf);
    for sibling in path {
        if sn == 0 {
            return Err(Error::ProofTooLong);
        }
        if fn_ & 1 == 1 || fn_ == sn {
            hash = node_hash(sibling, &hash);
            while fn_ & 1 == 0 && fn_ != 0 {
                (fn_, sn) = (fn_ >> 1, sn >> 1);
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        (fn_, sn) = (fn_ >> 1, sn >> 1);
    }
    if sn == 0 { Ok(hash) } else { Err(Error::ProofTooShort) }
}

/// The path that shows the first `old` leaves to be a prefix of the first `new` ones.
///
/// # Panics
/// Where `old` is 0 (there is nothing to show) or beyond `new`.
pub fn prove_consistency<N: Nodes + ?Sized>(nodes: &N, old: u64, new: u64) -> Result<Vec<Hash>, N::Error> {
    assert!(0 < old && old <= new, "no consistency proof leads from {old} to {new}");
    let (mut first, mut end) = (0, new);
    let mut path = Vec::new();
    // The old tree's root is known to whoever checks while it is a whole left subtree; from then on it is said.
    let mut known = true;
    while old != end {
        let middle = first + split(end - first);
        if old <= middle {
            path.push(range_root(nodes, middle, end)?);
            end = middle;
        } else {
            path.push(range_root(nodes, first, middle)?);
            first = middle;
            known = false;
        }
    }
    if !known {
        path.push(range_root(nodes, first, end)?);
    }
    path.reverse();
    Ok(path)
}

/// Checks that a tree of `old` leaves with `old_root` is a prefix of one of `new` with `new_root` (RFC 9162, 2.1.4.2).
///
/// A proof from the empty tree says nothing and is refused; so is anything but an empty one between equal sizes.
pub fn check_consistency(old: u64, new: u64, old_root: &Hash, new_root: &Hash, path: &[Hash]) -> Result<(), Error> {
    match old {
        _ if old > new => return Err(Error::SizesReversed { old, new }),
        _ if old == new => {
            let empty_root_holds = old != 0 || *old_root == Hash::EMPTY_TREE;
            return match path {
                _ if old_root != new_root || !empty_root_holds => Err(Error::ConsistencyRoots),
                [] => Ok(()),
                _ => Err(Error::ProofTooLong),
            };
        }
        0 => return Err(Error::ConsistencyFromEmpty),
        _ => {}
    }
    let mut siblings = path.iter();
    let seed = if old.is_power_of_two() { old_root } else { siblings.next().ok_or(Error::ProofTooShort)? };
    let (mut fn_, mut sn) = (old - 1, new - 1);
    while fn_ & 1 == 1 {
        (fn_, sn) = (fn_ >> 1, sn >> 1);
    }
    let (mut old_hash, mut new_hash) = (*seed, *seed);
    for sibling in siblings {
        if sn == 0 {
            return Err(Error::ProofTooLong);
        }
        if fn_ & 1 == 1 || fn_ == sn {
            old_hash = node_hash(sibling, &old_hash);
            new_hash = node_hash(sibling, &new_hash);
            while fn_ & 1 == 0 && fn_ != 0 {
                (fn_, sn) = (fn_ >> 1, sn >> 1);
            }
        } else {
            new_hash = node_hash(&new_hash, sibling);
        }
        (fn_, sn) = (fn_ >> 1, sn >> 1);
    }
    if sn != 0 {
        return Err(Error::ProofTooShort);
    }
    if old_hash == *old_root && new_hash == *new_root { Ok(()) } else { Err(Error::ConsistencyRoots) }
}

/// The leaf hashes of entries, in order.
pub fn leaves_of<'a>(entries: impl IntoIterator<Item = &'a [u8]>) -> Vec<Hash> {
    entries.into_iter().map(leaf_hash).collect()
}
