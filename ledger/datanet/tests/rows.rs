//! Rows: one spelling, three formats, and a fault that names its line.

use std::time::Instant;

use loam_datanet::json::{canonical, parse};
use loam_datanet::row::{DEPTH_MAX, ROW_BYTES_MAX, Row};
use loam_datanet::rows::{FIELDS_MAX, Format, Reader, read};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value;

/// What comes of a file: rows with their lines, or the fault in words.
#[track_caller]
fn check(format: Format, file: impl AsRef<[u8]>, expected: Result<&[(u64, &str)], &str>) {
    let read = read(format, file.as_ref());
    let found = match &read {
        Ok(rows) => Ok(rows.iter().map(|placed| (placed.line, placed.row.text())).collect::<Vec<_>>()),
        Err(fault) => Err(fault.to_string()),
    };
    let found = found.as_ref().map(|rows| &rows[..]).map_err(|fault| {
        let says = expected.is_err_and(|words| fault.contains(words));
        if says { expected.expect_err("it says so") } else { fault }
    });
    assert_eq!(found, expected);
}

#[test]
fn json_lines_have_one_spelling() {
    let file = "\u{feff}{ \"b\" : 1.0, \"a\":\"\\u0041\\/\" }\r\n\n  \n{\"n\":[null,true,{\"y\":-0.0,\"x\":1e21}]}";
    let rows = [(1, r#"{"a":"A/","b":1}"#), (4, r#"{"n":[null,true,{"x":1e+21,"y":0}]}"#)];
    check(Format::JsonLines, file, Ok(&rows));
}

#[test]
fn json_lines_are_refused_by_line() {
    let jsonl = |file: &str, words| check(Format::JsonLines, file, Err(words));
    jsonl("", "line 1: the file has no rows");
    jsonl("{\"a\":1}\n[1]\n", "line 2: a row is a JSON object, such as {\"text\":\"...\"}; this is a list");
    jsonl("{\"a\":1}\n{\"a\":1,\"a\":2}\n", "line 2, column 10: the key \"a\" stands twice");
    jsonl("{\"a\":{\"b\":1,\"b\":1}}\n", "the key \"b\" stands twice");
    // A long name is not repeated at length.
    let long = "k".repeat(5_000);
    let cut = format!("the key {:?}... stands twice", "k".repeat(80));
    jsonl(&format!("{{\"{long}\":1,\"{long}\":1}}"), &cut);
    jsonl("\n{\"\u{e9}\u{e9}\":}\n", "line 2, column 7: not JSON (expected value)");
    jsonl("{\"a\":1}{}\n", "line 1, column 8: not JSON (trailing characters)");
    jsonl("{\n\"a\":1}\n", "line 1, column 1: not JSON (EOF while parsing an object)");
    jsonl("{\"a\":\"\\ud800\"}", "not JSON (");
    jsonl("{\"a\":NaN}", "not JSON (");
    jsonl("{\"a\":1e999}", "not JSON (number out of range)");
    jsonl("{}", "line 1: a row without fields");
    jsonl("{\"a\":9007199254740993}", "the number 9007199254740993 is not kept exactly");
    jsonl("{\"a\":-9007199254740993}", "the number -9007199254740993 is not kept exactly");
    check(Format::JsonLines, "{\"a\":-221722173259217660}", Ok(&[(1, "{\"a\":-221722173259217660}")]));
    let nested = |depth: usize| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
    check(Format::JsonLines, nested(DEPTH_MAX), Ok(&[(1, &nested(DEPTH_MAX))]));
    jsonl(&nested(DEPTH_MAX + 1), "nested deeper than 32 levels");
    jsonl(&"[".repeat(100_000), "nested deeper than 32 levels");
    let long = |bytes: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(bytes - 8));
    check(Format::JsonLines, long(ROW_BYTES_MAX), Ok(&[(1, &long(ROW_BYTES_MAX))]));
    jsonl(&long(ROW_BYTES_MAX + 1), "the row has 65537 bytes, and 65536 are the most");
    jsonl(&long(ROW_BYTES_MAX * 9), "bytes, and 65536 are the most");
    jsonl(&"{\"a\":1}\n".repeat(1_000_001), "line 1000001: the file has more than 1000000 rows");
    check(Format::JsonLines, b"{\"a\":1}\n{\"a\":\"\xff\"}", Err("line 2, column 7: not UTF-8"));
}

/// Old programs end lines with a carriage return alone: then all of a file is one line, and what is said is why.
#[test]
fn line_ends_of_returns_alone_are_named() {
    let says = Err("line 1: the file's lines end with a carriage return alone (CR): save it");
    check(Format::Csv, "a,b\r1,2\r3,4\r", says);
    check(Format::Csv, "a,b\r\"1\r2\",3", says);
    check(Format::JsonLines, "{\"a\":1}\r{\"a\":2}\r", says);
    // Between the parts of one object it is a blank, as JSON has it.
    check(Format::JsonLines, "{\"a\":\r1}\r", Ok(&[(1, "{\"a\":1}")]));
    check(Format::JsonLines, "{\"a\":1}\n{\"a\":\r}", Err("line 2, column 7: not JSON"));
}

#[test]
fn csv_names_its_fields() {
    let file = "text,label\r\n\"a, \"\"b\"\"\nc\",yes\r\n\r\n,\"\"\nlast,";
    let rows = [
        (2, "{\"label\":\"yes\",\"text\":\"a, \\\"b\\\"\\nc\"}"),
        (5, r#"{"label":"","text":""}"#),
        (6, r#"{"label":"","text":"last"}"#),
    ];
    check(Format::Csv, file, Ok(&rows));
}

#[test]
fn csv_is_refused_by_line_and_column() {
    let csv = |file: &str, words| check(Format::Csv, file, Err(words));
    csv("", "line 1: the file has no rows");
    csv("a,b\n", "line 1: the file has no rows");
    csv("a,b\n1,2\n1,2,3\n", "line 3, column 5: the line has 3 fields, the header 2");
    csv("a,b\n1\n", "line 2, column 1: the line has 1 fields, the header 2");
    csv("a,\u{e9},a\n", "line 1, column 5: the header names \"a\" twice");
    csv("a, ,b\n", "line 1, column 3: the header names no field here");
    csv("a,b\n1,\"2\n3,4\n", "line 2, column 3: the quoted field that begins here has no end");
    csv("a,b\n\"1\n2\"x,2\n", "line 3, column 3: text after the end of a quoted field");
    csv("a,b\n1,2\"\n", "line 2, column 4: a quote inside a field");
    csv(&"a,".repeat(FIELDS_MAX + 1), "line 1, column 2049: more than 1024 columns");
    csv(&",".repeat(10_000_000), "more than 1024 columns");
    csv(&format!("a\n{}\n", "x".repeat(ROW_BYTES_MAX)), "line 2: the row has 65544 bytes");
}

#[test]
fn text_has_a_row_a_paragraph() {
    let file = "\n one\ntwo \r\n \t\r\n\nthree \"quoted\"";
    let rows = [(2, "{\"text\":\" one\\ntwo \"}"), (6, "{\"text\":\"three \\\"quoted\\\"\"}")];
    check(Format::Text, file, Ok(&rows));
    check(Format::Text, " \n\n", Err("line 1: the file has no rows"));
    check(Format::Text, format!("a\n\n{}", "b\n".repeat(ROW_BYTES_MAX)), Err("line 3: the row has"));
}

#[test]
fn formats_are_known_by_name() {
    let names = [("a.JSONL", Some(Format::JsonLines)), ("b.x.csv", Some(Format::Csv)), ("c.txt", Some(Format::Text))];
    for (name, format) in names.into_iter().chain([("csv", None), ("d.parquet", None)]) {
        assert_eq!(Format::of_name(name), format, "{name}");
    }
}

/// The samples of RFC 8785, appendix B, as bits and as text.
#[test]
fn doubles_are_written_as_the_rfc_has_them() {
    let samples: [(u64, &str); 20] = [
        (0x0000_0000_0000_0000, "0"),
        (0x8000_0000_0000_0000, "0"),
        (0x0000_0000_0000_0001, "5e-324"),
        (0x8000_0000_0000_0001, "-5e-324"),
        (0x7fef_ffff_ffff_ffff, "1.7976931348623157e+308"),
        (0xffef_ffff_ffff_ffff, "-1.7976931348623157e+308"),
        (0x4340_0000_0000_0000, "9007199254740992"),
        (0xc340_0000_0000_0000, "-9007199254740992"),
        (0x4430_0000_0000_0000, "295147905179352830000"),
        (0x44b5_2d02_c7e1_4af5, "9.999999999999997e+22"),
        (0x44b5_2d02_c7e1_4af6, "1e+23"),
        (0x44b5_2d02_c7e1_4af7, "1.0000000000000001e+23"),
        (0x444b_1ae4_d6e2_ef4e, "999999999999999700000"),
        (0x444b_1ae4_d6e2_ef4f, "999999999999999900000"),
        (0x444b_1ae4_d6e2_ef50, "1e+21"),
        (0x3eb0_c6f7_a0b5_ed8c, "9.999999999999997e-7"),
        (0x3eb0_c6f7_a0b5_ed8d, "0.000001"),
        (0x41b3_de43_5555_5553, "333333333.3333332"),
        (0x43143ff3c1cb0959, "1424953923781206.2"),
        (0xbecb_f647_612f_3696, "-0.0000033333333333333333"),
    ];
    for (bits, text) in samples {
        let value = f64::from_bits(bits);
        assert_eq!(canonical(&Value::from(value)), text, "{value:e}");
    }
}

#[test]
fn keys_stand_in_the_order_of_utf_16() {
    // U+1F600 is above U+FB33 as a scalar, and below it in UTF-16.
    let row = Row::parse("{\"\u{fb33}\":1,\"\u{1f600}\":2,\"\\r\":3,\"1\":4,\"\u{f6}\":5}").expect("it is a row");
    assert_eq!(row.text(), "{\"\\r\":3,\"1\":4,\"\u{f6}\":5,\"\u{1f600}\":2,\"\u{fb33}\":1}");
}

fn json() -> impl Strategy<Value = Value> {
    let number = prop_oneof![
        any::<i32>().prop_map(Value::from),
        any::<f64>().prop_filter("finite", |x| x.is_finite()).prop_map(Value::from)
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        number,
        any::<String>().prop_map(Value::from)
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        let list = vec(inner.clone(), 0..5).prop_map(Value::from);
        let object = proptest::collection::btree_map(any::<String>(), inner, 0..5);
        prop_oneof![list, object.prop_map(|map| Value::Object(map.into_iter().collect()))]
    })
}

proptest! {
    #[test]
    fn the_spelling_is_its_own(value in json()) {
        let once = canonical(&value);
        let again = parse(&once, DEPTH_MAX).expect("what was written is read");
        prop_assert_eq!(canonical(&again), once.clone());
        // Other readers of JSON see the same value: numbers to the bit, for they are doubles.
        let theirs: Value = serde_json::from_str(&once).expect("it is JSON");
        prop_assert_eq!(canonical(&theirs), once);
    }

    #[test]
    fn a_stored_row_comes_back(value in json()) {
        let row = Row::of_fields(&[("v".to_owned(), value)].into_iter().collect()).expect("it is small");
        prop_assert_eq!(Row::stored(row.text().as_bytes()), Some(row.clone()));
        prop_assert_eq!(Row::of(&Value::Object(row.fields())), Ok(row.clone()));
        prop_assert_eq!(Row::stored(format!(" {}", row.text()).as_bytes()), None);
    }

    #[test]
    fn whatever_csv_writes_is_read(table in vec(vec(any::<String>(), 3), 1..8)) {
        let line = |fields: &Vec<String>| {
            fields.iter().map(|field| format!("\"{}\"", field.replace('"', "\"\""))).collect::<Vec<_>>().join(",")
        };
        let file = format!("x,y,z\n{}", table.iter().map(line).collect::<Vec<_>>().join("\r\n"));
        let rows = read(Format::Csv, file.as_bytes()).expect("it is CSV");
        prop_assert_eq!(rows.len(), table.len());
        for (placed, fields) in rows.iter().zip(&table) {
            let map = placed.row.fields();
            let found = ["x", "y", "z"].map(|name| map[name].as_str().expect("a string"));
            prop_assert_eq!(&found[..], &fields[..]);
        }
    }

    /// Parts of all three formats, put together at random: never a panic, and never a line that the file has not.
    #[test]
    fn parsers_survive_anything(parts in vec(0..PARTS.len(), 0..60), cut in any::<u8>()) {
        let mut file: Vec<u8> = parts.iter().flat_map(|part| PARTS[*part].bytes()).collect();
        let at = usize::from(cut) % (file.len() + 1);
        if cut % 4 == 0 {
            file.insert(at, cut);
        }
        let lines = file.iter().filter(|byte| **byte == b'\n').count() as u64 + 1;
        for format in [Format::JsonLines, Format::Csv, Format::Text] {
            match read(format, &file) {
                Ok(rows) => prop_assert!(rows.iter().all(|placed| (1..=lines).contains(&placed.line))),
                Err(fault) => prop_assert!((1..=lines).contains(&fault.line), "{}", fault),
            }
        }
    }
}

const PARTS: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    "\"",
    "\"\"",
    ",",
    ":",
    "\n",
    "\r\n",
    "\\",
    "\\u00",
    "a",
    "b",
    "\"a\":",
    "1",
    "-0.0",
    "1e5",
    "1e999",
    "null",
    "tru",
    " ",
    "\u{e9}",
    "\u{1f600}",
    "\u{feff}",
    "{\"a\":1}\n",
    "x,y\n",
    "\0",
    "\u{2028}",
];

#[test]
fn a_hundred_thousand_rows_are_read_within_a_second() {
    let line = |n: usize| {
        format!("{{\"text\": \"the answer to question {n} is {}\", \"label\": \"l{}\", \"n\": {n}}}\n", n * 7, n % 5)
    };
    let file: String = (0..100_000).map(line).collect();
    let csv: String = (0..100_000).map(|n| format!("\"the answer, {n}\",label {},{n}\n", n % 5)).collect();
    for (format, file) in [(Format::JsonLines, file), (Format::Csv, format!("text,label,n\n{csv}"))] {
        let begun = Instant::now();
        let rows = Reader::new(format, file.as_bytes()).expect("the file is whole").filter(Result::is_ok).count();
        let took = begun.elapsed();
        eprintln!("{rows} rows of {format:?}, {} bytes: {took:?}", file.len());
        assert_eq!(rows, 100_000);
        assert!(took.as_secs() < 10, "ten times the time that it should take: {took:?}");
    }
}
