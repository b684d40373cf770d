//! HTTP as programs use it without any library.

use serde_json::Value;

use crate::running::{Server, golden};

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn bad_input_gets_a_status_a_field_and_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &["--max-body-mib", "1"]);
    let chat = "POST /v1/chat/completions";
    let long = format!("{{\"messages\":[{{\"role\":\"user\",\"content\":\"{}\"}}]}}", "x".repeat(2 << 20));
    for (head, body, status, field) in [
        (chat, "{", 400, None),
        (chat, "{\"messages\":[]}", 400, Some("messages")),
        (chat, "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"temprature\":1}", 400, Some("temprature")),
        (chat, "{\"model\":\"sand\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}", 404, Some("model")),
        (chat, &long, 413, None),
        ("GET /v1/chat/completions", "", 405, None),
        ("GET /nothing", "", 404, None),
        ("GET /receipts/xyz", "", 404, Some("receipt_id")),
        ("POST /tokenize", "{\"text\":1}", 400, Some("text")),
    ] {
        let (found, _, answer) = server.http(head, &[], body);
        let error = json(&answer)["error"].clone();
        assert_eq!(found, status, "{head}: {answer}");
        assert_eq!(error["param"].as_str(), field, "{head}: {answer}");
        assert!(error["message"].as_str().is_some_and(|said| said.len() > 10), "{answer}");
    }
    server.stop();
}

#[test]
fn adapters_come_and_go_with_vllms_words() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &["--adapter-root", &golden("adapters")]);
    let load = format!("{{\"lora_name\":\"silt\",\"lora_path\":\"{}\"}}", golden("adapters/rslora-r4"));
    let (status, _, said) = server.http("POST /v1/load_lora_adapter", &[], &load);
    assert_eq!((status, &*said), (200, "Success: LoRA adapter 'silt' added successfully."));
    let (_, _, models) = server.http("GET /v1/models", &[], "");
    let models = json(&models);
    let silt = models["data"].as_array().unwrap().iter().find(|model| model["id"] == "silt").unwrap();
    assert_eq!(silt["parent"], "tiny");
    let outside = format!("{{\"lora_name\":\"peat\",\"lora_path\":\"{}\"}}", golden("special/dora"));
    assert_eq!(server.http("POST /v1/load_lora_adapter", &[], &outside).0, 400, "outside of the roots");
    let (status, _, said) = server.http("POST /v1/unload_lora_adapter", &[], "{\"lora_name\":\"silt\"}");
    assert_eq!((status, &*said), (200, "Success: LoRA adapter 'silt' removed successfully."));
    let (status, _, said) = server.http("POST /v1/unload_lora_adapter", &[], "{\"lora_name\":\"silt\"}");
    assert_eq!((status, json(&said)["error"]["param"].as_str()), (404, Some("lora_name")), "{said}");
    let (status, _, said) = server.http("GET /v1/models/silt", &[], "");
    assert_eq!((status, json(&said)["error"]["param"].as_str()), (404, Some("model")), "{said}");
    server.stop();
}

#[test]
fn a_request_keeps_its_id_from_end_to_end() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let body = "{\"prompt\":\"a secret question\",\"max_tokens\":2}";
    let (status, head, answer) = server.http("POST /v1/completions", &["x-request-id: my-own-id"], body);
    assert_eq!(status, 200, "{answer}");
    assert!(head.contains("x-request-id: my-own-id"), "{head}");
    assert_eq!(json(&answer)["id"], "cmpl-my-own-id");
    assert!(server.log().contains("my-own-id"), "the log names it");
    assert!(!server.log().contains("a secret question"), "and says nothing of what was asked");
    server.stop();
}

#[test]
fn two_ids_that_differ_are_refused_and_one_in_the_body_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let body = "{\"prompt\":\"x\",\"max_tokens\":2,\"request_id\":\"in-the-body\"}";
    let (status, _, said) = server.http("POST /v1/completions", &["x-request-id: in-the-header"], body);
    assert_eq!((status, json(&said)["error"]["param"].as_str()), (400, Some("request_id")), "{said}");
    let (status, head, answer) = server.http("POST /v1/completions", &[], body);
    assert_eq!((status, json(&answer)["id"].as_str()), (200, Some("cmpl-in-the-body")), "{answer}");
    assert!(head.contains("x-request-id: in-the-body"), "{head}");
    assert!(server.log().contains("in-the-body"), "{}", server.log());
    assert_eq!(server.http("POST /v1/completions", &["x-request-id: in-the-body"], body).0, 200);
    server.stop();
}

