//! `loam-audit rewards`: money, settled again from rows and records, and held against what was closed.

use std::path::Path;

use loam_ledger_core::audit::{Again, Close, Options};
use loam_ledger_core::epoch::{Account, LeafFile, LeafOf, Reason, Settled};
use loam_ledger_core::record::{ContributorId, EpochClosed};
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::arguments::Rewards as Asked;
use crate::files::{Export, read_named};
use crate::given;
use crate::money::Books;
use crate::reasons::{account_word, lane_lines, lanes_json, nano, statement_json, statement_lines, word};
use crate::text::{Lines, count, number, percent, utc};

/// A leaf file has a few kilobytes; a statement of a thousand revisions some sixty.
const LEAF_BYTES_MAX: u64 = 4 << 20;

/// Findings that are told one by one.
const TOLD_MAX: usize = 20;

pub(crate) fn check(asked: &Asked) -> anyhow::Result<Answer> {
    let key = given::log_key(&asked.vkey)?;
    let policy = given::policy(asked.policy.as_deref())?;
    let files: Vec<(&Path, Vec<u8>)> = (asked.statements.iter())
        .map(|path| Ok((path.as_path(), read_named(path, LEAF_BYTES_MAX)?)))
        .collect::<anyhow::Result<_>>()?;
    let options = Options { policy: policy.as_ref(), allow_erased: asked.allow_erased, ..Options::default() };
    let books = match Books::open(Export::open(&asked.dir)?, &key, options, asked.json)? {
        Ok(books) => books,
        Err(failure) => return Ok(Answer::failed(&failure)),
    };
    let again = match books.settle(None, asked.json) {
        Ok(again) => again,
        Err(failure) => return Ok(Answer::failed(&failure)),
    };
    let mut told = Told { books: &books, again: &again, lines: Lines::default(), found: Vec::new() };
    books.lines(&mut told.lines);
    let closes = &books.recorded.closes;
    let mut fields = books.json();
    fields["epochs"] = (0..closes.len()).map(|at| told.epoch(at)).collect();
    fields["unsettled"] = told.unsettled();
    if let Some(payee) = &asked.payee {
        fields["payee"] = told.payee(payee);
    }
    fields["statements"] = files.iter().map(|(path, bytes)| told.statement(path, bytes)).collect();
    Ok(told.finish(fields))
}

struct Told<'a> {
    books: &'a Books,
    again: &'a Again,
    lines: Lines,
    found: Vec<String>,
}

