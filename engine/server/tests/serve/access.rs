//! Who may do what: keys, scopes, and what a server refuses to be without them.

use std::path::Path;
use std::process::Command;

use loam_proto::v1;
use tonic::Code;

use crate::asking::{Client, question};
use crate::running::Server;

/// Keys of two tenants, an auditor of everything, and whoever runs the server.
pub(crate) struct Tenants {
    /// The file of keys.
    pub(crate) file: String,
    pub(crate) first: String,
    pub(crate) second: String,
    /// Of the second's tenant; it may not erase.
    pub(crate) reader: String,
    pub(crate) auditor: String,
    pub(crate) admin: String,
}

/// Makes keys as a person does: `loam key new`.
pub(crate) fn tenants(folder: &Path) -> Tenants {
    let mut stanzas = String::new();
    let mut key = |name: &str, tenant: &str, scopes: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_loam"));
        command.args(["key", "new", "--name", name, "--tenant", tenant]);
        scopes.iter().for_each(|scope| {
            command.args(["--scope", scope]);
        });
        let printed = String::from_utf8(command.output().unwrap().stdout).unwrap();
        let (key, stanza) = printed.split_once("\n\n").unwrap();
        stanzas += &format!("{stanza}\n");
        key.to_owned()
    };
    let first = key("first", "acme", &["infer", "audit:self", "records:write"]);
    let second = key("second", "globe", &["infer", "audit:self", "records:write"]);
    let reader = key("reader", "globe", &["infer", "audit:self"]);
    let auditor = key("auditor", "house", &["audit:self", "audit:all"]);
    let admin = key("admin", "house", &["infer", "audit:self", "admin"]);
    let file = folder.join("keys.toml");
    std::fs::write(&file, stanzas).unwrap();
    Tenants { file: file.to_str().unwrap().to_owned(), first, second, reader, auditor, admin }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_method_asks_for_its_scope() {
    let folder = tempfile::tempdir().unwrap();
    let Tenants { file, first, auditor, admin, .. } = tenants(folder.path());
    let server = Server::start(folder.path(), &["--api-keys", &file]);
    for key in [None, Some("not a key")] {
        let mut nobody = Client::new(&server, key).await;
        assert_eq!(nobody.ask(question("x", None, 1)).await.unwrap_err().code(), Code::Unauthenticated);
        assert_eq!(nobody.rows(v1::Scope::Public).await.unwrap_err().code(), Code::Unauthenticated);
        assert_eq!(nobody.server.info(v1::InfoRequest {}).await.unwrap_err().code(), Code::Unauthenticated);
    }
    let mut first = Client::new(&server, Some(&first)).await;
    first.ask(question("x", None, 1)).await.unwrap();
    assert_eq!(first.rows(v1::Scope::All).await.unwrap_err().code(), Code::PermissionDenied);
    let unload = v1::UnloadAdapterRequest { name: "clay".to_owned(), expected: None };
    assert_eq!(first.adapters.unload(unload.clone()).await.unwrap_err().code(), Code::PermissionDenied);
    let drain = v1::DrainRequest { timeout_s: None };
    assert_eq!(first.server.drain(drain).await.unwrap_err().code(), Code::PermissionDenied);
    let mut auditor = Client::new(&server, Some(&auditor)).await;
    assert_eq!(auditor.ask(question("x", None, 1)).await.unwrap_err().code(), Code::PermissionDenied);
    auditor.rows(v1::Scope::All).await.unwrap();
    let mut admin = Client::new(&server, Some(&admin)).await;
    admin.adapters.unload(unload).await.unwrap();
    for (path, status) in [("/health", 200), ("/metrics", 401), ("/v1/models", 401), ("/records/checkpoint", 401)] {
        assert_eq!(server.http(&format!("GET {path}"), &[], "").0, status, "{path}");
    }
    server.stop();
}

/// Whoever runs a server sees how it stands, and asks it nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_admin_sees_how_the_server_stands() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_loam"));
    command.args(["key", "new", "--name", "root", "--tenant", "house", "--scope", "admin"]);
    let printed = String::from_utf8(command.output().unwrap().stdout).unwrap();
    let (key, stanza) = printed.split_once("\n\n").unwrap();
    let file = folder.path().join("keys.toml");
    std::fs::write(&file, stanza).unwrap();
    let server = Server::start(folder.path(), &["--api-keys", file.to_str().unwrap()]);
    let mut root = Client::new(&server, Some(key)).await;
    root.server.info(v1::InfoRequest {}).await.unwrap();
    root.server.load(v1::LoadRequest {}).await.unwrap();
    let listed = root.adapters.list(v1::ListAdaptersRequest::default()).await.unwrap().into_inner();
    assert_eq!(listed.adapters.len(), 2);
    root.adapters.get(v1::GetAdapterRequest { name: "clay".to_owned() }).await.unwrap();
    let key = [&*format!("authorization: Bearer {key}")];
    for path in ["/load", "/version", "/v1/models", "/v1/models/clay", "/metrics"] {
        assert_eq!(server.http(&format!("GET {path}"), &key, "").0, 200, "{path}");
    }
    assert_eq!(root.ask(question("x", None, 1)).await.unwrap_err().code(), Code::PermissionDenied);
    let (status, head, _) = server.http("GET /records/checkpoint", &key, "");
    assert_eq!(status, 403, "{head}");
    server.stop();
}

