//! FORMAT.md's examples, each recomputed through the public API: what the file says is what the code does.
//!
//! `LOAM_WRITE_EXAMPLES=1 cargo test --release -p loam-ledger-core --test format` writes the examples anew; a new one
//! needs only its two fences in the file.

#[path = "format/records.rs"]
mod records;
#[path = "format/story.rs"]
mod story;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::OnceLock;

use loam_ledger_core::Hash;
use loam_ledger_core::audit::Answer;
use loam_ledger_core::checkpoint::Checkpoint;
use loam_ledger_core::commitment::{What, commit};
use loam_ledger_core::entry::Entry;
use loam_ledger_core::epoch::RowPlace;
use loam_ledger_core::granted::{GrantedRow, decode_granted, encode_granted, split_row_bundle};
use loam_ledger_core::hash::{digest, leaf_hash, row_leaf_hash};
use loam_ledger_core::note::{Note, VerifierKey};
use loam_ledger_core::policy::Policy;
use loam_ledger_core::proof::Proof;
use loam_ledger_core::receipt::{Held, Opening, Receipt};
use loam_ledger_core::row::Row;
use loam_ledger_core::text::{hex_decode, hex_encode};
use loam_ledger_core::tile::{Tile, bundle_path, push_to_bundle, row_bundle_path, split_bundle};
use loam_ledger_core::tree::{check_consistency, check_inclusion, prove_consistency, prove_inclusion, root_of_leaves};

/// The fences' info strings: `key: value` lines, and whole files of text.
const FIELDS: &str = "```loam-example name=";
const TEXT: &str = "```loam-text name=";

/// An example's lines, by its name.
type Examples = BTreeMap<String, String>;

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../FORMAT.md")
}

/// The file, its examples written anew first where that is asked for.
fn read() -> &'static str {
    static FILE: OnceLock<String> = OnceLock::new();
    FILE.get_or_init(|| {
        let file = std::fs::read_to_string(path()).expect("FORMAT.md lies beside the crate's folder");
        if std::env::var_os("LOAM_WRITE_EXAMPLES").is_none() {
            return file;
        }
        let file = rewritten(&file, &fresh().examples);
        std::fs::write(path(), &file).expect("the checkout can be written");
        file
    })
}

/// Cuts the file into what is not an example, and examples as (kind, name, body).
fn examples(file: &str) -> Examples {
    let mut found = Examples::new();
    let mut lines = file.lines();
    while let Some(line) = lines.next() {
        let Some(name) = line.strip_prefix(FIELDS).or_else(|| line.strip_prefix(TEXT)) else {
            continue;
        };
        let body: String = lines.by_ref().take_while(|line| *line != "```").map(|l| format!("{l}\n")).collect();
        let before = found.insert(name.to_owned(), body);
        assert!(before.is_none(), "the example {name} stands twice");
    }
    found
}

/// One example's fields, as they stand in the file.
fn fields(examples: &Examples, name: &str) -> BTreeMap<String, String> {
    let body = examples.get(name).unwrap_or_else(|| panic!("the example {name} is missing"));
    body.lines()
        .map(|line| {
            let (key, value) = line.split_once(": ").unwrap_or((line.trim_end_matches(':'), ""));
            (key.to_owned(), value.to_owned())
        })
        .collect()
}

fn bytes(fields: &BTreeMap<String, String>, key: &str) -> Vec<u8> {
    let value = fields.get(key).unwrap_or_else(|| panic!("the field {key} is missing"));
    hex_decode(value).unwrap_or_else(|| panic!("{key} is not hexadecimal"))
}

fn hash(fields: &BTreeMap<String, String>, key: &str) -> Hash {
    Hash::from_slice(&bytes(fields, key)).unwrap_or_else(|e| panic!("{key}: {e}"))
}

