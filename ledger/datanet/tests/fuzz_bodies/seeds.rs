//! Where fuzzing begins: files for the corpus of each target, honest ones and hostile ones.

use super::statement::{envelopes, signed};

/// Target, name and bytes.
pub(crate) fn seeds() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let of = |target| move |(name, text): (&'static str, String)| (target, name, text.into_bytes());
    let mut seeds: Vec<_> = rows().into_iter().map(of("rows")).collect();
    seeds.push(("rows", "latin-1", b"text,label\ncaf\xe9,drink\n".to_vec()));
    seeds.extend(edits().into_iter().map(of("edits")));
    seeds.extend(descriptions().into_iter().map(of("croissant")));
    seeds.extend(statements().into_iter().map(of("statement")));
    seeds
}

fn rows() -> Vec<(&'static str, String)> {
    let nested = |levels: usize| format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
    let own = |text: &str| text.to_owned();
    vec![
        (
            "questions-jsonl",
            own(concat!(
                "{\"question\": \"Is it hot?\", \"answer\": \"Yes.\", \"label\": 1, \"tags\": [\"boiler\"]}\n",
                "\n{\"answer\": \"Caf\\u00e9\", \"question\": \"Where?\", \"score\": 0.25, \"ok\": true}\r\n",
                "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}], \"id\": null}\n",
            )),
        ),
        (
            "questions-csv",
            own("question,answer,label\nIs it hot?,\"Yes, it is\",1\n\n\"Where \"\"there\"\"?\",\"a\nb\",2\n"),
        ),
        ("paragraphs", own("# Boilers\n\nThe boiler is hot.\nDo not touch it.\n \n\u{2028}\nA second one.")),
        ("mark-before", own("\u{feff}{\"text\": \"\u{feff}a\"}\r\n")),
        ("mark-before-csv", own("\u{feff}\u{feff}a,b\r\n1,2\r\n")),
        ("returns", own("a\r\r\nb\r\n\r\nc\rd\r")),
        ("returns-csv", own("a,b\r\n1,2\r\n3\r,\"4\r\"\r\n")),
        ("numbers", own("{\"a\":[-0.0,1e21,1E-7,5e-324,1.7976931348623157e308,9007199254740992,0.1]}")),
        ("number-inexact", own("{\"a\": 9007199254740993}")),
        ("number-large", own("{\"a\": 1e400}")),
        ("number-spelled", own("{\"a\": 18446744073709552000}")),
        ("escapes", own("{\"\\u20ac\":1,\"\\r\":2,\"\\ufb33\":3,\"\\ud83d\\ude00\":4,\"\\u0080\":5,\"\\u00f6\":6}")),
        ("surrogate-alone", own("{\"a\": \"\\ud83d\"}")),
        ("key-twice", own("{\"a\": 1, \"\\u0061\": 2}")),
        ("key-twice-long", format!("{{\"{0}\": 1, \"{0}\": 2}}", "k".repeat(5_000))),
        ("key-twice-control", own("{\"\\u001b[2J\": 1, \"\\u001b[2J\": 2}")),
        ("deep", nested(32)),
        ("too-deep", nested(33)),
        ("no-object", own("[1, 2]\n")),
        ("empty-row", own("{}\n")),
        ("quote-open", own("a,b\n1,\"2\n3\n")),
        ("quote-within", own("a,b\n1,2\"3\n")),
        ("after-quote", own("a,b\n\"1\"2,3\n")),
        ("fields-too-many", own("a,b\n1,2,3\n")),
        ("name-twice", own("a\u{7},\"a\u{7}\"\n1,2\n")),
        ("name-blank", own("a, \n1,2\n")),
        ("one-column", own("text\n\"\"\n\n\" \"\n")),
    ]
}

