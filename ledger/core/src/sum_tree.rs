//! Sum trees: sparse, keyed, and with a sum in every node, so that a root states a total that nobody can inflate unseen.
//!
//! A leaf is a key, a value and an amount. A node branches at the first bit in which the keys below it differ, and its hash
//! covers that bit, both sums and both hashes. One code serves three trees: rows of a revision (amount 1 each), completion
//! rows of an epoch by their place, and payouts by account. Since an honest reader goes down by the key's own bits, one
//! root cannot show a key both present and absent.

use sha2::{Digest, Sha256};

use crate::cbor::{Decoder, Encoder};
use crate::error::Error;
use crate::hash::Hash;
use crate::record::field::Field;
use crate::record::{SumRoot, SumStep};

/// Which tree: leaves of one kind are none of another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Rows of a dataset revision, keyed by row id.
    Rows,
    /// Completion rows of an epoch, keyed by shard, entry and row.
    Usage,
    /// Accounts of an epoch, keyed by their ids.
    Payouts,
}

impl Kind {
    fn byte(self) -> u8 {
        match self {
            Self::Rows => 1,
            Self::Usage => 2,
            Self::Payouts => 3,
        }
    }

    /// Bytes that a key of this tree has.
    pub fn key_bytes(self) -> usize {
        match self {
            Self::Rows | Self::Payouts => 32,
            Self::Usage => 16,
        }
    }
}

/// The hash of a tree without leaves: `H(0x04 || kind)`.
pub fn empty_hash(kind: Kind) -> Hash {
    Hash(Sha256::digest([0x04, kind.byte()]).into())
}

/// The hash of a leaf: `H(0x02 || kind || key || value || amount in 16 bytes)`.
pub fn sum_leaf_hash(kind: Kind, key: &[u8], value: &Hash, amount: u128) -> Hash {
    let mut block = [0; 1 + 1 + 32 + 32 + 16];
    let end = 2 + key.len();
    block[0] = 0x02;
    block[1] = kind.byte();
    block[2..end].copy_from_slice(key);
    block[end..end + 32].copy_from_slice(&value.0);
    block[end + 32..end + 48].copy_from_slice(&amount.to_be_bytes());
    Hash(Sha256::digest(&block[..end + 48]).into())
}

/// The hash of a node: `H(0x03 || bit in 2 bytes || left sum || left hash || right sum || right hash)`.
pub fn sum_node_hash(bit: u16, left: (u128, &Hash), right: (u128, &Hash)) -> Hash {
    let mut block = [0x03; 1 + 2 + 2 * (16 + 32)];
    block[1..3].copy_from_slice(&bit.to_be_bytes());
    for (at, (sum, hash)) in [(3, left), (51, right)] {
        block[at..at + 16].copy_from_slice(&sum.to_be_bytes());
        block[at + 16..at + 48].copy_from_slice(&hash.0);
    }
    Hash(Sha256::digest(block).into())
}

/// Builds a tree from leaves in ascending order of their keys, holding no more than its right edge: 257 nodes at most.
///
/// On the way it can look for a key, so that a proof costs one pass over the leaves and no memory for them.
pub struct Builder {
    kind: Kind,
    /// Finished subtrees from the root's left to the newest leaf.
    subtrees: Vec<(u128, Hash)>,
    /// The bit that parts each subtree from the next; ascending.
    bits: Vec<u16>,
    last: [u8; 32],
    count: u64,
    sought: Option<Vec<u8>>,
    /// Where a search for the key would end in each of the subtrees; none where no key is sought.
    found: Vec<SumProof>,
}

impl Builder {
    /// A tree without leaves.
    pub fn new(kind: Kind) -> Self {
        let (subtrees, bits, found) = (Vec::new(), Vec::new(), Vec::new());
        Self { kind, subtrees, bits, last: [0; 32], count: 0, sought: None, found }
    }

    /// The same, looking for a key.
    pub fn seeking(kind: Kind, key: &[u8]) -> Self {
        Self { sought: Some(key.to_vec()), ..Self::new(kind) }
    }

    /// Appends a leaf, whose key must lie behind all others.
    pub fn push(&mut self, key: &[u8], value: &Hash, amount: u128) {
        let bytes = self.kind.key_bytes();
        assert!(key.len() == bytes, "a key has the length of its tree's");
        if self.count > 0 {
            assert!(&self.last[..bytes] < key, "leaves come in ascending order of their keys");
            let bit = first_difference(&self.last[..bytes], key).expect("the keys differ");
            self.join_below(Some(bit));
            self.bits.push(bit);
        }
        self.subtrees.push((amount, sum_leaf_hash(self.kind, key, value, amount)));
        if self.sought.is_some() {
            self.found.push(SumProof { key: key.to_vec(), value: *value, amount, path: Vec::new() });
        }
        self.last[..bytes].copy_from_slice(key);
        self.count += 1;
    }

    /// The tree over all leaves.
    pub fn finish(self) -> SumRoot {
        self.finish_with_proof().0
    }

