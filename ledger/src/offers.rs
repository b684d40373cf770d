//! Offers: a record that people signed, with what it commits to, on its way into the log.
//!
//! Whatever can be checked without the log's next place is checked here, on the thread of whoever offers; what is long is
//! stored in pieces before the record is appended. So the committer only looks at signatures and rules, and an offer that
//! is refused, or cut short, leaves nothing that a record leads to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use loam_ledger_core::Hash;
use loam_ledger_core::entry::RECORD_ENTRY_BYTES_MAX;
use loam_ledger_core::record::{
    Act, Body, ContributionProposed, Operation, Record, RecordId, RevisionCommitted, RowContent, RowId, Rows, Signed,
};
use loam_ledger_core::registry::{Lists, Refusal, Registry};

use crate::committer::Command;
use crate::error::Error;
use crate::ledger::Ledger;
use crate::payloads::{Owner, PAYLOAD_BYTES_MAX, Payload, Storing};
use crate::reader::Reader;
use crate::store::Batch;

/// Revisions whose rows are kept at hand.
const ROWS_KEPT: usize = 4;

/// A record to be appended, with what it holds roots and digests of.
#[derive(Clone, Debug)]
pub struct Offer {
    /// What the authors say.
    pub body: Body,
    /// Their signatures, in their order.
    pub signed: Vec<Signed>,
    /// A contribution's operations; of no other record.
    pub operations: Vec<Operation>,
    /// What the rows say that the operations bring.
    pub payloads: Vec<Payload>,
    /// The record's text, where it is to be kept here.
    pub text: Option<Payload>,
}

/// Where a record lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Its name.
    pub id: RecordId,
    /// Its place in the records log.
    pub index: u64,
}

/// A record on its way to the committer.
pub(crate) struct Appending {
    pub(crate) record: Record,
    /// What is to be durable together with it.
    pub(crate) beside: Batch,
    /// Slots that are overwritten once it is: the batch holds a mark for each, so that a restart does it otherwise.
    pub(crate) erase: Vec<u64>,
    pub(crate) done: Box<dyn FnOnce(Result<Appended, Error>) + Send>,
}

/// Rows of the revisions that were looked at last.
#[derive(Default)]
pub(crate) struct RowsKept(Mutex<Vec<(RecordId, Arc<Rows>)>>);

impl RowsKept {
    fn find(&self, revision: &RecordId) -> Option<Arc<Rows>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().find(|(id, _)| id == revision).map(|(_, rows)| Arc::clone(rows))
    }

    fn keep(&self, revision: RecordId, rows: Arc<Rows>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(id, _)| *id != revision);
        kept.insert(0, (revision, rows));
        kept.truncate(ROWS_KEPT);
    }
}

impl Ledger {
    /// Checks and appends a record, and returns when it is durable. A record that breaks a rule is refused by the rule's
    /// name, and changes nothing.
    pub fn offer(&self, offer: Offer) -> Result<Appended, Error> {
        self.inlet()?.check()?;
        let Offer { body, signed, operations, payloads, text } = offer;
        let mut record = Record { time_ms: 0, body, signed };
        record.check_form()?;
        // All rules before anything is stored, looked up or waited for: what is refused leaves nothing behind.
        let size = self.with_registry(|registry| fits(registry, &record))??;
        let _turn = self.reader.speaking.turn(record.body.authors.iter().map(|author| author.contributor).collect());
        // Held where what is drafted, or erased, must not change before the record is durable.
        let waits = matches!(record.body.act, Act::RowRedacted(_) | Act::EpochClosed(_));
        let _alone = waits.then(|| self.reader.shared.erasing());
        // Else what one finds to lie here already, another could be about to put here, or to redact.
        let stores = text.is_some() || matches!(record.body.act, Act::ContributionProposed(_) | Act::RowRedacted(_));
        let _one = stores.then(|| self.reader.offering.lock().unwrap_or_else(PoisonError::into_inner));
        // What came to be recorded while this waited, may be what it does not fit any more.
        self.with_registry(|registry| if registry.size() == size { Ok(size) } else { fits(registry, &record) })??;
        let mut storing = Storing::new(self);
        if let Some(text) = &text {
            check_text(&record.body, text)?;
            if self.reader.payload_owner(&text.digest())?.is_none() {
                storing.payload(Owner::TEXT, text)?;
            }
        }
        let (mut beside, mut erase, mut rows) = (Batch::default(), Vec::new(), None);
        match &record.body.act {
            Act::ContributionProposed(act) => {
                self.store_contribution(act, &operations, &payloads, &mut storing)?;
            }
            _ if !operations.is_empty() || !payloads.is_empty() => {
                return Err(Error::Offer { what: "only a contribution comes with operations and rows".to_owned() });
            }
            Act::RevisionCommitted(act) => {
                rows = Some(self.check_commit(act)?);
            }
            Act::RowRedacted(act) => erase = self.redacting(&act.dataset, &act.row, &mut beside)?,
            Act::EpochClosed(act) => self.closing(act, &mut beside)?,
            _ => {}
        }
        storing.flush()?;
        // The committer stamps it.
        record.time_ms = 0;
        let (sender, outcome) = mpsc::sync_channel(1);
        let done = Box::new(move |outcome| drop(sender.send(outcome)));
        self.inlet()?.push(Command::Record(Box::new(Appending { record, beside, erase, done })), true)?;
        let appended = outcome.recv().unwrap_or_else(|_| Err(self.health().err().unwrap_or(Error::Closed)))?;
        if let Some(rows) = rows {
            self.reader.rows_kept.keep(appended.id, Arc::new(rows));
        }
        Ok(appended)
    }

