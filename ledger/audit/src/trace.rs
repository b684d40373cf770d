//! `loam-audit trace`: from one answer's receipt to the epoch that settled it, and on to everybody who was paid.

use loam_ledger_core::Hash;
use loam_ledger_core::audit::{
    Again, Answer as Answered, Close, Difference, Options, Shown, Trace, TraceFinding, check_usage, trace,
};
use loam_ledger_core::checkpoint::Checkpoint;
use loam_ledger_core::entry::Entry;
use loam_ledger_core::epoch::{Finding, LeafFile, LeafOf};
use loam_ledger_core::fee::fee_nano;
use loam_ledger_core::lineage::{Link, Node};
use loam_ledger_core::note::{KeyKind, Note, VerifierKey};
use loam_ledger_core::origin::{LogId, LogName};
use loam_ledger_core::receipt::{Held, Receipt};
use loam_ledger_core::text::{hex_encode, millionths};
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::arguments::Trace as Asked;
use crate::consistency::TreeError;
use crate::files::{Export, read_named};
use crate::given;
use crate::lineage::{at_entry, node_json, node_words};
use crate::money::Books;
use crate::reasons::{lane_lines, lanes_json, nano, statement_json, statement_lines};
use crate::receipt::{RECEIPT_BYTES_MAX, found_in};
use crate::text::{Lines, number, utc};
use crate::words::completion_json;

/// A proof of usage has some three kilobytes.
const LEAF_BYTES_MAX: u64 = 4 << 20;

/// Links that are told one by one to a person.
const LINKS_TOLD_MAX: usize = 200;

pub(crate) fn follow(asked: &Asked) -> anyhow::Result<Answer> {
    let key = given::log_key(&asked.vkey)?;
    let policy = given::policy(asked.policy.as_deref())?;
    let usage = asked.usage.as_deref().map(|path| read_named(path, LEAF_BYTES_MAX)).transpose()?;
    let bytes = read_named(&asked.receipt, RECEIPT_BYTES_MAX)?;
    let invalid = |reason: String| Ok(Answer::invalid(String::new(), json!({}), reason));
    let receipt = match Receipt::parse(&bytes) {
        Ok(receipt) => receipt,
        Err(error) => return invalid(format!("{} is not a receipt: {error}", asked.receipt.display())),
    };
    let usage = match usage.as_deref().map(LeafFile::decode).transpose() {
        Ok(Some(file)) if file.of != LeafOf::Usage => return invalid("the proof is not one of usage".to_owned()),
        Ok(usage) => usage,
        Err(error) => return invalid(format!("the proof of usage cannot be used: {error}")),
    };
    // How much was erased is a question to the log, and not to this answer.
    let options = Options { policy: policy.as_ref(), allow_erased: true, ..Options::default() };
    let books = match Books::open(Export::open(&asked.dir)?, &key, options, asked.json)? {
        Ok(books) => books,
        Err(failure) => return Ok(Answer::failed(&failure)),
    };
    let (shard, key) = match shard_key(&books, &receipt) {
        Ok(found) => found,
        Err(why) => return invalid(why),
    };
    let found = match receipt.check(&key, &Held::default()).valid() {
        Ok(found) => found,
        Err((subject, error)) => return invalid(format!("the receipt's {subject}: {error}")),
    };
    let Some(answer) = Answered::of(&receipt, &found) else {
        return invalid("the receipt is of no usage log".to_owned());
    };
    let log = books.audited.logs.iter().find(|(log, _)| *log == LogId::Usage(shard));
    let Some((log, report)) = log else {
        return Err(anyhow::anyhow!("usage/{shard}, the receipt's log, is not in this export"));
    };
    let in_log = match found_in(&books.export.folder(&log.to_string())?, &receipt, &found.checkpoint, report.size)? {
        Ok(_) => format!("signed by the key of {log} in the records log, and in this export"),
        Err(why) => return invalid(format!("the receipt is not of this export: {why}")),
    };
    let again = match books.settle(Some(answer.place), asked.json) {
        Ok(again) => again,
        Err(failure) => return Ok(Answer::failed(&failure)),
    };
    let mut told = Told::new(&books, &again, &answer, usage.as_ref());
    told.base = found.batch.base;
    told.lines.line("receipt", in_log);
    told.lines.line("answered", utc(found.batch.time_ms));
    told.tell()
}

