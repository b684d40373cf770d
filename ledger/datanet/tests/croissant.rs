//! Croissant: what is written is read back; what would give other rows is refused by name.

use std::collections::BTreeMap;

use loam_datanet::Row;
use loam_datanet::croissant::{CroissantFault, Description, Source, Written, write};
use loam_datanet::rows::Format;
use loam_ledger_core::hash::digest;
use loam_ledger_core::record::ContributorKind;
use serde_json::{Value, json};

fn about() -> Description {
    let id = |name: &str| digest(name.as_bytes());
    Description {
        name: "boiler-talk".to_owned(),
        description: "Questions and answers about boilers".to_owned(),
        url: "https://example.org/boiler-talk".to_owned(),
        licence: "https://spdx.org/licenses/CC-BY-4.0".to_owned(),
        date: "2026-11-27".to_owned(),
        number: 3,
        dataset: id("dataset"),
        revision: id("revision"),
        parents: vec![id("parent")],
        contributions: vec![(id("add"), vec![id("ada")]), (id("fix"), vec![id("bob"), id("bot")])],
        people: BTreeMap::from([
            (id("ada"), ContributorKind::Person),
            (id("bob"), ContributorKind::Organisation),
            (id("bot"), ContributorKind::Tool),
        ]),
        file: "rows.jsonl".to_owned(),
    }
}

fn rows() -> Vec<Row> {
    let texts = [
        r#"{"text":"Is it hot?","n":1,"score":1,"ok":true,"tags":["a"],"mixed":1,"none":null}"#,
        r#"{"text":"Yes \u00e9","n":2,"score":0.5,"ok":false,"mixed":"x","meta":{"a":1}}"#,
    ];
    texts.map(|text| Row::parse(text).expect("it is a row")).to_vec()
}

/// What is read of what was written, after a change to the description.
#[track_caller]
fn check(change: impl FnOnce(&mut Value), expected: Result<Format, &str>) {
    let Written { metadata, .. } = write(&about(), &rows());
    let mut metadata: Value = serde_json::from_str(&metadata).expect("it is JSON");
    change(&mut metadata);
    match (Source::read(metadata.to_string().as_bytes()), expected) {
        (Ok(source), Ok(format)) => assert_eq!(source.format, format),
        (Err(fault), Err(words)) => assert!(fault.to_string().contains(words), "{fault}"),
        (found, _) => panic!("{found:?} is not {expected:?}"),
    }
}

#[test]
fn what_is_written_is_read_back() {
    let Written { metadata, data } = write(&about(), &rows());
    if let Some(folder) = std::env::var_os("LOAM_WRITE_CROISSANT").map(std::path::PathBuf::from) {
        std::fs::write(folder.join("croissant.json"), &metadata).expect("the folder can be written");
        std::fs::write(folder.join("rows.jsonl"), &data).expect("the folder can be written");
    }
    let source = Source::read(metadata.as_bytes()).expect("it is ours");
    assert_eq!((source.name.as_str(), source.file.as_str()), ("boiler-talk", "rows.jsonl"));
    assert_eq!(source.licence.as_deref(), Some("https://spdx.org/licenses/CC-BY-4.0"));
    let back: Vec<Row> =
        source.rows(data.as_bytes()).expect("it is the file").into_iter().map(|placed| placed.row).collect();
    assert_eq!(back, rows());
    let other = source.rows(data.replace("hot", "cold").as_bytes());
    assert!(matches!(other, Err(CroissantFault::Digest { .. })));
}

#[test]
fn fields_are_told_by_what_stands_in_them() {
    let metadata: Value = serde_json::from_str(&write(&about(), &rows()).metadata).expect("it is JSON");
    let set = &metadata["recordSet"][0];
    let fields = set["field"].as_array().expect("fields are a list");
    let told: Vec<_> = fields.iter().map(|field| (field["name"].as_str(), field["dataType"].as_str())).collect();
    let expected = [("n", "sc:Integer"), ("ok", "sc:Boolean"), ("score", "sc:Float"), ("text", "sc:Text")];
    assert_eq!(told, expected.map(|(name, kind)| (Some(name), Some(kind))));
    assert_eq!(set["description"], "Not described, for want of one type: meta, mixed, none, tags.");
}

