//! Files of rows, in all three formats.

use loam_datanet::Row;
use loam_datanet::row::ROW_BYTES_MAX;
use loam_datanet::rows::{Format, Placed, read};
use serde_json::{Map, Value};

use super::{lines_of, refused};

/// Files of rows: the same bytes as each format.
pub(crate) fn rows(data: &[u8]) {
    for format in [Format::JsonLines, Format::Csv, Format::Text] {
        match read(format, data) {
            Ok(placed) => taken(format, data, &placed),
            Err(fault) => {
                assert!((1..=lines_of(data)).contains(&fault.line), "{fault}");
                assert_ne!(fault.column, Some(0), "columns begin at 1");
                refused(&fault);
            }
        }
    }
}

/// What was read has one spelling, stands where it is said to, and comes back from each format that can hold it.
fn taken(format: Format, data: &[u8], placed: &[Placed]) {
    assert!(!placed.is_empty(), "a file without rows is refused");
    assert!(placed.is_sorted_by(|a, b| a.line < b.line) && placed[0].line > 0, "{placed:?}");
    assert!(placed[placed.len() - 1].line <= lines_of(data));
    let rows: Vec<&Row> = placed.iter().map(|placed| &placed.row).collect();
    for row in &rows {
        assert!(row.text().len() <= ROW_BYTES_MAX);
        assert_eq!(Row::parse(row.text()).as_ref(), Ok(*row), "the one spelling is read as it is written");
        assert_eq!(Row::stored(row.text().as_bytes()).as_ref(), Some(*row));
        assert_eq!(Row::of_fields(&row.fields()).as_ref(), Ok(*row));
        let theirs: Value = serde_json::from_str(row.text()).expect("another reader of JSON reads it");
        assert!(same(&theirs, &Value::Object(row.fields())), "another reader of JSON sees another row: {row:?}");
    }
    comes_back(Format::JsonLines, &json_lines(&rows), &rows);
    match format {
        Format::JsonLines => as_given(data, placed),
        Format::Csv => comes_back(Format::Csv, &csv(&rows), &rows),
        Format::Text => comes_back(Format::Text, &paragraphs(&rows), &rows),
    }
}

fn comes_back(format: Format, file: &str, rows: &[&Row]) {
    let again = read(format, file.as_bytes()).expect("what is written is read");
    assert!(again.iter().map(|placed| &placed.row).eq(rows.iter().copied()), "{format:?}: {file:?}");
}

/// Another reader of JSON sees in the file what stands in the rows.
fn as_given(data: &[u8], placed: &[Placed]) {
    let text = core::str::from_utf8(data).expect("rows are text");
    let lines: Vec<&str> = text.strip_prefix('\u{feff}').unwrap_or(text).split('\n').collect();
    for placed in placed {
        let line = lines[usize::try_from(placed.line).expect("a small file") - 1];
        let theirs: Value = serde_json::from_str(line).expect("another reader of JSON reads it");
        assert!(same(&theirs, &Value::Object(placed.row.fields())), "{line} is not {:?}", placed.row);
    }
}

/// The same value, where numbers are doubles.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        _ => a == b,
    }
}

fn json_lines(rows: &[&Row]) -> String {
    rows.iter().flat_map(|row| [row.text(), "\n"]).collect()
}

/// Every field in quotes: whatever it holds, it is one field.
fn csv(rows: &[&Row]) -> String {
    let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
    let line = |fields: Vec<String>| fields.join(",") + "\r\n";
    let names: Vec<String> = rows[0].fields().keys().cloned().collect();
    let value = |map: &Map<String, Value>, name: &String| quoted(map[name].as_str().expect("a value is a string"));
    let record = |row: &&Row| {
        let map = row.fields();
        line(names.iter().map(|name| value(&map, name)).collect())
    };
    line(names.iter().map(|name| quoted(name)).collect()) + &rows.iter().map(record).collect::<String>()
}

/// Both marks, the one before the file and that of each line's end, so that a row may begin or end with them.
fn paragraphs(rows: &[&Row]) -> String {
    let paragraph = |row: &&Row| {
        let fields = row.fields();
        let text = fields["text"].as_str().expect("a paragraph is a string");
        text.replace('\n', "\r\n") + "\r\n\r\n"
    };
    "\u{feff}".to_owned() + &rows.iter().map(paragraph).collect::<String>()
}