fn edits() -> Vec<(&'static str, String)> {
    let own = |text: &str| text.to_owned();
    vec![
        (
            "every-act",
            own(concat!(
                "{\"act\":\"add\",\"to\":{\"text\":\"Is it dry?\"}}\n",
                "{\"act\":\"add-test-case\",\"to\":[{\"text\":\"Is it wet?\"},{\"text\":\"Is it on?\"}]}\n",
                "{\"act\":\"correct\",\"row\":\"$0\",\"to\":{\"text\":\"Is it very hot?\"}}\n",
                "{\"act\":\"relabel\",\"row\":\"$1\",\"to\":{\"text\":\"Is it cold?\",\"label\":2}}\n",
                "{\"act\":\"normalise\",\"row\":\"$2\",\"to\":{\"text\":\"Is it hot?\"}}\n",
                "{\"act\":\"licence-fix\",\"row\":\"$4\",\"to\":{\"text\":\"Is it dry?\",\"licence\":\"CC0-1.0\"}}\n",
                "{\"act\":\"annotate\",\"row\":\"$5\",\"to\":{\"text\":\"Is it wet?\",\"note\":\"unclear\"}}\n",
                "{\"act\":\"translate\",\"row\":\"$0\",\"to\":{\"text\":\"Ist es sehr hei\\u00df?\"}}\n",
                "{\"act\":\"split\",\"row\":\"$1\",\"to\":[{\"text\":\"Is it\"},{\"text\":\"cold?\"}]}\n",
                "{\"act\":\"merge\",\"rows\":[\"$4\",\"$5\"],\"to\":{\"text\":\"Is it dry or wet?\"}}\n",
                "{\"act\":\"dedupe\",\"rows\":[\"$0\",\"$2\"],\"keep\":\"$0\"}\n",
                "{\"act\":\"remove-harmful\",\"row\":\"$3\"}\n",
                "{\"act\":\"document-decision\",\"text\":\"Boilers only\"}\n",
            )),
        ),
        (
            "there-and-back",
            own(concat!(
                "{\"act\":\"correct\",\"row\":\"$0\",\"to\":{\"text\":\"x\"}}\n\n",
                "{\"act\":\"correct\",\"row\":\"$0\",\"to\":{\"text\":\"Is it hot?\"}}\n",
            )),
        ),
        (
            "new-then-gone",
            own(concat!(
                "{\"act\":\"add\",\"to\":[{\"a\":1},{\"a\":1}]}\n",
                "{\"act\":\"dedupe\",\"rows\":[\"$4\",\"$5\"],\"keep\":[\"$5\"]}\n",
                "{\"act\":\"remove-harmful\",\"rows\":[\"$5\"]}\n",
            )),
        ),
        ("translate-several", own("{\"act\":\"translate\",\"rows\":[\"$0\",\"$1\"],\"to\":[{\"a\":1},{\"b\":2}]}")),
        ("split-same", own("{\"act\":\"split\",\"row\":\"$0\",\"to\":[{\"a\":1},{\"a\":1}]}")),
        ("changes-nothing", own("{\"act\":\"correct\",\"row\":\"$0\",\"to\":{\"text\":\"Is it hot?\"}}")),
        ("text-gone", own("{\"act\":\"correct\",\"row\":\"$3\",\"to\":{\"text\":\"x\"}}")),
        ("row-twice", own("{\"act\":\"merge\",\"rows\":[\"$0\",\"$0\"],\"to\":{\"a\":1}}")),
        (
            "row-removed",
            own("{\"act\":\"remove-harmful\",\"row\":\"$0\"}\n{\"act\":\"remove-harmful\",\"row\":\"$0\"}"),
        ),
        ("row-and-rows", own("{\"act\":\"remove-harmful\",\"row\":\"$0\",\"rows\":[\"$1\"]}")),
        ("keep-all", own("{\"act\":\"dedupe\",\"rows\":[\"$0\",\"$1\"],\"keep\":[\"$0\",\"$1\"]}")),
        ("act-unknown", own("{\"act\":\"fix\\u001b[2J\",\"row\":\"$0\"}")),
        ("field-unknown", own("{\"act\":\"remove-harmful\",\"row\":\"$0\",\"why\\n\":1}")),
        ("mark-before", own("\u{feff}{\"act\":\"add\",\"to\":{\"a\":1e21}}\r\n")),
        ("not-json", own("{\"act\":\"add\",\"to\":{\"a\":1}}\nadd this please\n")),
    ]
}

/// Of a file of two rows.
const DESCRIPTION: &str = r#"{"@context": {"@language": "en", "@vocab": "https://schema.org/"}, "@type": "sc:Dataset",
  "conformsTo": "http://mlcommons.org/croissant/1.1", "name": "boiler-talk",
  "license": ["https://spdx.org/licenses/CC-BY-4.0"], "url": "https://example.org/boiler-talk",
  "distribution": [{"@type": "cr:FileObject", "@id": "rows", "contentUrl": "data/rows.jsonl",
    "encodingFormat": "application/jsonlines", "sha256": "$sha256"}],
  "recordSet": {"@type": "cr:RecordSet", "@id": "rows", "field": [
    {"@type": "cr:Field", "@id": "rows/text", "name": "text", "dataType": "sc:Text",
      "source": {"fileObject": {"@id": "rows"}, "extract": {"column": "text"}}},
    {"@type": "cr:Field", "name": "rows/n", "source": {"extract": {"column": "n"}}}]}}"#;