#[test]
fn provenance_names_work_and_people() {
    let metadata: Value = serde_json::from_str(&write(&about(), &rows()).metadata).expect("it is JSON");
    let made = &metadata["prov:wasGeneratedBy"];
    assert_eq!(made["@id"], format!("urn:loam:record:{}", digest(b"revision")));
    let fix = &made["prov:wasInformedBy"][1];
    assert_eq!(fix["@id"], format!("urn:loam:record:{}", digest(b"fix")));
    let tool = json!({ "@type": "prov:SoftwareAgent", "@id": format!("urn:loam:contributor:{}", digest(b"bot")) });
    assert_eq!(fix["prov:wasAssociatedWith"][1], tool);
    assert_eq!(metadata["prov:wasDerivedFrom"][0]["@id"], format!("urn:loam:record:{}", digest(b"parent")));
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    let set =
        |path: &'static str, to: Value| move |value: &mut Value| *value.pointer_mut(path).expect("it is there") = to;
    check(|_| {}, Ok(Format::JsonLines));
    check(set("/distribution/0/encodingFormat", "text/csv".into()), Ok(Format::Csv));
    check(set("/conformsTo", json!(["x", { "@id": "https://mlcommons.org/croissant/1.0" }])), Ok(Format::JsonLines));
    check(set("/conformsTo", "http://mlcommons.org/croissant/2.0".into()), Err("no Croissant 1.0 or 1.1"));
    check(set("/name", 7.into()), Err("name is not as it should be"));
    check(set("/distribution", json!([])), Err("distribution is not as it should be"));
    check(set("/distribution/0/@type", "cr:FileSet".into()), Err("cr:FileSet is not supported"));
    // What a file calls its things is repeated on one line, and not at length.
    check(set("/distribution/0/@type", "cr:\u{1b}[2J\n".into()), Err("cr:\\u{1b}[2J\\u{a} is not supported"));
    check(set("/distribution/0/@type", "x".repeat(5_000).into()), Err(&format!("{}... is not", "x".repeat(80))));
    check(|value| value["distribution"][0]["containedIn"] = json!({ "@id": "x" }), Err("containedIn is not supported"));
    check(set("/distribution/0/encodingFormat", "application/x-parquet".into()), Err("application/x-parquet is not"));
    check(set("/distribution/0/sha256", "main".into()), Err("sha256 is not as it should be"));
    check(set("/distribution/0/contentUrl", Value::Null), Err("contentUrl is not"));
    let twice = |value: &mut Value| value["distribution"] = vec![value["distribution"][0].clone(); 2].into();
    check(twice, Err("more than one FileObject is not supported"));
    let twice = |value: &mut Value| value["recordSet"] = vec![value["recordSet"][0].clone(); 2].into();
    check(twice, Err("more than one RecordSet is not supported"));
    check(|value| value["recordSet"][0]["data"] = json!([]), Err("data is not supported"));
    check(set("/recordSet/0/field/0/source/extract", json!({ "jsonPath": "$.a" })), Err("jsonPath is not supported"));
    check(set("/recordSet/0/field/0/name", "other".into()), Err("the field \"other\" of column \"n\" is not"));
    check(|value| value["recordSet"][0]["field"][0]["references"] = json!({}), Err("references is not supported"));
    check(|value| value["recordSet"][0]["field"][0]["source"]["transform"] = json!({}), Err("transform is not"));
}

#[test]
fn a_broken_description_names_its_line() {
    for (text, words) in
        [("{\n\"a\":1,\n\"a\":2}", "line 3, column 3: the key \"a\" stands twice"), ("", "line 1"), ("{", "line 1")]
    {
        let fault = Source::read(text.as_bytes()).expect_err("it is broken").to_string();
        assert!(fault.contains(words), "{fault}");
    }
    for text in ["null", "[]", "7", "{}"] {
        assert_eq!(Source::read(text.as_bytes()), Err(CroissantFault::Edition), "{text}");
    }
}

/// A description in which anything may be anything: never a panic.
#[test]
fn descriptions_of_any_shape_are_survived() {
    let whole: Value = serde_json::from_str(&write(&about(), &rows()).metadata).expect("it is JSON");
    let mut paths = Vec::new();
    walk(&whole, String::new(), &mut paths);
    assert!(paths.len() > 150, "the walk goes through all of it");
    for path in &paths {
        for other in [Value::Null, 7.into(), "x".into(), json!([]), json!({}), json!([[{}]]), json!([null, null])] {
            let mut changed = whole.clone();
            *changed.pointer_mut(path).expect("it was there") = other;
            if let Ok(source) = Source::read(changed.to_string().as_bytes()) {
                assert!(source.rows(b"").is_err());
            }
        }
    }
}

fn walk(value: &Value, path: String, paths: &mut Vec<String>) {
    match value {
        Value::Array(list) => {
            (0..).zip(list).for_each(|(at, item): (usize, _)| walk(item, format!("{path}/{at}"), paths))
        }
        Value::Object(map) => {
            let step = |name: &str| name.replace('~', "~0").replace('/', "~1");
            map.iter().for_each(|(name, item)| walk(item, format!("{path}/{}", step(name)), paths));
        }
        _ => {}
    }
    paths.push(path);
}
