//! What `rewards` and `trace` begin with: an export of all logs, audited, its records folded, its epochs settled again.

use anyhow::bail;
use loam_ledger_core::Hash;
use loam_ledger_core::audit::{
    Again, Close, ERASED_ONE_IN, Failure, LedgerReport, LogReport, Options, Recorded, Scope, audit_ledger, entries_of,
    fold_records, settle_again,
};
use loam_ledger_core::entry::Entry;
use loam_ledger_core::epoch::RowPlace;
use loam_ledger_core::hash::leaf_hash;
use loam_ledger_core::note::VerifierKey;
use loam_ledger_core::origin::LogId;
use loam_ledger_core::record::{Act, ContributorId, RecordId};
use loam_ledger_core::tree::{check_inclusion, prove_inclusion};
use serde_json::{Value, json};

use crate::consistency::{TreeError, nodes};
use crate::files::Export;
use crate::log::{OF_LEDGER, json_of};
use crate::progress::Progress;
use crate::text::{Lines, count, number};

/// An export that was audited, with all that its records say.
pub(crate) struct Books {
    pub(crate) export: Export,
    pub(crate) audited: LedgerReport,
    pub(crate) entries: Vec<Entry>,
    pub(crate) recorded: Recorded,
}

impl Books {
    /// Audits an export as `log` does, and folds its records.
    pub(crate) fn open(
        export: Export,
        key: &VerifierKey,
        options: Options<'_>,
        json: bool,
    ) -> anyhow::Result<Result<Self, Failure>> {
        if !export.has(OF_LEDGER) {
            bail!("there is no {OF_LEDGER} here; money is told by an export of all logs: loam ledger export --log all");
        }
        let mut progress = Progress::new(json);
        let mut audit = || {
            let audited = audit_ledger(&export, key, options, &mut |log: LogId, done, of| {
                progress.show(&log.to_string(), done, of);
            })?;
            let size = audited.logs.first().map_or(0, |(_, report)| report.size);
            let entries = entries_of(&export, LogId::Records, size)?;
            Ok((audited, entries))
        };
        let (audited, entries) = match audit() {
            Ok(found) => found,
            Err(failure) => return Ok(Err(failure)),
        };
        let recorded = fold_records(key.name(), &entries);
        Ok(Ok(Self { export, audited, entries, recorded }))
    }

    /// Settles every epoch again, as far as rows are there.
    pub(crate) fn settle(&self, sought: Option<RowPlace>, json: bool) -> Result<Again, Failure> {
        let mut progress = Progress::new(json);
        settle_again(&self.export, &self.audited, &self.recorded, sought, &mut |log, done, of| {
            progress.show(&log.to_string(), done, of);
        })
    }

    /// The records log's report.
    pub(crate) fn records(&self) -> &LogReport {
        &self.audited.logs[0].1
    }

    /// Whether no row of any log is granted.
    pub(crate) fn is_public(&self) -> bool {
        self.audited.logs.iter().all(|(_, report)| report.scope == Scope::Public)
    }

    /// Where a record lies in the records log.
    pub(crate) fn index_of(&self, id: &RecordId) -> Option<u64> {
        self.recorded.registry.record(id).map(|noted| noted.index)
    }

    /// The record by which somebody came to be known.
    pub(crate) fn registered(&self, whom: &ContributorId) -> Option<RecordId> {
        self.entries.iter().find_map(|entry| match entry {
            Entry::Record(record) if matches!(record.body.act, Act::ContributorRegistered(_)) => {
                let own = record.body.authors.iter().any(|author| author.contributor == *whom);
                own.then(|| record.id(&self.records().origin))
            }
            _ => None,
        })
    }

    /// The close whose record this is.
    pub(crate) fn close(&self, id: &RecordId) -> Option<&Close> {
        self.recorded.closes.iter().find(|close| close.id == *id)
    }

    /// Checks the way from an entry of the records log to its signed root.
    pub(crate) fn included(&self, index: u64) -> Result<bool, TreeError> {
        let report = self.records();
        let records = match self.export.folder("records") {
            Ok(records) => records,
            Err(error) => return Err(TreeError::Unreadable(error.to_string())),
        };
        let path = prove_inclusion(&nodes(&records, report.size), index, report.size)?;
        let entry = usize::try_from(index).ok().and_then(|index| self.entries.get(index));
        let leaf = entry.map_or(Hash::ZERO, |entry| leaf_hash(&entry.encode()));
        Ok(check_inclusion(index, report.size, &leaf, &path, &report.root).is_ok())
    }

    /// What was audited before any money was looked at.
    pub(crate) fn lines(&self, lines: &mut Lines) {
        let report = self.records();
        lines.plain(report.origin.strip_suffix("/records").unwrap_or(&report.origin));
        let entries = self.audited.logs.iter().map(|(_, report)| report.size).fold(0, u64::saturating_add);
        let logs = count(self.audited.logs.len() as u64, "log");
        lines.line("logs", format!("{logs}, {}: signed, whole, without a gap", count(entries, "entry")));
        if report.shards_absent > 0 {
            lines.line("", format!("{} not in this export", count(report.shards_absent, "shard")));
        }
        let void = report.records_void;
        lines.line("records", format!("{}, {void} of them void", count(report.records, "signed record")));
        lines.lines("void", &report.void_records);
        lines.lines("allowed", &self.allowed());
    }

    /// What held only because the caller allowed it.
    fn allowed(&self) -> Vec<String> {
        let line = |(log, report): &(LogId, LogReport)| {
            let (erased, rows) = (report.rows_erased.max(report.rows_announced_erased), report.rows);
            let beyond = erased.saturating_mul(ERASED_ONE_IN) > rows;
            beyond.then(|| {
                let (erased, rows) = (number(erased), number(rows));
                format!(
                    "{log}: {erased} of {rows} rows are erased, more than one in {ERASED_ONE_IN}; \
                     without --allow-erased an audit is INVALID for it"
                )
            })
        };
        self.audited.logs.iter().filter_map(line).collect()
    }

    /// The same for programs.
    pub(crate) fn json(&self) -> Value {
        let logs: Vec<Value> = self.audited.logs.iter().map(|(log, report)| json_of(Some(*log), report)).collect();
        json!({ "logs": logs, "allowed": self.allowed() })
    }
}
