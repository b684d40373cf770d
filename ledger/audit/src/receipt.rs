//! `loam-audit receipt`: a receipt, line by line, against what the caller holds.

use std::path::Path;

use loam_ledger_core::audit::{Failure, Fault, Files, Options};
use loam_ledger_core::checkpoint::Checkpoint;
use loam_ledger_core::note::{Note, VerifierKey};
use loam_ledger_core::origin::LogName;
use loam_ledger_core::receipt::{Checked, Found, Held, Line, Receipt, Verdict};
use loam_ledger_core::tile::{TILE_WIDTH, bundle_path, split_bundle, width_at};
use loam_ledger_core::tree::root_at;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::arguments::Receipt as Asked;
use crate::consistency::{TreeError, nodes};
use crate::files::{Export, read_named};
use crate::given;
use crate::log::{OF_LOG, audit_one, json_of};
use crate::progress::Progress;
use crate::text::{Lines, number};
use crate::words::{checkpoint_json, completion_json, completion_lines, entry_json};

/// A receipt has under 4 kB; its note may have a megabyte of cosignatures.
pub(crate) const RECEIPT_BYTES_MAX: u64 = 4 << 20;

/// The caller's own request and output.
const OWN_BYTES_MAX: u64 = 1 << 30;

pub(crate) fn check(asked: &Asked) -> anyhow::Result<Answer> {
    let key = given::log_key(&asked.vkey)?;
    let policy = given::policy(asked.policy.as_deref())?;
    let own = |path: &Option<_>| path.as_deref().map(|path: &Path| read_named(path, OWN_BYTES_MAX)).transpose();
    let (request, output) = (own(&asked.request)?, own(&asked.output)?);
    let export = asked.log.as_deref().map(Export::open).transpose()?;
    let bytes = read_named(&asked.file, RECEIPT_BYTES_MAX)?;
    let receipt = match Receipt::parse(&bytes) {
        Ok(receipt) => receipt,
        Err(error) => {
            let reason = format!("{} is not a receipt: {error}", asked.file.display());
            return Ok(Answer::invalid(String::new(), json!({}), reason));
        }
    };
    let held = Held {
        policy: policy.as_ref(),
        nonce: asked.nonce.as_ref().map(|nonce| &nonce.0),
        request: request.as_deref(),
        output: output.as_deref(),
        adapter: asked.adapter.as_ref(),
        tokens: asked.tokens,
    };
    let checked = receipt.check(&key, &held);
    let in_log = match (&checked.found, export) {
        (Some(found), Some(export)) => Some(check_log(export, &key, &receipt, &found.checkpoint, asked.json)?),
        _ => None,
    };
    let hint = other_log(&receipt, &key).or_else(|| echoed(&checked));
    Ok(answer(&checked, in_log).hint(hint))
}

/// What the caller may have meant, where the output alone is another: one of OpenAI's fields puts more before it.
fn echoed(checked: &Checked) -> Option<String> {
    let (subject, _) = checked.refused()?;
    let hint = "an answer to a request with `echo` begins with the prompt, and what was delivered begins after it";
    (subject == "output").then(|| format!("{hint}: give the output without the prompt"))
}

/// What the caller may have meant, where the key is that of another log.
fn other_log(receipt: &Receipt, key: &VerifierKey) -> Option<String> {
    let note = Note::parse(&receipt.proof.checkpoint).ok()?;
    let claimed = Checkpoint::parse(note.text()).ok()?.origin;
    let other = claimed != key.name();
    other.then(|| format!("the receipt says that it is of {claimed}, but the key is that of {}", key.name()))
}

/// What came of holding the receipt against an export: the log's fields, or why it is not of this log.
type InLog = Result<(String, Value), String>;

