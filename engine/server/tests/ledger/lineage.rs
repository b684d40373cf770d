//! Adapters in the records, from the command line: who made them and of what, and what others read in the statement.

use std::fs;

use ed25519_dalek::{Signature, VerifyingKey};
use loam_ledger_core::record::{Access, RecordId};
use loam_ledger_core::text::hex_decode;
use serde_json::Value;

use crate::money::{done, loam, not_done, told};
use crate::text;
use crate::village::{Village, id_of};

const GENERATION: &str = "1111111111111111111111111111111111111111111111111111111111111111";
const SECOND: &str = "2222222222222222222222222222222222222222222222222222222222222222";
const BASE: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

impl Village {
    /// Bob's command, from the word behind `adapter` on.
    fn bobs<'a>(&'a self, arguments: &[&'a str]) -> Vec<&'a str> {
        [&["adapter"][..], arguments, &["--data", text(&self.data), "--id", text(&self.bob)]].concat()
    }

    /// Bob publishes a generation, with more said of it.
    fn publish(&self, generation: &str, more: &[&str]) -> Value {
        told(&self.publishing(generation, &[more, &["--json"]].concat()))
    }

    fn publishing<'a>(&'a self, generation: &'a str, more: &[&'a str]) -> Vec<&'a str> {
        let said = ["publish", "verse", "--generation", generation, "--base", BASE, "--licence", "Apache-2.0"];
        self.bobs(&[&said[..], more].concat())
    }

    fn records(&self) -> u64 {
        let status = told(&["ledger", "status", "--data", text(&self.data), "--json"]);
        let logs = status["logs"].as_array().expect("logs").clone();
        let records = logs.iter().find(|log| log["log"] == "records").expect("the records log");
        records["size"].as_u64().expect("a size")
    }

    fn lineage(&self, word: &str) -> Value {
        told(&["adapter", "lineage", word, "--data", text(&self.data), "--json"])
    }
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

fn shares(revisions: &[RecordId; 2], shares: [&str; 2]) -> [String; 2] {
    [0, 1].map(|at| format!("{}={}", revisions[at], shares[at]))
}

/// Base64 as RFC 4648 has it, read without ours.
fn base64(text: &str) -> Vec<u8> {
    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bytes, mut bits, mut held) = (Vec::new(), 0_u32, 0_u32);
    for letter in text.bytes().filter(|letter| *letter != b'=') {
        let six = letters.iter().position(|known| *known == letter).expect("a letter of base64");
        held = held << 6 | u32::try_from(six).expect("below 64");
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(held >> bits & 0xff).expect("a byte"));
        }
    }
    bytes
}

