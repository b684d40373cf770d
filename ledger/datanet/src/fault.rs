//! What is wrong with a file that somebody gave: where, what, and what to do about it.

use core::fmt;

use loam_ledger_core::record::OPERATION_ROWS_MAX;

use crate::row::{DEPTH_MAX, ROW_BYTES_MAX};
use crate::rows::{FIELDS_MAX, FILE_BYTES_MAX, ROWS_MAX};
use crate::shown::quoted;

/// Something wrong in a file. Nothing of the file was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The line, from 1.
    pub line: u64,
    /// The column, from 1, where it is known: in characters.
    pub column: Option<u64>,
    /// What is wrong there.
    pub what: What,
}

impl Fault {
    /// At a line.
    pub fn at(line: u64, what: What) -> Self {
        Self { line, column: None, what }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}", self.line)?;
        if let Some(column) = self.column {
            write!(f, ", column {column}")?;
        }
        write!(f, ": {}", self.what)
    }
}

impl std::error::Error for Fault {}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's message is its documentation")]
pub enum What {
    #[error("not UTF-8: save the file in that encoding")]
    Encoding,
    #[error("the file has more than {FILE_BYTES_MAX} bytes: give it in parts")]
    FileBytes,
    #[error("the file has more than {ROWS_MAX} rows: give it in parts")]
    FileRows,
    #[error("the file has no rows")]
    NoRows,
    #[error("the file's lines end with a carriage return alone (CR): save it with line ends of LF, or of CR and LF")]
    LineEnds,

    #[error("not JSON ({why}); each line is one whole object")]
    Json { why: String },
    #[error("a row is a JSON object, such as {{\"text\":\"...\"}}; this is {found}")]
    NotObject { found: &'static str },
    #[error("the key {} stands twice in one object: leave one of them", quoted(key))]
    KeyTwice { key: String },
    #[error("nested deeper than {DEPTH_MAX} levels: flatten the row")]
    Depth,
    #[error("a row without fields says nothing: remove it")]
    Empty,
    #[error("the row has {bytes} bytes, and {ROW_BYTES_MAX} are the most: split it")]
    RowBytes { bytes: usize },
    #[error("the number {number} is not kept exactly by all readers of JSON: write it in quotes")]
    Number { number: String },

    #[error("the quoted field that begins here has no end: close it with a quote; a quote inside is written twice")]
    CsvOpen,
    #[error("text after the end of a quoted field: a quote inside a field is written twice")]
    CsvAfterQuote,
    #[error("a quote inside a field that does not begin with one: put the whole field in quotes, the inner one twice")]
    CsvQuote,
    #[error("the line has {found} fields, the header {expected}: commas inside a field need quotes around the field")]
    CsvFields { found: usize, expected: usize },
    #[error("the header names no field here: the first line gives every column a name")]
    CsvName,
    #[error("the header names {} twice: rename one of the columns", quoted(name))]
    CsvNameTwice { name: String },
    #[error("more than {FIELDS_MAX} columns: put what belongs together into one, or use JSON lines")]
    CsvColumns,

    #[error("an edit is a JSON object with \"act\" in it; this has none")]
    NoAct,
    #[error("there is no act {}; there are: {known}", quoted(found))]
    UnknownAct { found: String, known: String },
    #[error("{act} needs the field {field:?}: {wants}")]
    FieldMissing { act: String, field: &'static str, wants: &'static str },
    #[error("the field {field:?} is not as it should be: {wants}")]
    FieldShape { field: &'static str, wants: &'static str },
    #[error("{act} has no field {}: remove it", quoted(field))]
    FieldUnknown { act: String, field: String },
    #[error(
        "the field {field:?} has {}: a row's id has 64 digits, 0 to 9 and a to f; where that is the beginning of one, \
        `loam datanet show` tells all of it",
        quoted(found)
    )]
    RowId { field: &'static str, found: String },
    #[error("row {row} is not there: look its id up, or whether an earlier line took it away")]
    RowUnknown { row: String },
    #[error("row {row} is named twice: name it once")]
    RowTwice { row: String },
    #[error(
        "the text of row {row} can no longer be opened, so nothing can be made of it: remove-harmful and dedupe still work"
    )]
    TextGone { row: String },
    #[error("the text of row {row} cannot be had: {why}")]
    TextUnread { row: String, why: String },
    #[error("changes nothing: the row already says this; leave the line out")]
    ChangesNothing,
    #[error("{act} takes {wants}")]
    RowCount { act: String, wants: &'static str },
    #[error("more than {OPERATION_ROWS_MAX} rows in one edit: make several of it")]
    ManyRows,
    #[error("the id of a new row is taken: salts were not drawn at random")]
    IdTaken,
}