fn hashes(fields: &BTreeMap<String, String>, key: &str) -> Vec<Hash> {
    let bytes = bytes(fields, key);
    assert!(bytes.len().is_multiple_of(32), "{key} is not whole hashes");
    bytes.chunks(32).map(|chunk| Hash::from_slice(chunk).expect("32 bytes")).collect()
}

fn number(fields: &BTreeMap<String, String>, key: &str) -> u64 {
    fields[key].parse().unwrap_or_else(|_| panic!("{key} is not a decimal"))
}

/// HMAC-SHA256 (RFC 2104) for keys of up to 64 bytes; how an operator derives is not the core's matter.
fn hmac(key: &[u8], message: &[u8]) -> Hash {
    let pad = |byte: u8| -> Vec<u8> { (0..64).map(|n| byte ^ key.get(n).copied().unwrap_or(0)).collect() };
    let inner = digest(&[&pad(0x36)[..], message].concat());
    digest(&[&pad(0x5c)[..], &inner.0].concat())
}

/// What every example must say. Numbers are decimal, everything else is hexadecimal; hashes stand one behind another.
#[derive(Default)]
struct Fresh {
    examples: Examples,
}

impl Fresh {
    fn fields(&mut self, name: &str, fields: &[(&str, String)]) {
        let body = fields.iter().fold(String::new(), |mut body, (key, value)| {
            writeln!(body, "{}", format!("{key}: {value}").trim_end()).expect("a string takes everything");
            body
        });
        self.examples.insert(name.to_owned(), body);
    }

    fn text(&mut self, name: &str, bytes: &[u8]) {
        let text = core::str::from_utf8(bytes).expect("it is text").to_owned();
        self.examples.insert(name.to_owned(), text);
    }
}

fn joined(hashes: &[Hash]) -> String {
    hashes.iter().map(Hash::to_hex).collect()
}

fn fresh() -> Fresh {
    let mut fresh = Fresh::default();
    fresh_entries_and_rows(&mut fresh);
    fresh_commitments(&mut fresh);
    fresh_trees(&mut fresh);
    fresh_bundles(&mut fresh);
    records::fresh_records(&mut fresh);
    fresh.fields(
        "keys",
        &[
            ("log_seed", hex_encode(&story::LOG_SEED)),
            ("log_public", hex_encode(story::log_key().verifier().public())),
            ("witness_seed", hex_encode(&story::WITNESS_SEED)),
            ("witness_public", hex_encode(story::witness_key().public())),
        ],
    );
    fresh.text("vkey", format!("{}\n", story::log_key().verifier()).as_bytes());
    fresh.text("checkpoint", &story::signed_checkpoint());
    fresh.text("checkpoint-cosigned", &story::cosigned_checkpoint());
    fresh.text("policy", story::policy().as_bytes());
    fresh.text("proof", &story::proof().to_bytes());
    fresh.text("receipt", &story::receipt().to_bytes());
    fresh
}

fn fresh_entries_and_rows(fresh: &mut Fresh) {
    let names = ["entry-boot-first", "entry-batch-1", "entry-batch-2", "entry-batch-3", "entry-boot-next"];
    let usage = names.into_iter().zip(story::usage_entries());
    for (name, entry) in usage.chain(story::records_entries()) {
        let bytes = entry.encode();
        let leaf = leaf_hash(&bytes).to_hex();
        fresh.fields(name, &[("bytes", hex_encode(&bytes)), ("leaf", leaf)]);
    }
    let names = ["row-usage", "row-completion", "row-usage-no-adapter"];
    for ((name, row), salt) in names.into_iter().zip(story::rows()).zip(story::SALTS) {
        let bytes = row.encode();
        let leaf = row_leaf_hash(&salt, &bytes).to_hex();
        let fields = [("bytes", hex_encode(&bytes)), ("salt", hex_encode(&salt)), ("leaf", leaf)];
        fresh.fields(name, &fields);
    }
}

