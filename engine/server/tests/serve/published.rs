//! `--require-published`: the records decide which adapters are used, at the start, while it runs, and by the minute.

use std::path::{Path, PathBuf};
use std::process::Command;

use loam_proto::v1;
use tonic::Code;

use crate::asking::{Client, question};
use crate::running::{Server, golden};

/// What the two adapters are that every server here begins with.
const GENERATIONS: [&str; 2] = [
    "0609fade4e3505002a4a7ed60920516d530251b7fecf0deddf7dd951a542e857",
    "e8e25ce5fa145669db9354434fad4295f64ff3d98d848e640bca8d514f372bb7",
];

/// Somebody with a key, who speaks to a ledger: here while no server has it open, else behind the server.
struct Operator {
    key: PathBuf,
    data: PathBuf,
}

impl Operator {
    /// Makes the ledger, and registers its first.
    fn new(folder: &Path) -> Self {
        let operator = Self { key: folder.join("operator.key"), data: folder.join("ledger") };
        let data = operator.data.to_str().unwrap();
        loam(&["ledger", "init", "--data", data, "--origin", "published.example/loam"]).unwrap();
        let key = operator.key.to_str().unwrap();
        loam(&["id", "new", "--data", data, "--out", key, "--kind", "operator"]).unwrap();
        operator
    }

    /// Runs `loam adapter`, as a person does.
    fn adapter(&self, server: Option<&Server>, arguments: &[&str]) -> Result<String, String> {
        let url = server.map(|server| format!("http://{}", server.address));
        let place = match &url {
            Some(url) => ["--server", url],
            None => ["--data", self.data.to_str().unwrap()],
        };
        loam(&[&["adapter"][..], arguments, &place, &["--id", self.key.to_str().unwrap()]].concat())
    }

    fn publish(&self, server: Option<&Server>, name: &str, folder: &str, state: &str) -> String {
        let (folder, model) = (golden(folder), golden("base"));
        let said =
            ["publish", name, "--folder", &folder, "--model", &model, "--licence", "Apache-2.0", "--state", state];
        self.adapter(server, &said).unwrap()
    }

    fn say(&self, server: Option<&Server>, name: &str, state: &str) {
        self.adapter(server, &["state", name, state]).unwrap();
    }
}

fn loam(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(env!("CARGO_BIN_EXE_loam")).env_clear().args(arguments).output().unwrap();
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(said(&output.stdout)) } else { Err(said(&output.stderr)) }
}

/// One token of an adapter over HTTP: the status, and what was said.
fn asked(server: &Server, model: &str) -> (u16, String) {
    let body = format!("{{\"model\":\"{model}\",\"prompt\":\"x\",\"max_tokens\":1}}");
    let (status, _, said) = server.http("POST /v1/completions", &[], &body);
    (status, said)
}

/// The models that it says it has.
fn offered(server: &Server) -> Vec<String> {
    let (status, _, said) = server.http("GET /v1/models", &[], "");
    assert_eq!(status, 200, "{said}");
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    said["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_suspended_is_not_answered_with() {
    let folder = tempfile::tempdir().unwrap();
    let operator = Operator::new(folder.path());
    let told = operator.publish(None, "clay", "adapters/qv-r8", "published");
    operator.publish(None, "loess", "adapters/all-r16", "published");
    let server = Server::start(folder.path(), &["--require-published"]);
    // What was computed from the folders is what the server has.
    let mut client = Client::new(&server, None).await;
    let clay = v1::GetAdapterRequest { name: "clay".to_owned() };
    let clay = client.adapters.get(clay).await.unwrap().into_inner();
    assert!(told.contains(&loam_ledger_core::text::hex_encode(&clay.generation)), "{told}");

    let ask = |adapter: Option<&'static str>| question("What grows here?", adapter, 1);
    client.ask(ask(Some("clay"))).await.unwrap();
    // One that runs ends as it began.
    let running = client.inference.generate(question("Go on", Some("clay"), 300)).await.unwrap();
    let mut running = running.into_inner();
    running.message().await.unwrap().unwrap();
    operator.say(Some(&server), "clay", "suspended");
    let refused = client.ask(ask(Some("clay"))).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(
        refused.message().contains("`clay`") && refused.message().contains("the operator suspended it"),
        "{refused}"
    );
    let (status, said) = asked(&server, "clay");
    assert_eq!(status, 409, "{said}");
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["error"]["param"], "model");
    assert!(said["error"]["message"].as_str().unwrap().contains("the operator suspended it"), "{said}");
    assert_eq!(offered(&server), ["tiny", "loess"]);
    let (status, _, said) = server.http("GET /v1/models/clay", &[], "");
    assert!(status == 409 && said.contains("the operator suspended it"), "{status}: {said}");
    let all = client.adapters.list(v1::ListAdaptersRequest::default()).await.unwrap().into_inner().adapters;
    let refused: Vec<_> = all.iter().map(|it| (&*it.name, &*it.refused)).collect();
    assert_eq!(refused, [("clay", "the operator suspended it"), ("loess", "")]);
    let told = loam(&["ls", "--url", &format!("http://{}", server.address)]).unwrap();
    assert!(told.contains("refused: the operator suspended it"), "{told}");
    client.ask(ask(Some("loess"))).await.unwrap();
    client.ask(ask(None)).await.unwrap();
    let mut finished = false;
    while let Some(message) = running.message().await.unwrap() {
        finished |= matches!(message.event, Some(v1::generate_response::Event::Finished(_)));
    }
    assert!(finished);

    operator.say(Some(&server), "clay", "published");
    client.ask(ask(Some("clay"))).await.unwrap();
    assert_eq!(asked(&server, "clay").0, 200);
    assert_eq!(offered(&server), ["tiny", "clay", "loess"]);
    server.stop();
}

