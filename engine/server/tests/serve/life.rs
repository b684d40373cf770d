//! How a server begins and ends: in order, by force, and again.

use std::time::Duration;

use loam_ledger::Folder;
use loam_ledger::home::{Access, Home as _};
use loam_ledger::store::{Batch, Space};
use loam_ledger_core::entry::Entry;
use loam_proto::v1;
use tonic::Code;

use crate::asking::{Client, question};
use crate::running::{Server, golden};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_runs_finishes_and_what_is_new_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(folder.path(), &[]);
    let mut client = Client::new(&server, None).await;
    let mut stream = client.inference.generate(question("Go on", Some("clay"), 300)).await.unwrap().into_inner();
    stream.message().await.unwrap().unwrap();
    server.terminate();
    let refusal = loop {
        match client.ask(question("Too late", None, 1)).await {
            Ok(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            Err(status) => break status,
        }
    };
    assert_eq!(refusal.code(), Code::Unavailable, "{refusal}");
    let mut finished = None;
    while let Some(message) = stream.message().await.unwrap() {
        if let Some(v1::generate_response::Event::Finished(it)) = message.event {
            finished = Some(it);
        }
    }
    let finished = finished.expect("what ran has finished");
    assert_eq!(finished.reason(), v1::FinishReason::Length);
    drop(client);
    assert!(server.ended(Duration::from_secs(60)).success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn time_runs_out_for_what_still_runs() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(folder.path(), &["--shutdown-timeout", "0"]);
    let mut client = Client::new(&server, None).await;
    let mut stream = client.inference.generate(question("Go on", None, 480)).await.unwrap().into_inner();
    stream.message().await.unwrap().unwrap();
    client.server.drain(v1::DrainRequest { timeout_s: Some(0) }).await.unwrap();
    while let Ok(Some(_)) = stream.message().await {}
    drop(client);
    assert!(server.ended(Duration::from_secs(60)).success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_kill_all_that_was_acknowledged_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let mut client = Client::new(&server, None).await;
    let told = client.ask(question("Before", Some("loess"), 6)).await.unwrap();
    let entry = told.finished.unwrap().entry_index.unwrap();
    let mut running = client.inference.generate(question("Go on", None, 480)).await.unwrap().into_inner();
    for _ in 0..10 {
        running.message().await.unwrap().unwrap();
    }
    server.kill();
    let server = Server::start(folder.path(), &[]);
    let mut client = Client::new(&server, None).await;
    let asked = v1::ReceiptRequest { receipt_id: told.receipt_id, choice: 0 };
    client.ledger.receipt(asked).await.unwrap();
    let mut tail = client
        .ledger
        .tail(v1::TailRequest { stop_at_end: true, ..v1::TailRequest::default() })
        .await
        .unwrap()
        .into_inner();
    let mut boots = 0;
    let mut entries = 0;
    while let Some(message) = tail.message().await.unwrap() {
        assert_eq!(message.index, entries);
        entries += 1;
        boots += u32::from(matches!(Entry::decode(&message.entry).unwrap(), Entry::Boot(_)));
    }
    assert!(entries > entry, "the entry that was told is there");
    assert_eq!(boots, 2, "both boots are seen, and the second closes what the first left open");
    server.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_ledger_there_are_no_receipts_and_it_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &["--ledger", "off"]);
    assert!(server.http("GET /version", &[], "").2.contains("\"ledger\":\"off\""));
    let mut client = Client::new(&server, None).await;
    assert!(client.ask(question("x", None, 2)).await.unwrap().receipt_id.is_empty());
    let refusal = client.ask(v1::GenerateRequest { receipt: true, ..question("x", None, 2) }).await.unwrap_err();
    assert_eq!(refusal.code(), Code::Unimplemented);
    assert!(refusal.message().contains("--ledger off"), "{refusal}");
    server.stop();
}

/// Whoever only watches does not hold a server up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watcher_of_health_does_not_delay_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(folder.path(), &[]);
    let mut health = tonic_health::pb::health_client::HealthClient::new(server.channel().await);
    let watched = health.watch(tonic_health::pb::HealthCheckRequest { service: String::new() }).await;
    let mut watched = watched.unwrap().into_inner();
    watched.message().await.unwrap().unwrap();
    server.terminate();
    while let Ok(Some(_)) = watched.message().await {}
    assert!(server.ended(Duration::from_secs(5)).success());
}

#[test]
fn a_model_that_is_not_there_leaves_no_ledger() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = folder.path().join("ledger");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_loam"))
        .args(["serve", "nowhere/at-all", "--enable-lora", "--port", "0", "--ledger", ledger.to_str().unwrap()])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("config.json") && !ledger.exists(), "{said}");
}

#[test]
fn a_port_that_is_in_use_is_told_with_the_flag_for_another() {
    let folder = tempfile::tempdir().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener.local_addr().unwrap().port();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_loam"))
        .args(["serve", &golden("base"), "--port", &taken.to_string(), "--ledger", "off"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains(&format!("port {taken} of 127.0.0.1 is in use: say another with --port")), "{said}");
    drop(listener);
}

#[test]
fn a_folder_that_is_no_ledger_is_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    Server::start(folder.path(), &[]).stop();
    let said = Server::try_start(folder.path(), &["--ledger", &format!("{}/ledger/store", folder.path().display())]);
    let said = said.err().expect("a store alone is no ledger");
    assert!(said.contains("not empty") && !said.contains("panicked"), "{said}");
}

#[test]
fn a_store_of_another_format_is_refused_by_its_number() {
    let folder = tempfile::tempdir().unwrap();
    Server::start(folder.path(), &[]).stop();
    let store = Folder::new(&folder.path().join("ledger"), None).store(Access::Write).unwrap();
    let mut identity = store.value(Space::Meta, b"identity").unwrap().unwrap();
    identity[..8].copy_from_slice(&7_u64.to_be_bytes());
    let mut batch = Batch::default();
    batch.put(Space::Meta, *b"identity", identity);
    store.commit(batch).unwrap();
    drop(store);
    let said = Server::try_start(folder.path(), &[]).err().expect("a program of today does not know the format 7");
    assert!(said.contains("the store is of format 7, and this program knows 2"), "{said}");
}

#[test]
fn below_its_reserve_a_server_does_not_start_and_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = folder.path().join("ledger").to_str().unwrap().to_owned();
    let more = ["--ledger-reserve-mib", "1000000000", "--ledger", &ledger];
    let said = Server::try_start(folder.path(), &more).err().unwrap();
    assert!(said.contains("make room, or lower --ledger-reserve-mib"), "{said}");
}