/// The receipt's shard, and the key that the records log holds of it.
fn shard_key(books: &Books, receipt: &Receipt) -> Result<(u32, VerifierKey), String> {
    let note = Note::parse(&receipt.proof.checkpoint).map_err(|e| format!("the receipt's checkpoint: {e}"))?;
    let origin = Checkpoint::parse(note.text()).map_err(|e| format!("the receipt's checkpoint: {e}"))?.origin;
    let name = LogName::parse(&origin).map_err(|e| format!("the receipt's log: {e}"))?;
    let LogId::Usage(shard) = name.log else { return Err("the receipt is of no usage log".to_owned()) };
    let own = LogName::parse(&books.records().origin).map_err(|e| e.to_string())?.ledger;
    if name.ledger != own {
        return Err(format!("the receipt is of {}, and this export is of {own}", name.ledger));
    }
    let opened = books.entries.iter().find_map(|entry| match entry {
        Entry::ShardOpened(opened) if opened.shard == shard => Some(opened.public_key),
        _ => None,
    });
    let public = opened.ok_or_else(|| format!("the records log never opened usage/{shard}, the receipt's log"))?;
    let key = VerifierKey::new(&origin, KeyKind::Ed25519, public).map_err(|e| e.to_string())?;
    Ok((shard, key))
}

struct Told<'a> {
    books: &'a Books,
    again: &'a Again,
    answer: &'a Answered<'a>,
    file: Option<&'a LeafFile>,
    /// The base model of the answer's entry.
    base: Hash,
    /// Whether the epoch was closed over other rows than are there.
    other_usage: bool,
    lines: Lines,
    found: Vec<String>,
    unchecked: Vec<String>,
}

impl<'a> Told<'a> {
    fn new(books: &'a Books, again: &'a Again, answer: &'a Answered<'a>, file: Option<&'a LeafFile>) -> Self {
        let mut lines = Lines::default();
        books.lines(&mut lines);
        lines.plain("");
        Self {
            books,
            again,
            answer,
            file,
            base: Hash::ZERO,
            other_usage: false,
            lines,
            found: Vec::new(),
            unchecked: Vec::new(),
        }
    }

    fn tell(mut self) -> anyhow::Result<Answer> {
        let (books, again, answer) = (self.books, self.again, self.answer);
        let closes = &books.recorded.closes;
        let at = closes.iter().position(|close| {
            let place = &answer.place;
            close
                .act
                .covered
                .iter()
                .any(|part| part.shard == place.shard && (part.from..part.to).contains(&place.index))
        });
        let whole = at.is_some_and(|at| again.is_whole(at));
        let epochs: &[_] = if whole { &again.report.epochs } else { &[] };
        let mut traced = trace(answer, closes, epochs, &books.recorded.registry);
        let mut fields = books.json();
        fields["answer"] = self.answered(&traced, at.is_some());
        let how = self.settled_as(&mut traced, at, whole);
        // What the whole epoch was closed over says more than a proof that does not fit it.
        for difference in at.map(|at| again.differences(at)).unwrap_or_default() {
            match difference {
                Difference::Usage { .. } => {
                    self.other_usage = true;
                    traced.findings.retain(|finding| !matches!(finding, TraceFinding::UsageProof { .. }));
                    self.found.insert(0, difference.to_string());
                }
                Difference::Payouts { .. } | Difference::Erased { .. } => self.found.push(difference.to_string()),
                _ => {}
            }
        }
        fields["epoch"] = match at {
            Some(at) => self.epoch(&closes[at], how, &traced)?,
            None => Value::Null,
        };
        fields["adapters"] = self.adapters(&traced)?;
        fields["links"] = self.links(&traced)?;
        fields["payees"] = self.payees(&traced)?;
        if at.is_some() && !whole {
            let missing = [
                "what payees were paid: rows of this epoch or of one before it are not here",
                "whether the policy that the row names was in force at its first step",
            ];
            self.unchecked.extend(missing.map(str::to_owned));
            self.fee();
        }
        self.found.extend(traced.findings.iter().map(ToString::to_string));
        Ok(self.finish(fields, &traced))
    }