/// How an answer ended is logged with the name of its receipt, and counted, also where its client left.
#[test]
fn an_answer_whose_client_left_is_logged_and_counted() {
    use std::io::{Read as _, Write as _};
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let (_, head, _) = server.http("POST /v1/completions", &[], "{\"prompt\":\"x\",\"max_tokens\":2}");
    let receipt_id = head.lines().find_map(|line| line.strip_prefix("x-loam-receipt-id: ")).unwrap().to_owned();
    let log = server.log();
    assert!(log.lines().any(|line| line.contains("ended") && line.contains(&receipt_id)), "{log}");
    let body = "{\"prompt\":\"x\",\"max_tokens\":400,\"n\":4,\"ignore_eos\":true,\"stream\":true}";
    let mut stream = std::net::TcpStream::connect(&server.address).unwrap();
    let length = body.len();
    let address = &server.address;
    let head = format!("POST /v1/completions HTTP/1.1\r\nhost: {address}\r\ncontent-length: {length}\r\n\r\n{body}");
    stream.write_all(head.as_bytes()).unwrap();
    stream.read_exact(&mut [0; 64]).unwrap();
    drop(stream);
    let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !server.log().contains("ends=\"abort\"") {
        assert!(std::time::Instant::now() < until, "{}", server.log());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let metrics = server.http("GET /metrics", &[], "").2;
    let aborted = metrics.lines().find(|line| line.contains("finished_reason=\"abort\"")).unwrap();
    assert!(aborted.ends_with(" 4"), "{aborted}");
    server.stop();
}

#[test]
fn what_cannot_be_read_is_refused_in_the_same_shape() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    for (head, headers, body, status, field) in [
        ("GET /v1/models/%FF", &[][..], "", 400, None),
        ("GET /records/%FF", &[], "", 400, None),
        ("POST /tokenize", &[], "{\"model\":\"nope\",\"prompt\":\"x\"}", 404, Some("model")),
        ("POST /detokenize", &[], "{\"model\":\"nope\",\"tokens\":[1]}", 404, Some("model")),
        ("POST /v1/completions", &["content-encoding: gzip"], "{}", 415, Some("content-encoding")),
    ] {
        let (found, _, answer) = server.http(head, headers, body);
        assert_eq!((found, json(&answer)["error"]["param"].as_str()), (status, field), "{head}: {answer}");
    }
    let (status, _, answer) = server.http(&format!("GET /{}", "x".repeat(20_000)), &[], "");
    assert!(status == 404 && answer.len() < 1_000, "{status}: {} bytes", answer.len());
    let (_, _, answer) = server.http("POST /v1/completions", &[], "{\"model\":\"gpt-4o\",\"prompt\":\"x\"}");
    assert!(answer.contains("no model or adapter") && answer.contains("GET /v1/models"), "{answer}");
    assert!(server.http("GET /records/policy.txt", &[], "").1.contains("cache-control: no-store"));
    let nonce = format!("x-loam-nonce: {}", "AB".repeat(32));
    let short = "{\"prompt\":\"x\",\"max_tokens\":1}";
    assert_eq!(server.http("POST /v1/completions", &[&nonce], short).0, 200);
    // A receipt that is bound to one of two nonces would be of no use to who sent the other.
    let other = format!("x-loam-nonce: {}", "CD".repeat(32));
    let (status, _, answer) = server.http("POST /v1/completions", &[&nonce, &other], short);
    assert!(status == 400 && answer.contains("give it once"), "{status}: {answer}");
    server.stop();
}

/// Clients that shorten a conversation look for the code, or for vLLM's words. A completion that does not say how long it
/// may be has what room there is.
#[test]
fn a_prompt_without_room_is_told_in_the_words_that_clients_look_for() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &["--max-model-len", "64"]);
    let completion = |tokens: usize, more: &str| {
        let prompt = vec!["5"; tokens].join(",");
        let (status, _, answer) =
            server.http("POST /v1/completions", &[], &format!("{{\"prompt\":[{prompt}],\"ignore_eos\":true{more}}}"));
        (status, json(&answer))
    };
    for (tokens, more, field) in [(64, "", "prompt"), (60, ",\"max_tokens\":5", "max_tokens")] {
        let (status, answer) = completion(tokens, more);
        let error = &answer["error"];
        assert_eq!((status, &error["code"], &error["param"]), (400, &"context_length_exceeded".into(), &field.into()));
        let said = error["message"].as_str().unwrap();
        assert!(said.starts_with("This model's maximum context length is 64 tokens: "), "{said}");
    }
    for (tokens, answered) in [(60, 4), (40, 16)] {
        assert_eq!(completion(tokens, "").1["usage"]["completion_tokens"], answered);
    }
    server.stop();
}

