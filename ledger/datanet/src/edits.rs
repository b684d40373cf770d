//! Edits: a file of JSON lines, each one change to rows, as the ledger's operations and the texts that they bring.
//!
//! ```json
//! {"act":"add","to":{"text":"..."}}                        add-test-case alike; "to" may be a list
//! {"act":"correct","row":"ID","to":{"text":"..."}}         relabel, normalise, licence-fix and annotate alike
//! {"act":"translate","row":"ID","to":{"text":"..."}}       the original stays; "to" may be a list
//! {"act":"split","row":"ID","to":[{...},{...}]}
//! {"act":"merge","rows":["ID","ID"],"to":{...}}
//! {"act":"dedupe","rows":["ID","ID"],"keep":"ID"}          "keep" may be a list, of some of the rows
//! {"act":"remove-harmful","row":"ID"}                      or "rows"
//! {"act":"document-decision","text":"..."}
//! ```
//!
//! Each line sees what those before it did. One that leaves a row as it was is refused, as is everything with it.

use std::collections::{BTreeMap, BTreeSet};

use loam_ledger_core::Hash;
use loam_ledger_core::hash::digest;
use loam_ledger_core::record::{
    ActCount, ActKind, OPERATION_ROWS_MAX, Operation, RecordId, RowContent, RowId, Rows, addendum,
};
use serde_json::{Map, Value};

use crate::fault::{Fault, What};
use crate::json;
use crate::row::{DEPTH_MAX, Row};
use crate::rows::{Numbered, ROWS_MAX, or_line_ends, placed, text};

/// Bytes that nobody can guess, so that a digest tells nothing of its text.
pub type Salt = [u8; 16];

/// The text of a row, and the salt of its digest. They are kept together, and forgotten together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// The salt.
    pub salt: Salt,
    /// The text.
    pub row: Row,
}

impl Payload {
    /// The digest that records have of it: an addendum's.
    pub fn content(&self) -> Hash {
        addendum(&self.salt, self.row.text().as_bytes())
    }
}

/// The id of a row that begins with this text: `H("loam/row-id/v1\0" || dataset || salt || text)`.
pub fn row_id(dataset: &RecordId, payload: &Payload) -> RowId {
    let text = payload.row.text().as_bytes();
    digest(&[b"loam/row-id/v1\0", &dataset.0[..], &payload.salt, text].concat())
}

/// What a contribution will propose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proposal {
    /// Its operations, in order.
    pub operations: Vec<Operation>,
    /// The texts that they bring, by the digests that they have of them.
    pub payloads: BTreeMap<Hash, Payload>,
    /// The texts of its decisions, which go into the record's own addendum.
    pub decisions: Vec<String>,
}

impl Proposal {
    /// How many operations there are of each kind, as the record counts them.
    pub fn acts(&self) -> Vec<ActCount> {
        let mut counts = BTreeMap::new();
        for operation in &self.operations {
            *counts.entry(operation.kind).or_insert(0_u64) += 1;
        }
        counts.into_iter().map(|(kind, count)| ActCount { kind, count }).collect()
    }

    /// The ids of the rows that are new, in the order of the operations.
    pub fn new_rows(&self) -> impl Iterator<Item = RowId> {
        let new = |operation: &Operation| {
            let old: BTreeSet<RowId> = operation.from.iter().map(|row| row.row).collect();
            operation.to.iter().map(|row| row.row).filter(|row| !old.contains(row)).collect::<Vec<_>>()
        };
        self.operations.iter().flat_map(new)
    }
}

/// What edits go on from.
pub struct Ground<'a> {
    /// The dataset.
    pub dataset: RecordId,
    /// Its rows, as they are.
    pub rows: &'a Rows,
    /// The text of a row; none where it can no longer be opened; why not, where it could not be read.
    pub text: &'a mut dyn FnMut(&RowId) -> Result<Option<Row>, String>,
    /// Draws a salt at random.
    pub salt: &'a mut dyn FnMut() -> Salt,
}

/// Rows to add, one operation for each, in their order.
pub fn add(dataset: &RecordId, rows: impl IntoIterator<Item = Row>, salt: &mut dyn FnMut() -> Salt) -> Proposal {
    let mut proposal = Proposal::default();
    for row in rows {
        let payload = Payload { salt: salt(), row };
        let new = RowContent { row: row_id(dataset, &payload), content: payload.content() };
        proposal.payloads.insert(new.content, payload);
        proposal.operations.push(Operation { kind: ActKind::Add, from: Vec::new(), to: vec![new] });
    }
    proposal
}

/// Reads a file of edits, all of it or nothing.
pub fn read(ground: Ground<'_>, file: &[u8]) -> Result<Proposal, Fault> {
    let mut desk = Desk { ground, changed: BTreeMap::new(), proposal: Proposal::default() };
    let text = text(file)?;
    for (line, edit) in Numbered::new(text).filter(|(_, line)| !line.trim().is_empty()) {
        let value = json::parse(edit, DEPTH_MAX + 2);
        let value = value.map_err(|fault| or_line_ends(text, placed(line, edit, fault)))?;
        let fault = |what| Fault::at(line, what);
        if desk.proposal.operations.len() == ROWS_MAX {
            return Err(fault(What::FileRows));
        }
        let operation = Edit::of(value).and_then(|edit| desk.operation(edit)).map_err(fault)?;
        desk.proposal.operations.push(operation);
    }
    if desk.proposal.operations.is_empty() {
        return Err(Fault::at(1, What::NoRows));
    }
    Ok(desk.proposal)
}