fn fresh_commitments(fresh: &mut Fresh) {
    for (name, seed) in ["request-with-nonce", "request-without-nonce"].into_iter().zip(story::SEEDS) {
        let mut fields = vec![("name", hex_encode(story::NAME.as_bytes()))];
        fields.extend(seed.client_nonce.map(|nonce| ("nonce", hex_encode(&nonce))));
        fields.push(("random", hex_encode(&seed.server_random)));
        fields.push(("commitment", seed.commitment(story::NAME).to_hex()));
        fresh.fields(name, &fields);
    }
    for (what, key) in What::ALL.into_iter().zip(story::KEYS) {
        let bytes = story::committed(what);
        let fields = [
            ("key", hex_encode(&key)),
            ("bytes", hex_encode(&bytes)),
            ("commitment", commit(what, &key, &bytes).to_hex()),
        ];
        fresh.fields(&format!("commitment-{}", what.word()), &fields);
    }
    let (secret, boot) = ([0x5e; 32], [0xb1; 16]);
    let of_row = |label: &str| [label.as_bytes(), b"\0", &boot, &2_u64.to_be_bytes(), &1_u32.to_be_bytes()].concat();
    let of_choice = |what: What| [b"loam/key/", what.word().as_bytes(), b"/v1\0", &0_u32.to_be_bytes()].concat();
    let fields = [
        ("secret", hex_encode(&secret)),
        ("boot", hex_encode(&boot)),
        ("sequence", "2".to_owned()),
        ("row", "1".to_owned()),
        ("salt", hex_encode(&hmac(&secret, &of_row("loam/salt/v1")).0[..16])),
        ("row_key", hmac(&secret, &of_row("loam/row-key/v1")).to_hex()),
        ("random", hex_encode(&hmac(&secret, b"loam/server-random/v1\0").0[..16])),
        ("choice", "0".to_owned()),
        ("text_key", hex_encode(&hmac(&secret, &of_choice(What::Text)).0[..16])),
    ];
    fresh.fields("derivation", &fields);
}

fn fresh_trees(fresh: &mut Fresh) {
    let row_leaves = story::row_leaves();
    let Ok(row_path) = prove_inclusion(&row_leaves[..], 1, 3);
    let fields = [
        ("leaves", joined(&row_leaves)),
        ("root", root_of_leaves(&row_leaves).to_hex()),
        ("index", "1".to_owned()),
        ("path", joined(&row_path)),
    ];
    fresh.fields("rows-root", &fields);
    let leaves = story::usage_leaves();
    let root_at = |size: usize| root_of_leaves(&leaves[..size]).to_hex();
    fresh.fields("tree", &[("leaves", joined(&leaves)), ("root", root_at(5))]);
    let Ok(path) = prove_inclusion(&leaves[..], 2, 5);
    let fields = [
        ("index", "2".to_owned()),
        ("size", "5".to_owned()),
        ("leaf", leaves[2].to_hex()),
        ("path", joined(&path)),
        ("root", root_at(5)),
    ];
    fresh.fields("inclusion", &fields);
    let Ok(path) = prove_consistency(&leaves[..], 3, 5);
    let fields = [
        ("old", "3".to_owned()),
        ("new", "5".to_owned()),
        ("old_root", root_at(3)),
        ("new_root", root_at(5)),
        ("path", joined(&path)),
    ];
    fresh.fields("consistency", &fields);
}

