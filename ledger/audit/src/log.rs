//! `loam-audit log`: the audit of an export.

use anyhow::bail;
use loam_ledger_core::audit::{Class, Failure, LogReport, Options, Scope, audit_ledger, audit_log};
use loam_ledger_core::note::VerifierKey;
use loam_ledger_core::origin::{LogId, LogName};
use loam_ledger_core::policy::Policy;
use loam_ledger_core::text::base64_encode;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::arguments::Log;
use crate::files::Export;
use crate::given;
use crate::progress::Progress;
use crate::show::claimed_origin;
use crate::text::{Lines, count, number, percent};

/// Where the newest checkpoint of a log lies, and of a ledger.
pub(crate) const OF_LOG: &str = "checkpoint";
pub(crate) const OF_LEDGER: &str = "records/checkpoint";

pub(crate) fn audit(asked: &Log) -> anyhow::Result<Answer> {
    let key = given::log_key(&asked.vkey)?;
    let policy = given::policy(asked.policy.as_deref())?;
    let export = Export::open(&asked.dir)?;
    let options = Options {
        policy: policy.as_ref(),
        allow_erased: asked.allow_erased,
        opaque: asked.opaque,
        ..Options::default()
    };
    let progress = Progress::new(asked.json);
    let whole = !export.has(OF_LOG) && export.has(OF_LEDGER);
    if whole && asked.opaque {
        bail!("--opaque checks one log; give the folder of one, such as {}", asked.dir.join("records").display());
    }
    let audited =
        if whole { audit_all(&export, &key, options, progress) } else { audit_one(&export, &key, options, progress) };
    let reports = match audited {
        Ok(reports) => reports,
        Err(failure) => return Ok(Answer::failed(&failure).hint(hint(&failure, &export, &key, asked))),
    };
    let witnesses = policy.as_ref().is_some_and(Policy::needs_witnesses);
    let text = text_of(&reports, witnesses, asked.opaque);
    let logs: Vec<Value> = reports.iter().map(|(log, report)| json_of(*log, report)).collect();
    Ok(Answer::valid(text, json!({ "logs": logs })))
}

type Reports = Vec<(Option<LogId>, LogReport)>;

/// Audits one log, whatever its key says it is.
pub(crate) fn audit_one(
    export: &Export,
    key: &VerifierKey,
    options: Options<'_>,
    mut progress: Progress,
) -> Result<Reports, Failure> {
    let report = audit_log(export, key, options, &mut |done, of| progress.show(key.name(), done, of))?;
    let log = LogName::parse(&report.origin).ok().map(|name| name.log);
    Ok(vec![(log, report)])
}

fn audit_all(
    export: &Export,
    key: &VerifierKey,
    options: Options<'_>,
    mut progress: Progress,
) -> Result<Reports, Failure> {
    let mut tell = |log: LogId, done, of| progress.show(&log.to_string(), done, of);
    let report = audit_ledger(export, key, options, &mut tell)?;
    Ok(report.logs.into_iter().map(|(log, report)| (Some(log), report)).collect())
}

/// What the caller may have meant, where the key is that of another log.
fn hint(failure: &Failure, export: &Export, key: &VerifierKey, asked: &Log) -> Option<String> {
    let Failure::Invalid(fault) = failure else { return None };
    if fault.class != Class::Signature {
        return None;
    }
    let given = LogName::parse(key.name()).ok();
    let dir = asked.dir.display();
    if !export.has(OF_LOG) {
        let name = given.filter(|name| name.log != LogId::Records)?;
        return Some(format!(
            "{dir} holds all logs of a ledger, and {name} is one of them; \
             to check that one alone: loam-audit log {dir}/{} --vkey KEY",
            name.log
        ));
    }
    let claimed = claimed_origin(export, OF_LOG).filter(|origin| origin != key.name())?;
    let above = match given {
        Some(name) if name.log == LogId::Records => "; an export of all logs is checked with it from the folder above",
        _ => "",
    };
    Some(format!("{dir} says that it is {claimed}, but the key is that of {}{above}", key.name()))
}