    /// The tree, and the way to the leaf at which a search for the key ends: the key's own, or another that shows it to
    /// be absent. There is none in an empty tree, nor where no key was sought.
    pub fn finish_with_proof(mut self) -> (SumRoot, Option<SumProof>) {
        self.join_below(None);
        let (sum, hash) = self.subtrees.pop().unwrap_or_else(|| (0, empty_hash(self.kind)));
        (SumRoot { hash, sum, count: self.count }, self.found.pop())
    }

    /// Joins the subtrees that branch below a bit: nothing more will come into them.
    fn join_below(&mut self, bit: Option<u16>) {
        while let Some(&last) = self.bits.last()
            && bit.is_none_or(|bit| last > bit)
        {
            self.bits.pop();
            let right = self.subtrees.pop().expect("a bit parts two subtrees");
            let left = self.subtrees.pop().expect("a bit parts two subtrees");
            let sum = left.0.checked_add(right.0).expect("all money there is fits 128 bits");
            self.subtrees.push((sum, sum_node_hash(last, (left.0, &left.1), (right.0, &right.1))));
            if let Some(key) = &self.sought {
                let [in_right, in_left] = [(); 2].map(|()| self.found.pop().expect("each subtree has a leaf"));
                let goes_right = bit_of(key, last) == Some(true);
                let (mut proof, other) = if goes_right { (in_right, left) } else { (in_left, right) };
                proof.path.push(SumStep { bit: last, sum: other.0, hash: other.1 });
                self.found.push(proof);
            }
        }
    }
}

/// One leaf, and its way to the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SumProof {
    /// The leaf's key.
    pub key: Vec<u8>,
    /// Its value.
    pub value: Hash,
    /// Its amount.
    pub amount: u128,
    /// From the leaf's sibling up; bits strictly descend.
    pub path: Vec<SumStep>,
}

impl SumProof {
    /// The proof's bytes, as it is handed to whoever asks.
    pub fn encode(&self) -> Vec<u8> {
        let mut e = Encoder::with_capacity(128 + 56 * self.path.len());
        self.put(&mut e);
        e.finish()
    }

    /// Reads a proof strictly. Nothing is shown by it before it was checked.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut d = Decoder::new(bytes);
        let proof = Self::take(&mut d)?;
        d.finish()?;
        Ok(proof)
    }

    /// Checks that the leaf is in the tree, and that every sum on the way adds up to the root's.
    pub fn check_member(&self, kind: Kind, root: &SumRoot) -> Result<(), Error> {
        if self.key.len() != kind.key_bytes() {
            return Err(Error::SumKey);
        }
        let mut hash = sum_leaf_hash(kind, &self.key, &self.value, self.amount);
        let (mut sum, mut below) = (self.amount, None);
        for step in &self.path {
            let in_order = below.is_none_or(|below| step.bit < below);
            let right = bit_of(&self.key, step.bit).filter(|_| in_order).ok_or(Error::SumBits)?;
            let (own, other) = ((sum, &hash), (step.sum, &step.hash));
            hash = if right { sum_node_hash(step.bit, other, own) } else { sum_node_hash(step.bit, own, other) };
            sum = sum.checked_add(step.sum).ok_or(Error::SumTotal)?;
            below = Some(step.bit);
        }
        match (hash == root.hash, sum == root.sum) {
            (false, _) => Err(Error::SumRoot),
            (true, false) => Err(Error::SumTotal),
            (true, true) => Ok(()),
        }
    }

    /// Checks that `key` is *not* in the tree: whoever looks for it, bit by bit, comes to this other leaf.
    pub fn check_absent(&self, kind: Kind, root: &SumRoot, key: &[u8]) -> Result<(), Error> {
        self.check_member(kind, root)?;
        let led_here = self.path.iter().all(|step| bit_of(key, step.bit) == bit_of(&self.key, step.bit));
        if key.len() == self.key.len() && key != self.key && led_here { Ok(()) } else { Err(Error::SumPresent) }
    }
}

impl Field for SumProof {
    fn put(&self, e: &mut Encoder) {
        e.map(4).uint(0).bytes(&self.key);
        self.value.put(e.uint(1));
        self.amount.put(e.uint(2));
        self.path.put(e.uint(3));
    }

    fn take(d: &mut Decoder<'_>) -> Result<Self, Error> {
        d.map_of(4)?;
        let key = d.key(0)?.bytes()?.to_vec();
        let value = Hash::take(d.key(1)?)?;
        let amount = u128::take(d.key(2)?)?;
        let path = Vec::take(d.key(3)?)?;
        Ok(Self { key, value, amount, path })
    }

    fn words(&self) -> String {
        format!("{} at {}", self.amount, crate::text::hex_encode(&self.key))
    }
}

/// The bit of a key, counted from its first byte's highest.
fn bit_of(key: &[u8], bit: u16) -> Option<bool> {
    let byte = key.get(usize::from(bit / 8))?;
    Some(byte >> (7 - bit % 8) & 1 == 1)
}

fn first_difference(a: &[u8], b: &[u8]) -> Option<u16> {
    let at = a.iter().zip(b).position(|(a, b)| a != b)?;
    let bit = at * 8 + (a[at] ^ b[at]).leading_zeros() as usize;
    u16::try_from(bit).ok()
}
