//! Records through a running server: keys stay with their owners, money is divided over rows that were really served, and
//! who may not, does not.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::access::{Tenants, tenants};
use crate::running::Server;

const POLICY: &str = r#"{
  "lanes": {"host": 3000, "base": 1000, "adapter": 2000, "data": 3000, "upkeep": 400, "bond": 300, "reserve": 300},
  "prices": [{"prefilled_nano": 10, "reused_nano": 1, "delivered_nano": 100}], "effective_in_s": 1}"#;

struct Scene {
    server: Server,
    folder: tempfile::TempDir,
    url: String,
}

impl Scene {
    fn start(more: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start(folder.path(), more);
        let url = format!("http://{}", server.address);
        Self { server, folder, url }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn asked(&self, arguments: &[&str], key: Option<&str>) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_loam"));
        command.env_clear().args(arguments).args(["--server", &self.url]);
        command.envs(key.map(|key| ("LOAM_KEY", key)));
        command.output().unwrap()
    }

    fn done(&self, arguments: &[&str]) -> String {
        let output = self.asked(arguments, None);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn told(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.done(arguments)).unwrap()
    }

    fn refused(&self, arguments: &[&str]) -> String {
        let output = self.asked(arguments, None);
        assert!(!output.status.success(), "{arguments:?} was not refused");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    fn person(&self, name: &str, kind: &str) -> (String, String) {
        let file = text(&self.path(&format!("{name}.key"))).to_owned();
        let told = self.told(&["id", "new", "--kind", kind, "--out", &file, "--json"]);
        (file, told["contributor"].as_str().unwrap().to_owned())
    }

    fn answer(&self, model: &str) -> u64 {
        let body = format!("{{\"model\":\"{model}\",\"prompt\":\"What grows\",\"max_tokens\":6,\"ignore_eos\":true}}");
        let (status, _, body) = self.server.http("POST /v1/completions", &[], &body);
        assert_eq!(status, 200, "{body}");
        let answer: Value = serde_json::from_str(&body).unwrap();
        let count = |name: &str| answer["usage"][name].as_u64().unwrap();
        count("prompt_tokens") * 10 + count("completion_tokens") * 100
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// What was really served is priced by the policy in force, divided, told and checked; all of it over the network.
#[test]
fn money_is_divided_over_a_running_server() {
    let scene = Scene::start(&[]);
    let (operator, contributor) = scene.person("operator", "operator");
    let policy = scene.path("policy.json");
    std::fs::write(&policy, POLICY).unwrap();
    let receipt = scene.path("policy.receipt");
    scene.done(&["policy", "set", "--id", &operator, "--receipt", text(&receipt), text(&policy)]);
    assert!(std::fs::read_to_string(&receipt).unwrap().starts_with("c2sp.org/tlog-proof@v1\n"));
    std::thread::sleep(std::time::Duration::from_millis(1_200));
    let fees = scene.answer("tiny") + scene.answer("clay");
    let closed = scene.told(&["epoch", "close", "--id", &operator, "--json"]);
    assert_eq!((closed["answers"].as_u64(), closed["findings"].as_u64()), (Some(2), Some(0)));
    assert_eq!(closed["fees_nano"].as_str(), Some(&*fees.to_string()));
    let leaf = scene.path("statement.leaf");
    let of = ["epoch", "statement", &contributor, "--out", text(&leaf), "--json"];
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
    let (operator, _) = scene.person("operator", "operator");
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
    scene.done(&["id", "rotate", "--id", &operator, "--out", text(&new_key)]);
    let said = scene.done(&["id", "sign", "--id", &ann, text(&paper)]);
    assert!(said.contains("share 40%") && said.contains("it is recorded when"), "{said}");
    let old = scene.refused(&["id", "sign", "--id", &operator, text(&paper)]);
    assert!(old.contains("another key"), "{old}");
    std::fs::write(scene.path("other"), "loam-paper-v1 other\n").unwrap();
    let other = scene.refused(&["id", "sign", "--id", &ann, text(&scene.path("other"))]);
    assert!(other.contains("no paper"), "{other}");
    let said = scene.done(&["id", "sign", "--id", text(&new_key), text(&paper)]);
    assert!(said.contains("all have signed"), "{said}");
    assert_eq!(scene.told(&["policy", "show", "--json"]).as_array().unwrap().len(), 1);
    scene.server.stop();
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
        assert!(!id.exists(), "a key that nobody came to know is not left behind");
    }
    refused(None, &new, "key");
    assert!(scene.asked(&new, Some(&first)).status.success());
    refused(Some(&first), &["epoch", "close", "--id", text(&id)], "admin");
    refused(Some(&admin), &["epoch", "statement", &"0".repeat(64)], "no epoch is closed");
    let wrong = ["policy", "show", "--vkey", "x+00000000+AAAA"];
    refused(Some(&first), &wrong, "the records log's key");
    scene.server.stop();
}