/// Whoever may take one adapter out of use cannot keep the base and the others from being served.
#[test]
fn what_was_taken_out_of_use_does_not_keep_a_server_from_starting() {
    let folder = tempfile::tempdir().unwrap();
    let operator = Operator::new(folder.path());
    let key = folder.path().join("ann.key");
    let data = operator.data.to_str().unwrap();
    loam(&["id", "new", "--data", data, "--out", key.to_str().unwrap(), "--kind", "person"]).unwrap();
    let ann = Operator { key, data: operator.data.clone() };
    ann.publish(None, "clay", "adapters/qv-r8", "published");
    operator.publish(None, "loess", "adapters/all-r16", "published");
    ann.say(None, "clay", "suspended");
    let server = Server::start(folder.path(), &["--require-published", "--pin", "clay"]);
    let (status, said) = asked(&server, "clay");
    assert!(status == 409 && said.contains("its authors suspended it"), "{status}: {said}");
    assert_eq!([asked(&server, "tiny").0, asked(&server, "loess").0], [200, 200]);
    assert_eq!(offered(&server), ["tiny", "loess"]);
    let told = loam(&["ls", "--url", &format!("http://{}", server.address)]).unwrap();
    assert!(told.contains("refused: its authors suspended it"), "{told}");
    let warned = |line: &str| line.contains("WARN") && line.contains("its authors suspended it");
    assert!(server.log().lines().any(warned), "{}", server.log());
    // As soon as its authors say so it is used.
    ann.say(Some(&server), "clay", "published");
    assert_eq!(asked(&server, "clay").0, 200);
    server.stop();
    operator.say(None, "loess", "retired");
    let server = Server::start(folder.path(), &["--require-published"]);
    let (status, said) = asked(&server, "loess");
    assert!(status == 409 && said.contains("it is retired"), "{status}: {said}");
    server.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_published_is_not_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let operator = Operator::new(folder.path());
    let said = Server::try_start(folder.path(), &["--require-published"]).err().unwrap();
    assert!(said.contains("--lora-modules clay=") && said.contains("not in this ledger's records"), "{said}");
    operator.publish(None, "clay", "adapters/qv-r8", "published");
    operator.publish(None, "loess", "adapters/all-r16", "published");
    let server = Server::start(folder.path(), &["--require-published", "--adapter-root", &golden("adapters")]);
    let mut client = Client::new(&server, None).await;
    let load = v1::LoadAdapterRequest {
        name: "silt".to_owned(),
        source: golden("adapters/rslora-r4"),
        expected: None,
        pin: false,
    };
    let refused = client.adapters.load(load.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("not in this ledger's records"), "{refused}");
    operator.publish(Some(&server), "silt", "adapters/rslora-r4", "draft");
    let body = format!("{{\"lora_name\":\"silt\",\"lora_path\":\"{}\"}}", load.source);
    let (status, _, said) = server.http("POST /v1/load_lora_adapter", &[], &body);
    assert!(status == 409 && said.contains("it is draft in this ledger's records"), "{status}: {said}");
    // What is refused leaves nothing behind.
    assert_eq!(asked(&server, "silt").0, 404);
    operator.say(Some(&server), "silt", "published");
    client.adapters.load(load.clone()).await.unwrap();
    assert_eq!(asked(&server, "silt").0, 200);
    // A name that is in use keeps what it stands for where the new content is refused.
    let other = v1::LoadAdapterRequest { source: golden("adapters/last-layer"), ..load };
    assert_eq!(client.adapters.load(other).await.unwrap_err().code(), Code::FailedPrecondition);
    assert_eq!(asked(&server, "silt").0, 200);
    server.stop();
}

/// What is said over another base is said of another adapter, whatever it is called.
#[test]
fn what_is_published_over_another_base_is_not_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let operator = Operator::new(folder.path());
    let computed = operator.publish(None, "loess", "adapters/all-r16", "draft");
    assert!(computed.contains(&GENERATIONS[1][..12]), "{computed}");
    let base = "b".repeat(64);
    let said = ["publish", "clay", "--generation", GENERATIONS[0], "--base", &base, "--licence", "MIT"];
    operator.adapter(None, &[&said[..], &["--state", "published"]].concat()).unwrap();
    let told = Server::try_start(folder.path(), &["--require-published"]).err().unwrap();
    let reason = "it is published over base model bbbb";
    assert!(told.contains("--lora-modules clay=") && told.contains(reason), "{told}");
}
