//! Files of edits, over a small dataset.

use std::collections::BTreeMap;

use loam_datanet::edits::{Ground, Payload, Proposal, read, row_id};
use loam_datanet::{Fault, Row};
use loam_ledger_core::Hash;
use loam_ledger_core::hash::digest;
use loam_ledger_core::record::{ActKind, Operation, RowId, Rows, apply};
use serde_json::Value;

use super::{lines_of, refused};

/// Lines that are looked at one by one: an id of a new row is known when the lines before it are read.
const LINES_MAX: u64 = 64;

/// A dataset of four rows. The text of the last can no longer be opened.
struct Shelf {
    dataset: Hash,
    rows: Rows,
    texts: BTreeMap<RowId, Row>,
    ids: Vec<RowId>,
}

impl Shelf {
    fn new() -> Self {
        let dataset = digest(b"dataset");
        let mut shelf = Self { dataset, rows: Rows::new(), texts: BTreeMap::new(), ids: Vec::new() };
        for name in ["Is it hot?", "Is it cold?", "is it hot", "gone"] {
            let payload = Payload { salt: [7; 16], row: Row::of_text(name).expect("it is short") };
            let id = row_id(&dataset, &payload);
            shelf.rows.insert(id, payload.content());
            shelf.ids.push(id);
            if name != "gone" {
                shelf.texts.insert(id, payload.row);
            }
        }
        shelf
    }

    fn read(&self, file: &[u8]) -> Result<Proposal, Fault> {
        let (text, mut drawn) = (&mut |id: &RowId| Ok(self.texts.get(id).cloned()), 0_u128);
        let salt = &mut || {
            drawn += 1;
            drawn.to_be_bytes()
        };
        read(Ground { dataset: self.dataset, rows: &self.rows, text, salt }, file)
    }

    /// The file with ids in it: `$0` to `$3` are the dataset's rows, those after them what the lines before made.
    fn named(&self, text: &str) -> String {
        let mut named = String::with_capacity(text.len());
        for line in text.split_inclusive('\n') {
            let mut line = line.to_owned();
            if line.contains('$') {
                let made = self.read(named.as_bytes()).map_or(Vec::new(), |made| made.new_rows().collect());
                let ids = self.ids.iter().chain(&made).enumerate().collect::<Vec<_>>();
                // From the last, for `$1` begins `$12`.
                for (number, id) in ids.into_iter().rev() {
                    line = line.replace(&format!("${number}"), &id.to_hex());
                }
            }
            named += &line;
        }
        named
    }
}

/// Files of edits; says whether one is taken.
pub(crate) fn edits(data: &[u8]) -> bool {
    let shelf = Shelf::new();
    let file = match core::str::from_utf8(data) {
        Ok(text) if lines_of(data) <= LINES_MAX => shelf.named(text).into_bytes(),
        _ => data.to_vec(),
    };
    let read = shelf.read(&file);
    match &read {
        Ok(proposal) => taken(&shelf, core::str::from_utf8(&file).expect("edits are text"), proposal),
        Err(fault) => {
            assert!((1..=lines_of(&file)).contains(&fault.line), "{fault}");
            assert_ne!(fault.column, Some(0), "columns begin at 1");
            refused(fault);
        }
    }
    read.is_ok()
}

/// The ledger takes what edits give, and rows are then what the lines say.
fn taken(shelf: &Shelf, file: &str, proposal: &Proposal) {
    let edits: Vec<&str> = file.lines().map(|line| line.trim_start_matches('\u{feff}')).collect();
    let edits: Vec<Value> = edits.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
    assert_eq!(edits.len(), proposal.operations.len(), "an operation a line");
    for (content, payload) in &proposal.payloads {
        assert_eq!(payload.content(), *content);
    }
    let counted: u64 = proposal.acts().iter().map(|act| act.count).sum();
    assert_eq!(counted, proposal.operations.len() as u64);
    let mut rows = shelf.rows.clone();
    apply(&mut rows, &proposal.operations).expect("the ledger takes what edits give");
    let mut texts: BTreeMap<RowId, Option<Row>> =
        shelf.ids.iter().map(|id| (*id, shelf.texts.get(id).cloned())).collect();
    let mut decisions = Vec::new();
    for (edit, operation) in edits.iter().zip(&proposal.operations) {
        assert_eq!(edit["act"].as_str(), Some(&*operation.kind.word()));
        assert_eq!(Operation::decode(&operation.encode()).as_ref(), Ok(operation), "the ledger reads what it writes");
        if operation.kind == ActKind::DocumentDecision {
            decisions.push(edit["text"].as_str().expect("a decision is text"));
        } else {
            assert!(operation.changes(), "{edit}");
        }
        step(&mut texts, edit, operation, proposal);
    }
    assert_eq!(decisions, proposal.decisions);
    let told = |content: &Hash| proposal.payloads.get(content).map(|payload| payload.row.clone());
    assert!(rows.keys().eq(texts.keys()), "the same rows are there");
    for ((id, content), text) in rows.iter().zip(texts.values()) {
        assert_eq!(told(content).or_else(|| shelf.texts.get(id).cloned()), *text, "row {id}");
    }
    let again: String = edits.iter().map(|edit| format!("{edit}\r\n \r\n")).collect();
    assert_eq!(shelf.read(again.as_bytes()).as_ref(), Ok(proposal), "another spelling of the same");
}

/// What one line does to rows, by the line itself.
fn step(texts: &mut BTreeMap<RowId, Option<Row>>, edit: &Value, operation: &Operation, proposal: &Proposal) {
    let ids = |field: &str| -> Vec<RowId> {
        let id = |id: &Value| Hash::from_hex(id.as_str().expect("an id is text")).expect("an id");
        list(&edit[field]).into_iter().map(id).collect()
    };
    let named = [ids("row"), ids("rows")].concat();
    let new: Vec<Row> = list(&edit["to"]).into_iter().map(|row| Row::of(row).expect("a row")).collect();
    let mut from: Vec<RowId> = operation.from.iter().map(|row| row.row).collect();
    assert_eq!(
        {
            from.sort_unstable();
            from
        },
        {
            let mut named = named.clone();
            named.sort_unstable();
            named
        }
    );
    // Rows that go, and which of the operation's are new texts.
    let stays = match operation.kind {
        ActKind::Dedupe => ids("keep"),
        ActKind::Translate => named.clone(),
        _ => Vec::new(),
    };
    for id in named.iter().filter(|id| !stays.contains(id)) {
        texts.remove(id).expect("it was there");
    }
    let brought: Vec<_> = operation.to.iter().filter(|row| !stays.contains(&row.row)).collect();
    let mut told: Vec<Row> = brought.iter().map(|row| proposal.payloads[&row.content].row.clone()).collect();
    let mut expected = new;
    told.sort_unstable();
    expected.sort_unstable();
    assert_eq!(told, expected, "{edit}");
    for row in brought {
        let before = texts.insert(row.row, Some(proposal.payloads[&row.content].row.clone()));
        assert!(before.is_none(), "a new row has a new id");
    }
}

/// One value or several.
fn list(value: &Value) -> Vec<&Value> {
    match value {
        Value::Null => Vec::new(),
        Value::Array(list) => list.iter().collect(),
        one => vec![one],
    }
}
