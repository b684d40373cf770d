//! Three people, a dataset, an adapter, answers, money: through the command line alone, over a running server. Each of them
//! then checks, with the auditor's program and nothing else, what they were told.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::running::golden;
use crate::scene::{Scene, text};

/// The auditor's program, which lies beside ours where the whole workspace was built.
pub(crate) fn audit(arguments: &[&str]) -> Output {
    let program = Path::new(env!("CARGO_BIN_EXE_loam")).with_file_name("loam-audit");
    assert!(program.exists(), "build the whole workspace: loam-audit is missing beside loam");
    Command::new(program).args(arguments).output().unwrap()
}

pub(crate) fn word<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_else(|| panic!("no {name} in {value}"))
}

/// The logs as anybody may have them, and the key that the server says is the records log's.
fn fetched(scene: &Scene, name: &str, scope: &str) -> (PathBuf, String) {
    let out = scene.path(name);
    let mut command = Command::new(env!("CARGO_BIN_EXE_loam"));
    command.env_clear().args(["ledger", "fetch", "--url", &scene.url, "--scope", scope, "--out"]).arg(&out);
    let said = String::from_utf8(command.output().unwrap().stdout).unwrap();
    let line = said.lines().find(|line| line.starts_with("records: ")).unwrap();
    let key = line.split('\'').nth(1).unwrap().to_owned();
    (out, key)
}

/// An answer of the adapter's, with its receipt in a file.
fn answer(scene: &Scene, name: &str) -> PathBuf {
    let body = "{\"model\":\"clay\",\"prompt\":\"What grows\",\"max_tokens\":6,\"ignore_eos\":true}";
    let (status, _, body) = scene.server.http("POST /v1/completions", &[], body);
    assert_eq!(status, 200, "{body}");
    let answer: Value = serde_json::from_str(&body).unwrap();
    let path = format!("GET /receipts/{}", word(&answer["loam"], "receipt_id"));
    let (status, _, receipt) = scene.server.http(&path, &[], "");
    assert_eq!(status, 200, "{receipt}");
    let file = scene.path(name);
    fs::write(&file, receipt).unwrap();
    file
}

/// Keys of the operator and three people, with who they are.
pub(crate) struct People {
    pub(crate) operator: String,
    pub(crate) ann: (String, String),
    pub(crate) ben: (String, String),
    cat: (String, String),
}

/// What was served before any epoch was closed.
pub(crate) struct Served {
    pub(crate) scene: Scene,
    pub(crate) people: People,
    /// What Ann published.
    generation: String,
    /// Of two answers of it.
    pub(crate) receipts: [PathBuf; 2],
}

