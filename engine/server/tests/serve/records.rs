//! Records through a running server: keys stay with their owners, money is divided over rows that were really served, and
//! who may not, does not.

use loam_ledger_core::entry::Entry;
use loam_ledger_core::record::{Act, AuthorKey, Body, ContributorKind, ContributorRegistered, sign_record};
use loam_proto::v1;
use loam_proto::v1::ledger_client::LedgerClient;
use loam_proto::v1::provenance_client::ProvenanceClient;
use tonic::Code;

use crate::access::{Tenants, tenants};
use crate::running::Server;
use crate::scene::{POLICY, Scene, text};

/// What was really served is priced by the policy in force, divided, told and checked; all of it over the network.
#[test]
fn money_is_divided_over_a_running_server() {
    let scene = Scene::start(&[]);
    let (operator, contributor) = scene.person("operator", "operator");
    scene.price(&operator);
    assert!(std::fs::read_to_string(scene.path("policy.receipt")).unwrap().starts_with("c2sp.org/tlog-proof@v1\n"));
    let fees = scene.answer("tiny") + scene.answer("clay");
    let closed = scene.told(&["epoch", "close", "--id", &operator, "--json"]);
    assert_eq!((closed["answers"].as_u64(), closed["findings"].as_u64()), (Some(2), Some(0)));
    assert_eq!(closed["fees_nano"].as_str(), Some(&*fees.to_string()));
    let leaf = scene.path("statement.leaf");
    let of = ["epoch", "statement", &contributor, "--id", &operator, "--out", text(&leaf), "--json"];
    assert!(scene.told(&of)["paid_nano"].as_str().unwrap().parse::<u64>().unwrap() > 0);
    let dearer = scene.path("dearer.json");
    std::fs::write(&dearer, POLICY.replace("\"delivered_nano\": 100", "\"delivered_nano\": 200")).unwrap();
    let tried = scene.told(&["epoch", "simulate", "--policy", text(&dearer), "--json"]);
    assert_eq!(tried["fees_nano"].as_str(), Some(&*(fees + 12 * 100).to_string()));
    let verified = scene.told(&["epoch", "verify", "--json"]);
    assert_eq!(verified["verdict"].as_str(), Some("valid"));
    assert_eq!(verified["epochs"][0]["settled_again"].as_bool(), Some(true));
    // Another draft is another close.
    scene.answer("tiny");
    assert_eq!(scene.told(&["epoch", "close", "--id", &operator, "--json"])["epoch"].as_u64(), Some(2));
    scene.server.stop();
}

/// Two people sign one record, each at home; a paper that went stale is signed again.
#[test]
fn a_paper_goes_from_hand_to_hand() {
    let scene = Scene::start(&[]);
    let (operator, operator_id) = scene.person("operator", "operator");
    let (ann, ann_id) = scene.person("ann", "person");
    let (policy, paper) = (scene.path("policy.json"), scene.path("paper"));
    std::fs::write(&policy, POLICY).unwrap();
    let set = ["policy", "set", "--id", &operator, "--with"];
    let with = format!("{ann_id}=40%");
    let said = scene.done(&[&set[..], &[&with, "--paper", text(&paper), text(&policy)]].concat());
    assert!(said.contains(&ann_id), "{said}");
    assert_eq!(scene.told(&["policy", "show", "--json"]).as_array().unwrap().len(), 0);
    // The operator says something else meanwhile: what stands on the paper is for a place that is taken.
    let new_key = scene.path("new.key");
    let told = scene.told(&["id", "rotate", "--id", &operator, "--out", text(&new_key), "--json"]);
    assert_eq!(told["file"].as_str(), Some(text(&new_key)));
    let said = scene.done(&["id", "sign", "--id", &ann, text(&paper)]);
    assert!(said.contains("share 40%") && said.contains("it is recorded when"), "{said}");
    let told = scene.told(&["id", "sign", "--id", &ann, "--json", text(&paper)]);
    assert_eq!(told["missing"], serde_json::json!([operator_id]));
    let old = scene.refused(&["id", "sign", "--id", &operator, text(&paper)]);
    assert!(old.contains("another key"), "{old}");
    // Whoever holds the paper cannot show others something else than what they sign.
    let create = ["datanet", "create", "soils", "--licence", "CC-BY-4.0", "--description", "ours for ever"];
    let shared = scene.path("shared");
    let with = format!("{ann_id}=50%");
    let more = ["--id", text(&new_key), "--with", &with, "--paper", text(&shared)];
    scene.done(&[&create[..], &more].concat());
    let mut bytes = std::fs::read(&shared).unwrap();
    let place = bytes.windows(8).position(|window| window == b"for ever").unwrap();
    bytes[place..place + 8].copy_from_slice(b"for now.");
    std::fs::write(&shared, bytes).unwrap();
    let swapped = scene.refused(&["id", "sign", "--id", &ann, text(&shared)]);
    assert!(swapped.contains("not the one that would be signed"), "{swapped}");
    // Nor is a key written over by what a command was asked to write.
    let receipt = scene.path("never.receipt");
    scene.refused(&["id", "succeed", &ann_id, "--id", text(&new_key), "--receipt", text(&receipt)]);
    assert!(!receipt.exists(), "what is refused leaves no receipt in the way of the next try");
    let over = scene.refused(&["id", "sign", "--id", &ann, "--receipt", &ann, text(&paper)]);
    assert!(over.contains("ann.key") && std::fs::read_to_string(&ann).unwrap().contains("seed"), "{over}");
    std::fs::write(scene.path("other"), "loam-paper-v1 other\n").unwrap();
    let other = scene.refused(&["id", "sign", "--id", &ann, text(&scene.path("other"))]);
    assert!(other.contains("no paper"), "{other}");
    let shown = shown_paper(&paper);
    assert_eq!(shown["record"].as_str(), Some("policy changed"));
    let signed: Vec<_> = shown["authors"].as_array().unwrap().iter().map(|it| it["signed"].as_bool()).collect();
    assert_eq!(signed, [Some(false), Some(true)]);
    let told = scene.told(&["id", "sign", "--id", text(&new_key), "--json", text(&paper)]);
    assert_eq!(told["said"]["authors"][0]["signed"].as_bool(), Some(true));
    assert!(told["entry"].as_u64().is_some(), "{told}");
    assert_eq!(scene.told(&["policy", "show", "--json"]).as_array().unwrap().len(), 1);
    scene.server.stop();
}

