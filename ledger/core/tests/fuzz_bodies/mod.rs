//! What each fuzz target does with its bytes, and what must hold whatever they are. The targets in `fuzz/` only call
//! these; `tests/corpus.rs` calls them with the committed corpus, on stable Rust.

#![allow(dead_code, reason = "a fuzz target calls one body")]

mod export;
mod record;

use std::sync::OnceLock;

use loam_ledger_core::Hash;
use loam_ledger_core::checkpoint::Checkpoint;
use loam_ledger_core::cosignature::cosigned_at;
use loam_ledger_core::entry::Entry;
use loam_ledger_core::granted::{GrantedRow, decode_granted, encode_granted, push_to_row_bundle, split_row_bundle};
use loam_ledger_core::note::{Note, SigningKey, VerifierKey};
use loam_ledger_core::origin::{LogId, LogName};
use loam_ledger_core::policy::Policy;
use loam_ledger_core::proof::Proof;
use loam_ledger_core::receipt::{Held, Opening, Receipt};
use loam_ledger_core::row::Row;
use loam_ledger_core::text::decimal;
use loam_ledger_core::tile::{Resource, push_to_bundle, split_bundle};
use loam_ledger_core::tree::{check_consistency, inclusion_root};

pub(crate) use export::export;
pub(crate) use record::record;

use crate::world::{Received, Witness, World, key};

/// Whoever accepts some bytes has understood all of them, and so writes the same ones again.
fn canonical<T, E>(data: &[u8], read: impl Fn(&[u8]) -> Result<T, E>, write: impl Fn(&T) -> Vec<u8>) -> Option<T> {
    let value = read(data).ok()?;
    assert_eq!(write(&value), data, "another spelling was accepted");
    Some(value)
}

/// The key of the log that `seeds` are of.
fn log_key() -> &'static VerifierKey {
    static KEY: OnceLock<VerifierKey> = OnceLock::new();
    KEY.get_or_init(|| key(LogId::Usage(1)).verifier().clone())
}

/// A witness, and a policy that asks for it.
fn asked() -> &'static (VerifierKey, Policy) {
    static ASKED: OnceLock<(VerifierKey, Policy)> = OnceLock::new();
    ASKED.get_or_init(|| {
        let witness = Witness::new("witness.test/a").verifier();
        let policy = Policy::parse(&format!("witness a {witness}\nquorum a\n"));
        (witness, policy.expect("this is a policy"))
    })
}

/// Entries, and bundles of them.
pub(crate) fn entry(data: &[u8]) {
    if let Some(entry) = canonical(data, Entry::decode, Entry::encode) {
        let usage = matches!(entry, Entry::Boot(_) | Entry::Batch(_));
        assert_eq!(entry.place().is_some(), usage);
        entry.time_ms();
    }
    let Some((width, bundle)) = data.split_first() else { return };
    if let Ok(entries) = split_bundle(bundle, u64::from(*width)) {
        let mut joined = Vec::new();
        entries.iter().for_each(|entry| push_to_bundle(&mut joined, entry).expect("it came from a bundle"));
        assert_eq!(joined, bundle);
    }
}

/// Rows, and what is granted of them.
pub(crate) fn row(data: &[u8]) {
    canonical(data, Row::decode, Row::encode);
    if let Some(rows) = canonical(data, decode_granted, |rows| encode_granted(rows)) {
        let leaves: Vec<Hash> = rows.iter().map(GrantedRow::leaf).collect();
        assert_eq!(leaves.len(), rows.len());
    }
    let Some((width, bundle)) = data.split_first() else { return };
    if let Ok(granted) = split_row_bundle(bundle, u64::from(*width)) {
        let mut joined = Vec::new();
        granted.iter().for_each(|rows| push_to_row_bundle(&mut joined, rows));
        assert_eq!(joined, bundle);
    }
}