/// One line: its act, and fields that are taken one after another.
struct Edit {
    kind: ActKind,
    fields: Map<String, Value>,
}

const ID: &str = "a row's id has 64 digits, 0 to 9 and a to f";
const TO: &str = "what the row says from now on, as a JSON object; where there may be several, a list of them";

impl Edit {
    fn of(value: Value) -> Result<Self, What> {
        let Value::Object(mut fields) = value else { return Err(What::NoAct) };
        let act = fields.remove("act").ok_or(What::NoAct)?;
        let act = act.as_str().ok_or(What::FieldShape { field: "act", wants: "the name of an act, in quotes" })?;
        let kind = ActKind::ALL.iter().copied().find(|kind| kind.word() == act);
        let known = || ActKind::ALL.iter().map(|kind| kind.word()).collect::<Vec<_>>().join(", ");
        let kind = kind.ok_or_else(|| What::UnknownAct { found: act.to_owned(), known: known() })?;
        Ok(Self { kind, fields })
    }

    fn missing(&self, field: &'static str, wants: &'static str) -> What {
        What::FieldMissing { act: self.kind.word(), field, wants }
    }

    /// Ids of rows, each once. "row" and "rows" stand for each other: one row is also a list of one.
    fn ids(&mut self, field: &'static str) -> Result<Vec<RowId>, What> {
        let other = match field {
            "row" => Some("rows"),
            "rows" => Some("row"),
            _ => None,
        };
        let found = other.and_then(|other| self.fields.remove(other).map(|ids| (other, ids)));
        let (given, ids) = match (self.fields.remove(field), found) {
            (Some(_), Some(_)) => {
                return Err(What::FieldShape { field, wants: "either \"row\" or \"rows\", not both" });
            }
            (Some(ids), None) => (field, ids),
            (None, Some(found)) => found,
            (None, None) => return Err(self.missing(field, ID)),
        };
        let ids = match ids {
            Value::Array(_) if given == "row" => return Err(What::FieldShape { field: given, wants: ID }),
            Value::Array(ids) => ids,
            id => vec![id],
        };
        if ids.len() > OPERATION_ROWS_MAX {
            return Err(What::ManyRows);
        }
        let id = |id: &Value| {
            let text = id.as_str().ok_or(What::FieldShape { field: given, wants: ID })?;
            Hash::from_hex(text).map_err(|_| What::RowId { field: given, found: text.to_owned() })
        };
        let ids: Vec<RowId> = ids.iter().map(id).collect::<Result<_, What>>()?;
        let mut seen = BTreeSet::new();
        match ids.iter().find(|id| !seen.insert(**id)) {
            Some(twice) => Err(What::RowTwice { row: twice.to_hex() }),
            None => Ok(ids),
        }
    }

    fn to(&mut self) -> Result<Vec<Row>, What> {
        match self.fields.remove("to").ok_or_else(|| self.missing("to", TO))? {
            Value::Array(rows) if rows.len() > OPERATION_ROWS_MAX => Err(What::ManyRows),
            Value::Array(rows) => rows.iter().map(Row::of).collect(),
            row => Ok(vec![Row::of(&row)?]),
        }
    }

    fn text(&mut self) -> Result<String, What> {
        const WANTS: &str = "what was decided and why, in quotes";
        match self.fields.remove("text").ok_or_else(|| self.missing("text", WANTS))? {
            Value::String(text) if !text.trim().is_empty() => Ok(text),
            _ => Err(What::FieldShape { field: "text", wants: WANTS }),
        }
    }

    /// No field is left.
    fn end(&self) -> Result<(), What> {
        let unknown = |field: &String| What::FieldUnknown { act: self.kind.word(), field: field.clone() };
        self.fields.keys().next().map_or(Ok(()), |field| Err(unknown(field)))
    }

    fn counted(&self, holds: bool, wants: &'static str) -> Result<(), What> {
        if holds { Ok(()) } else { Err(What::RowCount { act: self.kind.word(), wants }) }
    }
}

/// Rows as they are after the lines so far.
struct Desk<'a> {
    ground: Ground<'a>,
    changed: BTreeMap<RowId, Option<Hash>>,
    proposal: Proposal,
}