/// What a paper says to a program.
fn shown_paper(paper: &std::path::Path) -> serde_json::Value {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_loam"));
    let output = command.env_clear().args(["id", "paper", "--json", text(paper)]).output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Epochs that are closed at the same time are closed once each; whoever comes too late is told what to do.
#[test]
fn who_closes_too_late_is_told_to_do_it_again() {
    let scene = Scene::start(&[]);
    let (operator, _) = scene.person("operator", "operator");
    scene.price(&operator);
    // Whether one comes between another's draft and its close, nobody can say: it is tried until it happens.
    for _ in 0..20 {
        scene.answer("tiny");
        let close = || scene.asked(&["epoch", "close", "--id", &operator], None);
        let closed = std::thread::scope(|threads| {
            let threads: Vec<_> = (0..4).map(|_| threads.spawn(close)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        assert!(closed.iter().any(|output| output.status.success()));
        let late: Vec<_> = closed.iter().filter(|output| !output.status.success()).collect();
        for output in &late {
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(said.contains("run it again"), "{said}");
        }
        if !late.is_empty() {
            scene.done(&["epoch", "close", "--id", &operator]);
            scene.done(&["epoch", "verify"]);
            return scene.server.stop();
        }
    }
    panic!("four closes at a time never met");
}

/// A key that may not write records writes none, and only an admin drafts an epoch.
#[test]
fn scopes_are_kept() {
    let keys = tempfile::tempdir().unwrap();
    let Tenants { file, first, reader, auditor, admin, .. } = tenants(keys.path());
    let scene = Scene::start(&["--api-keys", &file]);
    let id = scene.path("first.key");
    let new = ["id", "new", "--kind", "operator", "--out", text(&id)];
    let refused = |key: Option<&str>, arguments: &[&str], says: &str| {
        let output = scene.asked(arguments, key);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(says), "{arguments:?}: {said}");
    };
    for key in [&reader, &auditor] {
        refused(Some(key), &new, "records:write");
        // A server's word is no proof that nobody knows the key, so it is kept.
        assert!(id.exists());
        std::fs::remove_file(&id).unwrap();
    }
    refused(None, &new, "key");
    let _ = std::fs::remove_file(&id);
    assert!(scene.asked(&new, Some(&first)).status.success());
    refused(Some(&first), &["epoch", "close", "--id", text(&id)], "admin");
    refused(Some(&admin), &["epoch", "statement", &"0".repeat(64)], "no epoch is closed");
    let told = ["epoch", "statement", &"0".repeat(64), "--epoch", "1"];
    refused(Some(&first), &told, "told to whom it is of");
    let wrong = ["policy", "show", "--vkey", "x+00000000+AAAA"];
    refused(Some(&first), &wrong, "the records log's key");
    scene.server.stop();
}

/// What is recorded, priced and owed changes no answer: neither which tokens come, nor how likely they were.
#[test]
fn answers_are_the_same_with_attribution_and_without() {
    let scene = Scene::start(&[]);
    let (operator, _) = scene.person("operator", "operator");
    scene.price(&operator);
    let folder = tempfile::tempdir().unwrap();
    let bare = Server::start(folder.path(), &["--ledger", "off"]);
    for (model, temperature) in [("tiny", 0), ("clay", 0), ("tiny", 1), ("loess", 1)] {
        let body = format!(
            "{{\"model\":\"{model}\",\"prompt\":\"What grows on loess\",\"max_tokens\":24,\"temperature\":{temperature},\
             \"seed\":7,\"logprobs\":3,\"ignore_eos\":true}}"
        );
        let choices = |server: &Server| {
            let (status, _, body) = server.http("POST /v1/completions", &[], &body);
            assert_eq!(status, 200, "{body}");
            serde_json::from_str::<serde_json::Value>(&body).unwrap()["choices"].clone()
        };
        let recorded = choices(&scene.server);
        assert_eq!(recorded, choices(&bare));
        assert!(!recorded[0]["text"].as_str().unwrap().is_empty());
    }
    scene.server.stop();
    bare.stop();
}

fn offered(record: Vec<u8>) -> v1::OfferRequest {
    v1::OfferRequest { record, ..v1::OfferRequest::default() }
}

/// Whoever speaks to the service without our client: each offer is refused by what is wrong with it, and nothing is recorded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offers_that_no_client_of_ours_makes() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let mut client = ProvenanceClient::new(server.channel().await);
    let mut logs = LedgerClient::new(server.channel().await);
    let size = async |logs: &mut LedgerClient<_>| {
        let told = logs.logs(v1::LogsRequest {}).await.unwrap().into_inner();
        told.logs.into_iter().find(|log| log.log == "records").unwrap().size
    };
    let before = size(&mut logs).await;
    let operator = AuthorKey::from_seed(&[7; 32]);
    let act = || {
        Act::ContributorRegistered(ContributorRegistered {
            public_key: operator.public_key(),
            kind: ContributorKind::Operator,
            heir: None,
        })
    };
    let record = |origin: &str| {
        let body = Body::by(operator.contributor(), act());
        Entry::Record(Box::new(sign_record(origin, 0, body, &mut [&mut AuthorKey::from_seed(&[7; 32])]))).encode()
    };
    let told = logs.logs(v1::LogsRequest {}).await.unwrap().into_inner();
    let origin = format!("{}/records", told.name);
    let good = record(&origin);
    let payload = |salt: usize| v1::Payload { salt: vec![1; salt], bytes: b"{\"text\":\"words\"}".to_vec() };
    let cases: Vec<(Vec<v1::OfferRequest>, &str)> = vec![
        (vec![], "`record` is missing"),
        (vec![offered(b"no entry".to_vec())], "`record`"),
        (vec![offered(record("other.example/records"))], "signature"),
        (vec![offered(good.clone()), offered(good.clone())], "first message alone"),
        (vec![v1::OfferRequest { rows: vec![payload(15)], ..offered(good.clone()) }], "15 bytes"),
        (vec![v1::OfferRequest { rows: vec![payload(16)], ..offered(good.clone()) }], "only a contribution"),
        (vec![v1::OfferRequest { text: Some(payload(16)), ..offered(good.clone()) }], "the text is not the one"),
        (vec![v1::OfferRequest { operations: vec![vec![0xff]], ..offered(good.clone()) }], "`operations`"),
    ];
    for (messages, says) in cases {
        let refused = client.offer(tokio_stream::iter(messages)).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{says}: {refused}");
        assert!(refused.message().contains(says), "{says}: {refused}");
    }
    assert_eq!(size(&mut logs).await, before);
    let digests = v1::PayloadsRequest { digests: vec![vec![0; 32]; 257] };
    assert_eq!(client.payloads(digests).await.unwrap_err().code(), Code::InvalidArgument);
    let absent = v1::PayloadsRequest { digests: vec![vec![9; 32]] };
    let found = client.payloads(absent).await.unwrap().into_inner().message().await.unwrap().unwrap().found;
    assert_eq!(found[0].found, Some(v1::found_payload::Found::Absent(true)));
    // The same record is good, once.
    let taken = client.offer(tokio_stream::iter([offered(good.clone())])).await.unwrap().into_inner();
    assert_eq!(taken.index, before);
    assert!(client.offer(tokio_stream::iter([offered(good)])).await.is_err());
    server.stop();
}
