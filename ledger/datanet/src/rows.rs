//! Files of rows: JSON lines, CSV and plain text. All of a file is read before anything of it is used.

use serde_json::{Map, Value};

use crate::csv::Records;
use crate::fault::{Fault, What};
use crate::json::JsonFault;
use crate::row::{ROW_BYTES_MAX, Row};

/// Rows that one file may have.
pub const ROWS_MAX: usize = 1_000_000;

/// Bytes that one file may have.
pub const FILE_BYTES_MAX: usize = 1 << 30;

/// Columns that a CSV file may have.
pub const FIELDS_MAX: usize = 1_024;

/// How rows stand in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line; blank lines are skipped.
    JsonLines,
    /// RFC 4180, the first line naming the fields; every value is a string. Lines without any character are skipped.
    Csv,
    /// A row a paragraph, `{"text": ...}`: lines up to a blank one, joined as they stand.
    Text,
}

impl Format {
    /// The format that a file's name ends in: `.jsonl`, `.ndjson`, `.csv`, `.txt` or `.md`.
    pub fn of_name(name: &str) -> Option<Self> {
        match name.rsplit_once('.')?.1.to_ascii_lowercase().as_str() {
            "jsonl" | "ndjson" => Some(Self::JsonLines),
            "csv" => Some(Self::Csv),
            "txt" | "md" => Some(Self::Text),
            _ => None,
        }
    }
}

/// A row, and the line on which it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// From 1.
    pub line: u64,
    /// The row.
    pub row: Row,
}

/// The rows of a file, all or none.
pub fn read(format: Format, file: &[u8]) -> Result<Vec<Placed>, Fault> {
    let rows = Reader::new(format, file)?.collect::<Result<Vec<_>, _>>()?;
    if rows.is_empty() { Err(Fault::at(1, What::NoRows)) } else { Ok(rows) }
}

/// The rows of a file, one by one. After a fault there are no more.
pub struct Reader<'a> {
    lines: Lines<'a>,
    rows: usize,
    ended: bool,
}

enum Lines<'a> {
    Json { lines: Numbered<'a>, text: &'a str },
    Csv { records: Records<'a>, names: Vec<String> },
    Text(Numbered<'a>),
}

impl<'a> Reader<'a> {
    /// Looks at what concerns the file as a whole: its length, its encoding and, of CSV, its header.
    pub fn new(format: Format, file: &'a [u8]) -> Result<Self, Fault> {
        let text = text(file)?;
        let lines = match format {
            Format::JsonLines => Lines::Json { lines: Numbered::new(text), text },
            Format::Text => Lines::Text(Numbered::new(text)),
            Format::Csv if ends_in_returns(text) => return Err(Fault::at(1, What::LineEnds)),
            Format::Csv => {
                let mut records = Records::new(text);
                let names = header(&mut records)?;
                Lines::Csv { records, names }
            }
        };
        Ok(Self { lines, rows: 0, ended: false })
    }

    fn row(&mut self) -> Result<Option<Placed>, Fault> {
        match &mut self.lines {
            Lines::Json { lines, text } => {
                let line = lines.find(|(_, line)| !line.trim().is_empty());
                line.map(object).transpose().map_err(|fault| or_line_ends(text, fault))
            }
            Lines::Text(lines) => paragraph(lines),
            Lines::Csv { records, names } => record(records, names),
        }
    }
}

impl Iterator for Reader<'_> {
    type Item = Result<Placed, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let mut next = self.row().transpose();
        if let Some(Ok(placed)) = &next {
            self.rows += 1;
            if self.rows > ROWS_MAX {
                next = Some(Err(Fault::at(placed.line, What::FileRows)));
            }
        }
        self.ended = !matches!(next, Some(Ok(_)));
        next
    }
}