const ROWS: &str =
    "{\"text\": \"Is it hot?\", \"n\": 1, \"a/b~c\": [0.5]}\n{\"n\": 2.5, \"none\": null, \"\": false}\n";

fn descriptions() -> Vec<(&'static str, String)> {
    let of = |description: &str, rows: &str| format!("{description}\0{rows}");
    let changed = |from: &str, to: &str, rows: &str| {
        assert!(DESCRIPTION.contains(from), "{from}");
        of(&DESCRIPTION.replace(from, to), rows)
    };
    let edition = "\"http://mlcommons.org/croissant/1.1\"";
    vec![
        ("json-lines", of(DESCRIPTION, ROWS)),
        ("csv", changed("application/jsonlines", "text/csv", "text,n\nIs it hot?,1\n\"a,b\",2\n")),
        ("text", changed("application/jsonlines", "text/plain", "Is it hot?\n\nYes.\n")),
        ("edition-1-0", changed(edition, "[{\"@id\": \"https://mlcommons.org/croissant/1.0\"}]", ROWS)),
        ("edition-unknown", changed(edition, "\"http://mlcommons.org/croissant/2.0\"", ROWS)),
        ("another-file", changed("$sha256", &"0".repeat(64), ROWS)),
        ("digest-upper", changed("$sha256", &"AB".repeat(32), "")),
        ("digest-of-git", changed("$sha256", "main", ROWS)),
        (
            "archive",
            changed("\"@id\": \"rows\", \"contentUrl\"", "\"containedIn\": {\"@id\": \"zip\"}, \"contentUrl\"", ROWS),
        ),
        ("file-set", changed("cr:FileObject", "https://mlcommons.org/croissant/FileSet", ROWS)),
        ("type-long", changed("cr:FileObject", &format!("cr:{}", "File".repeat(1_100)), ROWS)),
        ("type-control", changed("cr:FileObject", "cr:\\u001b[2J\\n", ROWS)),
        ("parquet", changed("application/jsonlines", "application/x-parquet\\u0007", ROWS)),
        ("json-path", changed("{\"column\": \"n\"}", "{\"jsonPath\\u0000\": \"$.n\"}", ROWS)),
        ("transform", changed("{\"extract\": {\"column\": \"n\"}}", "{\"transform\": {\"regex\": \"^a\"}}", ROWS)),
        ("renamed", changed("\"name\": \"rows/n\"", "\"name\": \"number\"", ROWS)),
        ("rows-broken", of(DESCRIPTION, "{\"text\": \"Is it hot?\"}\n{\"text\": ")),
        ("no-rows", of(DESCRIPTION, "\n\n")),
        ("key-twice", changed("\"@type\": \"sc:Dataset\"", "\"name\": \"x\"", ROWS)),
        ("deep", format!("{{\"a\":{}{}}}", "[".repeat(64), "]".repeat(64))),
    ]
}

fn statements() -> Vec<(&'static str, String)> {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it is JSON");
    let [whole, bare] = signed().map(|statement| text(statement.payload()));
    let [two, one] = envelopes().map(|envelope| envelope.to_json());
    let spaced = serde_json::from_str::<serde_json::Value>(&one).expect("it is JSON");
    let sig = |from: &str| from.split("\"sig\":\"").nth(1).expect("a signature").to_owned();
    vec![
        ("payload", whole.clone()),
        ("payload-bare", bare.clone()),
        ("payload-spaced", whole.replace(",\"", ", \"")),
        ("payload-share-huge", whole.replace("400000", "4294967296")),
        ("signed-by-two", two.clone()),
        ("signed-by-one", one.clone()),
        ("signed-spaced", format!("{spaced:#}")),
        ("signed-another", one.replace(&sig(&one), &sig(&two))),
        ("payload-type", one.replace("vnd.in-toto", "vnd.other")),
        ("signature-short", one.replace("==\"}]", "\"}]")),
        ("signatures-none", format!("{}[]}}", one.split_once('[').expect("a list").0)),
        (
            "shapes",
            "{\"payload\":\"\",\"payloadType\":\"application/vnd.in-toto+json\",\"signatures\":[[],{},7]}".to_owned(),
        ),
    ]
}