impl Desk<'_> {
    fn operation(&mut self, mut edit: Edit) -> Result<Operation, What> {
        let kind = edit.kind;
        let (mut from, mut to) = match kind {
            ActKind::Add | ActKind::AddTestCase => {
                let new = edit.to()?;
                edit.end()?;
                edit.counted(!new.is_empty(), "one row or more in \"to\"")?;
                (Vec::new(), self.new_rows(new)?)
            }
            ActKind::Correct | ActKind::Relabel | ActKind::Normalise | ActKind::LicenceFix | ActKind::Annotate => {
                self.same_row(&mut edit)?
            }
            ActKind::Translate | ActKind::Split | ActKind::Merge => self.remade(&mut edit)?,
            ActKind::Dedupe => self.deduped(&mut edit)?,
            ActKind::RemoveHarmful => {
                let ids = edit.ids("row")?;
                edit.end()?;
                edit.counted(!ids.is_empty(), "one row or more")?;
                (self.there(&ids)?, Vec::new())
            }
            ActKind::DocumentDecision => {
                let text = edit.text()?;
                edit.end()?;
                self.proposal.decisions.push(text);
                (Vec::new(), Vec::new())
            }
        };
        if from.len().max(to.len()) > OPERATION_ROWS_MAX {
            return Err(What::ManyRows);
        }
        from.sort_unstable();
        to.sort_unstable();
        self.changed.extend(from.iter().map(|row| (row.row, None)));
        self.changed.extend(to.iter().map(|row| (row.row, Some(row.content))));
        Ok(Operation { kind, from, to })
    }

    /// One row that says something else from now on.
    fn same_row(&mut self, edit: &mut Edit) -> Result<(Vec<RowContent>, Vec<RowContent>), What> {
        let (ids, mut new) = (edit.ids("row")?, edit.to()?);
        edit.end()?;
        edit.counted(ids.len() == 1 && new.len() == 1, "one row, and one object in \"to\"")?;
        let from = self.there(&ids)?;
        let row = new.pop().expect("there is one");
        self.is_new(&from, core::slice::from_ref(&row))?;
        let payload = Payload { salt: (self.ground.salt)(), row };
        Ok((from, vec![RowContent { row: ids[0], content: self.keep(payload) }]))
    }

    /// Rows beside or in place of others.
    fn remade(&mut self, edit: &mut Edit) -> Result<(Vec<RowContent>, Vec<RowContent>), What> {
        let field = if edit.kind == ActKind::Merge { "rows" } else { "row" };
        let (ids, new) = (edit.ids(field)?, edit.to()?);
        edit.end()?;
        match edit.kind {
            ActKind::Split => edit.counted(ids.len() == 1 && new.len() >= 2, "one row, and two or more in \"to\"")?,
            ActKind::Merge => edit.counted(ids.len() >= 2 && new.len() == 1, "two rows or more, and one in \"to\"")?,
            _ => edit.counted(!ids.is_empty() && !new.is_empty(), "one row or more, and one or more in \"to\"")?,
        }
        let from = self.there(&ids)?;
        self.is_new(&from, &new)?;
        let mut to = self.new_rows(new)?;
        if edit.kind == ActKind::Translate {
            to.extend(&from);
        }
        Ok((from, to))
    }

    fn deduped(&self, edit: &mut Edit) -> Result<(Vec<RowContent>, Vec<RowContent>), What> {
        let (ids, keep) = (edit.ids("rows")?, edit.ids("keep")?);
        edit.end()?;
        let within = !keep.is_empty() && keep.len() < ids.len() && keep.iter().all(|id| ids.contains(id));
        edit.counted(within, "two rows or more, and in \"keep\" some of them, not all")?;
        Ok((self.there(&ids)?, self.there(&keep)?))
    }

    /// Rows as they are now.
    fn there(&self, ids: &[RowId]) -> Result<Vec<RowContent>, What> {
        let row = |row: &RowId| {
            let content = self.content(row).ok_or_else(|| What::RowUnknown { row: row.to_hex() })?;
            Ok(RowContent { row: *row, content })
        };
        ids.iter().map(row).collect()
    }

    fn content(&self, row: &RowId) -> Option<Hash> {
        self.changed.get(row).copied().unwrap_or_else(|| self.ground.rows.get(row).copied())
    }

    /// None of the new texts is what one of the old rows says.
    fn is_new(&mut self, old: &[RowContent], new: &[Row]) -> Result<(), What> {
        for row in old {
            let before = match self.proposal.payloads.get(&row.content) {
                Some(payload) => Some(payload.row.clone()),
                None => (self.ground.text)(&row.row).map_err(|why| What::TextUnread { row: row.row.to_hex(), why })?,
            };
            let before = before.ok_or_else(|| What::TextGone { row: row.row.to_hex() })?;
            if new.contains(&before) {
                return Err(What::ChangesNothing);
            }
        }
        Ok(())
    }

    fn new_rows(&mut self, rows: Vec<Row>) -> Result<Vec<RowContent>, What> {
        let mut new: Vec<RowContent> = Vec::with_capacity(rows.len());
        for row in rows {
            let payload = Payload { salt: (self.ground.salt)(), row };
            let id = row_id(&self.ground.dataset, &payload);
            if self.content(&id).is_some() || new.iter().any(|row| row.row == id) {
                return Err(What::IdTaken);
            }
            new.push(RowContent { row: id, content: self.keep(payload) });
        }
        Ok(new)
    }

    fn keep(&mut self, payload: Payload) -> Hash {
        let content = payload.content();
        self.proposal.payloads.insert(content, payload);
        content
    }
}