#[test]
fn texts_are_logged_where_that_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &["--log-prompts"]);
    let body = "{\"prompt\":\"a question for the log\",\"max_tokens\":2}";
    assert_eq!(server.http("POST /v1/completions", &[], body).0, 200);
    assert!(server.log().contains("a question for the log"), "{}", server.log());
    server.stop();
}

#[test]
fn a_page_in_a_browser_cannot_use_a_server_without_keys() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &["--adapter-root", &golden("adapters")]);
    let load = format!("{{\"lora_name\":\"silt\",\"lora_path\":\"{}\"}}", golden("adapters/rslora-r4"));
    let page = ["origin: https://example.org", "content-type: text/plain"];
    let (status, _, said) = server.http("POST /v1/load_lora_adapter", &page, &load);
    assert_eq!(status, 403, "{said}");
    assert!(said.contains("--allow-origin"), "{said}");
    assert!(!server.http("GET /v1/models", &[], "").2.contains("silt"));
    server.stop();
}

/// Only folders below a root come in by the network, and the log says what came, whence, and by whose key.
#[test]
fn what_is_loaded_while_serving_is_below_a_root_and_logged() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &["--adapter-root", &golden("adapters")]);
    let load = |source: &str| {
        let body = format!("{{\"lora_name\":\"silt\",\"lora_path\":\"{source}\"}}");
        server.http("POST /v1/load_lora_adapter", &[], &body)
    };
    let (status, _, said) = load("dummy:7");
    assert!(status == 403 && said.contains("lora_path") && said.contains("--lora-modules"), "{status}: {said}");
    assert_eq!(load(&golden("adapters/rslora-r4")).0, 200);
    let log = server.log();
    let line = log.lines().find(|line| line.contains("loaded") && line.contains("silt")).unwrap();
    for part in ["generation=", "rslora-r4", "key=\"local\""] {
        assert!(line.contains(part), "{part}: {line}");
    }
    server.stop();
}

/// What only the engine can refuse is refused by the client's own names, as what the body alone shows to be wrong.
#[test]
fn what_is_refused_late_is_named_as_the_client_named_it() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let chat = |more: &str| format!("{{\"messages\":[{{\"role\":\"user\",\"content\":\"x\"}}],{more}}}");
    let schema = "{\"type\":\"shrub\"}";
    let form = format!(
        "\"response_format\":{{\"type\":\"json_schema\",\"json_schema\":{{\"name\":\"x\",\"schema\":{schema}}}}}"
    );
    for (body, status, field) in [
        (chat(&form), 400, "response_format"),
        (chat(&format!("\"guided_json\":{schema}")), 400, "guided_json"),
        (chat("\"guided_regex\":\"(\""), 400, "guided_regex"),
        (chat("\"structured_outputs\":{\"regex\":\"(\"}"), 400, "structured_outputs"),
        (chat("\"max_completion_tokens\":100000"), 400, "max_completion_tokens"),
        (chat("\"model\":\"sand\""), 404, "model"),
        (chat("\"adapter_id\":\"sand\""), 404, "adapter_id"),
        (chat("\"adapters\":[{\"name\":\"sand\"}]"), 404, "adapters.name"),
    ] {
        let (found, _, answer) = server.http("POST /v1/chat/completions", &[], &body);
        assert_eq!((found, json(&answer)["error"]["param"].as_str()), (status, Some(field)), "{body}: {answer}");
    }
    let (found, _, answer) = server.http("POST /v1/completions", &[], "{\"prompt\":[100000]}");
    let error = json(&answer)["error"].clone();
    assert_eq!((found, error["param"].as_str()), (400, Some("prompt")), "{answer}");
    assert!(error["message"].as_str().is_some_and(|said| said.contains("`prompt`")), "{answer}");
    server.stop();
}