impl Told<'_> {
    fn find(&mut self, what: impl ToString) {
        self.found.push(what.to_string());
    }

    /// One epoch: what its record says, and whether it is so.
    fn epoch(&mut self, at: usize) -> Value {
        let (books, again) = (self.books, self.again);
        let close = &books.recorded.closes[at];
        let act = &close.act;
        let (seen, whole) = (again.seen[at], again.is_whole(at));
        self.lines.plain("").plain(&format!("epoch {}", act.epoch));
        let time_ms = usize::try_from(close.index).ok().and_then(|index| books.entries.get(index));
        let time_ms = time_ms.map_or(0, |entry| entry.time_ms());
        self.lines.line("closed", format!("{}, entry {} of the records log", utc(time_ms), number(close.index)));
        self.amounts(act);
        if whole {
            waiting_lines(&mut self.lines, &again.report.epochs[at].settled);
        }
        let before = self.found.len();
        if !close.lanes_follow() {
            self.find(format_args!("epoch {} divides its fees to lanes as no policy in force does", act.epoch));
        }
        again.differences(at).iter().for_each(|difference| self.find(difference));
        let (first, count_of) = again.findings(at);
        first.iter().take(TOLD_MAX).for_each(|finding| self.find(finding));
        let more = count_of.saturating_sub(first.len().min(TOLD_MAX) as u64);
        if more > 0 {
            self.find(format_args!("epoch {}: {} more of its rows", act.epoch, number(more)));
        }
        if seen.misplaced > 0 && seen.is_whole() {
            let rows = count(seen.misplaced, "row");
            self.find(format_args!("epoch {}: the export tells fees of {rows} that are not erased", act.epoch));
        }
        let found = self.found[before..].to_vec();
        self.lines.line("again", verdict(close, again, at, found.is_empty()));
        self.lines.lines("WRONG", &found);
        json!({
            "epoch": act.epoch,
            "index": close.index,
            "record": close.id.to_hex(),
            "time_ms": time_ms,
            "rows": act.usage.count,
            "rows_erased_mixes": act.erased.count,
            "rows_erased_since": seen.forgotten,
            "rows_hidden": seen.hidden,
            "fees_nano": act.totals.fees.to_string(),
            "erased_nano": act.totals.erased.to_string(),
            "opening_nano": act.totals.opening.to_string(),
            "subsidies_nano": act.totals.subsidies.to_string(),
            "paid_nano": act.totals.paid.to_string(),
            "payees": whole.then(|| payees(&again.report.epochs[at].settled)),
            "waiting_nano": waiting_json(act),
            "waiting": whole.then(|| accounts_json(&again.report.epochs[at].settled)),
            "lanes_nano": lanes_json(&act.lanes),
            "settled_again": whole,
            "found": found,
        })
    }

    fn amounts(&mut self, act: &EpochClosed) {
        let lines = &mut self.lines;
        let totals = &act.totals;
        let rows = count(act.usage.count, "completion row");
        lines.line("fees", format!("{} of {rows}", nano(totals.fees)));
        if act.erased.count > 0 {
            let all = totals.fees.saturating_add(totals.erased);
            lines.line(
                "erased",
                format!("{} of rows erased before, {} of all", nano(totals.erased), share(totals.erased, all)),
            );
        }
        if totals.opening > 0 {
            lines.line("from before", format!("{} that had waited", nano(totals.opening)));
        }
        if totals.subsidies > 0 {
            lines.line("subsidies", nano(totals.subsidies));
        }
        lines.lines("lanes", &lane_lines(&act.lanes));
        lines.line("paid", nano(totals.paid));
        let waiting = [
            (totals.awaiting_revisions, "for dataset revisions, until their contributors agree"),
            (totals.awaiting_generations, "for adapters, until their lineage is known and agreed"),
            (totals.lanes, "in lanes that nobody is paid from yet"),
            (totals.subsidies_waiting, "in subsidies"),
        ];
        let waiting: Vec<String> = (waiting.iter())
            .filter(|(amount, _)| *amount > 0)
            .map(|(amount, what)| format!("{} {what}", nano(*amount)))
            .collect();
        lines.lines("waits", &waiting);
    }

    /// Rows that no epoch covers yet.
    fn unsettled(&mut self) -> Value {
        let (report, public) = (&self.again.report, self.books.is_public());
        self.lines.plain("");
        if public {
            self.lines.line("not settled", "not known: no rows are in this export");
            return Value::Null;
        }
        let rows = count(report.unsettled_rows, "completion row");
        let text = match report.unsettled_rows {
            0 => "nothing: no row lies behind the last close".to_owned(),
            _ => {
                format!("{rows} of {} behind the last close; the next epoch settles them", nano(report.unsettled_nano))
            }
        };
        self.lines.line("not settled", text);
        json!({ "rows": report.unsettled_rows, "fees_nano": report.unsettled_nano.to_string() })
    }

    /// What one contributor is told, epoch by epoch.
    fn payee(&mut self, payee: &ContributorId) -> Value {
        let (books, again) = (self.books, self.again);
        let known = books.recorded.registry.people().find(payee).is_some();
        self.lines.plain("").plain(&format!("contributor {payee}"));
        if !known {
            self.find(format_args!("nobody is registered as {payee}"));
            return json!({ "contributor": payee.to_hex(), "registered": false });
        }
        let mut epochs = Vec::new();
        for (at, close) in books.recorded.closes.iter().enumerate() {
            if !again.is_whole(at) {
                let epoch = close.act.epoch;
                self.lines.line(&format!("epoch {epoch}"), "not told: rows are missing here; ask for a statement file");
                epochs.push(json!({ "epoch": epoch, "settled_again": false }));
                continue;
            }
            epochs.push(self.payee_in(payee, at, close));
        }
        json!({ "contributor": payee.to_hex(), "registered": true, "epochs": epochs })
    }

    fn payee_in(&mut self, payee: &ContributorId, at: usize, close: &Close) -> Value {
        let settled = &self.again.report.epochs[at].settled;
        let told = settled.statement(&close.by, payee);
        let label = format!("epoch {}", close.act.epoch);
        let file = LeafFile::payout(close.id, payee, &told.paid, told.proof.clone());
        let proven = file.check(&close.id, &close.act);
        let (sum, lines) = (told.paid.sum_nano(), &mut self.lines);
        if sum > 0 {
            lines.line(&label, format!("{} paid", nano(sum)));
            lines.lines("", &statement_lines(&told.paid));
        } else {
            lines.line(&label, "nothing paid");
        }
        for (account, statement) in &told.waiting {
            let sum = nano(statement.sum_nano());
            lines.line(
                "may come",
                format!("a part, nobody knows how large, of {sum} that wait for {}", account_word(account)),
            );
            lines.lines("", &statement_lines(statement));
        }
        match proven {
            Ok(Some(_)) => _ = lines.line("proof", "leads from this statement to the root of the epoch's payouts"),
            Ok(None) => _ = lines.line("proof", "shows that the epoch's payouts have no leaf of theirs"),
            Err(fault) => self.find(fault),
        }
        let waiting = |(account, statement): &(Account, _)| json!({ "account": account.id().to_hex(), "what": account_word(account), "lines": statement_json(statement) });
        json!({
            "epoch": close.act.epoch,
            "settled_again": true,
            "paid_nano": sum.to_string(),
            "lines": statement_json(&told.paid),
            "may_come": told.waiting.iter().map(waiting).collect::<Vec<_>>(),
            "proven": proven.is_ok(),
        })
    }

    /// A payee's file, against the close that it names.
    fn statement(&mut self, path: &Path, bytes: &[u8]) -> Value {
        let name = path.display().to_string();
        self.lines.plain("").plain(&format!("statement {name}"));
        let refused = |told: &mut Self, why: String| {
            told.lines.line("REFUSED", &why);
            told.find(format_args!("{name}: {why}"));
            json!({ "file": name, "verdict": "refused", "why": why })
        };
        let file = match LeafFile::decode(bytes) {
            Ok(file) if file.of == LeafOf::Payouts => file,
            Ok(_) => return refused(self, "it proves a row's usage, and not a payout; `trace` takes it".to_owned()),
            Err(error) => return refused(self, format!("it is not a statement file: {error}")),
        };
        let Some(close) = self.books.close(&file.close) else {
            return refused(self, format!("no valid record of this log closes an epoch as {}", file.close));
        };
        let payee = loam_ledger_core::text::hex_encode(&file.sought);
        let (epoch, fields) = (close.act.epoch, json!({ "file": name, "payee": payee, "epoch": close.act.epoch }));
        self.lines.line("of", format!("contributor {payee}, epoch {epoch}"));
        let amount = match file.check(&close.id, &close.act) {
            Ok(proof) => proof.map_or(0, |proof| proof.amount),
            Err(fault) => return refused(self, fault.to_string()),
        };
        match &file.statement {
            Some(statement) => {
                self.lines.line("holds", format!("{} paid", nano(amount)));
                self.lines.lines("", &statement_lines(statement));
            }
            None => _ = self.lines.line("holds", "nothing was paid: the epoch's payouts have no leaf of theirs"),
        }
        let mut fields = fields;
        fields["verdict"] = "holds".into();
        fields["amount_nano"] = amount.to_string().into();
        fields["lines"] = file.statement.as_ref().map(statement_json).unwrap_or_else(|| json!([]));
        fields
    }

    fn finish(mut self, fields: Value) -> Answer {
        let closes = self.books.recorded.closes.len();
        let whole = (0..closes).filter(|at| self.again.is_whole(*at)).count();
        let epochs = count(closes as u64, "epoch");
        let mut fields = fields;
        fields["found"] = self.found.clone().into();
        if let Some(first) = self.found.first().cloned() {
            let reason = match self.found.len() - 1 {
                0 => first,
                more => format!("{first} (and {more} more)"),
            };
            return Answer::invalid(self.lines.finish(), fields, reason);
        }
        self.lines.plain("").plain(&match closes {
            0 => "VALID as far as it goes: no epoch was closed yet".to_owned(),
            _ if whole == closes => format!("VALID: {epochs} settled again, to the nano-unit"),
            _ => format!("VALID as far as it goes: {whole} of {epochs} settled again; rows of the others are not here"),
        });
        Answer::valid(self.lines.finish(), fields)
    }
}

