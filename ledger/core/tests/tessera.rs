//! Tessera's test log, rebuilt to the byte from the test key that it publishes.
//!
//! Roots and the digests of the signed checkpoints, as we rebuilt them, are committed, so that this proves something
//! also where the log itself does not lie beside the checkout. `LOAM_WRITE_VECTORS=1` writes them anew.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use loam_ledger_core::Hash;
use loam_ledger_core::audit::{self, Options, ReadError, audit_log};
use loam_ledger_core::checkpoint::Checkpoint;
use loam_ledger_core::hash::{digest, leaf_hash};
use loam_ledger_core::note::SigningKey;
use loam_ledger_core::tile::{Tile, bundle_path, push_to_bundle};
use loam_ledger_core::tree::Edge;

const WORDS: &str = "one two three four five six seven eit nain ten ileven twelf threeten fourten fivten";
const PRIVATE: &str = "PRIVATE+KEY+example.com/log/testdata+33d7b496+AeymY/SZAX0jZcJ8enZ5FY1Dz+wTML2yWSkK+9DSF3eg";
const PUBLIC: &str = "example.com/log/testdata+33d7b496+AeHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx";

/// All files of the log, and the root at each size.
fn rebuilt() -> (BTreeMap<String, Vec<u8>>, Vec<Hash>) {
    let key = SigningKey::parse(PRIVATE).expect("the published key is a key");
    assert_eq!(key.verifier().to_string(), PUBLIC);
    assert_eq!(key.to_text(), PRIVATE);
    let (mut files, mut roots) = (BTreeMap::new(), Vec::new());
    let (mut edge, mut tile, mut bundle) = (Edge::default(), Vec::new(), Vec::new());
    let mut sign = |edge: &Edge| {
        let checkpoint = Checkpoint { origin: key.verifier().name().to_owned(), size: edge.size(), root: edge.root() };
        roots.push(edge.root());
        checkpoint.sign(&key).expect("the key has the log's name")
    };
    files.insert("checkpoint.0".to_owned(), sign(&edge));
    for (word, width) in WORDS.split(' ').zip(1..) {
        let leaf = leaf_hash(word.as_bytes());
        edge.append(leaf, |_, _, _| ());
        tile.extend_from_slice(&leaf.0);
        push_to_bundle(&mut bundle, word.as_bytes()).expect("a word fits a bundle");
        let place = Tile { level: 0, index: 0, width };
        files.insert(place.path(), tile.clone());
        files.insert(bundle_path(0, width), bundle.clone());
        files.insert(format!("checkpoint.{width}"), sign(&edge));
    }
    files.insert("checkpoint".to_owned(), files["checkpoint.15"].clone());
    (files, roots)
}

#[test]
fn rebuilt_log_is_the_committed_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/vectors/tessera.txt");
    let (files, roots) = rebuilt();
    let mut text =
        String::from("# Tessera's test log, rebuilt: size, root, and the digest of the signed checkpoint.\n");
    for (size, root) in roots.iter().enumerate() {
        let note = digest(&files[&format!("checkpoint.{size}")]);
        writeln!(text, "{size} {root} {note}").expect("a string takes any text");
    }
    if std::env::var_os("LOAM_WRITE_VECTORS").is_some() {
        fs::write(&path, &text).expect("the vectors can be written");
    }
    assert_eq!(fs::read_to_string(&path).expect("the vectors are committed"), text);
}

#[test]
fn rebuilt_log_is_the_original() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors/tessera");
    if !folder.is_dir() {
        eprintln!("SKIPPED: Tessera's log does not lie beside this checkout; the committed roots were compared");
        return;
    }
    let original = files_below(&folder, "");
    let (rebuilt, _) = rebuilt();
    assert_eq!(original.len(), 17 + 2 * 15, "checkpoints, tiles and bundles");
    assert_eq!(original, rebuilt);
}

#[test]
fn rebuilt_log_passes_the_audit() {
    let (mut files, _) = rebuilt();
    // Tessera's own layout has older checkpoints beside the newest; an export of ours has them in a folder.
    for size in 0..=15 {
        let note = files.remove(&format!("checkpoint.{size}")).expect("there is one for each size");
        files.insert(format!("checkpoints/{size}"), note);
    }
    let key = SigningKey::parse(PRIVATE).expect("the published key is a key");
    let options = Options { opaque: true, ..Options::default() };
    let report = audit_log(&Log(files), key.verifier(), options, &mut |_, _| ()).unwrap();
    assert_eq!((report.size, report.checkpoints, report.tiles), (15, 17, 1));
}

/// The log's files, as an audit reads them.
struct Log(BTreeMap<String, Vec<u8>>);

impl audit::Files for Log {
    fn read(&self, path: &str) -> Result<Vec<u8>, ReadError> {
        self.0.get(path).cloned().ok_or(ReadError::Missing)
    }

    fn list(&self, folder: &str) -> Result<Vec<String>, ReadError> {
        let names = self.0.keys().filter_map(|path| path.strip_prefix(folder)?.strip_prefix('/'));
        Ok(names.filter(|name| !name.contains('/')).map(str::to_owned).collect())
    }
}

fn files_below(folder: &Path, prefix: &str) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).expect("the log's folder can be listed") {
        let path: PathBuf = entry.expect("the log's folder can be read").path();
        let name = path.file_name().expect("a listed file has a name").to_string_lossy().into_owned();
        if path.is_dir() {
            files.extend(files_below(&path, &format!("{prefix}{name}/")));
        } else {
            files.insert(format!("{prefix}{name}"), fs::read(&path).expect("the log's file can be read"));
        }
    }
    files
}