#[test]
fn a_published_adapter_has_a_statement_that_others_can_verify() {
    let village = Village::new();
    let (_, revisions) = village.dataset("soil-talk", Access::Open);
    let [first, second] = shares(&revisions, ["60%", "0.4"]);
    let (out, receipt) = (village.top.path().join("statement.json"), village.top.path().join("receipt.tlog-proof"));
    let config = village.top.path().join("train.toml");
    fs::write(&config, "seed = 7\n").expect("a file");
    let published = village.publish(
        GENERATION,
        &[
            "--source",
            &first,
            "--source",
            &second,
            "--configuration",
            text(&config),
            "--out",
            text(&out),
            "--receipt",
            text(&receipt),
        ],
    );
    assert_eq!((word(&published["state"]), word(&published["generation"])), ("draft", GENERATION));
    assert!(fs::read_to_string(&receipt).expect("a receipt").starts_with("c2sp.org/tlog-proof@v1"));

    let envelope: Value = serde_json::from_slice(&fs::read(&out).expect("a file")).expect("JSON");
    let (kind, payload) = (word(&envelope["payloadType"]), base64(word(&envelope["payload"])));
    assert_eq!(kind, "application/vnd.in-toto+json");
    let message = [format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len()).as_bytes(), &payload].concat();
    let key = told(&["id", "show", text(&village.bob), "--json"]);
    let key: [u8; 32] = hex_decode(word(&key["public_key"])).expect("hex").try_into().expect("32 bytes");
    let key = VerifyingKey::from_bytes(&key).expect("a key");
    let lines = envelope["signatures"].as_array().expect("a list");
    let signature: [u8; 64] = base64(word(&lines[0]["sig"])).try_into().expect("64 bytes");
    assert_eq!(lines.len(), 1);
    key.verify_strict(&message, &Signature::from_bytes(&signature)).expect("Bob signed it");
    assert!(key.verify_strict(&payload, &Signature::from_bytes(&signature)).is_err(), "and not the payload alone");

    let statement: Value = serde_json::from_slice(&payload).expect("JSON");
    let build = &statement["predicate"]["buildDefinition"];
    assert_eq!(word(&statement["_type"]), "https://in-toto.io/Statement/v1");
    assert_eq!(word(&statement["subject"][0]["name"]), "verse");
    assert_eq!(word(&statement["subject"][0]["digest"]["sha256"]), GENERATION);
    assert_eq!(word(&build["externalParameters"]["licence"]), word(&published["licence"]));
    let sources = build["resolvedDependencies"].as_array().expect("a list");
    let source = |id: &str| {
        let found = sources.iter().find(|it| word(&it["uri"]).ends_with(id)).expect("a source");
        found["annotations"]["shareMillionths"].as_u64()
    };
    assert_eq!(source(&revisions[0].to_hex()), Some(600_000));
    assert_eq!(source(&revisions[1].to_hex()), Some(400_000));
    assert_eq!(source(BASE), None);
    let run = &statement["predicate"]["runDetails"];
    assert!(word(&run["builder"]["id"]).ends_with(&id_of(&village.bob).to_hex()));
    assert!(word(&run["metadata"]["invocationId"]).ends_with(word(&published["run"])));
    // What the record holds the digest of is what was signed.
    assert_eq!(word(&published["statement"]), loam_ledger_core::hash::digest(&payload).to_hex());
}

