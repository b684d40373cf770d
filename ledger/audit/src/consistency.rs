//! `loam-audit consistency`: the proof that a log only grew, computed from its tiles and checked.

use std::path::Path;

use loam_ledger_core::Hash;
use loam_ledger_core::audit::{Files, ReadError};
use loam_ledger_core::checkpoint::Checkpoint;
use loam_ledger_core::note::{NOTE_BYTES_MAX, Note, VerifierKey};
use loam_ledger_core::text::{base64_encode, decimal};
use loam_ledger_core::tile::{Tile, TileNodes, tile_hashes};
use loam_ledger_core::tree::{Nodes, check_consistency, prove_consistency, root_at};
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::arguments::Consistency;
use crate::files::{Export, read_named};
use crate::given;
use crate::log::OF_LOG;
use crate::text::{Lines, count, number};

/// Why a tree's nodes could not be told.
pub(crate) enum TreeError {
    /// A file could not be read.
    Unreadable(String),
    /// The log is not whole.
    Invalid(String),
}

impl TreeError {
    pub(crate) fn of(path: &str, why: ReadError) -> Self {
        match why {
            ReadError::Missing => Self::Invalid(format!("{path} is missing; the log is not whole without it")),
            ReadError::Failed(why) => Self::Unreadable(format!("cannot read {path}: {why}")),
        }
    }
}

/// The nodes of an export's tree, by its tiles.
pub(crate) fn nodes(export: &Export, size: u64) -> impl Nodes<Error = TreeError> + '_ {
    TileNodes::new(size, move |tile: Tile| {
        let path = tile.path();
        let bytes = export.read(&path).map_err(|why| TreeError::of(&path, why))?;
        tile_hashes(tile, &bytes).map_err(|e| TreeError::Invalid(e.to_string()))
    })
}

/// One of the two heads.
struct Head {
    size: u64,
    root: Hash,
    /// Whether a signature over it was checked.
    signed: bool,
    /// What it is, for a person.
    what: String,
}

pub(crate) fn check(asked: &Consistency) -> anyhow::Result<Answer> {
    let key = asked.vkey.as_deref().map(given::log_key).transpose()?;
    let export = Export::open(&asked.log)?;
    let newest = export.must_read(OF_LOG)?;
    let shown = [given_head(&asked.old)?, given_head(&asked.new)?];
    match compare(&export, &newest, key.as_ref(), shown) {
        Ok(answer) => Ok(answer),
        Err(TreeError::Invalid(why)) => Ok(Answer::invalid(String::new(), json!({}), why)),
        Err(TreeError::Unreadable(why)) => Err(anyhow::anyhow!(why)),
    }
}

/// A head as the caller gave it: a size, or the bytes of a note with its name.
enum Given {
    Size(u64),
    Note(String, Vec<u8>),
}

fn given_head(text: &str) -> anyhow::Result<Given> {
    match decimal(text) {
        Ok(size) => Ok(Given::Size(size)),
        Err(_) => Ok(Given::Note(text.to_owned(), read_named(Path::new(text), NOTE_BYTES_MAX as u64)?)),
    }
}

fn compare(
    export: &Export,
    newest: &[u8],
    key: Option<&VerifierKey>,
    [old, new]: [Given; 2],
) -> Result<Answer, TreeError> {
    let newest = open(newest, key, OF_LOG)?;
    let nodes = nodes(export, newest.size);
    if root_at(&nodes, newest.size)? != newest.root {
        return Err(TreeError::Invalid("the log's tiles do not give the root of its checkpoint".to_owned()));
    }
    let head = |given| head(given, &nodes, &newest, key);
    let (old, new) = (head(old)?, head(new)?);
    for head in [&old, &new] {
        if head.size > newest.size {
            return Err(TreeError::Invalid(format!(
                "size {} is beyond the log in this export, which ends at {}; a later export can show it",
                number(head.size),
                number(newest.size)
            )));
        }
    }
    let proof = match old.size {
        // Every log begins empty: there is nothing to show, and the checker takes equal roots only.
        0 => Vec::new(),
        size if size > new.size => Vec::new(),
        size => prove_consistency(&nodes, size, new.size)?,
    };
    let from_empty = old.size == 0 && old.root == Hash::EMPTY_TREE;
    let checked = check_consistency(old.size, new.size, &old.root, &new.root, &proof);
    let fields = fields_of(&old, &new, &proof);
    match checked {
        Err(_) if from_empty => {}
        Err(error) => return Ok(Answer::invalid(String::new(), fields, error.to_string())),
        Ok(()) => {}
    }
    for head in [&old, &new] {
        // Two heads can be of one log, and still not of this one.
        if root_at(&nodes, head.size)? != head.root {
            let why = format!("{} is not of the log in this export", head.what);
            return Ok(Answer::invalid(String::new(), fields, why));
        }
    }
    let mut lines = Lines::default();
    lines.plain(&newest.origin);
    for (label, head) in [("old", &old), ("new", &new)] {
        let signed = if head.signed { ", signed by the key you gave" } else { "" };
        lines.line(label, format!("size {}: {}{signed}", number(head.size), head.what));
        lines.line("", base64_encode(&head.root.0));
    }
    lines.line("proof", count(proof.len() as u64, "hash"));
    if key.is_none() {
        lines.line("not checked", "signatures; give the log's key with --vkey");
    }
    lines.plain("");
    lines.plain(&format!("VALID: the log only grew from {} to {}", number(old.size), number(new.size)));
    Ok(Answer::valid(lines.finish(), fields))
}

/// A given head with its root: that of its note, or that which the tiles give at its size.
fn head<N: Nodes<Error = TreeError>>(
    given: Given,
    nodes: &N,
    newest: &Checkpoint,
    key: Option<&VerifierKey>,
) -> Result<Head, TreeError> {
    match given {
        Given::Size(size) => {
            // A size beyond the log is refused by its name; its root is then nobody's.
            let root = if size > newest.size { Hash::ZERO } else { root_at(nodes, size)? };
            let what = "the root as the log's tiles give it".to_owned();
            Ok(Head { size, root, signed: false, what })
        }
        Given::Note(name, bytes) => {
            let checkpoint = open(&bytes, key, &name)?;
            if checkpoint.origin != newest.origin {
                let why = format!("{name} is of {}, and the log is {}", checkpoint.origin, newest.origin);
                return Err(TreeError::Invalid(why));
            }
            Ok(Head { size: checkpoint.size, root: checkpoint.root, signed: key.is_some(), what: name })
        }
    }
}

fn open(bytes: &[u8], key: Option<&VerifierKey>, name: &str) -> Result<Checkpoint, TreeError> {
    let opened = Note::parse(bytes).and_then(|note| match key {
        Some(key) => Checkpoint::open_parsed(&note, key),
        None => Checkpoint::parse(note.text()),
    });
    opened.map_err(|e| TreeError::Invalid(format!("{name}: {e}")))
}

fn fields_of(old: &Head, new: &Head, proof: &[Hash]) -> Value {
    let one = |head: &Head| json!({ "size": head.size, "root": base64_encode(&head.root.0), "signed": head.signed });
    let proof: Vec<String> = proof.iter().map(|hash| base64_encode(&hash.0)).collect();
    json!({ "old": one(old), "new": one(new), "proof": proof })
}