fn fresh_bundles(fresh: &mut Fresh) {
    let mut bundle = Vec::new();
    for entry in story::usage_entries() {
        push_to_bundle(&mut bundle, &entry.encode()).expect("the entry is short");
    }
    fresh.fields("entry-bundle", &[("bytes", hex_encode(&bundle))]);
    let of_request = encode_granted(&story::granted(GrantedRow::Hidden));
    fresh.fields("granted-rows-of-a-request", &[("bytes", hex_encode(&of_request))]);
    let erased = encode_granted(&story::granted(GrantedRow::Erased));
    fresh.fields("granted-rows-one-erased", &[("bytes", hex_encode(&erased))]);
    fresh.fields("row-bundle", &[("bytes", hex_encode(&story::row_bundle()))]);
    let mut paths = String::new();
    for (level, index, width) in [(0, 0, 5), (0, 0, 256), (1, 3, 17), (2, 1_234_067, 256)] {
        writeln!(paths, "{}", Tile { level, index, width }.path()).expect("a string takes everything");
    }
    for (index, width) in [(0, 256), (273, 112), (1_234_067, 1)] {
        let (entries, rows) = (bundle_path(index, width), row_bundle_path(index, width));
        writeln!(paths, "{entries}\n{rows}").expect("a string takes everything");
    }
    fresh.text("paths", paths.as_bytes());
    fresh.text("extra-of-receipt", format!("{}\n", hex_encode(&story::opening().encode())).as_bytes());
}

/// The file with the body of each known example replaced.
fn rewritten(file: &str, fresh: &Examples) -> String {
    let mut out = String::with_capacity(file.len());
    let mut lines = file.lines();
    while let Some(line) = lines.next() {
        out += &format!("{line}\n");
        let Some(name) = line.strip_prefix(FIELDS).or_else(|| line.strip_prefix(TEXT)) else {
            continue;
        };
        let old: String = lines.by_ref().take_while(|line| *line != "```").map(|l| format!("{l}\n")).collect();
        out += fresh.get(name).unwrap_or(&old);
        out += "```\n";
    }
    out
}

#[test]
fn every_example_is_there_and_right() {
    let fresh = fresh().examples;
    let found = examples(read());
    for (name, body) in &found {
        let right = fresh.get(name).unwrap_or_else(|| panic!("nothing is known of an example {name}"));
        assert_eq!(body, right, "the example {name}");
    }
    let missing: Vec<&String> = fresh.keys().filter(|name| !found.contains_key(*name)).collect();
    assert!(missing.is_empty(), "examples that are missing: {missing:?}");
}

#[test]
fn entries_read_back() {
    let examples = examples(read());
    let names: Vec<&String> =
        examples.keys().filter(|name| name.starts_with("entry-") && *name != "entry-bundle").collect();
    assert_eq!(names.len(), 10, "{names:?}");
    for name in names {
        let fields = fields(&examples, name);
        let bytes = bytes(&fields, "bytes");
        assert_eq!(Entry::decode(&bytes).unwrap().encode(), bytes, "{name}");
        assert_eq!(leaf_hash(&bytes), hash(&fields, "leaf"), "{name}");
    }
}

#[test]
fn rows_read_back() {
    let examples = examples(read());
    for name in ["row-usage", "row-completion", "row-usage-no-adapter"] {
        let fields = fields(&examples, name);
        let (bytes, salt) = (bytes(&fields, "bytes"), bytes(&fields, "salt"));
        assert_eq!(Row::decode(&bytes).unwrap().encode(), bytes, "{name}");
        assert_eq!(row_leaf_hash(&salt.try_into().unwrap(), &bytes), hash(&fields, "leaf"), "{name}");
    }
}

#[test]
fn trees_and_proofs_hold() {
    let examples = examples(read());
    let rows = fields(&examples, "rows-root");
    let (leaves, root) = (hashes(&rows, "leaves"), hash(&rows, "root"));
    assert_eq!(root_of_leaves(&leaves), root);
    let index = number(&rows, "index");
    check_inclusion(index, 3, &leaves[index as usize], &hashes(&rows, "path"), &root).unwrap();
    let tree = fields(&examples, "tree");
    assert_eq!(root_of_leaves(&hashes(&tree, "leaves")), hash(&tree, "root"));
    let proof = fields(&examples, "inclusion");
    let (index, size) = (number(&proof, "index"), number(&proof, "size"));
    let path = hashes(&proof, "path");
    check_inclusion(index, size, &hash(&proof, "leaf"), &path, &hash(&proof, "root")).unwrap();
    let proof = fields(&examples, "consistency");
    let (old, new) = (number(&proof, "old"), number(&proof, "new"));
    let roots = (hash(&proof, "old_root"), hash(&proof, "new_root"));
    check_consistency(old, new, &roots.0, &roots.1, &hashes(&proof, "path")).unwrap();
}

