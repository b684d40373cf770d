//! The proof vectors of transparency-dev/merkle, most of which are wrong on purpose, as they lie beside the checkout.

use std::fs;
use std::path::{Path, PathBuf};

use loam_ledger_core::hash::digest;
use loam_ledger_core::text::base64_decode;
use loam_ledger_core::tree::{check_consistency, check_inclusion};
use loam_ledger_core::{Error, Hash};
use serde_json::Value;

/// Vectors of each of the two kinds.
const EACH: usize = 98;

/// Holds every vector of this kind against what it wants; how many there are is known.
#[track_caller]
fn check(kind: &str, outcome: fn(&Value) -> Result<(), Error>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors/merkle");
    if !folder.is_dir() {
        eprintln!("SKIPPED: there are no vectors of others here; tests/vectors.rs replays our own");
        return;
    }
    let files = json_below(&folder.join(kind));
    assert_eq!(files.len(), EACH, "{kind} vectors");
    let wrong = files.iter().filter_map(|path| {
        let text = fs::read(path).expect("a vector can be read");
        let vector: Value = serde_json::from_slice(&text).expect("a vector is JSON");
        let wants_error = vector["wantErr"].as_bool().expect("wantErr is a boolean");
        let found = outcome(&vector);
        (found.is_err() != wants_error).then(|| format!("{}: {found:?}", path.display()))
    });
    assert_eq!(wrong.collect::<Vec<_>>(), [""; 0]);
}

fn json_below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder of vectors can be listed");
    let paths = entries.map(|entry| entry.expect("a folder of vectors can be read").path());
    paths
        .flat_map(|path| if path.is_dir() { json_below(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|end| end == "json"))
        .collect()
}

fn bytes(text: &Value) -> Vec<u8> {
    base64_decode(text.as_str().expect("a hash is a string")).expect("a hash is base64")
}

/// Some vectors have bytes of other lengths where a hash belongs, and are wrong for it: here reading them says so.
fn hash(text: &Value) -> Result<Hash, Error> {
    Hash::from_slice(&bytes(text))
}

/// Other vectors are right although their roots are short words, because both are the same. A [`Hash`] cannot be short,
/// so the digest of the word stands for it: what is equal stays equal, and what is no root stays none.
fn root(text: &Value) -> Hash {
    hash(text).unwrap_or_else(|_| digest(&bytes(text)))
}

fn proof(vector: &Value) -> Result<Vec<Hash>, Error> {
    // An empty proof is an empty list or null.
    vector["proof"].as_array().into_iter().flatten().map(hash).collect()
}

fn number(value: &Value) -> u64 {
    value.as_u64().expect("a size or an index is unsigned")
}

#[test]
fn inclusion() {
    check("inclusion", |v| {
        let (index, size) = (number(&v["leafIdx"]), number(&v["treeSize"]));
        check_inclusion(index, size, &hash(&v["leafHash"])?, &proof(v)?, &hash(&v["root"])?)
    });
}

#[test]
fn consistency() {
    check("consistency", |v| {
        let (old, new) = (number(&v["size1"]), number(&v["size2"]));
        check_consistency(old, new, &root(&v["root1"]), &root(&v["root2"]), &proof(v)?)
    });
}