/// A file's text, without the mark that some programs put before it.
pub(crate) fn text(file: &[u8]) -> Result<&str, Fault> {
    if file.len() > FILE_BYTES_MAX {
        return Err(Fault::at(1, What::FileBytes));
    }
    let text = core::str::from_utf8(file).map_err(|error| {
        let good = &file[..error.valid_up_to()];
        let line = good.iter().filter(|byte| **byte == b'\n').count() as u64 + 1;
        let start = good.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let column = String::from_utf8_lossy(&good[start..]).chars().count() as u64 + 1;
        Fault { line, column: Some(column), what: What::Encoding }
    })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

/// Whether lines end as old programs wrote them, with a carriage return alone: to everybody else it is all one line.
fn ends_in_returns(text: &str) -> bool {
    !text.contains('\n') && text.trim_end().contains('\r')
}

/// What is wrong with a file of JSON lines: its line ends rather than what they make of the first line.
pub(crate) fn or_line_ends(text: &str, fault: Fault) -> Fault {
    if ends_in_returns(text) { Fault::at(1, What::LineEnds) } else { fault }
}

/// Lines with their numbers, from 1.
pub(crate) struct Numbered<'a> {
    lines: core::str::Lines<'a>,
    number: u64,
}

impl<'a> Numbered<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { lines: text.lines(), number: 0 }
    }
}

impl<'a> Iterator for Numbered<'a> {
    type Item = (u64, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let line = self.lines.next()?;
        self.number += 1;
        Some((self.number, line))
    }
}

fn object((line, text): (u64, &str)) -> Result<Placed, Fault> {
    Row::parse(text).map(|row| Placed { line, row }).map_err(|fault| placed(line, text, fault))
}

/// A fault within a line, at its place in the file.
pub(crate) fn placed(line: u64, text: &str, fault: JsonFault) -> Fault {
    let bytes = text.as_bytes();
    let before = bytes.get(..fault.byte.saturating_sub(1)).unwrap_or(bytes);
    let column = (fault.byte > 0).then(|| String::from_utf8_lossy(before).chars().count() as u64 + 1);
    Fault { line, column, what: fault.what }
}

fn paragraph(lines: &mut Numbered<'_>) -> Result<Option<Placed>, Fault> {
    let Some((line, first)) = lines.find(|(_, line)| !line.trim().is_empty()) else { return Ok(None) };
    let mut text = first.to_owned();
    for (_, next) in lines.by_ref().take_while(|(_, line)| !line.trim().is_empty()) {
        text.push('\n');
        text.push_str(next);
        if text.len() > ROW_BYTES_MAX {
            return Err(Fault::at(line, What::RowBytes { bytes: text.len() }));
        }
    }
    let row = Row::of_text(&text).map_err(|what| Fault::at(line, what))?;
    Ok(Some(Placed { line, row }))
}

fn header(records: &mut Records<'_>) -> Result<Vec<String>, Fault> {
    let Some(record) = records.next()? else { return Err(Fault::at(1, What::NoRows)) };
    let mut names: Vec<String> = Vec::with_capacity(record.fields.len());
    for (column, name) in record.fields {
        let fault = |what| Fault { line: record.line, column: Some(column), what };
        if name.trim().is_empty() {
            return Err(fault(What::CsvName));
        }
        if names.contains(&name) {
            return Err(fault(What::CsvNameTwice { name }));
        }
        names.push(name);
    }
    Ok(names)
}

fn record(records: &mut Records<'_>, names: &[String]) -> Result<Option<Placed>, Fault> {
    let Some(record) = records.next()? else { return Ok(None) };
    let (found, expected) = (record.fields.len(), names.len());
    if found != expected {
        // At the first field too many, or the last there is.
        let column = record.fields.get(expected).or(record.fields.last()).map(|(column, _)| *column);
        return Err(Fault { line: record.line, column, what: What::CsvFields { found, expected } });
    }
    let fields = names.iter().cloned().zip(record.fields.into_iter().map(|(_, field)| Value::String(field)));
    let row = Row::of_fields(&Map::from_iter(fields)).map_err(|what| Fault::at(record.line, what))?;
    Ok(Some(Placed { line: record.line, row }))
}