    /// What the receipt shows to be recorded.
    fn answered(&mut self, traced: &Trace, covered: bool) -> Value {
        let (place, row) = (self.answer.place, self.answer.row);
        self.lines.line("row", place.to_string());
        self.lines.line("fee", nano(row.fee_nano.into()));
        if covered {
            self.lines.lines("by lane", &lane_lines(&traced.lanes));
            if row.pairs.iter().all(|pair| pair.weight_millionths == 0) {
                self.lines.line("", "no adapter had a part: what adapters and data would have is the base's");
            }
        }
        json!({
            "shard": place.shard,
            "index": place.index,
            "row": place.row,
            "leaf": self.answer.leaf.to_hex(),
            "fee_nano": row.fee_nano.to_string(),
            "lanes_nano": lanes_json(&traced.lanes),
            "completion": completion_json(row),
        })
    }

    /// How it is known that the epoch settled the answer, or that it did not: in a word for programs.
    fn settled_as(&mut self, traced: &mut Trace, at: Option<usize>, whole: bool) -> &'static str {
        let Some(at) = at else { return "none" };
        let close = &self.books.recorded.closes[at];
        let epoch = close.act.epoch;
        let mut how = "none";
        if whole {
            how = "rows";
        } else if self.again.seen[at].is_whole() {
            let proof = self.again.report.epochs.get(at).and_then(|report| report.settled.usage_proof.as_ref());
            traced.findings.extend(check_usage(&close.act, self.answer, proof).err());
            how = "rows";
        }
        let erased = self.again.sought == Some(Shown::Erased);
        if erased && traced.findings.contains(&TraceFinding::LeftOut { epoch }) && self.is_in_erased(epoch) {
            traced.findings.retain(|finding| *finding != TraceFinding::LeftOut { epoch });
            let fee = nano(self.answer.row.fee_nano.into());
            self.lines.line(
                "erased",
                format!(
                    "this answer was erased before epoch {epoch} was closed; what is left of it is its fee of {fee}, \
                 among the sums of its mix that the epoch committed to"
                ),
            );
            let why =
                "that the sums of erased rows have this answer among them: nobody can tell one erased row any more";
            self.unchecked.push(why.to_owned());
            how = "erased";
        }
        if let Some(file) = self.file {
            let fault = if file.close != close.id {
                Some(format!("the proof is of another epoch: its close is record {}", file.close))
            } else if file.sought != self.answer.place.key() {
                Some("the proof is of another answer".to_owned())
            } else {
                check_usage(&close.act, self.answer, file.proof.as_ref()).err().map(|finding| finding.to_string())
            };
            match fault {
                Some(fault) => {
                    how = "refused";
                    self.found.push(fault);
                }
                None if how == "none" => how = "file",
                _ => {}
            }
        } else if how == "none" {
            let why = "that the epoch settled this answer: its rows are not here; \
                       ask whoever runs the ledger for a proof of usage, and give it with --usage";
            self.unchecked.push(why.to_owned());
        }
        how
    }

    /// The fee by the policy that the row names: what its holder can check alone.
    fn fee(&mut self) {
        let row = self.answer.row;
        let policies = self.books.recorded.registry.money().policies();
        let policy = policies.iter().find(|(id, _)| *id == row.price_policy);
        let (place, recorded) = (self.answer.place, row.fee_nano);
        match policy.map(|(_, policy)| fee_nano(policy, &self.base, row)) {
            Some(computed) if computed != Some(recorded) => {
                self.found.push(Finding::FeeDiffers { place, recorded, computed }.to_string());
            }
            None if recorded > 0 => {
                self.found.push(format!("no record sets the policy {} of its fee", row.price_policy))
            }
            _ => {}
        }
    }

    fn is_in_erased(&self, epoch: u32) -> bool {
        let row = self.answer.row;
        let left = self.again.left.get(&epoch).map(|left| left.erased.as_slice()).unwrap_or_default();
        left.iter()
            .any(|rows| rows.pairs == row.pairs && rows.policy == row.price_policy && rows.fee_nano >= row.fee_nano)
    }

    /// Whether nothing speaks against the answer's own leaf.
    fn usage_holds(&self, traced: &Trace) -> bool {
        let of_payouts = |finding: &TraceFinding| matches!(finding, TraceFinding::PayoutProof { .. });
        !self.other_usage && traced.findings.iter().all(of_payouts)
    }

    /// Where a record lies in the records log, and whether the way from there to the signed root holds.
    fn place(&mut self, id: &Hash) -> anyhow::Result<(Option<u64>, bool)> {
        let Some(index) = self.books.index_of(id) else { return Ok((None, false)) };
        match self.books.included(index) {
            Ok(true) => Ok((Some(index), true)),
            Ok(false) => {
                self.found.push(format!("entry {index} of the records log is not below its signed root"));
                Ok((Some(index), false))
            }
            Err(TreeError::Invalid(why)) => {
                self.found.push(why);
                Ok((Some(index), false))
            }
            Err(TreeError::Unreadable(why)) => anyhow::bail!(why),
        }
    }

    fn epoch(&mut self, close: &Close, how: &str, traced: &Trace) -> anyhow::Result<Value> {
        let (index, included) = self.place(&close.id)?;
        self.lines.plain("").plain(&format!("epoch {}", close.act.epoch));
        self.lines.line("closed by", at_entry(index, included, &close.id));
        self.lines.line(
            "settled",
            match how {
                "rows" if self.usage_holds(traced) => {
                    "its usage, summed again from rows, has this answer at this fee and the root that was closed"
                }
                "refused" => "NOT AS IT SHOULD BE: see below",
                "rows" => "NOT AS IT SHOULD BE: its usage was summed again from rows; see below",
                "file" => "the proof that you gave leads from this answer, at its fee, to the epoch's usage",
                "erased" => "among the erased rows that the epoch committed to",
                _ => "not shown: it covers the answer's entry, and nothing here says more",
            },
        );
        Ok(json!({
            "epoch": close.act.epoch,
            "index": index,
            "record": close.id.to_hex(),
            "included": included,
            "proof": how,
        }))
    }

    fn adapters(&mut self, traced: &Trace) -> anyhow::Result<Value> {
        let mut fields = Vec::with_capacity(traced.generations.len());
        self.lines.plain("").plain("made by");
        if traced.generations.is_empty() {
            self.lines.line("base model", "alone: no adapter had a part");
        }
        for generation in &traced.generations {
            let weight = millionths(generation.pair.weight_millionths);
            self.lines.line("adapter", format!("{} with weight {weight}", generation.pair.generation));
            let (mut index, mut included) = (None, false);
            match &generation.record {
                Some(record) => {
                    (index, included) = self.place(record)?;
                    self.lines.line("", format!("published by {}", at_entry(index, included, record)));
                }
                None => _ = self.lines.line("", "nobody has recorded who made it, so what it earned waits"),
            }
            fields.push(json!({
                "generation": generation.pair.generation.to_hex(),
                "weight_millionths": generation.pair.weight_millionths,
                "record": generation.record.map(|record| record.to_hex()),
                "index": index,
                "included": included,
            }));
        }
        Ok(fields.into())
    }

    fn links(&mut self, traced: &Trace) -> anyhow::Result<Value> {
        let mut links: Vec<Link> = traced.generations.iter().flat_map(|generation| generation.links.clone()).collect();
        links.sort_unstable();
        links.dedup();
        let mut fields = Vec::with_capacity(links.len());
        let (mut texts, mut from) = (Vec::new(), None);
        for link in &links {
            let (to, text) = self.node(&link.to)?;
            if from != Some(link.from) {
                from = Some(link.from);
                texts.push(node_words(&link.from));
            }
            let share = match (link.share, link.agreed) {
                (Some(share), true) => format!(", share {}", millionths(share.into())),
                (Some(share), false) => format!(", share {} that not all have signed", millionths(share.into())),
                (None, _) => String::new(),
            };
            texts.push(format!("  owes to {text}{share}"));
            fields.push(json!({
                "from": node_json(&link.from),
                "to": to,
                "share_millionths": link.share,
                "agreed": link.agreed,
            }));
        }
        let more = texts.len().saturating_sub(LINKS_TOLD_MAX);
        texts.truncate(LINKS_TOLD_MAX);
        if more > 0 {
            texts.push(format!("and {} lines more, all of them with --json", number(more as u64)));
        }
        self.lines.lines("lineage", &texts);
        Ok(fields.into())
    }

    /// Something that a lineage leads to, with its place in the records log.
    fn node(&mut self, node: &Node) -> anyhow::Result<(Value, String)> {
        let mut fields = node_json(node);
        let mut text = node_words(node);
        let id = match node {
            Node::Generation(generation) => {
                let adapter = self.books.recorded.registry.adapters().adapter(generation);
                adapter.map(|adapter| adapter.record)
            }
            Node::TrainRun(id) | Node::Revision(id) | Node::Contribution(id) => Some(*id),
            Node::Contributor(_) => None,
        };
        if let Some(id) = id {
            let (index, included) = self.place(&id)?;
            fields["index"] = index.into();
            fields["included"] = included.into();
            if let Some(index) = index {
                text +=
                    &format!(" (entry {}{})", number(index), if included { ", included" } else { ", NOT INCLUDED" });
            }
            if let (Node::Contribution(_), Some(acts)) = (node, index.and_then(|index| self.acts(index))) {
                text += &format!(": {acts}");
                fields["acts"] = acts.into();
            }
        }
        Ok((fields, text))
    }

    /// What a contribution's operations do, and how often.
    fn acts(&self, index: u64) -> Option<String> {
        match self.books.entries.get(usize::try_from(index).ok()?)? {
            Entry::Record(record) => {
                record.body.act.fields().into_iter().find(|(name, _)| *name == "acts").map(|(_, words)| words)
            }
            _ => None,
        }
    }

    fn payees(&mut self, traced: &Trace) -> anyhow::Result<Value> {
        let mut fields = Vec::with_capacity(traced.payees.len());
        if !traced.payees.is_empty() {
            self.lines.plain("").plain("paid in this epoch, for this answer and all others");
        }
        for payee in &traced.payees {
            let refused = traced.findings.iter().any(|finding| {
                matches!(finding, TraceFinding::PayoutProof { payee: whose, .. } if *whose == payee.contributor)
            });
            let registered = self.books.registered(&payee.contributor);
            let (index, included) = match registered {
                Some(record) => self.place(&record)?,
                None => (None, false),
            };
            let sum = payee.statement.sum_nano();
            self.lines.line("contributor", format!("{}: {}", payee.contributor, nano(sum)));
            self.lines.lines("", &statement_lines(&payee.statement));
            self.lines.line(
                "",
                match (refused, sum) {
                    (true, _) => "PROOF REFUSED",
                    (false, 0) => "proven: the epoch's payouts have no leaf of theirs",
                    (false, _) => "proven: their leaf leads to the epoch's payouts",
                },
            );
            self.lines.line("", format!("signs with key {}", hex_encode(&payee.public_key)));
            if let Some(record) = &registered {
                self.lines.line("", format!("known by {}", at_entry(index, included, record)));
            }
            fields.push(json!({
                "contributor": payee.contributor.to_hex(),
                "public_key": hex_encode(&payee.public_key),
                "paid_nano": sum.to_string(),
                "lines": statement_json(&payee.statement),
                "proven": !refused,
                "index": index,
                "included": included,
            }));
        }
        Ok(fields.into())
    }

    fn finish(mut self, mut fields: Value, traced: &Trace) -> Answer {
        self.found.dedup();
        fields["found"] = self.found.clone().into();
        fields["unchecked"] = self.unchecked.clone().into();
        self.lines.plain("");
        self.lines.lines("WRONG", &self.found);
        self.lines.lines("not checked", &self.unchecked);
        if let Some(first) = self.found.first().cloned() {
            return Answer::invalid(self.lines.finish(), fields, first);
        }
        let epoch = traced.epoch.unwrap_or_default();
        let fee = nano(traced.fee_nano.into());
        self.lines.plain(&match self.unchecked.is_empty() {
            true => format!("VALID: epoch {epoch} settled this answer at {fee}, and everybody it names is shown"),
            false => format!("VALID as far as it goes: epoch {epoch} covers this answer of {fee}"),
        });
        Answer::valid(self.lines.finish(), fields)
    }
}