    /// The rows of a revision, each by its id with the digest of what it says.
    pub fn rows_of(&self, revision: &RecordId) -> Result<Arc<Rows>, Error> {
        self.reader.rows_of(revision)
    }

    fn store_contribution(
        &self,
        act: &ContributionProposed,
        operations: &[Operation],
        payloads: &[Payload],
        storing: &mut Storing<'_>,
    ) -> Result<(), Error> {
        let (wanted, redacted) = self.with_registry(|registry| {
            let wanted = registry.lists_wanted(&Act::ContributionProposed(act.clone()));
            (wanted, registry.datasets().dataset(&act.dataset).map(|dataset| dataset.redacted.clone()))
        })?;
        let rows = act.revision.as_ref().map_or_else(|| Ok(Arc::default()), |base| self.rows_of(base))?;
        let lists = [operations.to_vec()];
        let lists = Lists { operations: &lists, rows: &rows };
        wanted?.expect("a contribution has a list").check(lists)?;
        let redacted = redacted.unwrap_or_default();
        for (owner, payload) in matched(&self.reader, act, &redacted, operations, payloads)? {
            storing.payload(owner, payload)?;
        }
        storing.operations(&act.operations, operations)
    }

    /// Holds a revision against the operations that it is made of, and gives its rows.
    fn check_commit(&self, act: &RevisionCommitted) -> Result<Rows, Error> {
        let (wanted, lists) = self.with_registry(|registry| {
            let wanted = registry.lists_wanted(&Act::RevisionCommitted(act.clone()));
            (wanted, lists_of(registry, &act.contributions))
        })?;
        let wanted = wanted?.expect("a revision has lists");
        let lists = lists.iter().map(|list| self.reader.must_have(list)).collect::<Result<Vec<_>, _>>()?;
        let rows = act.parents.first().map_or_else(|| Ok(Arc::default()), |parent| self.rows_of(parent))?;
        Ok(wanted.check(Lists { operations: &lists, rows: &rows })?)
    }

    /// Marks for erasing every content that a row ever had, in a revision or only offered.
    fn redacting(&self, dataset: &RecordId, row: &Hash, beside: &mut Batch) -> Result<Vec<u64>, Error> {
        let lists = self.with_registry(|registry| {
            let of = registry.datasets().contributions_to(dataset);
            of.map(|(_, contribution)| contribution.operations).collect::<Vec<_>>()
        })?;
        let mut contents = BTreeSet::new();
        for list in lists {
            let operations = self.reader.operations(&list)?.unwrap_or_default();
            let rows = operations.iter().flat_map(|operation| operation.from.iter().chain(&operation.to));
            contents.extend(rows.filter(|content| content.row == *row).map(|content| content.content));
        }
        let mut slots = Vec::new();
        for content in contents {
            if self.reader.payload_owner(&content)? != Some(Owner { dataset: *dataset, row: *row }) {
                continue;
            }
            if let Some(slot) = self.reader.payload_slot(&content)? {
                beside.put(crate::store::Space::Meta, crate::layout::erasing_row_key(&content), slot.to_be_bytes());
                slots.push(slot);
            }
        }
        Ok(slots)
    }
}

/// Whether a record fits what is recorded so far, and how many entries that is.
fn fits(registry: &Registry, record: &Record) -> Result<u64, Refusal> {
    // Signatures first: nobody has anything looked up, or fills a disk, in another's name.
    registry.check_authors(record)?;
    match &record.body.act {
        // A close is held against its draft first, which says better what is wrong with it; that is the operator's to try.
        Act::EpochClosed(_) => match registry.people().operator() {
            Some(operator) if record.body.authors.iter().any(|author| author.contributor == operator) => {}
            _ => return Err(Refusal::NotOperator),
        },
        // Whoever brings no text has nothing stored, so that the committer's look is enough.
        Act::ContributorRegistered(_) | Act::Review(_) | Act::PolicyChanged(_) if record.body.text.is_none() => {}
        // Nor is a policy tried out before its time is known.
        Act::PolicyChanged(_) => {}
        _ => registry.would_admit(record)?,
    }
    Ok(registry.size())
}