fn verdict(close: &Close, again: &Again, at: usize, holds: bool) -> String {
    let seen = again.seen[at];
    let how = if again.is_whole(at) {
        "settled again from rows: usage, payouts, erased rows, lanes and totals".to_owned()
    } else if seen.absent {
        "not settled again: a shard that it covers is not in this export; lanes follow the policies".to_owned()
    } else if seen.hidden > 0 {
        let rows = count(seen.hidden, "row");
        format!("not settled again: {rows} of it hidden in this export; lanes held against the policies")
    } else {
        "usage settled again from rows; payouts not, since rows of an earlier epoch are missing".to_owned()
    };
    match (holds, again.is_whole(at)) {
        (true, true) => format!("{how} agree to the nano-unit with record {}", close.id),
        (true, false) => how,
        (false, _) => format!("{how}: not as record {} says", close.id),
    }
}

fn payees(settled: &Settled) -> usize {
    settled.accounts.all().filter(|(account, _)| !account.waits()).count()
}

/// What waits, a line for each reason.
fn waiting_lines(lines: &mut Lines, settled: &Settled) {
    lines.line("payees", count(payees(settled) as u64, "contributor"));
    let mut sums: std::collections::BTreeMap<Reason, (u128, u64)> = std::collections::BTreeMap::new();
    let waiting = settled.accounts.all().filter(|(account, _)| account.waits());
    for line in waiting.flat_map(|(_, statement)| statement.lines()) {
        let (sum, accounts) = sums.entry(line.reason).or_default();
        *sum = sum.saturating_add(line.amount_nano);
        *accounts += 1;
    }
    let width = sums.values().map(|(sum, _)| number(*sum).len()).max().unwrap_or_default();
    let one = |(reason, (sum, accounts)): (&Reason, &(u128, u64))| {
        format!("{:>width$}  {} ({})", number(*sum), word(*reason), count(*accounts, "account"))
    };
    lines.lines("waits because", &sums.iter().map(one).collect::<Vec<_>>());
}

fn waiting_json(act: &EpochClosed) -> Value {
    json!({
        "revisions": act.totals.awaiting_revisions.to_string(),
        "generations": act.totals.awaiting_generations.to_string(),
        "lanes": act.totals.lanes.to_string(),
        "subsidies": act.totals.subsidies_waiting.to_string(),
    })
}

fn accounts_json(settled: &Settled) -> Value {
    let waiting = settled.accounts.all().filter(|(account, _)| account.waits());
    let one = |(account, statement): (&Account, &_)| json!({ "account": account.id().to_hex(), "what": account_word(account), "lines": statement_json(statement) });
    waiting.map(one).collect()
}

/// A share of money in percent; sums that do not fit a row count's width are scaled down first.
fn share(part: u128, whole: u128) -> String {
    let scale = (whole >> 60).max(1);
    let small = |amount: u128| u64::try_from(amount / scale).unwrap_or(u64::MAX);
    percent(small(part), small(whole))
}
