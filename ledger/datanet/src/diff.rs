//! What changed from one revision to another, and who made a row what it is; both also as text for people.

use core::fmt::Write as _;

use loam_ledger_core::lineage::Touch;
use loam_ledger_core::record::{Author, RecordId, RowId, Rows};
use serde_json::Value;

use crate::json::canonical;
use crate::row::Row;
use crate::shown::{line, percent, short};

/// Characters of a value that are shown.
const VALUE_SHOWN: usize = 200;

/// Rows by what became of them, each list ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// There now, not before.
    pub added: Vec<RowId>,
    /// There before, not now.
    pub removed: Vec<RowId>,
    /// There before and now, with another content.
    pub changed: Vec<RowId>,
}

impl Diff {
    /// What changed between two revisions' rows.
    pub fn between(before: &Rows, after: &Rows) -> Self {
        let missing = |rows: &Rows, of: &Rows| of.keys().filter(|row| !rows.contains_key(*row)).copied().collect();
        let differs = |(row, content): &(&RowId, _)| before.get(*row).is_some_and(|old| old != *content);
        Self {
            added: missing(before, after),
            removed: missing(after, before),
            changed: after.iter().filter(differs).map(|(row, _)| *row).collect(),
        }
    }

    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }

    /// For people: each row with a sign and, of changed ones, the fields that differ; at most so many rows of each
    /// list. Texts are asked for as they are shown; none where one can no longer be opened.
    pub fn render(
        &self,
        mut before: impl FnMut(&RowId) -> Option<Row>,
        mut after: impl FnMut(&RowId) -> Option<Row>,
        most: usize,
    ) -> String {
        let (added, removed, changed) = (self.added.len(), self.removed.len(), self.changed.len());
        let mut text = format!("{added} added, {removed} removed, {changed} changed\n");
        let mut list = |sign: char, rows: &[RowId], what: &mut dyn FnMut(&RowId) -> String| {
            for row in rows.iter().take(most) {
                text += &format!("{sign} {row}\n{}", what(row));
            }
            if rows.len() > most {
                text += &format!("{sign} and {} more\n", rows.len() - most);
            }
        };
        list('+', &self.added, &mut |row| whole('+', after(row)));
        list('-', &self.removed, &mut |row| whole('-', before(row)));
        list('~', &self.changed, &mut |row| match (before(row), after(row)) {
            (Some(before), Some(after)) => fields(&before, &after),
            (before, after) => whole('-', before) + &whole('+', after),
        });
        text
    }
}

fn whole(sign: char, row: Option<Row>) -> String {
    let text = row.map_or("(can no longer be opened)".to_owned(), |row| line(row.text(), VALUE_SHOWN));
    format!("    {sign} {text}\n")
}

/// Fields that are not the same in both.
fn fields(before: &Row, after: &Row) -> String {
    let (before, after) = (before.fields(), after.fields());
    let mut text = String::new();
    let mut show = |sign: char, name: &str, value: Option<&Value>| {
        if let Some(value) = value {
            let (name, value) = (line(name, VALUE_SHOWN), line(&canonical(value), VALUE_SHOWN));
            writeln!(text, "    {sign} {name}: {value}").expect("a string takes everything");
        }
    };
    let new = after.keys().filter(|name| !before.contains_key(*name));
    for name in before.keys().chain(new) {
        let (old, new) = (before.get(name), after.get(name));
        if old.map(canonical) != new.map(canonical) {
            show('-', name, old);
            show('+', name, new);
        }
    }
    text
}

/// Who stands behind a contribution.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Behind {
    /// Who signed it, with shares.
    pub authors: Vec<Author>,
    /// Whether the operator says so for them, without their signature.
    pub attested: bool,
}

/// A row's chain for people: a line for each touch, from the operation that brought it, with all its authors.
pub fn blame(row: &RowId, chain: &[Touch], mut behind: impl FnMut(&RecordId) -> Behind) -> String {
    let mut text = format!("row {row}\n");
    if chain.is_empty() {
        text.push_str("    is not there\n");
    }
    for touch in chain {
        let Behind { authors, attested } = behind(&touch.contribution);
        let share = |author: &Author| match authors.len() {
            1 => short(&author.contributor),
            _ => format!("{} {}", short(&author.contributor), percent(author.share)),
        };
        let people = authors.iter().map(share).collect::<Vec<_>>().join(", ");
        let word = if attested { " (attested by operator)" } else { "" };
        let (act, work, place) = (touch.kind.word(), short(&touch.contribution), touch.operation + 1);
        writeln!(text, "    {act:<17} {people}{word}, contribution {work}, operation {place}")
            .expect("a string takes everything");
    }
    text
}