impl Reader {
    fn must_have(&self, list: &loam_ledger_core::record::ListRoot) -> Result<Vec<Operation>, Error> {
        self.operations(list)?.ok_or(Error::NoList { root: list.root })
    }

    /// The rows of a revision: those of its first parent, changed by its contributions; kept for the next who asks.
    pub(crate) fn rows_of(&self, revision: &RecordId) -> Result<Arc<Rows>, Error> {
        if let Some(rows) = self.rows_kept.find(revision) {
            return Ok(rows);
        }
        // From the newest revision whose rows are at hand, or from nothing.
        let chain = self.recorded()?.look(|registry| {
            let chain = registry.datasets().chain(revision);
            chain.map(|(id, revision)| (id, lists_of(registry, &revision.contributions))).collect::<Vec<_>>()
        });
        if chain.is_empty() {
            return Err(Refusal::UnknownRecord(*revision).into());
        }
        let (mut rows, mut behind) = (Rows::new(), Vec::new());
        for (id, lists) in chain {
            if let Some(kept) = self.rows_kept.find(&id) {
                rows = (*kept).clone();
                break;
            }
            behind.push(lists);
        }
        for list in behind.iter().rev().flatten() {
            let operations = self.must_have(list)?;
            loam_ledger_core::record::apply(&mut rows, &operations).map_err(|fault| Error::Refused(fault.into()))?;
        }
        let rows = Arc::new(rows);
        self.rows_kept.keep(*revision, Arc::clone(&rows));
        Ok(rows)
    }
}

/// The lists of some contributions, as far as they are known.
fn lists_of(registry: &Registry, contributions: &[RecordId]) -> Vec<loam_ledger_core::record::ListRoot> {
    let found = contributions.iter().filter_map(|id| registry.datasets().contribution(id));
    found.map(|contribution| contribution.operations).collect()
}

fn check_text(body: &Body, text: &Payload) -> Result<(), Error> {
    let wrong = |what: &str| Err(Error::Offer { what: what.to_owned() });
    if body.text != Some(text.digest()) {
        return wrong("the text is not the one that the record holds the digest of");
    }
    // The longest record is no measure for its text, but a good one: who says more than that means a file.
    if text.bytes.len() > RECORD_ENTRY_BYTES_MAX {
        return wrong("the text has more than 65,535 bytes");
    }
    if std::str::from_utf8(&text.bytes).is_err() { wrong("the text is not UTF-8") } else { Ok(()) }
}

/// Each payload with the row whose content it is. Every row that operations bring or change says what it says, here, and
/// what it says is no other row's: else redacting one would take the other with it.
fn matched<'p>(
    reader: &Reader,
    act: &ContributionProposed,
    redacted: &BTreeSet<RowId>,
    operations: &[Operation],
    payloads: &'p [Payload],
) -> Result<Vec<(Owner, &'p Payload)>, Error> {
    let wrong = |what: String| Err(Error::Offer { what });
    let mut given = BTreeMap::new();
    for payload in payloads {
        if payload.bytes.len() > PAYLOAD_BYTES_MAX {
            return wrong(format!("a row has {} bytes; {PAYLOAD_BYTES_MAX} are the most", payload.bytes.len()));
        }
        if given.insert(payload.digest(), payload).is_some() {
            return wrong("two rows come with the same salt and bytes: draw a salt for each".to_owned());
        }
    }
    let (mut matched, mut seen) = (Vec::with_capacity(given.len()), BTreeMap::new());
    for operation in operations {
        let new = operation.to.iter().filter(|content| !operation.from.contains(content));
        for RowContent { row, content } in new {
            // What nobody can open any more does not come back, neither as it was nor by saying something new.
            if redacted.contains(row) {
                return wrong(format!("row {row} was redacted: it takes no content any more"));
            }
            let owner = Owner { dataset: act.dataset, row: *row };
            let before = seen.insert(*content, owner);
            if before.is_some_and(|before| before != owner) {
                return wrong(format!("rows {row} and another have the same content"));
            }
            match (given.remove(content), reader.payload_owner(content)?) {
                (_, Some(other)) if other != owner => {
                    return wrong(format!("the content of row {row} is another row's"));
                }
                (Some(payload), None) => matched.push((owner, payload)),
                // What lies here already lies under one secret, which redacting it erases: never under a second.
                (_, Some(_)) => {}
                (None, None) if before.is_some() => {}
                (None, None) => return wrong(format!("what row {row} says did not come with it")),
            }
        }
    }
    match given.first_key_value() {
        Some((digest, _)) => wrong(format!("no operation brings a row with content {digest}")),
        None => Ok(matched),
    }
}
