//! `loam-audit show`: what a file or an export says, without a word on whether it is true.

use anyhow::{Context, bail};
use loam_ledger_core::audit::{Files, ReadError};
use loam_ledger_core::checkpoint::Checkpoint;
use loam_ledger_core::entry::Entry;
use loam_ledger_core::granted::{decode_granted, split_row_bundle};
use loam_ledger_core::note::{KeyKind, Note, VerifierKey};
use loam_ledger_core::origin::LogId;
use loam_ledger_core::policy::Policy;
use loam_ledger_core::proof::Proof;
use loam_ledger_core::receipt::{Opening, Receipt};
use loam_ledger_core::row::Row;
use loam_ledger_core::text::{base64_encode, hex_encode};
use loam_ledger_core::tile::{TILE_WIDTH, row_bundle_path, width_at};
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::arguments::Show;
use crate::consistency::TreeError;
use crate::files::{Export, read_named};
use crate::log::{OF_LEDGER, OF_LOG};
use crate::receipt::entry_at;
use crate::text::{Lines, count, number};
use crate::words::{
    checkpoint_json, checkpoint_lines, entry_json, entry_kind, entry_lines, granted_json, granted_lines, row_json,
    row_lines,
};

/// The largest file that is shown.
const SHOWN_BYTES_MAX: u64 = 4 << 20;

pub(crate) fn show(asked: &Show) -> anyhow::Result<Answer> {
    if asked.path.is_dir() {
        let export = Export::open(&asked.path)?;
        return match asked.index {
            Some(index) => show_entry(export, asked.log, index),
            None => show_export(&export),
        };
    }
    if asked.index.is_some() {
        bail!("--index needs the folder of an export, and {} is a file", asked.path.display());
    }
    let bytes = read_named(&asked.path, SHOWN_BYTES_MAX)?;
    let mut lines = Lines::default();
    match show_file(&bytes, &mut lines) {
        Ok(fields) => Ok(shown(lines, fields)),
        Err(why) => {
            let reason = format!("{}: {why}", asked.path.display());
            Ok(Answer::invalid(String::new(), json!({ "verified": false }), reason))
        }
    }
}

fn shown(mut lines: Lines, mut fields: Value) -> Answer {
    lines.plain("").plain("Nothing of this was verified.");
    fields["verified"] = false.into();
    Answer::shown(lines.finish(), fields)
}

fn show_file(bytes: &[u8], lines: &mut Lines) -> Result<Value, String> {
    if bytes.starts_with(b"c2sp.org/tlog-proof@v1\n") {
        return show_proof(bytes, lines).map_err(|e| e.to_string());
    }
    if let Ok(text) = core::str::from_utf8(bytes) {
        if let Ok(key) = VerifierKey::parse(text.trim()) {
            return Ok(show_key(&key, lines));
        }
        if let Ok(note) = Note::parse(bytes) {
            return Ok(show_note(&note, text, lines));
        }
        if let Ok(policy) = Policy::parse(text) {
            return Ok(show_policy(&policy, text, lines));
        }
        return Err("neither a proof, a receipt, a checkpoint, a key nor a policy".to_owned());
    }
    match (Entry::decode(bytes), Row::decode(bytes)) {
        (Ok(entry), _) => {
            entry_lines(lines, &entry);
            Ok(json!({ "kind": "entry", "entry": entry_json(&entry) }))
        }
        (_, Ok(row)) => {
            row_lines(lines, &row);
            Ok(json!({ "kind": "row", "row": row_json(&row) }))
        }
        (Err(as_entry), Err(as_row)) => Err(format!("as an entry: {as_entry}; as a row: {as_row}")),
    }
}