fn text_of(reports: &Reports, witnesses: bool, opaque: bool) -> String {
    let mut lines = Lines::default();
    for (place, (log, report)) in reports.iter().enumerate() {
        lines.plain(&report.origin);
        // Shards of a ledger are signed by keys that the records log holds, and witnessed through it.
        let recorded = place > 0;
        let key = if recorded { "the key in the records log" } else { "the key you gave" };
        lines.line("signed", format!("by {key}, at {}", count(report.size, "entry")));
        if witnesses && !recorded {
            lines.line("witnesses", "the policy's quorum is met");
        }
        tree_lines(&mut lines, report);
        if matches!(log, Some(LogId::Usage(_))) && !opaque {
            usage_lines(&mut lines, report, recorded);
        }
        lines.lines("not checked", &report.unchecked);
        lines.plain("");
    }
    let entries = reports.iter().map(|(_, report)| report.size).fold(0, u64::saturating_add);
    let absent: u64 = reports.iter().map(|(_, report)| report.shards_absent).sum();
    lines.plain(&match reports.len() {
        logs if absent > 0 => {
            let all = number(absent.saturating_add(logs as u64));
            format!("VALID as far as it goes: {} in {logs} of {all} logs", count(entries, "entry"))
        }
        1 => format!("VALID: {}", count(entries, "entry")),
        logs => format!("VALID: {} in {}", count(entries, "entry"), count(logs as u64, "log")),
    });
    lines.finish()
}

fn tree_lines(lines: &mut Lines, report: &LogReport) {
    let checkpoints = count(report.checkpoints, "signed checkpoint");
    lines.line(
        "heads",
        match report.recorded_heads {
            0 => format!("{checkpoints}, all of this log"),
            heads => format!("{checkpoints} and {} in the records log, all of this log", count(heads, "head")),
        },
    );
    lines.line("tree", format!("{} recomputed from the entries", count(report.tiles, "tile")));
    lines.line("root", base64_encode(&report.root.0));
    if report.manifest_files > 0 {
        lines.line("manifest", format!("{} as listed", count(report.manifest_files, "file")));
    }
    record_lines(lines, report);
}

/// What signed records came to.
fn record_lines(lines: &mut Lines, report: &LogReport) {
    if report.records > 0 {
        let void = number(report.records_void);
        lines.line("records", format!("{}, {void} of them void", count(report.records, "signed record")));
    }
    for void in &report.void_records {
        lines.line("void", void);
    }
}

/// What a usage log's entries and rows say. `recorded`: the records log is at hand, and says what was erased.
fn usage_lines(lines: &mut Lines, report: &LogReport, recorded: bool) {
    let (engines, boots) = (count(report.engines, "engine"), count(report.boots, "boot"));
    let crashes = number(report.crashes);
    lines.line("engines", format!("{engines}, {boots} ({crashes} after a crash): no gap, no turn back in time"));
    let (prefilled, emitted) = (number(report.prefilled_tokens), number(report.emitted_tokens));
    lines.line("tokens", format!("{prefilled} prefilled, {emitted} emitted"));
    let rows = number(report.rows);
    if report.scope == Scope::Public {
        lines.line("rows", format!("{rows}, none of them granted here"));
    } else {
        let seen = report.rows_open.saturating_add(report.rows_erased);
        let (open, erased) = (number(report.rows_open), number(report.rows_erased));
        let hidden = number(report.rows.saturating_sub(seen));
        lines.line("rows", format!("{rows}: {open} in clear, {hidden} hidden, {erased} erased"));
        lines.line("completions", format!("{} whose usage rows add up to them", number(report.completions)));
    }
    let share = percent(report.rows_erased.max(report.rows_announced_erased), report.rows);
    lines.line(
        "erased",
        match report.scope {
            _ if recorded => format!("{share} of rows"),
            Scope::All => format!("{share} of rows"),
            Scope::Part => format!("at least {share} of rows"),
            Scope::Public => "not known without rows or the records log".to_owned(),
        },
    );
}

pub(crate) fn json_of(log: Option<LogId>, report: &LogReport) -> Value {
    let scope = match report.scope {
        Scope::Public => "public",
        Scope::Part => "part",
        Scope::All => "all",
    };
    json!({
        "log": log.map(|log| log.to_string()),
        "origin": report.origin,
        "size": report.size,
        "root": base64_encode(&report.root.0),
        "checkpoints": report.checkpoints,
        "recorded_heads": report.recorded_heads,
        "tiles": report.tiles,
        "manifest_files": report.manifest_files,
        "engines": report.engines,
        "boots": report.boots,
        "crashes": report.crashes,
        "prefilled_tokens": report.prefilled_tokens,
        "emitted_tokens": report.emitted_tokens,
        "scope": scope,
        "rows": report.rows,
        "rows_open": report.rows_open,
        "rows_erased": report.rows_erased,
        "rows_announced_erased": report.rows_announced_erased,
        "completions": report.completions,
        "records": report.records,
        "records_void": report.records_void,
        "void_records": report.void_records,
        "shards_absent": report.shards_absent,
        "unchecked": report.unchecked,
    })
}
