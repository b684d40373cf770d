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
    let second = key("second", "globe", &["infer", "audit:self"]);
    let auditor = key("auditor", "house", &["audit:self", "audit:all"]);
    let admin = key("admin", "house", &["infer", "audit:self", "admin"]);
    let file = folder.join("keys.toml");
    std::fs::write(&file, stanzas).unwrap();
    Tenants { file: file.to_str().unwrap().to_owned(), first, second, auditor, admin }
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