fn show_proof(bytes: &[u8], lines: &mut Lines) -> Result<Value, loam_ledger_core::Error> {
    let proof = Proof::parse(bytes)?;
    let receipt = proof.extra.as_ref().is_some_and(|extra| Opening::decode(extra).is_ok());
    lines.plain(if receipt { "a receipt" } else { "a proof" });
    lines.line("entry", format!("number {}", number(proof.index)));
    lines.line("path", format!("{} long", count(proof.path.len() as u64, "step")));
    let path: Vec<String> = proof.path.iter().map(|hash| base64_encode(&hash.0)).collect();
    let mut fields = json!({ "index": proof.index, "path": path });
    let note = Note::parse(&proof.checkpoint)?;
    let text = String::from_utf8_lossy(&proof.checkpoint).into_owned();
    fields["checkpoint"] = show_note(&note, &text, lines)["checkpoint"].take();
    if !receipt {
        return Ok(json!({ "kind": "proof", "proof": fields }));
    }
    let Receipt { opening, .. } = Receipt::parse(bytes)?;
    lines.plain("").plain("its entry");
    let entry = Entry::decode(&opening.entry)?;
    entry_lines(lines, &entry);
    lines.plain("").plain(&format!("its row, number {} of the entry", number(opening.row_index)));
    let row = Row::decode(&opening.row)?;
    row_lines(lines, &row);
    let nonce = opening.seed.client_nonce.map(|nonce| hex_encode(&nonce));
    lines.line("nonce", nonce.as_deref().unwrap_or("none: the client gave none"));
    fields["entry"] = entry_json(&entry);
    fields["row_index"] = opening.row_index.into();
    fields["row"] = row_json(&row);
    fields["nonce"] = json!(nonce);
    Ok(json!({ "kind": "receipt", "receipt": fields }))
}

fn show_key(key: &VerifierKey, lines: &mut Lines) -> Value {
    let signs = match key.kind() {
        KeyKind::Ed25519 => "a log's checkpoints",
        KeyKind::CosignatureV1 => "others' checkpoints, as a witness",
    };
    lines.plain("a key");
    lines.line("name", key.name());
    lines.line("id", hex_encode(&key.id()));
    lines.line("signs", signs);
    lines.line("public key", hex_encode(key.public()));
    let fields = json!({
        "name": key.name(), "id": hex_encode(&key.id()), "signs": signs, "public_key": hex_encode(key.public()),
    });
    json!({ "kind": "key", "key": fields })
}

fn show_note(note: &Note, whole: &str, lines: &mut Lines) -> Value {
    // The text of signature lines; a note that was taken apart has well-formed ones.
    let signatures = whole.get(note.text().len() + 1..).unwrap_or_default().lines();
    let names: Vec<String> = signatures.filter_map(|line| line.split(' ').nth(1)).map(str::to_owned).collect();
    match Checkpoint::parse(note.text()) {
        Ok(checkpoint) => {
            lines.plain("a checkpoint");
            checkpoint_lines(lines, &checkpoint);
            lines.lines("signed, it says", &names);
            let mut fields = checkpoint_json(&checkpoint);
            fields["signatures"] = names.into();
            json!({ "kind": "checkpoint", "checkpoint": fields })
        }
        Err(_) => {
            lines.plain("a note that is not a checkpoint");
            lines.line("text", note.text());
            lines.lines("signed, it says", &names);
            json!({ "kind": "note", "note": { "text": note.text(), "signatures": names } })
        }
    }
}

fn show_policy(policy: &Policy, text: &str, lines: &mut Lines) -> Value {
    lines.plain("a policy");
    let logs: Vec<String> = policy.logs().iter().map(|key| key.name().to_owned()).collect();
    let said: Vec<String> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#') && !line.starts_with("log"))
        .map(str::to_owned)
        .collect();
    lines.lines("logs", &logs);
    lines.lines("witnesses", &said);
    json!({ "kind": "policy", "policy": { "logs": logs, "witnesses": said, "quorum": policy.needs_witnesses() } })
}

fn show_export(export: &Export) -> anyhow::Result<Answer> {
    let mut lines = Lines::default();
    if export.has(OF_LOG) {
        let fields = export_lines(export, &mut lines)?;
        return Ok(shown(lines, json!({ "kind": "log", "log": fields })));
    }
    if !export.has(OF_LEDGER) {
        bail!("the folder holds neither {OF_LOG} nor {OF_LEDGER}, so it is no export");
    }
    let mut logs = vec![LogId::Records];
    let shards = export.list("usage").map_err(|why| anyhow::anyhow!("cannot read usage: {why:?}"))?;
    logs.extend(shards.iter().filter_map(|shard| format!("usage/{shard}").parse::<LogId>().ok()));
    logs.sort_unstable();
    let mut fields = Vec::with_capacity(logs.len());
    for (place, log) in logs.iter().enumerate() {
        if place > 0 {
            lines.plain("");
        }
        fields.push(export_lines(&export.folder(&log.to_string())?, &mut lines)?);
    }
    Ok(shown(lines, json!({ "kind": "ledger", "ledger": fields })))
}

