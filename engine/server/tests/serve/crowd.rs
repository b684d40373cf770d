//! A crowd of clients of all kinds, and one that minds its own business beside it. How large, the tier says.

use std::time::{Duration, Instant};

use loam_ledger_core::row::Row;
use loam_proto::v1;
use tonic::Code;

use crate::access::{Tenants, tenants};
use crate::asking::{Client, question};
use crate::running::Server;

/// Streams at one time, and requests of each: for every run, and at full size.
fn size() -> (usize, usize) {
    if std::env::var("LOAM_TEST_TIER").is_ok_and(|tier| tier == "long") { (256, 20) } else { (24, 2) }
}

/// What the server may grow by while a crowd is there, whatever its size.
const GROWTH_MIB_MAX: u64 = 512;

/// What became of a crowd's requests.
#[derive(Clone, Copy, Debug, Default)]
struct Fates {
    finished: u64,
    left: u64,
    refused: u64,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_is_served_bounded_and_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let Tenants { file, first, second, auditor, .. } = tenants(folder.path());
    let server = Server::start(folder.path(), &["--api-keys", &file, "--max-requests-per-key", "2000"]);
    let before_mib = server.peak_mib();
    let alone = waits(&server, &second, 5).await;
    let (streams, requests) = size();
    let crowd = futures_util::future::join_all((0..streams).map(|number| one(&server, &first, number, requests)));
    let (fates, beside) = tokio::join!(crowd, waits(&server, &second, 5));
    let fates = fates.into_iter().fold(Fates::default(), |sum, fate| Fates {
        finished: sum.finished + fate.finished,
        left: sum.left + fate.left,
        refused: sum.refused + fate.refused,
    });
    let grown_mib = server.peak_mib() - before_mib;
    eprintln!(
        "{fates:?}; another key waited {alone:?} alone and {beside:?} beside them; the process grew by {grown_mib} MiB"
    );
    assert!(grown_mib < GROWTH_MIB_MAX, "{grown_mib} MiB more at its peak");
    idle(&server, &second).await;
    let mut auditor = Client::new(&server, Some(&auditor)).await;
    let mut completions = 0;
    for row in auditor.rows(v1::Scope::All).await.unwrap() {
        let Some(v1::row::Row::Open(open)) = row.row else { panic!("an auditor of all sees all") };
        completions += u64::from(matches!(Row::decode(&open.row).unwrap(), Row::Completion(_)));
    }
    assert_eq!(completions, fates.finished + fates.left + 10, "each request that began is recorded, once");
    server.stop();
}

/// One client's requests, one after the other: it reads well, reads slowly, leaves, or asks what cannot be.
async fn one(server: &Server, key: &str, number: usize, requests: usize) -> Fates {
    let mut client = Client::new(server, Some(key)).await;
    let mut fates = Fates::default();
    for request in 0..requests {
        let adapter = [None, Some("clay"), Some("loess")][(number + request) % 3];
        match (number + request) % 5 {
            0 => {
                let wrong = client.ask(question("x", Some("no such adapter"), 1)).await.unwrap_err();
                assert_eq!(wrong.code(), Code::NotFound);
                fates.refused += 1;
            }
            1 => {
                let mut stream = client.inference.generate(question("Go on", adapter, 300)).await.unwrap().into_inner();
                stream.message().await.unwrap().unwrap();
                fates.left += 1;
            }
            2 => {
                let asked = question("Slowly", adapter, 20);
                let mut stream = client.inference.generate(asked).await.unwrap().into_inner();
                while stream.message().await.unwrap().is_some() {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                fates.finished += 1;
            }
            _ => {
                let told = client.ask(v1::GenerateRequest { receipt: true, ..question("And you?", adapter, 16) }).await;
                assert_eq!(told.unwrap().receipts.len(), 1);
                fates.finished += 1;
            }
        }
    }
    fates
}

/// How long somebody else waits for short answers: the longest of some.
async fn waits(server: &Server, key: &str, times: usize) -> Duration {
    let mut client = Client::new(server, Some(key)).await;
    let mut longest = Duration::ZERO;
    for _ in 0..times {
        let began = Instant::now();
        client.ask(question("And I?", Some("clay"), 4)).await.unwrap();
        longest = longest.max(began.elapsed());
    }
    longest
}

async fn idle(server: &Server, key: &str) {
    let mut client = Client::new(server, Some(key)).await;
    for _ in 0..600 {
        let load = client.server.load(v1::LoadRequest {}).await.unwrap().into_inner();
        if load.running + load.waiting == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it never comes to rest");
}