#[test]
fn a_lineage_leads_from_a_name_to_people() {
    let village = Village::new();
    let (_, revisions) = village.dataset("soil-talk", Access::Open);
    let [first, second] = shares(&revisions, ["60%", "40%"]);
    village.publish(GENERATION, &["--source", &first, "--source", &second, "--state", "published"]);
    let parent = format!("{GENERATION}=25%");
    let newest = revisions[1].to_hex();
    let child = village.bobs(&[
        "publish",
        "ode",
        "--generation",
        SECOND,
        "--base",
        BASE,
        "--licence",
        "Apache-2.0",
        "--parent",
        &parent,
        "--source",
        &newest[..12],
    ]);
    assert!(done(&child).contains("100% of soil-talk"));

    let drawing = village.top.path().join("ode.svg");
    let shown = done(&["adapter", "lineage", "ode", "--data", text(&village.data), "--svg", text(&drawing)]);
    for part in ["generation 222222222222 ode", "111111111111 verse (25%)", "soil-talk (60%, not signed by all)"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    for part in ["1 add", "1 correct", "person (100%)", "it is draft", "see above"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let drawing = fs::read_to_string(&drawing).expect("a drawing");
    for part in ["<svg ", ">ode<", ">verse<", ">soil-talk<", ">1 correct<", ">25%<"] {
        assert!(drawing.contains(part), "{part}: {drawing}");
    }

    let lineage = village.lineage("ode");
    assert_eq!((word(&lineage["name"]), word(&lineage["state"])), ("ode", "draft"));
    assert_eq!(lineage["must_retrain"], false);
    let links = lineage["links"].as_array().expect("links");
    let link = |from: &str, to: &str| {
        let found = links.iter().find(|link| link["from"]["kind"] == from && word(&link["to"]["id"]) == to);
        found.unwrap_or_else(|| panic!("no link from a {from} to {to}: {lineage}")).clone()
    };
    assert_eq!(link("generation", GENERATION)["share_millionths"], 250_000);
    assert_eq!(link("generation", GENERATION)["agreed"], true);
    assert_eq!(link("train run", &revisions[0].to_hex())["agreed"], false, "Ann owns the dataset, and did not sign");
    assert_eq!(link("contribution", &id_of(&village.bob).to_hex())["share_millionths"], 1_000_000);
    let nodes = lineage["nodes"].as_array().expect("nodes");
    assert!(nodes.iter().any(|node| node["kind"] == "contribution" && node["acts"]["correct"] == 1), "{lineage}");
    // A name, a beginning and a generation call the same adapter.
    assert_eq!(village.lineage(&SECOND[..8]), lineage);
    assert_eq!(village.lineage(SECOND), lineage);
}

#[test]
fn what_is_wrong_is_said_and_nothing_is_recorded() {
    let village = Village::new();
    let (_, revisions) = village.dataset("soil-talk", Access::Open);
    let (_, closed) = village.dataset("well-water", Access::ByGrant);
    let [first, second] = shares(&revisions, ["60%", "30%"]);
    let (unknown, nowhere) = (format!("{BASE}=100%"), format!("{SECOND}=10%"));
    let closed = closed[0].to_hex();
    let before = village.records();
    let refused = |more: &[&str], says: &str| {
        let why = not_done(&village.publishing(GENERATION, more));
        assert!(why.contains(says), "{says}: {why}");
        assert_eq!(village.records(), before, "{says}");
    };
    refused(&["--source", &unknown], "none of the revisions");
    refused(&["--source", &first, "--source", &second], "sum to 90%: make them 100%");
    refused(&["--source", &first, "--source", &first], "named twice");
    refused(&["--source", &format!("{}=1.5", revisions[0])], "more than the whole");
    refused(&["--source", &closed], "no grant in force covers");
    refused(&["--parent", &nowhere], "none of the published adapters");
    refused(&["--run", BASE], "none of the trainings");
    refused(&["--run", BASE, "--source", &first], "cannot be used with");
    refused(&["--model", text(village.top.path())], "cannot be used with");
    let base = not_done(&village.bobs(&["publish", "verse", "--generation", GENERATION, "--licence", "MIT"]));
    assert!(base.contains("--base HEX, or --model DIR"), "{base}");
    let licence = not_done(&village.bobs(&["publish", "verse", "--generation", GENERATION, "--base", BASE]));
    assert!(licence.contains("--licence"), "{licence}");
    let licence = ["publish", "verse", "--generation", GENERATION, "--base", BASE, "--licence", "/nowhere/LICENCE"];
    let licence = not_done(&village.bobs(&licence));
    assert!(licence.contains("is the name of a file"), "{licence}");
    let name = ["publish", "a,b", "--generation", GENERATION, "--base", BASE, "--licence", "MIT"];
    assert!(not_done(&village.bobs(&name)).contains("without commas"));
    assert_eq!(village.records(), before);
}

#[test]
fn a_generation_is_published_once_and_by_those_who_trained_it() {
    let village = Village::new();
    let (_, revisions) = village.dataset("soil-talk", Access::Open);
    let source = revisions[0].to_hex();
    let train = |more: &[&str]| {
        let said = ["train", "--base", BASE, "--source", &source, "--json"];
        word(&told(&village.bobs(&[&said[..], more].concat()))["run"]).to_owned()
    };
    let (made, nowhere) = (train(&["--generation", GENERATION]), train(&["--note", "the rate was too high"]));
    let led_nowhere = not_done(&village.publishing(GENERATION, &["--run", &nowhere]));
    assert!(led_nowhere.contains("led nowhere"), "{led_nowhere}");
    let other = not_done(&village.publishing(SECOND, &["--run", &made]));
    assert!(other.contains(&format!("made {GENERATION}")), "{other}");

    let anns = ["--data", text(&village.data), "--id", text(&village.ann)];
    let publish = ["adapter", "publish", "mine", "--generation", GENERATION, "--base", BASE, "--licence", "MIT"];
    let before = village.records();
    let stolen = not_done(&[&publish[..], &["--run", &made], &anns].concat());
    assert!(stolen.contains("everybody who trained it signs"), "{stolen}");
    assert_eq!(village.records(), before);
    let published = village.publish(GENERATION, &["--run", &made[..16]]);
    assert_eq!(word(&published["run"]), made);
    let twice = not_done(&[&publish[..], &["--source", &source], &anns].concat());
    assert!(twice.contains("published already, by") && twice.contains(&id_of(&village.bob).to_hex()), "{twice}");
    assert_eq!(village.records(), before + 1);
}

/// Names are anybody's: who gives one that is in use learns it while another can still be chosen.
#[test]
fn a_name_that_another_adapter_has_is_warned_of() {
    let village = Village::new();
    village.publish(GENERATION, &[]);
    let second = village.publishing(SECOND, &[]);
    let output = loam(&second);
    let warned = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && warned.contains("is called \"verse\"") && warned.contains(GENERATION),
        "{warned}"
    );
}

#[test]
fn an_adapter_goes_from_state_to_state_as_the_rules_say() {
    let village = Village::new();
    village.publish(GENERATION, &[]);
    let (data, operator) = (text(&village.data), text(&village.operator));
    let by = |who: &str, state: &str| {
        let who = who.to_owned();
        ["adapter", "state", "verse", state, "--data", data, "--id", &who].map(str::to_owned)
    };
    let say = |who: &str, state: &str| done(&by(who, state).each_ref().map(|word| &**word));
    let refused = |who: &str, state: &str| not_done(&by(who, state).each_ref().map(|word| &**word));
    let (bob, ann) = (text(&village.bob), text(&village.ann));
    assert!(refused(bob, "suspended").contains("nothing leads from there to here"));
    assert!(refused(bob, "gated").contains("none was passed"));
    assert!(refused(ann, "published").contains("is draft and stays so"));
    assert!(say(bob, "published").contains("is published, where it was draft"));
    assert!(refused(bob, "published").contains("is published already"));
    say(operator, "suspended");
    assert!(refused(bob, "published").contains("only the operator"));
    assert_eq!(village.lineage("verse")["state"], "suspended");
    say(operator, "published");
    say(bob, "retired");
    assert!(refused(operator, "published").contains("is retired and stays so"));
}

#[test]
fn a_revoked_grant_asks_for_another_training() {
    let village = Village::new();
    let (dataset, revisions) = village.dataset("well-water", Access::ByGrant);
    let (grant, source) = (village.grant(dataset).to_hex(), revisions[1].to_hex());
    village.publish(GENERATION, &["--source", &source, "--grant", &grant, "--state", "published"]);
    village.revoke(RecordId::from_hex(&grant).expect("hex"));
    let lineage = village.lineage("verse");
    assert_eq!((&lineage["must_retrain"], word(&lineage["revoked"][0]["grant"])), (&Value::Bool(true), &*grant));
    let shown = done(&["adapter", "lineage", "verse", "--data", text(&village.data)]);
    assert!(shown.contains("must retrain or retire it") && shown.contains("of well-water"), "{shown}");
    let again = not_done(&village.publishing(SECOND, &["--source", &source, "--grant", &grant]));
    assert!(again.contains("no grant in force"), "{again}");
}

#[test]
fn two_publish_together_on_a_paper() {
    let village = Village::new();
    let [ann, paper] = [id_of(&village.ann).to_hex(), text(&village.top.path().join("paper")).to_owned()];
    let with = format!("{ann}=30%");
    let together = ["--with", &with, "--paper", &paper];
    let refused = |more: &[&str], says: &str| {
        let why = not_done(&village.publishing(GENERATION, &[&together, more].concat()));
        assert!(why.contains(says), "{why}");
    };
    refused(&["--state", "published"], "it is a draft until all have");
    refused(&["--parent", &format!("{SECOND}=10%")], "none of the published adapters");
    let before = village.records();
    let told_bob = village.publish(GENERATION, &together);
    assert_eq!((&told_bob["missing"][0], village.records()), (&Value::from(&*ann), before));
    let sign = ["id", "sign", &paper, "--json", "--data", text(&village.data), "--id", text(&village.ann)];
    assert_eq!(word(&told(&sign)["said"]["record"]), "adapter published");
    let shown = village.lineage("verse").to_string();
    assert!(
        shown.contains(&ann) && shown.contains(&id_of(&village.bob).to_hex()) && shown.contains("300000"),
        "{shown}"
    );
    // Either of them says that it is for use.
    done(&["adapter", "state", GENERATION, "published", "--data", text(&village.data), "--id", text(&village.ann)]);
}
