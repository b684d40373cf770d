//! CSV as RFC 4180 has it, read strictly: whoever meant something else is told where.

use crate::fault::{Fault, What};
use crate::rows::FIELDS_MAX;

/// Records of a file, one after another, with the line on which each begins.
pub(crate) struct Records<'a> {
    text: &'a str,
    at: usize,
    line: u64,
    /// Up to where the line's characters were counted, and how many they are: no line is counted twice, however long.
    counted: (usize, u64),
}

/// A record's fields, each with its column.
pub(crate) struct Record {
    pub(crate) line: u64,
    pub(crate) fields: Vec<(u64, String)>,
}

impl<'a> Records<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, at: 0, line: 1, counted: (0, 0) }
    }

    /// The next record; lines without any character are skipped. None at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Record>, Fault> {
        while self.ends_line() {}
        if self.at == self.text.len() {
            return Ok(None);
        }
        let mut record = Record { line: self.line, fields: Vec::new() };
        loop {
            if record.fields.len() == FIELDS_MAX {
                return Err(self.fault(What::CsvColumns));
            }
            let column = self.column();
            let field = if self.rest().starts_with('"') { self.quoted()? } else { self.bare()? };
            record.fields.push((column, field));
            if self.rest().starts_with(',') {
                self.at += 1;
            } else if self.ends_line() || self.at == self.text.len() {
                return Ok(Some(record));
            } else {
                return Err(self.fault(What::CsvAfterQuote));
            }
        }
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// Steps over a line's end, if one is here.
    fn ends_line(&mut self) -> bool {
        let rest = self.rest();
        let bytes = if rest.starts_with('\n') { 1 } else { 2 * usize::from(rest.starts_with("\r\n")) };
        self.at += bytes;
        if bytes > 0 {
            (self.line, self.counted) = (self.line + 1, (self.at, 0));
        }
        bytes > 0
    }

    /// Up to the next comma or line's end.
    fn bare(&mut self) -> Result<String, Fault> {
        let rest = self.rest();
        let end = rest.find([',', '\n']).unwrap_or(rest.len());
        let mut field = &rest[..end];
        if rest[end..].starts_with('\n') {
            field = field.strip_suffix('\r').unwrap_or(field);
        }
        if let Some(quote) = field.find('"') {
            self.at += quote;
            return Err(self.fault(What::CsvQuote));
        }
        self.at += field.len();
        Ok(field.to_owned())
    }

    /// From quote to quote.
    fn quoted(&mut self) -> Result<String, Fault> {
        let open = self.fault(What::CsvOpen);
        self.at += 1;
        let mut field = String::new();
        loop {
            let rest = self.rest();
            let Some(quote) = rest.find('"') else { return Err(open) };
            self.pass(&rest[..quote]);
            field.push_str(&rest[..quote]);
            self.at += 1;
            if !self.rest().starts_with('"') {
                return Ok(field);
            }
            field.push('"');
            self.at += 1;
        }
    }

    /// Steps over text that may have lines of its own.
    fn pass(&mut self, text: &str) {
        for (at, _) in text.match_indices('\n') {
            (self.line, self.counted) = (self.line + 1, (self.at + at + 1, 0));
        }
        self.at += text.len();
    }

    fn column(&mut self) -> u64 {
        let (from, before) = self.counted;
        let columns = before + self.text[from..self.at].chars().count() as u64;
        self.counted = (self.at, columns);
        columns + 1
    }

    fn fault(&mut self, what: What) -> Fault {
        Fault { line: self.line, column: Some(self.column()), what }
    }
}