/// Ann adds, Ben corrects, Cat looks at both, Ann commits; and both say whose rows they are. The revision.
fn dataset(scene: &Scene, people: &People) -> String {
    let file = |name: &str, text: &str| {
        let path = scene.path(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let People { ann: (ann, ann_id), ben: (ben, ben_id), cat: (cat, cat_id), .. } = people;
    scene.done(&["datanet", "create", "soils", "--licence", "CC-BY-4.0", "--id", ann]);
    let rows = file("rows.jsonl", "{\"text\":\"clay holds water\"}\n{\"text\":\"loess is blown by wind\"}\n");
    let added = scene.told(&["datanet", "add", "soils", &rows, "--id", ann, "--json"]);
    let look = |offered: &Value| {
        let contribution = word(offered, "contribution");
        scene.done(&["datanet", "review", contribution, "--verdict", "accept", "--id", cat]);
        scene.told(&["datanet", "commit", "soils", "--id", ann, "--json"])
    };
    assert_eq!(look(&added)["rows"].as_u64(), Some(2));
    let shown = scene.told(&["datanet", "show", "soils", "--json"]);
    let clay = shown["first_rows"].as_array().unwrap().iter().find(|row| row.to_string().contains("clay")).unwrap();
    let clay = word(clay, "row");
    let to = "{\"text\":\"clay holds water for weeks\"}";
    let edits = file("edits.jsonl", &format!("{{\"act\":\"correct\",\"row\":\"{clay}\",\"to\":{to}}}\n"));
    let corrected = scene.told(&["datanet", "propose", "soils", &edits, "--id", ben, "--json"]);
    let revision = look(&corrected);
    let revision = word(&revision, "revision");
    let blamed = scene.done(&["datanet", "blame", "soils", clay]);
    assert!(blamed.contains(&ann_id[..8]) && blamed.contains(&ben_id[..8]), "{blamed}");

    // Who reviewed has no part in it.
    let paper = scene.path("agreement");
    let (with, paper) = (format!("{ben_id}=40%"), text(&paper));
    let alone = scene.refused(&["datanet", "agree", revision, "--id", ann]);
    assert!(alone.contains(ben_id) && !alone.contains(cat_id), "{alone}");
    scene.done(&["datanet", "agree", revision, "--id", ann, "--with", &with, "--paper", paper]);
    assert!(scene.done(&["id", "sign", paper, "--id", ben]).contains("all have signed"));
    revision.to_owned()
}

/// Each checks their own statement, with nobody's rows.
fn statements(scene: &Scene, people: &People, fees: u128, (public, key): &(PathBuf, String)) {
    let paid = |(file, id): &(String, String), name: &str| {
        let leaf = scene.path(name);
        let told = scene.told(&["epoch", "statement", id, "--id", file, "--out", text(&leaf), "--json"]);
        let checked = audit(&["rewards", text(public), "--vkey", key, "--statement", text(&leaf)]);
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
        word(&told, "paid_nano").parse::<u128>().unwrap()
    };
    let data = fees * 3_000 / 10_000;
    // The author's lane is Ann's: she published alone. Of the data lane Ben has what both signed.
    assert_eq!(paid(&people.ben, "ben.leaf"), data * 40 / 100);
    assert_eq!(paid(&people.ann, "ann.leaf"), data * 60 / 100 + fees * 2_000 / 10_000);
    assert_eq!(paid(&people.cat, "cat.leaf"), 0);
}

/// Whoever holds a receipt sees where the fee went; of an answer that no epoch settled, that is found.
fn traces(scene: &Scene, people: &People, [receipt, late]: [&Path; 2], generation: &str, public: &Path) {
    let (all, key) = fetched(scene, "all", "all");
    let trace = |receipt: &Path| audit(&["trace", text(receipt), text(&all), "--vkey", &key, "--json"]);
    let traced = trace(receipt);
    assert!(traced.status.success(), "{}", String::from_utf8_lossy(&traced.stderr));
    let traced: Value = serde_json::from_slice(&traced.stdout).unwrap();
    let payees = traced["payees"].to_string();
    let paid = |(_, id): &(String, String)| payees.contains(id);
    assert!(paid(&people.ann) && paid(&people.ben) && !paid(&people.cat), "{payees}");
    assert_eq!(word(&traced["adapters"][0], "generation"), generation);
    assert_eq!(trace(late).status.code(), Some(1));
    let proof = scene.path("usage.leaf");
    let usage = scene.told(&["epoch", "usage", text(receipt), "--out", text(&proof), "--json"]);
    assert_eq!(usage["epoch"].as_u64(), Some(1));
    let traced = audit(&["trace", text(receipt), text(public), "--vkey", &key, "--usage", text(&proof)]);
    assert!(traced.status.success(), "{}", String::from_utf8_lossy(&traced.stderr));
    let late = scene.refused(&["epoch", "usage", text(late), "--out", text(&proof)]);
    assert!(late.contains("no epoch has settled"), "{late}");

    // One changed bit of what was recorded is seen by everybody.
    let mut bundle = all.join("records/tile/entries");
    while bundle.is_dir() {
        bundle = fs::read_dir(&bundle).unwrap().next().unwrap().unwrap().path();
    }
    let mut bytes = fs::read(&bundle).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&bundle, bytes).unwrap();
    assert_eq!(audit(&["rewards", text(&all), "--vkey", &key]).status.code(), Some(1));
}

/// A dataset is built, an adapter of it published, two answers are paid for.
pub(crate) fn served() -> Served {
    let scene = Scene::start(&[]);
    let (operator, _) = scene.person("operator", "operator");
    let [ann, ben, cat] = ["ann", "ben", "cat"].map(|name| scene.person(name, "person"));
    scene.price(&operator);
    let people = People { operator, ann, ben, cat };
    let revision = dataset(&scene, &people);

    // Ann trains on it, and publishes what a server already has.
    let publish = ["adapter", "publish", "clay", "--licence", "Apache-2.0", "--state", "published"];
    let of = ["--folder", &golden("adapters/qv-r8"), "--model", &golden("base"), "--source", &revision, "--json"];
    let published = scene.told(&[&publish[..], &of, &["--id", &people.ann.0]].concat());
    let lineage = scene.done(&["adapter", "lineage", "clay"]);
    assert!(lineage.contains("soils") && lineage.contains("clay"), "{lineage}");
    let receipts = ["first.receipt", "second.receipt"].map(|name| answer(&scene, name));
    Served { generation: word(&published, "generation").to_owned(), scene, people, receipts }
}

#[test]
fn three_people_are_paid_for_an_answer_and_can_check_it() {
    let Served { scene, people, generation, receipts: [receipt, _] } = served();
    let closed = scene.told(&["epoch", "close", "--id", &people.operator, "--json"]);
    assert_eq!((closed["answers"].as_u64(), closed["findings"].as_u64()), (Some(2), Some(0)));
    assert_eq!(word(&closed, "awaiting_revisions_nano"), "0", "all contributors agreed");
    let late = answer(&scene, "late.receipt");
    let public = fetched(&scene, "public", "public");
    statements(&scene, &people, word(&closed, "fees_nano").parse().unwrap(), &public);
    traces(&scene, &people, [&receipt, &late], &generation, &public.0);
    scene.server.stop();
}