/// What is refused behind the guard is seen where people look, by either protocol.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_are_logged_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let Tenants { file, first, admin, .. } = tenants(folder.path());
    let server = Server::start(folder.path(), &["--api-keys", &file]);
    let mut client = Client::new(&server, Some(&first)).await;
    client.server.drain(v1::DrainRequest { timeout_s: None }).await.unwrap_err();
    let key = [&*format!("authorization: Bearer {first}")];
    assert_eq!(server.http("POST /v1/unload_lora_adapter", &key, "{\"lora_name\":\"clay\"}").0, 403);
    assert_eq!(server.http("POST /v1/completions", &key, "{\"prompt\":1}").0, 400);
    let metrics = server.http("GET /metrics", &[&format!("authorization: Bearer {admin}")], "").2;
    for line in ["loam_requests_refused_total{kind=\"forbidden\"} 2", "loam_requests_refused_total{kind=\"invalid\"} 1"]
    {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    let log = server.log();
    let drain = log.lines().find(|line| line.contains("/loam.v1.Server/Drain")).unwrap();
    assert!(drain.contains("forbidden") && drain.contains("grpc_status=\"7\""), "{drain}");
    server.stop();
}

/// A refusal that looked at no body leaves the connection usable, or says that it ends.
#[test]
fn a_connection_outlives_an_early_refusal() {
    use std::io::{Read as _, Write as _};
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &["--api-key", "a-key-of-some-length"]);
    let mut stream = std::net::TcpStream::connect(&server.address).unwrap();
    let mut ask = |length: usize| {
        let head = format!("POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        if length < 1 << 16 {
            std::thread::sleep(std::time::Duration::from_millis(100));
            stream.write_all(&vec![b' '; length]).unwrap();
        }
        let mut answer = vec![0; 4096];
        let read = stream.read(&mut answer).unwrap();
        String::from_utf8_lossy(&answer[..read]).into_owned()
    };
    for _ in 0..2 {
        let answer = ask(100);
        assert!(answer.starts_with("HTTP/1.1 401") && !answer.contains("connection: close"), "{answer}");
    }
    let answer = ask(2 << 20);
    assert!(answer.starts_with("HTTP/1.1 401") && answer.contains("connection: close"), "{answer}");
    server.stop();
}

#[test]
fn what_is_opened_needs_no_key() {
    let folder = tempfile::tempdir().unwrap();
    let more = ["--api-key", "a-key-of-some-length", "--open", "metrics", "--open", "log"];
    let server = Server::start(folder.path(), &more);
    for (path, status) in
        [("/metrics", 200), ("/records/checkpoint", 200), ("/usage/1/checkpoint", 200), ("/version", 401)]
    {
        assert_eq!(server.http(&format!("GET {path}"), &[], "").0, status, "{path}");
    }
    let key = ["authorization: Bearer a-key-of-some-length"];
    assert_eq!(server.http("GET /version", &key, "").0, 200);
    server.stop();
}

#[test]
fn the_world_needs_a_key() {
    let folder = tempfile::tempdir().unwrap();
    let said = Server::try_start(folder.path(), &["--host", "0.0.0.0"]).err().unwrap();
    assert!(said.contains("--api-key") && !said.contains("panicked"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_from_one_key_is_refused_and_others_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let Tenants { file, first, second, .. } = tenants(folder.path());
    let server = Server::start(folder.path(), &["--api-keys", &file, "--max-requests-per-key", "4"]);
    let mut client = Client::new(&server, Some(&first)).await;
    let mut held = Vec::new();
    let refused = loop {
        match client.inference.generate(question("Go on", None, 450)).await {
            Ok(stream) => held.push(stream),
            Err(status) => break status,
        }
        assert!(held.len() <= 4, "a fifth was let in");
    };
    assert_eq!(refused.code(), Code::ResourceExhausted);
    let details = tonic_types::StatusExt::get_error_details(&refused);
    assert!(details.retry_info().is_some(), "a hint when to try again: {details:?}");
    let mut other = Client::new(&server, Some(&second)).await;
    assert_eq!(other.ask(question("And you?", Some("clay"), 3)).await.unwrap().tokens.len(), 3);
    drop(held);
    server.stop();
}

/// A page is served where its origin is named: its browser asks without the key, and then lets it read the answer.
#[test]
fn a_page_of_a_named_origin_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let (page, strange) = ("origin: https://chat.example.org", "origin: https://example.org");
    let more = ["--allow-origin", "https://chat.example.org"];
    let asked = [
        "access-control-request-method: POST",
        "access-control-request-headers: authorization,content-type,x-stainless-os",
    ];
    let body = "{\"prompt\":\"x\",\"max_tokens\":1}";
    for keys in [&[][..], &["--api-key", "a-key-of-some-length"]] {
        let server = Server::start(folder.path(), &[&more[..], keys].concat());
        let (status, head, _) = server.http("OPTIONS /v1/completions", &[&[page][..], &asked].concat(), "");
        assert_eq!(status, 204, "{head}");
        for line in [
            "access-control-allow-origin: https://chat.example.org",
            "access-control-allow-headers: authorization,content-type,x-stainless-os",
            "access-control-allow-methods: GET, POST",
        ] {
            assert!(head.contains(line), "{line}: {head}");
        }
        let (status, _, said) = server.http("OPTIONS /v1/completions", &[&[strange][..], &asked].concat(), "");
        assert!(status == 403 && said.contains("--allow-origin"), "{status}: {said}");
        let key = "authorization: Bearer a-key-of-some-length";
        let (status, head, _) = server.http("POST /v1/completions", &[page, key], body);
        assert!(status == 200 && head.contains("access-control-allow-origin: https://chat"), "{status}: {head}");
        // A refusal can be read too.
        let (status, head, _) = server.http("POST /v1/completions", &[page, key], "{}");
        assert!(status == 400 && head.contains("access-control-allow-origin: https://chat"), "{status}: {head}");
        let (_, head, _) = server.http("POST /v1/completions", &[strange, key], body);
        assert!(!head.contains("access-control"), "{head}");
        server.stop();
    }
}
