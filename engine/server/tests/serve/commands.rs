//! The commands beside `loam serve`, as a person types them.

use std::process::{Command, Output};

use crate::running::{Server, golden};

fn loam(server: &Server, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loam"));
    command.env_clear().env("LOAM_URL", format!("http://{}", server.address)).args(arguments);
    command.output().unwrap()
}

fn printed(server: &Server, arguments: &[&str]) -> String {
    let output = loam(server, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Whoever read enough is told nothing more; what could not be written is an error like others.
#[test]
fn what_cannot_be_written_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let listed = |out: std::process::Stdio| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_loam"));
        command.env_clear().env("LOAM_URL", format!("http://{}", server.address)).arg("ls").stdout(out);
        let output = command.stderr(std::process::Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let (code, said) = listed(full.into());
    assert!(code == Some(1) && said.contains("standard output") && said.contains("No space left"), "{said}");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    assert_eq!(listed(writer.into()), (Some(1), String::new()));
    server.stop();
}

#[test]
fn a_person_sees_adds_and_removes_adapters() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &["--adapter-root", &golden("adapters")]);
    let listed = printed(&server, &["ls"]);
    assert!(["tiny", "clay", "loess"].iter().all(|name| listed.contains(name)), "{listed}");
    printed(&server, &["adapter", "add", "silt", &golden("adapters/rslora-r4"), "--pin"]);
    let silt = printed(&server, &["adapter", "ls"]).lines().find(|line| line.starts_with("silt")).unwrap().to_owned();
    assert!(silt.contains("pinned"), "{silt}");
    let again = loam(&server, &["adapter", "add", "silt", &golden("adapters/qv-r8")]);
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(!again.status.success() && said.contains("silt") && said.contains("nothing was changed"), "{said}");
    printed(&server, &["adapter", "add", "silt", &golden("adapters/qv-r8"), "--replace"]);
    printed(&server, &["adapter", "rm", "silt"]);
    let busy = printed(&server, &["ps", "--json"]);
    let busy: serde_json::Value = serde_json::from_str(&busy).unwrap();
    assert_eq!((busy["running"].as_u64(), busy["draining"].as_bool()), (Some(0), Some(false)));
    server.stop();
}

/// Names that share a content do not share the fate of a folder; and where an adapter's own folder is gone, whoever asks
/// is told that the fault is here, and the log says what it is.
#[test]
fn an_adapter_outlives_another_names_folder() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    let server = Server::start(folder.path(), &["--adapter-root", root.to_str().unwrap()]);
    let copy = |of: &str, to: &str| {
        let to = root.join(to);
        std::fs::create_dir(&to).unwrap();
        for file in ["adapter_config.json", "adapter_model.safetensors"] {
            std::fs::copy(format!("{}/{file}", golden(of)), to.join(file)).unwrap();
        }
        to
    };
    let asked = |model: &str| {
        let body = format!("{{\"model\":\"{model}\",\"prompt\":\"x\",\"max_tokens\":1}}");
        let (status, _, said) = server.http("POST /v1/completions", &[], &body);
        (status, said)
    };
    let trial = copy("adapters/qv-r8", "trial");
    printed(&server, &["adapter", "add", "trial", trial.to_str().unwrap()]);
    let listed = printed(&server, &["adapter", "ls"]);
    let clay = listed.lines().find(|line| line.starts_with("clay")).unwrap();
    assert!(clay.ends_with(&golden("adapters/qv-r8")), "{listed}");
    printed(&server, &["adapter", "rm", "trial"]);
    std::fs::remove_dir_all(&trial).unwrap();
    let (status, said) = asked("clay");
    assert_eq!(status, 200, "{said}");

    let silt = copy("adapters/rslora-r4", "silt");
    printed(&server, &["adapter", "add", "silt", silt.to_str().unwrap()]);
    std::fs::remove_dir_all(&silt).unwrap();
    let (status, said) = asked("silt");
    assert!(status == 503 && said.contains("ADAPTER_UNREADABLE") && !said.contains("silt/"), "{status}: {said}");
    let warned = server.log().lines().any(|line| line.contains("WARN") && line.contains("silt/adapter_config.json"));
    assert!(warned, "{}", server.log());
    server.stop();
}

