//! What somebody can do to a server with connections, a path or a key, and whom it may hurt.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use loam_proto::v1;
use tonic::Code;

use crate::access::{Tenants, tenants};
use crate::asking::{Client, question};
use crate::running::Server;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_ask_nothing_lock_nobody_out() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &["--max-connections", "4"]);
    let silent: Vec<TcpStream> = (0..6).map(|_| TcpStream::connect(&server.address).unwrap()).collect();
    let mut half: Vec<TcpStream> = (0..6).map(|_| TcpStream::connect(&server.address).unwrap()).collect();
    half.iter_mut().for_each(|stream| stream.write_all(b"PRI * HTTP/2.0\r\n").unwrap());
    let began = Instant::now();
    for _ in 0..3 {
        assert_eq!(server.http("GET /health", &[], "").0, 200);
    }
    let mut client = Client::new(&server, None).await;
    client.ask(question("x", None, 2)).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(9), "they gave way, and did not only run out of time");
    drop((silent, half));
    server.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_runs_gives_its_place_to_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &["--max-connections", "2"]);
    let mut client = Client::new(&server, None).await;
    let mut stream = client.inference.generate(question("Go on", None, 300)).await.unwrap().into_inner();
    stream.message().await.unwrap().unwrap();
    for _ in 0..4 {
        assert_eq!(server.http("GET /health", &[], "").0, 200);
    }
    let mut tokens = 1;
    while let Some(message) = stream.message().await.unwrap() {
        tokens += usize::from(matches!(message.event, Some(v1::generate_response::Event::Tokens(_))));
    }
    assert!(tokens > 100, "{tokens} messages: the stream came to its end");
    server.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_that_nobody_reads_holds_no_answer_up() {
    let folder = tempfile::tempdir().unwrap();
    let Tenants { file, first, second, .. } = tenants(folder.path());
    let server = Server::start(folder.path(), &["--api-keys", &file, "--max-requests-per-key", "200"]);
    let mut slow = Client::new(&server, Some(&first)).await;
    let mut names = Vec::new();
    for _ in 0..40 {
        names.push(slow.ask(question("x", None, 40)).await.unwrap().receipt_id);
    }
    let unread = slow.ledger.export(v1::ExportRequest::default()).await.unwrap().into_inner();
    let again = slow.ledger.export(v1::ExportRequest::default()).await.err();
    let erasures = names.into_iter().map(|receipt_id| {
        let mut ledger = slow.ledger.clone();
        tokio::spawn(async move { ledger.erase(v1::EraseRequest { receipt_id, reason: 1 }).await })
    });
    let erasures: Vec<_> = erasures.collect();
    let mut other = Client::new(&server, Some(&second)).await;
    let began = Instant::now();
    for _ in 0..5 {
        other.ask(question("y", Some("clay"), 4)).await.unwrap();
    }
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}: others are not held up", began.elapsed());
    // A small log may be sent whole before anybody reads; one that is not holds its tenant's only place.
    if let Some(status) = again {
        assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    }
    drop(unread);
    for erasure in erasures {
        match erasure.await.unwrap() {
            Ok(_) => {}
            Err(status) => assert_eq!(status.code(), Code::ResourceExhausted, "{status}"),
        }
    }
    server.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_key_that_may_write_records_erases() {
    let folder = tempfile::tempdir().unwrap();
    let Tenants { file, first, second, reader, admin, auditor } = tenants(folder.path());
    let server = Server::start(folder.path(), &["--api-keys", &file]);
    let mut second = Client::new(&server, Some(&second)).await;
    let told = second.ask(question("x", None, 2)).await.unwrap();
    let erase = v1::EraseRequest { receipt_id: told.receipt_id, reason: 3 };
    for key in [None, Some(&*auditor), Some(&*reader)] {
        let mut other = Client::new(&server, key).await;
        let status = other.ledger.erase(erase.clone()).await.unwrap_err();
        assert!(matches!(status.code(), Code::PermissionDenied | Code::Unauthenticated), "{status}");
    }
    let mut first = Client::new(&server, Some(&first)).await;
    assert_eq!(first.ledger.erase(erase.clone()).await.unwrap_err().code(), Code::NotFound, "it is another's");
    let mut admin = Client::new(&server, Some(&admin)).await;
    admin.ledger.erase(erase).await.unwrap();
    let log = server.log();
    assert!(log.contains("a request was erased") && log.contains("admin"), "{log}");
    server.stop();
}

#[test]
fn a_long_path_does_not_fill_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let path = format!("GET /{}", "a".repeat(20_000));
    assert_eq!(server.http(&path, &[], "").0, 404);
    let longest = server.log().lines().map(str::len).max().unwrap();
    assert!(longest < 1000, "a line of {longest} bytes");
    server.stop();
}