/// Notes, keys, policies and cosignatures.
pub(crate) fn note(data: &[u8]) {
    let (witness, asked) = asked();
    if let Ok(note) = Note::parse(data) {
        let text = note.text().as_bytes();
        assert!(text.ends_with(b"\n") && data.starts_with(text), "the text is what was signed");
        // Nobody but the log signs for it, and it signed only what `seeds` has of it.
        if note.signed_by(log_key()).is_ok() {
            assert!(signed().contains(&note.text().to_owned()), "{:?} was never signed", note.text());
        }
        let cosigned = cosigned_at(&note, witness);
        let quorum = asked.check_quorum(&note);
        assert_eq!(quorum.is_ok(), matches!(cosigned, Ok(Some(_))));
    }
    let Ok(text) = core::str::from_utf8(data) else { return };
    if let Ok(key) = VerifierKey::parse(text) {
        assert_eq!(key.to_string(), text);
    }
    if let Ok(key) = SigningKey::parse(text) {
        assert_eq!(key.to_text(), text);
    }
    if let Ok(policy) = Policy::parse(text) {
        assert!(policy.logs().len() <= text.lines().count());
    }
}

/// Checkpoints, and the small texts around them.
pub(crate) fn checkpoint(data: &[u8]) {
    if let Ok(opened) = Checkpoint::open(data, log_key()) {
        assert!(signed().contains(&opened.to_text()), "{opened:?} was never signed");
    }
    let Ok(text) = core::str::from_utf8(data) else { return };
    canonical(data, |_| Checkpoint::parse(text), |read| read.to_text().into_bytes());
    canonical(data, |_| LogName::parse(text), |read| read.to_string().into_bytes());
    canonical(data, |_| decimal(text), |read| read.to_string().into_bytes());
    canonical(data, |_| Resource::parse(text).ok_or(()), |read| read.path().into_bytes());
}

/// Proof files; and paths, with the first bytes as their numbers.
pub(crate) fn proof(data: &[u8]) {
    if let Some(proof) = canonical(data, Proof::parse, Proof::to_bytes) {
        let leaf = honest().receipt.opening.entry.clone();
        if let Ok(checkpoint) = proof.check(&loam_ledger_core::hash::leaf_hash(&leaf), log_key()) {
            let real = &honest().receipt.proof;
            assert_eq!((proof.index, &proof.path), (real.index, &real.path), "at {}", checkpoint.size);
        }
    }
    let Some((numbers, rest)) = data.split_first_chunk::<16>() else { return };
    let (a, b) = numbers.split_at(8);
    let [a, b] = [a, b].map(|half| u64::from_le_bytes(half.try_into().expect("a half has 8 bytes")));
    let hashes: Vec<Hash> = rest.as_chunks::<32>().0.iter().copied().map(Hash).collect();
    let [first, second, path @ ..] = &hashes[..] else { return };
    // As Trillian counts it: hashes until the path meets the right edge, and one for each left turn after that.
    let length = (a < b).then(|| {
        let inner = u64::BITS - (a ^ (b - 1)).leading_zeros();
        inner + a.checked_shr(inner).unwrap_or(0).count_ones()
    });
    let found = inclusion_root(a, b, first, path);
    assert_eq!(found.is_ok(), length == u32::try_from(path.len()).ok(), "{found:?}");
    let consistent = check_consistency(a, b, first, second, path);
    assert!(consistent.is_err() || a == b || path.len() <= 65, "{consistent:?}");
}

/// Receipts, and what they open.
pub(crate) fn receipt(data: &[u8]) {
    canonical(data, Opening::decode, Opening::encode);
    let Some(receipt) = canonical(data, Receipt::parse, Receipt::to_bytes) else { return };
    let checked = receipt.check(log_key(), &honest().held());
    if checked.refused().is_none() {
        assert!(checked.bound());
        // The keys of what the client does not hold open nothing here.
        let real = &honest().receipt;
        assert_eq!(receipt.proof.index, real.proof.index);
        assert_eq!(receipt.opening.row, real.opening.row);
        assert_eq!(receipt.opening.seed, real.opening.seed);
    }
    let unheld = receipt.check(log_key(), &Held::default());
    assert!(!unheld.bound());
}

/// A receipt of a small log, and what its client holds.
fn honest() -> &'static Received {
    static HONEST: OnceLock<Received> = OnceLock::new();
    HONEST.get_or_init(|| {
        let world = World::new(60);
        world.receipt(world.a_completion())
    })
}

