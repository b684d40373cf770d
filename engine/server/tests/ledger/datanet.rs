//! Datasets from the command line alone: people add, correct, review and commit rows, and everybody can see who made
//! what; what is wrong is said, and changes nothing.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::money::{audit, done, not_done, told};
use crate::{long_tier, run, said, text};

pub(crate) const ROWS: &str = r#"{"q": "Where does it hurt?", "a": "Maypi nanasunki?"}
{"q": "Drink boiled water", "a": "Timpusqa yakuta upyay"}

{"a": "Paqarin kutimuy", "q": "Come back tomorow"}
"#;

pub(crate) struct Scene {
    top: tempfile::TempDir,
    pub(crate) data: PathBuf,
}

impl Scene {
    /// A ledger with an operator, and with people who have keys.
    pub(crate) fn with(people: &[&str]) -> Self {
        let top = tempfile::tempdir().expect("a temporary folder");
        let data = top.path().join("data");
        run(&["init", "--data", text(&data), "--origin", "datanet.example/loam"]);
        let scene = Self { top, data };
        scene.new_id("operator", "operator");
        people.iter().for_each(|person| scene.new_id(person, "person"));
        scene
    }

    fn new_id(&self, name: &str, kind: &str) {
        done(&["id", "new", "--data", text(&self.data), "--out", &self.key(name), "--kind", kind]);
    }

    pub(crate) fn path(&self, name: &str) -> String {
        text(&self.top.path().join(name)).to_owned()
    }

    pub(crate) fn key(&self, name: &str) -> String {
        self.path(&format!("{name}.key"))
    }

    pub(crate) fn who(&self, name: &str) -> String {
        string(&told(&["id", "show", &self.key(name), "--json"])["contributor"])
    }

