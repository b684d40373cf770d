//! Edits: thirteen acts on rows, each line upon those before it, and the operations that the ledger takes.

use std::collections::BTreeMap;

use loam_datanet::edits::{Ground, Payload, Proposal, add, read, row_id};
use loam_datanet::{Fault, Row};
use loam_ledger_core::Hash;
use loam_ledger_core::hash::digest;
use loam_ledger_core::record::{ActKind, Operation, RowId, Rows, apply};
use loam_ledger_core::text::hex_decode;
use proptest::collection::vec;
use proptest::prelude::*;

/// A dataset of rows `{"text":"a"}` and so on, whose texts are known but for that of `gone`.
struct Shelf {
    dataset: Hash,
    rows: Rows,
    texts: BTreeMap<RowId, Row>,
    ids: BTreeMap<&'static str, RowId>,
}

fn salts() -> impl FnMut() -> [u8; 16] {
    let mut number = 0_u128;
    move || {
        number += 1;
        number.to_be_bytes()
    }
}

impl Shelf {
    fn new() -> Self {
        let dataset = digest(b"dataset");
        let mut shelf = Self { dataset, rows: Rows::new(), texts: BTreeMap::new(), ids: BTreeMap::new() };
        for name in ["a", "b", "c", "gone"] {
            let row = Row::of_text(name).expect("it is short");
            let payload = Payload { salt: [7; 16], row: row.clone() };
            let id = row_id(&dataset, &payload);
            shelf.rows.insert(id, payload.content());
            shelf.ids.insert(name, id);
            if name != "gone" {
                shelf.texts.insert(id, row);
            }
        }
        shelf
    }

    /// Reads edits in which `$a` stands for the id of row `a`.
    fn read(&self, edits: &str) -> Result<Proposal, Fault> {
        let edits =
            self.ids.iter().fold(edits.to_owned(), |text, (name, id)| text.replace(&format!("${name}"), &id.to_hex()));
        let (text, salt) = (&mut |id: &RowId| Ok(self.texts.get(id).cloned()), &mut salts());
        read(Ground { dataset: self.dataset, rows: &self.rows, text, salt }, edits.as_bytes())
    }

    /// Texts of all rows after a proposal, which the ledger must take.
    fn after(&self, proposal: &Proposal) -> Vec<String> {
        let mut rows = self.rows.clone();
        apply(&mut rows, &proposal.operations).expect("the ledger takes what edits give");
        assert!(proposal.operations.iter().all(|op| op.changes() || op.kind == ActKind::DocumentDecision));
        let text = |(id, content): (&RowId, &Hash)| match proposal.payloads.get(content) {
            Some(payload) => payload.row.text().to_owned(),
            None => self.texts.get(id).map_or("gone".to_owned(), |row| row.text().to_owned()),
        };
        let mut texts: Vec<String> =
            rows.iter().map(text).map(|text| text.replace("{\"text\":\"", "").replace("\"}", "")).collect();
        texts.sort();
        texts
    }
}

/// What rows say after these edits, in order; or the fault.
#[track_caller]
fn check(edits: &str, expected: Result<&str, &str>) {
    let shelf = Shelf::new();
    match (shelf.read(edits), expected) {
        (Ok(proposal), Ok(texts)) => assert_eq!(shelf.after(&proposal).join(" "), texts),
        (Err(fault), Err(words)) => assert!(fault.to_string().contains(words), "{fault}"),
        (found, _) => panic!("{found:?} is not {expected:?}"),
    }
}