/// What the log signed, of all that a fuzzer can have seen.
fn signed() -> &'static [String] {
    static SIGNED: OnceLock<Vec<String>> = OnceLock::new();
    SIGNED.get_or_init(|| {
        let note = |bytes: &[u8]| Note::parse(bytes).expect("a seed is a note").text().to_owned();
        vec![note(&honest().receipt.proof.checkpoint), "a text\n\nof two parts\n".to_owned()]
    })
}

/// Where fuzzing begins: files for the corpus of each target.
pub(crate) fn seeds() -> Vec<(&'static str, String, Vec<u8>)> {
    let (world, mut seeds) = (World::new(60), Vec::new());
    let mut seed = |target: &'static str, name: &str, bytes: Vec<u8>| seeds.push((target, name.to_owned(), bytes));
    let sealed = world.seal_in(&[30], &[world.requests[2].id()].into());
    let restless = World::of(60, 2, 4);
    for (name, at) in [("boot", 0), ("batch", restless.batches()[3]), ("later-boot", restless.later_boots(|_| true)[0])]
    {
        seed("entry", name, restless.seal().shards[0][at].bytes.clone());
    }
    for (name, entry) in ["opened", "closed", "redaction"].iter().zip(&sealed.records) {
        seed("entry", name, entry.encode());
    }
    let mut bundle = vec![3];
    for leaf in &sealed.shards[0][..3] {
        push_to_bundle(&mut bundle, &leaf.bytes).expect("an entry fits");
    }
    seed("entry", "bundle", bundle);

    let (entry, nth) = world.a_completion();
    seed("row", "completion", world.entries[entry].rows[nth].row.encode());
    let (entry, nth) = world.a_later_usage();
    seed("row", "usage", world.entries[entry].rows[nth].row.encode());
    let mut bundle = vec![2];
    for (name, leaf) in ["granted", "granted-too"].iter().zip(sealed.shards[0].iter().filter(|l| l.rows.len() > 1)) {
        seed("row", name, encode_granted(&leaf.rows));
        push_to_row_bundle(&mut bundle, &encode_granted(&leaf.rows));
    }
    seed("row", "row-bundle", bundle);

    let (key, witness) = (key(LogId::Usage(1)), Witness::new("witness.test/a"));
    let checkpoint = &honest().receipt.proof.checkpoint;
    seed("note", "signed", key.sign_note("a text\n\nof two parts\n"));
    seed("note", "cosigned", witness.cosign(checkpoint, 1_700_000_000));
    seed("note", "vkey", key.verifier().to_string().into_bytes());
    seed("note", "private-key", key.to_text().into_bytes());
    let policy = format!("# who\nlog {}\nwitness a {}\ngroup g any a\nquorum g\n", key.verifier(), witness.verifier());
    seed("note", "policy", policy.into_bytes());

    seed("checkpoint", "signed", checkpoint.clone());
    let text = Note::parse(checkpoint).expect("a checkpoint is a note").text().to_owned();
    seed("checkpoint", "text", text.into_bytes());
    seed("checkpoint", "origin", key.verifier().name().as_bytes().to_vec());
    seed("checkpoint", "path", b"tile/1/x001/234.p/56".to_vec());

    let receipt = &honest().receipt;
    seed("proof", "without-extra", Proof { extra: None, ..receipt.proof.clone() }.to_bytes());
    let numbers = [receipt.proof.index.to_le_bytes(), 60u64.to_le_bytes()].concat();
    let hashes = receipt.proof.path.iter().flat_map(|hash| hash.0);
    seed("proof", "path", numbers.into_iter().chain([0; 64]).chain(hashes).collect());
    seed("receipt", "file", receipt.to_bytes());
    seed("receipt", "opening", receipt.opening.encode());
    seeds.extend(record::seeds().into_iter().map(|(name, bytes)| ("record", name, bytes)));
    seeds.extend(export::seeds().into_iter().map(|(name, bytes)| ("export", name.to_owned(), bytes)));
    seeds
}
