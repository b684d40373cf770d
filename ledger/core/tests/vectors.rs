//! Our own proof vectors, right and wrong ones, replayed here and in crate `tlog_tiles`.
//!
//! They are committed so that no checkout is without any. `LOAM_WRITE_VECTORS=1` writes them anew. A line is
//! `inclusion right|wrong INDEX SIZE LEAF ROOT PATH` or `consistency right|wrong OLD NEW OLD_ROOT NEW_ROOT PATH`, hashes
//! in base64, a path's hashes joined by commas, `-` where it is empty. Leaf `n` is the hash of the entry `leaf n`.

mod theirs;

use std::fs;
use std::path::PathBuf;

use loam_ledger_core::hash::leaf_hash;
use loam_ledger_core::text::{base64_encode, base64_hash, decimal};
use loam_ledger_core::tree::{check_consistency, check_inclusion, prove_consistency, prove_inclusion, root_of_leaves};
use loam_ledger_core::{Error, Hash};

/// What a proof is of, and what it claims. The two numbers are index and size, or two sizes; the two hashes leaf and
/// root, or two roots.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Claim {
    kind: &'static str,
    numbers: [u64; 2],
    hashes: [Hash; 2],
    path: Vec<Hash>,
}

impl Claim {
    fn ours(&self) -> Result<(), Error> {
        let ([a, b], [x, y]) = (self.numbers, &self.hashes);
        match self.kind {
            "inclusion" => check_inclusion(a, b, x, &self.path, y),
            _ => check_consistency(a, b, x, y, &self.path),
        }
    }

    fn theirs(&self) -> bool {
        let ([a, b], [x, y]) = (self.numbers, &self.hashes);
        match self.kind {
            "inclusion" => theirs::includes(a, b, x, &self.path, y),
            _ => theirs::consistent(a, b, x, y, &self.path),
        }
    }

    fn line(&self, word: &str) -> String {
        let path: Vec<String> = self.path.iter().map(|hash| base64_encode(&hash.0)).collect();
        let path = if path.is_empty() { "-".to_owned() } else { path.join(",") };
        let ([a, b], [x, y]) = (self.numbers, self.hashes.map(|hash| base64_encode(&hash.0)));
        format!("{} {word} {a} {b} {x} {y} {path}\n", self.kind)
    }

    fn parse(line: &str) -> (Self, bool) {
        let words: Vec<&str> = line.split(' ').collect();
        let [kind, word, a, b, x, y, path] = words[..] else {
            panic!("{line:?} is no vector");
        };
        let kind = ["inclusion", "consistency"].into_iter().find(|&known| known == kind);
        let path = path.split(',').filter(|hash| *hash != "-");
        let claim = Self {
            kind: kind.expect("a vector is of one of two kinds"),
            numbers: [a, b].map(|number| decimal(number).expect("a size is a decimal")),
            hashes: [x, y].map(|hash| base64_hash(hash).expect("a hash is base64")),
            path: path.map(|hash| base64_hash(hash).expect("a hash is base64")).collect(),
        };
        (claim, word == "right")
    }
}

/// One way each in which a proof can be wrong; those that do not apply to a claim leave it as it is.
const WRONGS: [fn(&mut Claim); 10] = [
    |claim| claim.path.iter_mut().take(1).for_each(|hash| hash.0[31] ^= 0x01),
    |claim| claim.path.iter_mut().rev().take(1).for_each(|hash| hash.0[0] ^= 0x80),
    |claim| claim.path.truncate(claim.path.len().saturating_sub(1)),
    |claim| drop(claim.path.splice(..claim.path.len().min(1), [])),
    |claim| claim.path.push(Hash::ZERO),
    |claim| claim.path.insert(0, claim.hashes[1]),
    |claim| claim.path.reverse(),
    |claim| claim.hashes[0].0[0] ^= 0x01,
    |claim| claim.hashes[1].0[31] ^= 0x80,
    |claim| claim.numbers[0] ^= 1,
];

fn generated() -> Vec<(Claim, bool)> {
    let leaves: Vec<Hash> = (0..600).map(|n| leaf_hash(format!("leaf {n}").as_bytes())).collect();
    let root = |size: u64| root_of_leaves(&leaves[..usize::try_from(size).expect("a small size")]);
    let mut rights = Vec::new();
    for size in [1, 2, 3, 7, 8, 100, 255, 256, 257, 511, 512, 513, 600] {
        let mut indexes = vec![0, size / 3, size - 1];
        indexes.dedup();
        rights.extend(indexes.into_iter().map(|index| {
            let Ok(path) = prove_inclusion(&leaves[..], index, size);
            Claim {
                kind: "inclusion",
                numbers: [index, size],
                hashes: [leaves[usize::try_from(index).expect("a small index")], root(size)],
                path,
            }
        }));
    }
    let sizes = [1, 3, 7, 64, 255, 256, 257, 512, 600];
    let pairs = sizes.iter().flat_map(|&old| sizes.iter().map(move |&new| (old, new)));
    rights.extend(pairs.filter(|(old, new)| old <= new).map(|(old, new)| {
        let Ok(path) = prove_consistency(&leaves[..], old, new);
        Claim { kind: "consistency", numbers: [old, new], hashes: [root(old), root(new)], path }
    }));
    let mut all = Vec::new();
    for (nth, right) in rights.into_iter().enumerate() {
        all.push((right.clone(), true));
        let wrongs = (0..WRONGS.len()).map(|turn| {
            let mut wrong = right.clone();
            WRONGS[(nth + turn) % WRONGS.len()](&mut wrong);
            wrong
        });
        let first = wrongs.into_iter().find(|wrong| *wrong != right && !wrong.theirs());
        all.push((first.expect("some way to be wrong applies"), false));
    }
    all
}

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/vectors/proofs.txt")
}

fn check((claim, right): &(Claim, bool)) {
    assert_eq!(claim.ours().is_ok(), *right, "ours: {:?} of {claim:?}", claim.ours());
    assert_eq!(claim.theirs(), *right, "theirs: {claim:?}");
}

#[test]
fn committed_vectors_hold_here_and_in_tlog_tiles() {
    let text = fs::read_to_string(path()).expect("the vectors are committed");
    let vectors: Vec<(Claim, bool)> = text.lines().map(Claim::parse).collect();
    vectors.iter().for_each(check);
    let rights = vectors.iter().filter(|(_, right)| *right).count();
    assert_eq!((vectors.len(), rights), (162, 81));
}

#[test]
fn committed_vectors_are_what_is_generated() {
    let vectors = generated();
    vectors.iter().for_each(check);
    let line = |(claim, right): &(Claim, bool)| claim.line(if *right { "right" } else { "wrong" });
    let text: String = vectors.iter().map(line).collect();
    if std::env::var_os("LOAM_WRITE_VECTORS").is_some() {
        fs::write(path(), &text).expect("the vectors can be written");
    }
    assert!(
        fs::read_to_string(path()).expect("the vectors are committed") == text,
        "the committed vectors are others: LOAM_WRITE_VECTORS=1 writes them anew"
    );
}
