//! Three people, a dataset, an adapter, answers, money: through the command line alone, over a running server. Each of them
//! then checks, with the auditor's program and nothing else, what they were told.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::running::golden;
use crate::scene::Scene;

/// The auditor's program, which lies beside ours where the whole workspace was built.
fn audit(arguments: &[&str]) -> Output {
    let program = Path::new(env!("CARGO_BIN_EXE_loam")).with_file_name("loam-audit");
    assert!(program.exists(), "build the whole workspace: loam-audit is missing beside loam");
    Command::new(program).args(arguments).output().unwrap()
}

fn word<'v>(value: &'v Value, name: &str) -> &'v str {
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

#[test]
fn three_people_are_paid_for_an_answer_and_can_check_it() {
    let scene = Scene::start(&[]);
    let file = |name: &str, text: &str| {
        let path = scene.path(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (operator, _) = scene.person("operator", "operator");
    let [(ann, ann_id), (ben, ben_id), (cat, cat_id)] = ["ann", "ben", "cat"].map(|name| scene.person(name, "person"));
    scene.price(&operator);

    // Ann adds, Ben corrects, Cat looks at both, Ann commits.
    scene.done(&["datanet", "create", "soils", "--licence", "CC-BY-4.0", "--id", &ann]);
    let rows = file("rows.jsonl", "{\"text\":\"clay holds water\"}\n{\"text\":\"loess is blown by wind\"}\n");
    let added = scene.told(&["datanet", "add", "soils", &rows, "--id", &ann, "--json"]);
    let look = |offered: &Value| {
        let contribution = word(offered, "contribution");
        scene.done(&["datanet", "review", contribution, "--verdict", "accept", "--id", &cat]);
        scene.told(&["datanet", "commit", "soils", "--id", &ann, "--json"])
    };
    assert_eq!(look(&added)["rows"].as_u64(), Some(2));
    let shown = scene.told(&["datanet", "show", "soils", "--json"]);
    let clay = shown["first_rows"].as_array().unwrap().iter().find(|row| row.to_string().contains("clay")).unwrap();
    let edit = format!(
        "{{\"act\":\"correct\",\"row\":\"{}\",\"to\":{{\"text\":\"clay holds water for weeks\"}}}}\n",
        word(clay, "row")
    );
    let edits = file("edits.jsonl", &edit);
    let corrected = scene.told(&["datanet", "propose", "soils", &edits, "--id", &ben, "--json"]);
    let revision = look(&corrected);
    let revision = word(&revision, "revision");
    let blamed = scene.done(&["datanet", "blame", "soils", word(clay, "row")]);
    assert!(blamed.contains(&ann_id[..8]) && blamed.contains(&ben_id[..8]), "{blamed}");

    // Whose rows they are, both say; who reviewed has no part in it.
    let paper = scene.path("agreement");
    let (with, paper) = (format!("{ben_id}=40%"), paper.to_str().unwrap());
    let alone = scene.refused(&["datanet", "agree", revision, "--id", &ann]);
    assert!(alone.contains(&ben_id) && !alone.contains(&cat_id), "{alone}");
    scene.done(&["datanet", "agree", revision, "--id", &ann, "--with", &with, "--paper", paper]);
    assert!(scene.done(&["id", "sign", paper, "--id", &ben]).contains("all have signed"));

    // Ann trains on it, and publishes what a server already has.
    let publish = ["adapter", "publish", "clay", "--licence", "Apache-2.0", "--state", "published", "--id", &ann];
    let of = ["--folder", &golden("adapters/qv-r8"), "--model", &golden("base"), "--source", revision, "--json"];
    let published = scene.told(&[&publish[..], &of].concat());
    let lineage = scene.done(&["adapter", "lineage", "clay"]);
    assert!(lineage.contains("soils") && lineage.contains("clay"), "{lineage}");

    // Answers are paid for, and the epoch is closed.
    let receipt = answer(&scene, "first.receipt");
    answer(&scene, "second.receipt");
    let closed = scene.told(&["epoch", "close", "--id", &operator, "--json"]);
    assert_eq!((closed["answers"].as_u64(), closed["findings"].as_u64()), (Some(2), Some(0)));
    let fees: u128 = word(&closed, "fees_nano").parse().unwrap();
    assert_eq!(word(&closed, "awaiting_revisions_nano"), "0", "all contributors agreed");
    let late = answer(&scene, "late.receipt");

    // Each checks their own statement, with nobody's rows.
    let (public, key) = fetched(&scene, "public", "public");
    let paid = |id: &str, name: &str| {
        let leaf = scene.path(name);
        let told = scene.told(&["epoch", "statement", id, "--out", leaf.to_str().unwrap(), "--json"]);
        let checked =
            audit(&["rewards", public.to_str().unwrap(), "--vkey", &key, "--statement", leaf.to_str().unwrap()]);
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
        word(&told, "paid_nano").parse::<u128>().unwrap()
    };
    let data = fees * 3_000 / 10_000;
    // The author's lane is Ann's: she published alone. Of the data lane Ben has what both signed.
    assert_eq!(paid(&ben_id, "ben.leaf"), data * 40 / 100);
    assert_eq!(paid(&ann_id, "ann.leaf"), data * 60 / 100 + fees * 2_000 / 10_000);
    assert_eq!(paid(&cat_id, "cat.leaf"), 0);

    // Whoever holds the receipt sees where the fee went; one that no epoch settled is a finding.
    let (all, key) = fetched(&scene, "all", "all");
    let trace =
        |receipt: &Path| audit(&["trace", receipt.to_str().unwrap(), all.to_str().unwrap(), "--vkey", &key, "--json"]);
    let traced = trace(&receipt);
    assert!(traced.status.success(), "{}", String::from_utf8_lossy(&traced.stderr));
    let traced: Value = serde_json::from_slice(&traced.stdout).unwrap();
    let payees = traced["payees"].to_string();
    assert!(payees.contains(&ann_id) && payees.contains(&ben_id) && !payees.contains(&cat_id), "{payees}");
    assert_eq!(word(&traced["adapters"][0], "generation"), word(&published, "generation"));
    assert_eq!(trace(&late).status.code(), Some(1));
    let proof = scene.path("usage.leaf");
    let (receipt, proof) = (receipt.to_str().unwrap(), proof.to_str().unwrap());
    let usage = scene.told(&["epoch", "usage", receipt, "--out", proof, "--json"]);
    assert_eq!(usage["epoch"].as_u64(), Some(1));
    let with = ["trace", receipt, public.to_str().unwrap(), "--vkey", &key, "--usage", proof];
    let traced = audit(&with);
    assert!(traced.status.success(), "{}", String::from_utf8_lossy(&traced.stderr));
    let late = scene.refused(&["epoch", "usage", late.to_str().unwrap(), "--out", proof]);
    assert!(late.contains("no epoch has settled"), "{late}");

    // One changed digit of a record is seen by everybody.
    let changed = scene.path("all/records/MANIFEST.sha256");
    assert!(changed.is_file());
    let bundle = fs::read_dir(all.join("records/tile/entries")).unwrap().next().unwrap().unwrap().path();
    let mut bytes = fs::read(&bundle).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&bundle, bytes).unwrap();
    assert_eq!(audit(&["rewards", all.to_str().unwrap(), "--vkey", &key]).status.code(), Some(1));
    scene.server.stop();
}
