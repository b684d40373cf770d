//! A server with a ledger, and people at its command line.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::running::Server;

/// Prices, and the lanes that fees are split to.
pub(crate) const POLICY: &str = r#"{
  "lanes": {"host": 3000, "base": 1000, "adapter": 2000, "data": 3000, "upkeep": 400, "bond": 300, "reserve": 300},
  "prices": [{"prefilled_nano": 10, "reused_nano": 1, "delivered_nano": 100}], "effective_in_s": 1}"#;

/// A running server, and people who speak to it by the command line.
pub(crate) struct Scene {
    pub(crate) server: Server,
    folder: tempfile::TempDir,
    pub(crate) url: String,
}

impl Scene {
    pub(crate) fn start(more: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start(folder.path(), more);
        let url = format!("http://{}", server.address);
        Self { server, folder, url }
    }

    /// Ends the server; what it kept lies in the folder from here on, and everybody's files with it.
    pub(crate) fn stopped(self) -> tempfile::TempDir {
        self.server.stop();
        self.folder
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn asked(&self, arguments: &[&str], key: Option<&str>) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_loam"));
        command.env_clear().args(arguments).args(["--server", &self.url]);
        command.envs(key.map(|key| ("LOAM_KEY", key)));
        command.output().unwrap()
    }

    pub(crate) fn done(&self, arguments: &[&str]) -> String {
        let output = self.asked(arguments, None);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    pub(crate) fn told(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.done(arguments)).unwrap()
    }

    pub(crate) fn refused(&self, arguments: &[&str]) -> String {
        let output = self.asked(arguments, None);
        assert!(!output.status.success(), "{arguments:?} was not refused");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// Somebody's key, and who they are by it.
    pub(crate) fn person(&self, name: &str, kind: &str) -> (String, String) {
        let file = text(&self.path(&format!("{name}.key"))).to_owned();
        let told = self.told(&["id", "new", "--kind", kind, "--out", &file, "--json"]);
        (file, told["contributor"].as_str().unwrap().to_owned())
    }

    /// Prices are in force from here on.
    pub(crate) fn price(&self, operator: &str) {
        let (policy, receipt) = (self.path("policy.json"), self.path("policy.receipt"));
        std::fs::write(&policy, POLICY).unwrap();
        self.done(&["policy", "set", "--id", operator, "--receipt", text(&receipt), text(&policy)]);
        std::thread::sleep(std::time::Duration::from_millis(1_200));
    }

    /// Asks once, and says what that costs.
    pub(crate) fn answer(&self, model: &str) -> u64 {
        let body = format!("{{\"model\":\"{model}\",\"prompt\":\"What grows\",\"max_tokens\":6,\"ignore_eos\":true}}");
        let (status, _, body) = self.server.http("POST /v1/completions", &[], &body);
        assert_eq!(status, 200, "{body}");
        let answer: Value = serde_json::from_str(&body).unwrap();
        let count = |name: &str| answer["usage"][name].as_u64().unwrap();
        count("prompt_tokens") * 10 + count("completion_tokens") * 100
    }
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