fn export_lines(export: &Export, lines: &mut Lines) -> anyhow::Result<Value> {
    let checkpoint = claimed(export, OF_LOG)?;
    let older = export.list("checkpoints").unwrap_or_default().len() as u64;
    let rows = export.has("rows");
    lines.plain("an export");
    checkpoint_lines(lines, &checkpoint);
    lines.line("older", count(older, "checkpoint"));
    lines.line("rows", if rows { "granted, at least in part" } else { "none granted" });
    let mut fields = checkpoint_json(&checkpoint);
    fields["older_checkpoints"] = older.into();
    fields["rows"] = rows.into();
    Ok(fields)
}

fn show_entry(export: Export, log: Option<LogId>, index: u64) -> anyhow::Result<Answer> {
    let export = match log {
        Some(log) if !export.has(OF_LOG) => export.folder(&log.to_string())?,
        _ => export,
    };
    if !export.has(OF_LOG) && export.has(OF_LEDGER) {
        bail!("the folder holds all logs of a ledger; name one with --log records or --log usage/N");
    }
    let size = claimed(&export, OF_LOG)?.size;
    if index >= size {
        bail!("there is no entry {}: the log has {}", number(index), count(size, "entry"));
    }
    let found = entry_at(&export, index, size)
        .and_then(|bytes| Entry::decode(&bytes).map_err(|e| TreeError::Invalid(format!("entry {index}: {e}"))));
    let entry = match found {
        Ok(entry) => entry,
        Err(TreeError::Unreadable(why)) => bail!(why),
        Err(TreeError::Invalid(why)) => {
            return Ok(Answer::invalid(String::new(), json!({ "verified": false }), why));
        }
    };
    let mut lines = Lines::default();
    lines.plain(&format!("entry {} of {}: {}", number(index), number(size), entry_kind(&entry)));
    entry_lines(&mut lines, &entry);
    let mut fields = json!({ "kind": "entry", "entry": entry_json(&entry) });
    match granted_at(&export, index, size, &mut lines) {
        Ok(rows) => fields["rows"] = rows,
        Err(why) => return Ok(Answer::invalid(lines.finish(), fields, why)),
    }
    Ok(shown(lines, fields))
}

/// The entry's rows, as far as the export shows them.
fn granted_at(export: &Export, index: u64, size: u64, lines: &mut Lines) -> Result<Value, String> {
    let bundle = index / TILE_WIDTH;
    let width = width_at(bundle, size);
    let path = row_bundle_path(bundle, width);
    let bytes = match export.read(&path) {
        Ok(bytes) => bytes,
        Err(ReadError::Missing) => return Ok(Value::Null),
        Err(ReadError::Failed(why)) => return Err(format!("cannot read {path}: {why}")),
    };
    let place = usize::try_from(index % TILE_WIDTH).expect("a place in a bundle is below 256");
    let rows = split_row_bundle(&bytes, width).map_err(|e| format!("{path}: {e}"))?;
    let Some(granted) = rows.get(place).filter(|granted| !granted.is_empty()) else {
        return Ok(json!([]));
    };
    let rows = decode_granted(granted).map_err(|e| format!("rows of entry {index}: {e}"))?;
    for (number, row) in rows.iter().enumerate() {
        granted_lines(lines, number, row);
    }
    Ok(rows.iter().map(granted_json).collect())
}

/// A checkpoint of an export as it stands there.
fn claimed(export: &Export, path: &str) -> anyhow::Result<Checkpoint> {
    let bytes = export.must_read(path)?;
    let note = Note::parse(&bytes).with_context(|| format!("{path} is not a note"))?;
    Checkpoint::parse(note.text()).with_context(|| format!("{path} is not a checkpoint"))
}

/// The origin that an export's checkpoint claims, where it can be read.
pub(crate) fn claimed_origin(export: &Export, path: &str) -> Option<String> {
    claimed(export, path).ok().map(|checkpoint| checkpoint.origin)
}