#[test]
fn bundles_read_back() {
    let examples = examples(read());
    let bundle = bytes(&fields(&examples, "entry-bundle"), "bytes");
    let leaves: Vec<Hash> = split_bundle(&bundle, 5).unwrap().into_iter().map(leaf_hash).collect();
    assert_eq!(leaves, hashes(&fields(&examples, "tree"), "leaves"));
    let erased = bytes(&fields(&examples, "granted-rows-one-erased"), "bytes");
    let bundle = bytes(&fields(&examples, "row-bundle"), "bytes");
    assert_eq!(split_row_bundle(&bundle, 5).unwrap(), [&[][..], &[], &erased, &[], &[]]);
    for name in ["granted-rows-of-a-request", "granted-rows-one-erased"] {
        let bytes = bytes(&fields(&examples, name), "bytes");
        let rows = decode_granted(&bytes).unwrap();
        assert_eq!(encode_granted(&rows), bytes, "{name}");
        let leaves: Vec<Hash> = rows.iter().map(GrantedRow::leaf).collect();
        assert_eq!(leaves, hashes(&fields(&examples, "rows-root"), "leaves"), "{name}");
    }
}

#[test]
fn signed_files_verify() {
    let examples = examples(read());
    let key = VerifierKey::parse(examples["vkey"].trim_end()).unwrap();
    let leaves = hashes(&fields(&examples, "tree"), "leaves");
    for name in ["checkpoint", "checkpoint-cosigned"] {
        let checkpoint = Checkpoint::open(examples[name].as_bytes(), &key).unwrap();
        assert_eq!((checkpoint.size, checkpoint.root), (5, root_of_leaves(&leaves)), "{name}");
    }
    let policy = Policy::parse(&examples["policy"]).unwrap();
    let cosigned = Note::parse(examples["checkpoint-cosigned"].as_bytes()).unwrap();
    policy.check_quorum(&cosigned).unwrap();
    let alone = Note::parse(examples["checkpoint"].as_bytes()).unwrap();
    policy.check_quorum(&alone).unwrap_err();
    let proof = Proof::parse(examples["proof"].as_bytes()).unwrap();
    assert_eq!(proof.to_bytes(), examples["proof"].as_bytes());
    proof.check(&leaves[2], &key).unwrap();
}

#[test]
fn the_receipt_verifies() {
    let examples = examples(read());
    let key = VerifierKey::parse(examples["vkey"].trim_end()).unwrap();
    let receipt = Receipt::parse(examples["receipt"].as_bytes()).unwrap();
    assert_eq!(receipt.to_bytes(), examples["receipt"].as_bytes());
    let extra = hex_decode(examples["extra-of-receipt"].trim_end()).unwrap();
    assert_eq!(Opening::decode(&extra).unwrap(), receipt.opening);
    assert_eq!(receipt.opening.encode(), extra);
    let policy = Policy::parse(&examples["policy"]).unwrap();
    let (request, text) = (story::committed(What::Request), story::committed(What::Text));
    let held = Held {
        policy: Some(&policy),
        nonce: story::SEEDS[0].client_nonce.as_ref(),
        request: Some(&request),
        output: Some(&text),
        adapter: Some(&Hash([0x61; 32])),
        tokens: Some(3),
    };
    let checked = receipt.check(&key, &held);
    assert_eq!(checked.refused(), None);
    assert!(checked.bound());
    let found = checked.found.unwrap();
    let answer = Answer::of(&receipt, &found).unwrap();
    assert_eq!((answer.place, answer.leaf), (RowPlace { shard: 1, index: 2, row: 1 }, story::row_leaves()[1]));
}