    pub(crate) fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        fs::write(&path, bytes).expect("a file");
        path
    }

    /// The words of a command that somebody signs.
    fn signed<'a>(&'a self, who: &'a str, words: &[&'a str]) -> Vec<String> {
        let (data, key) = (text(&self.data).to_owned(), self.key(who));
        let words = ["datanet"].iter().chain(words).map(|word| (*word).to_owned());
        words.chain(["--data".to_owned(), data, "--id".to_owned(), key]).collect()
    }

    /// What a command that somebody signs says to a program.
    pub(crate) fn says(&self, who: &str, words: &[&str]) -> Value {
        let mut words = self.signed(who, words);
        words.push("--json".to_owned());
        told(&words.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// What a person is told by it.
    pub(crate) fn told(&self, who: &str, words: &[&str]) -> String {
        done(&self.signed(who, words).iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Why it is refused.
    pub(crate) fn refused(&self, who: &str, words: &[&str]) -> String {
        not_done(&self.signed(who, words).iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// What a command answers that nobody signs.
    pub(crate) fn asked(&self, words: &[&str]) -> Value {
        told(&[&["datanet"], words, &["--data", text(&self.data), "--json"]].concat())
    }

    pub(crate) fn read(&self, words: &[&str]) -> String {
        done(&[&["datanet"], words, &["--data", text(&self.data)]].concat())
    }

    /// How long the logs are, and their roots.
    fn logs(&self) -> Value {
        told(&["ledger", "status", "--data", text(&self.data), "--json"])["logs"].clone()
    }

    /// A dataset of the operator's, under CC-BY-4.0.
    pub(crate) fn dataset(&self, name: &str) -> String {
        string(&self.says("operator", &["create", name, "--licence", "CC-BY-4.0"])["dataset"])
    }

    /// Rows that somebody offers, others accept, and the operator commits.
    pub(crate) fn committed(&self, dataset: &str, by: &str, accepted_by: &str, rows: &str) -> Value {
        let file = self.file("committed.jsonl", rows);
        let offered = self.says(by, &["add", dataset, &file]);
        self.accepted(&offered, accepted_by);
        self.says("operator", &["commit", dataset])
    }

    pub(crate) fn accepted(&self, offered: &Value, by: &str) {
        self.says(by, &["review", &string(&offered["contribution"]), "--verdict", "accept"]);
    }

    /// A row of the newest revision that says something.
    pub(crate) fn row_with(&self, dataset: &str, words: &str) -> String {
        let shown = self.asked(&["show", dataset]);
        let rows = shown["first_rows"].as_array().expect("a list");
        let found = rows.iter().find(|row| row["text"].as_str().is_some_and(|text| text.contains(words)));
        string(&found.expect("a row says it")["row"])
    }
}

pub(crate) fn string(value: &Value) -> String {
    value.as_str().expect("text").to_owned()
}

fn words_of(list: &Value, field: &str) -> Vec<String> {
    list.as_array().expect("a list").iter().map(|item| string(&item[field])).collect()
}

#[test]
fn three_people_make_a_dataset() {
    let scene = Scene::with(&["ann", "ben", "cora"]);
    let dataset = scene.dataset("clinic");
    let (rows, receipt) = (scene.file("rows.jsonl", ROWS), scene.path("rows.proof"));
    let added = scene.says("ann", &["add", "clinic", &rows, "--message", "from the ward", "--receipt", &receipt]);
    assert_eq!((added["new_rows"].as_u64(), added["acts"]["add"].as_u64()), (Some(3), Some(3)));
    assert_eq!((&added["dataset"], &added["revision"]), (&Value::String(dataset), &Value::Null));
    assert!(fs::read_to_string(&receipt).expect("a receipt").starts_with("c2sp.org/tlog-proof@v1"));
    let first = string(&added["contribution"]);

    let early = scene.refused("operator", &["commit", "clinic"]);
    assert!(early.contains("wait for a review") && early.contains(&first[..12]), "{early}");
    let own = scene.refused("ann", &["review", &first[..12], "--verdict", "accept"]);
    assert!(own.contains("your own work"), "{own}");
    let review = ["review", &first[..12], "--verdict", "accept", "--probability", "0.95", "--reason", "read all"];
    assert_eq!(scene.says("cora", &review)["probability_millionths"].as_u64(), Some(950_000));
    let not_hers = scene.refused("ann", &["commit", "clinic"]);
    assert!(not_hers.contains("only an owner of clinic"), "{not_hers}");
    let revision = scene.says("operator", &["commit", "clinic", "--message", "the first"]);
    assert_eq!((revision["rows"].as_u64(), revision["number"].as_u64()), (Some(3), Some(1)));
    assert_eq!(revision["contributions"][0].as_str(), Some(&*first));

    let row = scene.row_with("clinic", "tomorow");
    let edits = scene.file(
        "edits.jsonl",
        format!(
            r#"{{"act":"correct","row":"{row}","to":{{"a":"Paqarin kutimuy","q":"Come back tomorrow"}}}}
{{"act":"document-decision","text":"English is spelled as in Britain."}}"#
        ),
    );
    let seen = scene.says("ben", &["propose", "clinic", &edits, "--message", "a letter"]);
    assert_eq!((seen["new_rows"].as_u64(), seen["acts"]["correct"].as_u64()), (Some(0), Some(1)));
    let second = string(&seen["contribution"]);
    let shown = scene.asked(&["show", "clinic", &second[..12]]);
    assert_eq!(shown["text"].as_str(), Some("a letter\n\nEnglish is spelled as in Britain."));
    assert_eq!(shown["changed"][0]["row"].as_str(), Some(&*row));
    scene.accepted(&seen, "cora");
    let revision = scene.says("operator", &["commit", "clinic"]);
    assert_eq!((revision["rows"].as_u64(), revision["changed"].as_u64()), (Some(3), Some(1)));

    who_made_what(&scene, &row, (&first, &second));
}

/// After three people made three rows, and one of them was corrected.
fn who_made_what(scene: &Scene, row: &str, (first, second): (&str, &str)) {
    let diff = scene.asked(&["diff", "clinic", "1", "2"]);
    assert_eq!(diff["changed"][0]["before"].as_str(), Some(r#"{"a":"Paqarin kutimuy","q":"Come back tomorow"}"#));
    assert_eq!(diff["changed"][0]["after"].as_str(), Some(r#"{"a":"Paqarin kutimuy","q":"Come back tomorrow"}"#));
    let read = scene.read(&["diff", "clinic"]);
    assert!(read.contains("0 added, 0 removed, 1 changed"), "{read}");
    assert!(read.contains("- q: \"Come back tomorow\"\n    + q: \"Come back tomorrow\""), "{read}");

    let blame = scene.asked(&["blame", "clinic", &row[..12]]);
    assert_eq!(words_of(&blame["chain"], "act"), ["add", "correct"]);
    assert_eq!(words_of(&blame["chain"], "contribution"), [first, second]);
    let author = |touch: usize| string(&blame["chain"][touch]["authors"][0]["contributor"]);
    assert_eq!((author(0), author(1)), (scene.who("ann"), scene.who("ben")));
    let read = scene.read(&["blame", "clinic", row]);
    assert!(read.contains("Come back tomorrow") && read.contains(&scene.who("ben")[..12]), "{read}");

    let log = scene.asked(&["log", "clinic"]);
    let [one, two] = [["contribution proposed", "review", "revision committed"]; 2];
    assert_eq!(words_of(&log["log"], "what"), [&["dataset created"][..], &one[..], &two[..]].concat());
    assert_eq!(log["log"][2]["text"].as_str(), Some("read all"));
    let read = scene.read(&["log", "clinic"]);
    assert!(read.contains("accept 95% of ") && read.contains("English is spelled as in Britain."), "{read}");

    let counts = |who: &str| {
        let account = scene.asked(&["statement", "clinic", &scene.who(who)]);
        ["rows_standing", "rows_brought", "rows_untouched"].map(|name| account[name].as_u64().expect("a number"))
    };
    assert_eq!((counts("ann"), counts("ben"), counts("cora")), ([3, 3, 2], [1, 0, 0], [0, 0, 0]));
    assert_eq!(scene.asked(&["statement", "clinic", &scene.who("cora")])["reviews"]["accept"].as_u64(), Some(2));

    let out = scene.path("all");
    run(&["export", "--data", text(&scene.data), "--out", &out, "--log", "all", "--scope", "public"]);
    let key = run(&["key", "show", "--data", text(&scene.data), "--log", "records"]);
    if let Some(checked) = audit(&["log", &out, "--vkey", key.trim_end()]) {
        assert!(checked.status.success(), "{}", said(&checked));
    }
}

#[test]
fn two_who_work_together_are_both_behind_a_row() {
    let scene = Scene::with(&["ann", "ben", "cora"]);
    scene.dataset("clinic");
    let (rows, paper) = (scene.file("rows.jsonl", ROWS), scene.path("paper"));
    let with = format!("{}=40%", scene.who("ben"));
    scene.told("ann", &["add", "clinic", &rows, "--with", &with, "--paper", &paper]);
    assert_eq!(scene.asked(&["show", "clinic"])["waiting"], Value::Array(Vec::new()));
    done(&["id", "sign", &paper, "--data", text(&scene.data), "--id", &scene.key("ben")]);
    let offered = string(&scene.asked(&["show", "clinic"])["waiting"][0]);
    let own = scene.refused("ben", &["review", &offered, "--verdict", "accept"]);
    assert!(own.contains("your own work"), "{own}");
    scene.says("cora", &["review", &offered, "--verdict", "accept"]);
    scene.says("operator", &["commit", "clinic"]);
    let row = scene.row_with("clinic", "water");
    let authors = scene.asked(&["blame", "clinic", &row])["chain"][0]["authors"].clone();
    assert_eq!(words_of(&authors, "contributor"), [scene.who("ann"), scene.who("ben")]);
    assert_eq!(authors[1]["share_millionths"].as_u64(), Some(400_000));
    let read = scene.read(&["blame", "clinic", &row]);
    assert!(read.contains(" 60%, ") && read.contains(" 40%, contribution"), "{read}");
}

#[test]
fn a_redacted_row_is_gone_and_a_dataset_travels_without_it() {
    let scene = Scene::with(&["ann", "ben"]);
    scene.dataset("clinic");
    scene.committed("clinic", "ann", "ben", ROWS);
    let row = scene.row_with("clinic", "water");
    let not_hers = scene.refused("ann", &["redact", "clinic", &row, "--reason", "asked"]);
    assert!(not_hers.contains("only owners"), "{not_hers}");
    let done = scene.says("operator", &["redact", "clinic", &row[..12], "--reason", "asked"]);
    assert_eq!((done["row"].as_str(), done["reason"].as_str()), (Some(&*row), Some("asked")));
    assert_eq!(scene.asked(&["show", "clinic", &row])["text"], Value::Null);
    assert!(scene.read(&["show", "clinic"]).contains("(can no longer be opened)"));
    assert_eq!(words_of(&scene.asked(&["blame", "clinic", &row])["chain"], "act"), ["add"]);
    let again = scene.refused("operator", &["redact", "clinic", &row, "--reason", "asked"]);
    assert!(again.contains("redacted before"), "{again}");
    let edits = scene.file("edits.jsonl", format!(r#"{{"act":"annotate","row":"{row}","to":{{"q":"?"}}}}"#));
    let closed = scene.refused("ann", &["propose", "clinic", &edits]);
    assert!(closed.contains("line 1") && closed.contains("can no longer be opened"), "{closed}");

    let out = scene.path("out");
    let written = scene.asked(&["export", "clinic", "--out", &out]);
    assert_eq!((written["rows"].as_u64(), written["left_out"].as_u64()), (Some(2), Some(1)));
    let rows = fs::read_to_string(format!("{out}/rows.jsonl")).expect("rows");
    assert!(rows.lines().count() == 2 && !rows.contains("water"), "{rows}");
    let described: Value =
        serde_json::from_slice(&fs::read(format!("{out}/croissant.json")).expect("a description")).expect("JSON");
    assert_eq!(described["license"].as_str(), Some("https://spdx.org/licenses/CC-BY-4.0"));
    assert_eq!(described["creator"][0]["name"].as_str(), Some(&*scene.who("ann")));
    let there = not_done(&["datanet", "export", "clinic", "--out", &out, "--data", text(&scene.data)]);
    assert!(there.contains("no empty folder"), "{there}");

    let tried = scene.says("ann", &["import", &out, "--name", "travelled", "--dry-run"]);
    assert_eq!((tried["new_rows"].as_u64(), &tried["dataset"]), (Some(2), &Value::Null));
    let imported = scene.says("ann", &["import", &out, "--name", "travelled"]);
    assert_eq!(imported["new_rows"].as_u64(), Some(2));
    let waits = scene.says("ann", &["commit", "travelled", &string(&imported["contribution"])]);
    assert_eq!(waits["rows"].as_u64(), Some(2));
    let [old, new] = ["clinic", "travelled"].map(|name| scene.asked(&["show", name]));
    assert_eq!(old["licence_digest"], new["licence_digest"]);
    let texts = |shown: &Value| words_of(&shown["first_rows"], "text").into_iter().collect::<BTreeSet<_>>();
    assert_eq!(texts(&new), rows.lines().map(str::to_owned).collect());
    let text = scene.asked(&["log", "travelled"])["log"][1]["text"].clone();
    assert!(string(&text).contains("Imported from the Croissant dataset clinic, SHA-256 "), "{text}");
}

#[test]
fn a_flood_of_copies_is_shown_and_left_out() {
    let scene = Scene::with(&["ann", "ben"]);
    scene.dataset("clinic");
    scene.committed("clinic", "ann", "ben", ROWS);
    let flood = r#"{"q": "Where does it hurt?", "a": "Maypi nanasunki?"}"#.to_owned() + "\n";
    let near = "{\"q\": \"Keep the wound clean and dry, and change the dressing every day\"}\n\
                {\"q\": \"Keep the wound clean and dry, and change the dressing every day.\"}\n";
    let file = scene.file("flood.jsonl", flood.repeat(200) + near);
    let before = scene.logs();
    let tried = scene.says("ann", &["add", "clinic", &file, "--dry-run"]);
    assert_eq!(scene.logs(), before);
    let same = tried["same"].as_array().expect("a list");
    assert_eq!((same.len(), tried["new_rows"].as_u64()), (2, Some(202)));
    let (copies, alike) = (&same[0], &same[1]);
    assert_eq!(copies["first"]["new"].as_bool(), Some(false));
    assert_eq!(copies["first"]["row"].as_str(), Some(&*scene.row_with("clinic", "hurt")));
    let others = copies["others"].as_array().expect("a list");
    assert!(others.len() == 200 && others.iter().all(|other| other["exact"].as_bool() == Some(true)));
    assert_eq!(others[7]["line"].as_u64(), Some(8));
    let other = &alike["others"][0];
    assert_eq!((other["exact"].as_bool(), other["line"].as_u64()), (Some(false), Some(202)));
    assert!((900_000..1_000_000).contains(&other["similarity_millionths"].as_u64().expect("a number")), "{other}");

    let words = scene.told("ann", &["add", "clinic", &file, "--skip-duplicates"]);
    for says in ["2 groups of rows say the same", "and 195 more rows", "left out: 200 copies", "2 add"] {
        assert!(words.contains(says), "{words}");
    }
    let all = scene.told("ann", &["add", "clinic", &scene.file("again.jsonl", &flood)]);
    assert!(all.contains("--skip-duplicates leaves copies out, --dry-run shows them"), "{all}");
    let copies = scene.file("copies.jsonl", flood.repeat(3));
    let before = scene.logs();
    let none = scene.refused("ann", &["add", "clinic", &copies, "--skip-duplicates"]);
    assert!(none.contains("all rows are there already"), "{none}");
    assert_eq!(scene.logs(), before);
}

#[test]
fn what_does_not_fit_any_more_is_left_out_and_branches_are_named() {
    let scene = Scene::with(&["ann", "ben"]);
    scene.dataset("clinic");
    scene.committed("clinic", "ann", "ben", ROWS);
    let row = scene.row_with("clinic", "tomorow");
    let correct = |q: &str| format!(r#"{{"act":"correct","row":"{row}","to":{{"q":"{q}"}}}}"#);
    let offer = |q: &str| {
        let offered =
            scene.says("ann", &["propose", "clinic", &scene.file("one.jsonl", correct(q)), "--revision", "1"]);
        scene.accepted(&offered, "ben");
        string(&offered["contribution"])
    };
    let (one, two, three) = (offer("one"), offer("two"), offer("three"));
    scene.says("ben", &["review", &three, "--verdict", "reject", "--reason", "not a word"]);
    let revision = scene.says("operator", &["commit", "clinic"]);
    assert_eq!(revision["contributions"], Value::from(vec![one.clone()]));
    assert_eq!(revision["do_not_fit"], Value::from(vec![two.clone()]));
    let unfit = scene.refused("operator", &["commit", "clinic", &two]);
    assert!(unfit.contains("does not fit") && unfit.contains("offer it again"), "{unfit}");
    let again = scene.refused("operator", &["commit", "clinic", &one[..12]]);
    assert!(again.contains("already"), "{again}");

    // The other correction, beside the first.
    scene.says("operator", &["commit", "clinic", &two, "--revision", "1"]);
    let file = scene.file("more.jsonl", r#"{"q": "Open your mouth"}"#);
    let heads = scene.refused("ann", &["add", "clinic", &file]);
    assert!(heads.contains("2 revisions stand side by side") && heads.contains("--revision"), "{heads}");
    let two_numbers = scene.refused("ann", &["add", "clinic", &file, "--revision", "2"]);
    assert!(two_numbers.contains("2 revisions have the number 2"), "{two_numbers}");
    let revision = string(&revision["revision"]);
    let offered = scene.says("ann", &["add", "clinic", &file, "--revision", &revision[..12]]);
    assert_eq!(offered["revision"].as_str(), Some(&*revision));
}

/// Whoever says CC-BY-4.0 means that, whatever lies in the folder that they are in.
#[test]
fn a_file_with_an_identifiers_name_is_not_the_licence() {
    let scene = Scene::with(&[]);
    scene.file("CC-BY-4.0", "Do as you like.");
    let created = |name: &str, licence: &str| {
        let words = scene.signed("operator", &["create", name, "--licence", licence, "--json"]);
        let output = Command::new(env!("CARGO_BIN_EXE_loam")).args(words).current_dir(scene.top.path()).output();
        let output = output.expect("the program starts");
        assert!(output.status.success(), "{}", said(&output));
        (scene.asked(&["show", name])["licence_digest"].clone(), said(&output))
    };
    let (there, warned) = created("there", "CC-BY-4.0");
    let (digest, other) = (scene.dataset("elsewhere"), created("text", "./CC-BY-4.0").0);
    assert_eq!(there, scene.asked(&["show", &digest])["licence_digest"]);
    assert!(warned.contains("write ./CC-BY-4.0") && there != other, "{warned}");
    // A text that was given is kept with the dataset, and goes with it.
    assert_eq!(scene.asked(&["show", "text"])["licence_text"].as_str(), Some("Do as you like."));
    assert!(scene.asked(&["show", "there"])["licence_text"].is_null());
    let rows = scene.file("more.jsonl", r#"{"q": "Open your mouth"}"#);
    let offered = scene.says("operator", &["add", "text", &rows]);
    scene.says("operator", &["commit", "text", &string(&offered["contribution"])]);
    let out = scene.path("carried");
    scene.read(&["export", "text", "--out", &out]);
    assert_eq!(fs::read_to_string(PathBuf::from(out).join("LICENSE")).expect("a file"), "Do as you like.");
}

#[test]
fn rows_in_bulk_are_one_contribution() {
    let scene = Scene::with(&["ann", "ben"]);
    scene.dataset("clinic");
    let rows = if long_tier() { 100_000 } else { 5_000 };
    let line = |n: u32| format!("{},\"phrase {} of {}\"\n", n, n.wrapping_mul(2_654_435_761), n.wrapping_mul(40_503));
    let file = scene.file("rows.csv", "n,phrase\n".to_owned() + &(0..rows).map(line).collect::<String>());
    let offered = scene.says("ann", &["add", "clinic", &file]);
    assert_eq!(offered["new_rows"].as_u64(), Some(u64::from(rows)));
    scene.accepted(&offered, "ben");
    let revision = scene.says("operator", &["commit", "clinic"]);
    assert_eq!(revision["rows"].as_u64(), Some(u64::from(rows)));
    // One more, within a dataset of many.
    let more = scene.committed("clinic", "ben", "ann", "{\"q\": \"one more\"}\n");
    assert_eq!((more["rows"].as_u64(), more["added"].as_u64()), (Some(u64::from(rows) + 1), Some(1)));
}

#[test]
fn files_with_a_fault_name_the_line_and_change_nothing() {
    let scene = Scene::with(&["ann", "ben"]);
    scene.dataset("clinic");
    scene.committed("clinic", "ann", "ben", ROWS);
    let row = scene.row_with("clinic", "water");
    let before = scene.logs();
    let add = |name: &str, bytes: &[u8], says: &[&str]| {
        let why = scene.refused("ann", &["add", "clinic", &scene.file(name, bytes)]);
        assert!(says.iter().all(|says| why.contains(says)) && why.contains(name), "{why}");
    };
    add("a.jsonl", b"{\"q\":1}\n{\"q\":\n", &["line 2", "not JSON"]);
    add("a.jsonl", b"{\"q\":1}\n\n[1]\n", &["line 3", "a list"]);
    add("a.jsonl", b"{\"q\":1,\"q\":2}\n", &["line 1", "stands twice"]);
    add("a.jsonl", b"{\"q\":12345678901234567890}\n", &["line 1", "write it in quotes"]);
    add("a.jsonl", b"{\"q\":1}\n{\"q\":\"\xff\"}\n", &["line 2", "UTF-8"]);
    add("a.jsonl", b"\n\n", &["no rows"]);
    add("a.jsonl", &[&b"{\"q\":\""[..], &[b'x'; 70_000], b"\"}\n"].concat(), &["line 1", "split it"]);
    add("a.csv", b"q,a\n1,2\n1,2,3\n", &["line 3", "3 fields, the header 2"]);
    add("a.csv", b"q,q\n1,2\n", &["line 1", "twice"]);
    add("a.csv", b"q,a\n1,\"2\n", &["line 2", "no end"]);
    add("a.parquet", b"PAR1", &["--format jsonl, csv or text"]);
    let propose = |edits: &str, says: &[&str]| {
        let why = scene.refused("ann", &["propose", "clinic", &scene.file("edits.jsonl", edits)]);
        assert!(says.iter().all(|says| why.contains(says)), "{why}");
    };
    let annotate = format!(r#"{{"act":"annotate","row":"{row}","to":{{"q":"Drink","a":"Upyay"}}}}"#);
    propose(&format!("{annotate}\n{{\"act\":\"improve\"}}"), &["line 2", "no act \"improve\"", "remove-harmful"]);
    propose(&annotate.replace(&row, &"0".repeat(64)), &["line 1", "is not there"]);
    let short = format!("line 1: the field \"row\" has \"{}\": a row's id has 64 digits", &row[..12]);
    propose(&annotate.replace(&row, &row[..12]), &[&short, "`loam datanet show` tells all of it"]);
    let as_it_is = r#"{"q":"Drink boiled water","a":"Timpusqa yakuta upyay"}"#;
    propose(&format!(r#"{{"act":"correct","row":"{row}","to":{as_it_is}}}"#), &["line 1", "changes nothing"]);
    let gone = format!("{{\"act\":\"remove-harmful\",\"row\":\"{row}\"}}\n{annotate}");
    propose(&gone, &["line 2", "is not there", "an earlier line"]);
    assert_eq!(scene.logs(), before);
}

#[test]
fn what_is_wrong_is_said_and_changes_nothing() {
    let scene = Scene::with(&["ann", "ben"]);
    let dataset = scene.dataset("clinic");
    scene.committed("clinic", "ann", "ben", ROWS);
    let rows = scene.file("rows.jsonl", ROWS);
    let text_of_one = scene.file("TERMS", "Terms of the ward\n\nDo no harm.\n");
    let before = scene.logs();
    let check = |who: &str, words: &[&str], says: &[&str]| {
        let why = scene.refused(who, words);
        assert!(says.iter().all(|says| why.contains(says)), "{words:?}: {why}");
    };
    check("ann", &["create", "clinic", "--licence", "MIT"], &["already", &dataset]);
    check("ann", &["create", "abcdef0123", "--licence", "MIT"], &["looks like the beginning of an id"]);
    check("ann", &["create", "a\u{202e}b", "--licence", "MIT"], &["no characters that move"]);
    check("ann", &["create", "new", "--licence", "no/such/file"], &["is the name of a file"]);
    check("ann", &["create", "new", "--licence", "CC-BY4.0"], &["did you mean CC-BY-4.0?", "LicenseRef-"]);
    check("ann", &["add", "ward", &rows], &["no dataset here is called \"ward\""]);
    check("ann", &["add", "clinic", &scene.path("absent.jsonl")], &["absent.jsonl"]);
    check("ann", &["add", "clinic", &rows, "--licence", "MIT"], &["under CC-BY-4.0", "takes no work under MIT"]);
    check("ann", &["add", "clinic", &rows, "--licence", &text_of_one], &["takes no work under Terms of the ward"]);
    check("ann", &["add", "clinic", &rows, "--revision", "2"], &["no revision 2"]);
    check("ann", &["add", "clinic", &rows, "--message", &"m".repeat(65_536)], &["65536 bytes", "shorten"]);
    check("ann", &["review", &"0".repeat(64), "--verdict", "accept"], &["none of the contributions"]);
    check("operator", &["commit", "clinic"], &["nothing is offered to clinic"]);
    check("operator", &["redact", "clinic", &"0".repeat(64), "--reason", "asked"], &["none of the rows ever offered"]);
    for (probability, says) in [("1.5", "from 0 to 1"), ("-1", ""), ("ninety", "from 0 to 1")] {
        check("ben", &["review", &dataset, "--verdict", "accept", "--probability", probability], &[says]);
    }

    let out = scene.path("out");
    scene.asked(&["export", "clinic", "--out", &out]);
    let description = fs::read_to_string(format!("{out}/croissant.json")).expect("a description");
    let data = fs::read_to_string(format!("{out}/rows.jsonl")).expect("rows");
    let import = |description: &str, data: &str, says: &[&str]| {
        fs::write(format!("{out}/croissant.json"), description).expect("a file");
        fs::write(format!("{out}/rows.jsonl"), data).expect("a file");
        check("ann", &["import", &out, "--name", "again"], says);
    };
    import(&description, &data.replace("water", "wine"), &["rows.jsonl", "digest", "was changed"]);
    let elsewhere =
        |file: &str| description.replace("\"contentUrl\":\"rows.jsonl\"", &format!("\"contentUrl\":\"{file}\""));
    import(&elsewhere("../rows.jsonl"), &data, &["leads out of the description's folder"]);
    import(&elsewhere("https://data.example/rows.jsonl"), &data, &["is not fetched"]);
    import(&elsewhere("other.jsonl"), &data, &["other.jsonl"]);
    let unlicensed = description.replace("\"license\":\"https://spdx.org/licenses/CC-BY-4.0\",", "");
    import(&unlicensed, &data, &["--licence"]);
    import("{}", &data, &["no Croissant"]);
    check("ann", &["import", &scene.path("."), "--name", "again"], &["neither croissant.json nor metadata.json"]);
    let unknown = not_done(&["datanet", "blame", "clinic", &"0".repeat(64), "--data", text(&scene.data)]);
    assert!(unknown.contains("none of the rows of revision"), "{unknown}");
    assert_eq!(scene.logs(), before);
}
