//! What somebody can do to a server with connections, a path or a key, and whom it may hurt.

use std::io::{Read as _, Write as _};
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

/// Over HTTP/2, the header of an answer comes and its body has no room: nothing of it is ever read.
fn ask_and_never_read(server: &Server) -> TcpStream {
    let frame = |kind: u8, flags: u8, stream: u8, payload: &[u8]| {
        let length = u8::try_from(payload.len()).unwrap();
        [&[0, 0, length, kind, flags, 0, 0, 0, stream][..], payload].concat()
    };
    const SETTINGS: u8 = 4;
    const HEADERS: u8 = 1;
    let no_window = [0, 4, 0, 0, 0, 0];
    // GET, http, a path and a host, each in the plainest of HPACK's ways.
    let headers = b"\x82\x86\x04\x08/version\x01\x01x";
    let mut stream = TcpStream::connect(&server.address).unwrap();
    let said =
        [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(SETTINGS, 0, 0, &no_window), &frame(HEADERS, 5, 1, headers)];
    stream.write_all(&said.concat()).unwrap();
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    while !answer.windows(5).any(|at| at == [HEADERS, 4, 0, 0, 0]) {
        let read = stream.read(&mut piece).unwrap();
        assert!(read > 0, "the connection ended before an answer");
        answer.extend_from_slice(&piece[..read]);
    }
    stream
}

/// Answers that nobody reads, and watches that nobody pays for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_has_no_key_holds_no_place() {
    let folder = tempfile::tempdir().unwrap();
    let Tenants { file, first, .. } = tenants(folder.path());
    let server = Server::start(folder.path(), &["--max-connections", "4", "--api-keys", &file]);
    let mut client = Client::new(&server, Some(&first)).await;
    client.ask(question("x", None, 2)).await.unwrap();
    let began = Instant::now();
    let unread: Vec<TcpStream> = (0..6).map(|_| ask_and_never_read(&server)).collect();
    assert_eq!(server.http("GET /health", &[], "").0, 200);
    let mut watched = Vec::new();
    for _ in 0..6 {
        let mut health = tonic_health::pb::health_client::HealthClient::new(server.channel().await);
        let request = tonic_health::pb::HealthCheckRequest { service: String::new() };
        let mut states = health.watch(request).await.unwrap().into_inner();
        states.message().await.unwrap().unwrap();
        watched.push(states);
    }
    assert_eq!(server.http("GET /health", &[], "").0, 200);
    // It rested all the while, and others gave way before it: a call over a broken connection would fail.
    client.ask(question("x", None, 2)).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(9), "{:?}", began.elapsed());
    drop((unread, watched));
    server.stop();
}

/// It has a key's place, and a connection's, for half a minute and no longer.
#[test]
fn a_body_that_does_not_come_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &["--max-requests-per-key", "1"]);
    let mut stream = TcpStream::connect(&server.address).unwrap();
    let host = &server.address;
    write!(stream, "POST /v1/completions HTTP/1.1\r\nhost: {host}\r\ncontent-length: 1000\r\n\r\n{{").unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut answer = [0; 4096];
    let read = stream.read(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer[..read]);
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("too slowly"), "{answer}");
    assert_eq!(server.http("POST /v1/completions", &[], "{\"prompt\":\"x\",\"max_tokens\":1}").0, 200);
    server.stop();
}

/// Tokenising goes on where its client has gone, and counts as its key's for so long.
#[test]
fn whoever_leaves_takes_no_more_than_its_key_may() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &["--max-requests-per-key", "1"]);
    let text = format!("{{\"prompt\":\"{}\"}}", "a".repeat(12 << 20));
    let mut stream = TcpStream::connect(&server.address).unwrap();
    let (host, length) = (&server.address, text.len());
    write!(stream, "POST /tokenize HTTP/1.1\r\nhost: {host}\r\ncontent-length: {length}\r\n\r\n{text}").unwrap();
    // Until it is taken in, and the work has begun.
    std::thread::sleep(Duration::from_millis(700));
    drop(stream);
    std::thread::sleep(Duration::from_millis(200));
    let short = || server.http("POST /tokenize", &[], "{\"prompt\":\"x\"}").0;
    assert_eq!(short(), 429, "the work goes on");
    let began = Instant::now();
    while short() != 200 {
        assert!(began.elapsed() < Duration::from_secs(60), "it has ended, and its place is free");
        std::thread::sleep(Duration::from_millis(100));
    }
    server.stop();
}

/// What cannot have room in the context is not tokenised, which would take a hundred times its bytes.
#[test]
fn a_text_longer_than_any_context_is_refused_unread() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let before = server.peak_mib();
    let long = "a".repeat(12 << 20);
    let chat = format!("{{\"messages\":[{{\"role\":\"user\",\"content\":\"{long}\"}}]}}");
    for (path, body) in [("completions", format!("{{\"prompt\":\"{long}\"}}")), ("chat/completions", chat)] {
        let (status, _, said) = server.http(&format!("POST /v1/{path}"), &[], &body);
        assert!(status == 400 && said.contains("context_length_exceeded") && said.contains("at least"), "{said}");
    }
    let more = server.peak_mib() - before;
    assert!(more < 400, "{more} MiB for 12 of text");
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
