//! A disk that fills up under a running server.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use loam_proto::v1;
use tonic::Code;

use crate::asking::{Client, question};
use crate::running::Server;

/// How long the space that is left may be believed, and a little more.
const PATIENCE: Duration = Duration::from_secs(20);

/// A file that takes its space at once, and gives it back when it is dropped.
struct Ballast<'a>(&'a Path);

impl<'a> Ballast<'a> {
    fn new(path: &'a Path, mib: u64) -> Self {
        let made = Command::new("fallocate").arg("-l").arg(format!("{mib}MiB")).arg(path).status().unwrap();
        assert!(made.success(), "fallocate {mib} MiB");
        Self(path)
    }
}

impl Drop for Ballast<'_> {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(self.0);
    }
}

fn free_mib(folder: &Path) -> u64 {
    let said = Command::new("df").args(["--output=avail", "-BM"]).arg(folder).output().unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    said.lines().last().unwrap().trim().trim_end_matches('M').parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn below_its_reserve_nothing_new_is_taken_and_it_lifts_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    // Others write to this disk meanwhile: a quarter of what is free is more than they do.
    let free = free_mib(folder.path());
    let (reserve, ledger) = ((free / 4 * 3).to_string(), folder.path().join("ledger"));
    let ledger = ledger.to_str().unwrap();
    let server = Server::start(folder.path(), &["--ledger-reserve-mib", &reserve, "--ledger", ledger]);
    let mut client = Client::new(&server, None).await;
    client.ask(question("Before", None, 2)).await.unwrap();
    let mut running = client.inference.generate(question("Go on", Some("clay"), 300)).await.unwrap().into_inner();
    running.message().await.unwrap().unwrap();

    let path = folder.path().join("ballast");
    let ballast = Ballast::new(&path, free / 2);
    let refusal = until(async || client.ask(question("Full", None, 1)).await.err()).await;
    assert_eq!(refusal.code(), Code::Unavailable, "{refusal}");
    assert!(refusal.message().contains("below the reserve"), "{refusal}");
    until(async || (server.http("GET /health", &[], "").0 == 503).then_some(())).await;
    let ps = || {
        let url = format!("http://{}", server.address);
        let ps = std::process::Command::new(env!("CARGO_BIN_EXE_loam")).args(["ps", "--url", &url]).output().unwrap();
        String::from_utf8_lossy(&ps.stdout).into_owned()
    };
    until(async || ps().contains("takes no requests for now").then_some(())).await;
    let mut finished = None;
    while let Some(message) = running.message().await.unwrap() {
        if let Some(v1::generate_response::Event::Finished(it)) = message.event {
            finished = Some(it);
        }
    }
    assert_eq!(finished.expect("what ran has finished").reason(), v1::FinishReason::Length);

    drop(ballast);
    until(async || client.ask(question("After", None, 2)).await.ok()).await;
    until(async || (server.http("GET /health", &[], "").0 == 200).then_some(())).await;
    server.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nothing_can_be_written_the_server_ends_and_the_next_one_has_all_it_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(folder.path(), &[]);
    let mut client = Client::new(&server, None).await;
    let told = client.ask(v1::GenerateRequest { receipt: true, ..question("Before", None, 2) }).await.unwrap();
    // No file of its can grow from here on: what a full disk says to a program that goes on writing.
    server.limit_files_to(1 << 10);
    let refusal = until(async || client.ask(question("Full", None, 50)).await.err()).await;
    assert!(
        matches!(refusal.code(), Code::Unavailable | Code::Internal | Code::Cancelled | Code::Unknown),
        "{refusal}"
    );
    assert!(!server.ended(PATIENCE).success(), "its supervisor must see that it failed");
    let server = Server::start(folder.path(), &[]);
    let mut client = Client::new(&server, None).await;
    let asked = v1::ReceiptRequest { receipt_id: told.receipt_id, choice: 0 };
    assert!(!client.ledger.receipt(asked).await.unwrap().into_inner().tlog_proof.is_empty());
    client.ask(question("After", None, 2)).await.unwrap();
    server.stop();
}

/// Tries until there is something.
async fn until<T>(mut found: impl AsyncFnMut() -> Option<T>) -> T {
    let until = std::time::Instant::now() + PATIENCE;
    loop {
        if let Some(it) = found().await {
            return it;
        }
        assert!(std::time::Instant::now() < until, "nothing after {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