fn answer(checked: &Checked, in_log: Option<InLog>) -> Answer {
    let mut lines = Lines::default();
    let mut told = Vec::with_capacity(checked.lines.len() + 1);
    let mut tell = |subject: &str, verdict: &str, text: &str| {
        let mark = match verdict {
            "holds" => "ok",
            "refused" => "REFUSED",
            _ => "-",
        };
        lines.line(subject, format!("{mark:<7} {text}"));
        told.push(json!({ "subject": subject, "verdict": verdict, "text": text }));
    };
    for Line { subject, verdict } in &checked.lines {
        match verdict {
            Verdict::Holds(seen) => tell(subject, "holds", seen),
            Verdict::Refused(error) => tell(subject, "refused", &error.to_string()),
            Verdict::NotHeld(offer) => tell(subject, "not held", offer),
        }
    }
    let mut refused = checked.refused().map(|(subject, error)| format!("{subject}: {error}"));
    let mut fields = json!({ "bound": checked.bound() });
    match &in_log {
        Some(Ok((seen, log))) => {
            tell("log", "holds", seen);
            fields["log"] = log.clone();
        }
        Some(Err(why)) => {
            tell("log", "refused", why);
            refused = refused.or_else(|| Some(format!("log: {why}")));
        }
        None => {}
    }
    fields["lines"] = told.into();
    if let Some(found) = &checked.found {
        found_lines(&mut lines, found);
        fields["says"] = json!({
            "checkpoint": checkpoint_json(&found.checkpoint),
            "entry": entry_json(&loam_ledger_core::entry::Entry::Batch(found.batch.clone())),
            "row": completion_json(&found.row),
        });
    }
    if let Some(reason) = refused {
        return Answer::invalid(lines.finish(), fields, reason);
    }
    lines.plain("").plain(match (checked.bound(), in_log) {
        (true, _) => "valid",
        (false, Some(_)) => "valid, and of the log you gave, but bound to no request of yours",
        (false, None) => "valid, but bound to nothing you gave",
    });
    Answer::valid(lines.finish(), fields)
}

fn found_lines(lines: &mut Lines, found: &Found) {
    lines.plain("").plain("The record says:");
    lines.line("time", crate::text::utc(found.batch.time_ms));
    lines.line("base model", found.batch.base.to_hex());
    lines.line("program", found.batch.build.to_hex());
    completion_lines(lines, &found.row);
}

/// Audits the export, and looks for the receipt's head and entry in it.
fn check_log(
    export: Export,
    key: &VerifierKey,
    receipt: &Receipt,
    checkpoint: &Checkpoint,
    json: bool,
) -> anyhow::Result<InLog> {
    let export = if export.has(OF_LOG) {
        export
    } else {
        // An export of all logs: the receipt names its shard.
        match LogName::parse(&checkpoint.origin) {
            Ok(name) => export.folder(&name.log.to_string())?,
            Err(error) => return Ok(Err(error.to_string())),
        }
    };
    // How much was erased is a question to the log, and not to this receipt.
    let options = Options { allow_erased: true, ..Options::default() };
    let (log, report) = match audit_one(&export, key, options, Progress::new(json)) {
        Ok(mut reports) => reports.remove(0),
        Err(failure @ Failure::Unreadable { .. }) => anyhow::bail!("the log given with --log: {failure}"),
        Err(failure @ Failure::Invalid(Fault { .. })) => return Ok(Err(failure.to_string())),
    };
    match found_in(&export, receipt, checkpoint, report.size)? {
        Ok(text) => Ok(Ok((text, json_of(log, &report)))),
        Err(why) => Ok(Err(why)),
    }
}

/// Looks for the receipt's head and entry in an export of its log that was audited, and says what was seen.
pub(crate) fn found_in(
    export: &Export,
    receipt: &Receipt,
    checkpoint: &Checkpoint,
    size: u64,
) -> anyhow::Result<Result<String, String>> {
    if checkpoint.size > size {
        return Ok(Err(format!(
            "the receipt's checkpoint is at size {}, and this export ends at {size}; a later export can show it",
            checkpoint.size
        )));
    }
    let seen = root_at(&nodes(export, size), checkpoint.size)
        .and_then(|root| Ok((root, entry_at(export, receipt.proof.index, size)?)));
    match seen {
        Err(TreeError::Unreadable(why)) => anyhow::bail!("the log given with --log: {why}"),
        Err(TreeError::Invalid(why)) => Ok(Err(why)),
        Ok((root, _)) if root != checkpoint.root => {
            Ok(Err("another root at the receipt's size: somebody was shown another log".to_owned()))
        }
        Ok((_, entry)) if entry != receipt.opening.entry => Ok(Err("another entry at the receipt's index".to_owned())),
        Ok(_) => Ok(Ok(format!("the export of {} entries is whole, and has this head and entry", number(size)))),
    }
}

/// The bytes of an entry of an export.
pub(crate) fn entry_at(export: &Export, index: u64, size: u64) -> Result<Vec<u8>, TreeError> {
    let bundle = index / TILE_WIDTH;
    let width = width_at(bundle, size);
    let path = bundle_path(bundle, width);
    let bytes = export.read(&path).map_err(|why| TreeError::of(&path, why))?;
    let entries = split_bundle(&bytes, width).map_err(|e| TreeError::Invalid(format!("{path}: {e}")))?;
    let place = usize::try_from(index % TILE_WIDTH).expect("a place in a bundle is below 256");
    let entry = entries.get(place).ok_or_else(|| TreeError::Invalid(format!("{path} has no entry {index}")))?;
    Ok(entry.to_vec())
}