#[test]
fn every_act_gives_its_operation() {
    check(r#"{"act":"add","to":{"text":"d"}}"#, Ok("a b c d gone"));
    check(r#"{"act":"add-test-case","to":[{"text":"d"},{"text":"e"}]}"#, Ok("a b c d e gone"));
    for act in ["correct", "relabel", "normalise", "licence-fix", "annotate"] {
        check(&format!(r#"{{"act":"{act}","row":"$a","to":{{"text":"A"}}}}"#), Ok("A b c gone"));
    }
    check(r#"{"act":"translate","row":"$a","to":{"text":"ah"}}"#, Ok("a ah b c gone"));
    check(r#"{"act":"split","row":"$a","to":[{"text":"a1"},{"text":"a2"}]}"#, Ok("a1 a2 b c gone"));
    check(r#"{"act":"merge","rows":["$a","$b"],"to":{"text":"ab"}}"#, Ok("ab c gone"));
    check(r#"{"act":"dedupe","rows":["$a","$b","$c"],"keep":"$b"}"#, Ok("b gone"));
    check(r#"{"act":"dedupe","rows":["$a","$b","$gone"],"keep":["$b","$a"]}"#, Ok("a b c"));
    check(r#"{"act":"remove-harmful","row":"$gone"}"#, Ok("a b c"));
    check(r#"{"act":"remove-harmful","rows":["$a","$b"]}"#, Ok("c gone"));
    let shelf = Shelf::new();
    let proposal = shelf.read(r#"{"act":"document-decision","text":"British spelling"}"#).expect("it is one");
    assert_eq!(proposal.decisions, ["British spelling"]);
    assert_eq!(
        proposal.acts().iter().map(|act| (act.kind, act.count)).collect::<Vec<_>>(),
        [(ActKind::DocumentDecision, 1)]
    );
    assert_eq!(shelf.after(&proposal).len(), 4);
}

#[test]
fn a_line_sees_those_before_it() {
    let correct = |text: &str| format!("{{\"act\":\"correct\",\"row\":\"$a\",\"to\":{{\"text\":\"{text}\"}}}}");
    let twice = |first, then| format!("{}\n\n{}", correct(first), correct(then));
    check(&twice("x", "y"), Ok("b c gone y"));
    check(&twice("x", "x"), Err("line 3: changes nothing"));
    check(&twice("x", "a"), Ok("a b c gone"));
    let removed =
        "{\"act\":\"remove-harmful\",\"row\":\"$a\"}\n{\"act\":\"relabel\",\"row\":\"$a\",\"to\":{\"text\":\"x\"}}";
    check(removed, Err("is not there"));
}

#[test]
fn an_edit_is_refused_by_its_line() {
    let refused = |edits: &str, words| check(edits, Err(words));
    refused("", "no rows");
    refused("{\"act\":\"add\",\"to\":{\"a\":1}}\n{", "line 2, column 1: not JSON");
    refused("{\"act\":\"add\",\"to\":{\"a\":1}}\r{\"act\":\"add\",\"to\":{\"a\":2}}\r", "a carriage return alone");
    refused("[]", "this has none");
    refused("{}", "this has none");
    refused(r#"{"act":7}"#, "the field \"act\"");
    refused(r#"{"act":"fix"}"#, "there is no act \"fix\"; there are: add, correct");
    refused(r#"{"act":"add"}"#, "add needs the field \"to\"");
    refused(r#"{"act":"add","to":7}"#, "this is a number");
    refused(r#"{"act":"add","to":[]}"#, "add takes one row or more");
    refused(r#"{"act":"add","to":{"a":1},"why":"x"}"#, "add has no field \"why\"");
    refused(r#"{"act":"correct","to":{"a":1}}"#, "correct needs the field \"row\"");
    refused(r#"{"act":"merge","to":{"a":1}}"#, "merge needs the field \"rows\"");
    refused(r#"{"act":"correct","row":"abc","to":{"a":1}}"#, "the field \"row\" has \"abc\": a row's id has 64 digits");
    refused(r#"{"act":"correct","rows":["abc"],"to":{"a":1}}"#, "the field \"rows\" has \"abc\"");
    refused(r#"{"act":"dedupe","rows":["$a","$b"],"keep":"abc"}"#, "the field \"keep\" has \"abc\"");
    refused(r#"{"act":"correct","row":7,"to":{"a":1}}"#, "the field \"row\" is not as it should be");
    refused(r#"{"act":"correct","row":["$a"],"to":{"a":1}}"#, "64 digits");
    refused(r#"{"act":"correct","row":"$a","rows":["$b"],"to":{"a":1}}"#, "not both");
    refused(r#"{"act":"correct","rows":["$a","$b"],"to":{"a":1}}"#, "correct takes one row");
    refused(r#"{"act":"correct","row":"$a","to":{"text":"a"}}"#, "line 1: changes nothing");
    refused(r#"{"act":"correct","row":"$a","to":{ "text" : "\u0061"}}"#, "changes nothing");
    refused(r#"{"act":"correct","row":"$gone","to":{"text":"a"}}"#, "can no longer be opened");
    refused(r#"{"act":"split","row":"$a","to":[{"text":"a"},{"text":"x"}]}"#, "changes nothing");
    refused(r#"{"act":"split","row":"$a","to":[{"text":"x"}]}"#, "split takes one row, and two or more");
    refused(r#"{"act":"merge","rows":["$a"],"to":{"text":"x"}}"#, "merge takes two rows");
    refused(r#"{"act":"merge","rows":["$a","$b"],"to":{"text":"b"}}"#, "changes nothing");
    refused(r#"{"act":"merge","rows":["$a","$a"],"to":{"text":"x"}}"#, "is named twice");
    refused(r#"{"act":"dedupe","rows":["$a","$b"],"keep":"$c"}"#, "some of them, not all");
    refused(r#"{"act":"dedupe","rows":["$a","$b"],"keep":["$a","$b"]}"#, "some of them, not all");
    refused(r#"{"act":"dedupe","rows":["$a","$b"],"keep":[]}"#, "some of them, not all");
    refused(r#"{"act":"remove-harmful","rows":[]}"#, "one row or more");
    refused(&format!(r#"{{"act":"remove-harmful","row":"{}"}}"#, "0".repeat(64)), "is not there");
    refused(r#"{"act":"document-decision","text":" "}"#, "what was decided");
    let nested = |levels: usize| format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
    refused(&format!(r#"{{"act":"add","to":{}}}"#, nested(33)), "nested deeper than 32");
    refused(&format!(r#"{{"act":"add","to":[{}]}}"#, nested(33)), "nested deeper than 32");
    let many = ["{\"a\":1}"; 257].join(",");
    refused(&format!(r#"{{"act":"add","to":[{many}]}}"#), "more than 256 rows");
    let many: Vec<String> = (0..1_000_000).map(|n| format!("\"{n:064x}\"")).collect();
    let many = many.join(",");
    refused(&format!(r#"{{"act":"dedupe","rows":[{many}],"keep":[{many}]}}"#), "more than 256 rows");
    let all = vec!["{\"act\":\"document-decision\",\"text\":\"x\"}"; 1_000_001].join("\n");
    refused(&all, "line 1000001: the file has more than 1000000 rows");
    refused(r#"{"act":"add","act":"add"}"#, "the key \"act\" stands twice");
}

#[test]
fn a_salt_that_was_used_before_is_noticed() {
    let shelf = Shelf::new();
    let (text, salt) = (&mut |_: &RowId| Err("the disk is gone".to_owned()), &mut || [7; 16]);
    let ground = Ground { dataset: shelf.dataset, rows: &shelf.rows, text, salt };
    let fault = read(ground, br#"{"act":"add","to":{"text":"a"}}"#).expect_err("the id is taken");
    assert!(fault.to_string().contains("salts were not drawn at random"), "{fault}");
    let ground = Ground { dataset: shelf.dataset, rows: &shelf.rows, text, salt };
    let edit = format!(r#"{{"act":"correct","row":"{}","to":{{"text":"x"}}}}"#, shelf.ids["a"]);
    let fault = read(ground, edit.as_bytes()).expect_err("the text is not there");
    assert!(fault.to_string().contains("cannot be had: the disk is gone"), "{fault}");
}

/// The example of FORMAT.md, section 24.
#[test]
fn format_has_it_so() {
    let file = include_str!("../../FORMAT.md");
    let example = file.split("```loam-example name=payload\n").nth(1).expect("the example is there");
    let field = |name: &str| {
        let line = example.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        hex_decode(line.expect("the field is there")).expect("it is hexadecimal")
    };
    let row = Row::parse(&String::from_utf8(field("given")).expect("it is text")).expect("it is a row");
    let payload = Payload { salt: field("salt").try_into().expect("16 bytes"), row };
    assert_eq!(payload.row.text().as_bytes(), field("text"));
    assert_eq!(payload.content().0[..], field("content"));
    let dataset = Hash::from_slice(&field("dataset")).expect("32 bytes");
    assert_eq!(row_id(&dataset, &payload).0[..], field("row_id"));
}

#[test]
fn rows_are_added_one_by_one() {
    let shelf = Shelf::new();
    let rows = (0..1_000).map(|n| Row::of_text(&n.to_string()).expect("it is short"));
    let proposal = add(&shelf.dataset, rows, &mut salts());
    let adds = |op: &Operation| op.kind == ActKind::Add && op.from.is_empty() && op.to.len() == 1;
    assert!(proposal.operations.iter().all(adds));
    assert_eq!((proposal.payloads.len(), proposal.new_rows().count()), (1_000, 1_000));
    assert_eq!(shelf.after(&proposal).len(), 1_004);
    for row in proposal.operations.iter().map(|op| op.to[0]) {
        let payload = &proposal.payloads[&row.content];
        assert_eq!((row.row, row.content), (row_id(&shelf.dataset, payload), payload.content()));
    }
}

const FIELDS: &[&str] = &[
    "\"row\":\"$a\"",
    "\"row\":\"$b\"",
    "\"rows\":[\"$a\",\"$c\"]",
    "\"rows\":[\"$b\",\"$gone\"]",
    "\"keep\":\"$a\"",
    "\"to\":{\"text\":\"a\"}",
    "\"to\":{\"text\":\"z\"}",
    "\"to\":[{\"text\":\"x\"},{\"text\":\"y\"}]",
    "\"text\":\"t\"",
    "\"to\":1",
];

proptest! {
    /// Whatever edits say: the ledger takes what comes of them, or a line is named.
    #[test]
    fn what_is_taken_the_ledger_takes(lines in vec((0..13_usize, 0..FIELDS.len(), 0..FIELDS.len()), 1..6)) {
        let edit = |(act, one, other): &(usize, usize, usize)| {
            let act = ActKind::ALL[*act].word();
            format!("{{\"act\":\"{act}\",{},{}}}", FIELDS[*one], FIELDS[*other])
        };
        let file = lines.iter().map(edit).collect::<Vec<_>>();
        let shelf = Shelf::new();
        match shelf.read(&file.join("\n")) {
            Ok(proposal) => {
                shelf.after(&proposal);
                prop_assert_eq!(proposal.operations.len(), lines.len());
            }
            Err(fault) => prop_assert!((1..=lines.len() as u64).contains(&fault.line)),
        }
    }
}