#[test]
fn an_auditor_fetches_the_logs_of_a_running_server() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let (status, _, body) = server.http("POST /v1/completions", &[], "{\"prompt\":\"What grows\",\"max_tokens\":3}");
    assert_eq!(status, 200, "{body}");
    let out = folder.path().join("logs");
    let told = printed(&server, &["ledger", "fetch", "--out", out.to_str().unwrap()]);
    assert!(told.contains("loam-audit log") && told.contains("usage/1"), "{told}");
    assert!(out.join("usage/1/checkpoint").is_file() && out.join("records/MANIFEST.sha256").is_file());
    let again = loam(&server, &["ledger", "fetch", "--out", out.to_str().unwrap()]);
    assert!(!again.status.success(), "nothing is overwritten");
    server.stop();
}

/// Erasing needs no end of the server that has the ledger open.
#[test]
fn a_running_server_erases() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let (_, head, body) = server.http("POST /v1/completions", &[], "{\"prompt\":\"What grows\",\"max_tokens\":3}");
    let id = head.lines().find_map(|line| line.strip_prefix("x-loam-receipt-id: "));
    let id = id.unwrap_or_else(|| panic!("{head}: {body}"));
    assert_eq!(server.http(&format!("GET /receipts/{id}"), &[], "").0, 200);
    let (url, ledger) = (format!("http://{}", server.address), folder.path().join("ledger"));
    let (data, url) = (["--data", ledger.to_str().unwrap()], ["--server", &url]);
    let refused = |more: &[&str], words: &str| {
        let said = loam(&server, &[&["ledger", "erase", id][..], more].concat());
        let said = String::from_utf8_lossy(&said.stderr).into_owned();
        assert!(said.contains(words), "{more:?}: {said}");
    };
    refused(&data, "ask it with --server");
    refused(&[data, url].concat(), "--server and --data are two places");
    refused(&[], "name the ledger's folder (--data DIR) or a running server (--server URL)");
    assert!(printed(&server, &["ledger", "erase", id, url[0], url[1]]).contains("erased"));
    let (status, _, said) = server.http(&format!("GET /receipts/{id}"), &[], "");
    assert!(status == 404 && said.contains("erased"), "{status}: {said}");
    server.stop();
}

#[test]
fn a_command_without_a_key_says_how_to_give_one() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &["--api-key", "a-key-of-some-length"]);
    let said = String::from_utf8_lossy(&loam(&server, &["ps"]).stderr).into_owned();
    assert!(said.contains("--key KEY or LOAM_KEY"), "{said}");
    // A server is named alike by every command.
    let url = format!("http://{}", server.address);
    printed(&server, &["ps", "--server", &url, "--key", "a-key-of-some-length"]);
    server.stop();
}

#[test]
fn a_command_says_where_no_server_answers() {
    let output = Command::new(env!("CARGO_BIN_EXE_loam")).args(["ls", "--url", "http://127.0.0.1:1"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("loam serve MODEL"), "{said}");
}

#[test]
fn a_command_says_what_a_url_begins_with() {
    let output = Command::new(env!("CARGO_BIN_EXE_loam")).args(["ls", "--url", "127.0.0.1:1"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("http://") && !said.contains("loam serve"), "{said}");
}

#[test]
fn a_model_is_asked_without_a_server() {
    let model = golden("base");
    let output = Command::new(env!("CARGO_BIN_EXE_loam"))
        .args(["run", &model, "What grows here?", "--max-tokens", "4", "--temperature", "0", "--threads", "2"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!output.stdout.is_empty());
}

#[test]
fn settings_are_shown_with_their_origins() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("loam.toml");
    std::fs::write(&file, "max_loras = 3\nport = 9000\n").unwrap();
    let show = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_loam"));
        command.env_clear().env("LOAM_PORT", "9001").args(["config", "show", "--config", file.to_str().unwrap()]);
        let output = command.args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let shown = show(&["--api-key", "a-key-of-some-length"]);
    let line =
        |name: &str| shown.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}: {shown}"));
    assert!(line("max_loras = 3").contains("loam.toml line 1"), "{shown}");
    assert!(line("port = 9001").contains("LOAM_PORT"), "{shown}");
    assert!(line("host").contains("default"), "{shown}");
    assert!(!shown.contains("a-key-of-some-length"), "secrets are not shown");
}
