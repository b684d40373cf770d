//! What is refused, and that the refusal names the place.

use super::{Written, golden, lines, loam, over, refused, said};

/// A file of these bytes is refused, and the refusal says all of this.
fn refused_file(bytes: &[u8], expected: &[&str]) {
    let file = Written::new("requests.jsonl", bytes);
    let told = refused(&["--requests", file.text()]);
    for part in expected.iter().chain(&[file.text()]) {
        assert!(told.contains(part), "{part:?} is not in {told:?}");
    }
}

#[test]
fn adapters_that_are_not_computed_are_refused_by_their_field() {
    for (folder, field) in [("dora", "use_dora"), ("bias-all", "bias"), ("modules-to-save", "modules_to_save")] {
        let path = golden(&format!("special/{folder}"));
        let told = refused(&["--prompt", "hi", "--max-tokens", "1", "--adapter", &format!("mine={path}")]);
        for part in ["adapter mine", &format!("{path}/adapter_config.json"), &format!("`{field}`")] {
            assert!(told.contains(part), "{part:?} is not in {told:?}");
        }
    }
}

#[test]
fn adapters_that_are_not_there_are_refused() {
    let told = refused(&["--prompt", "hi", "--adapter", "x=not/there"]);
    assert!(told.contains("adapter x") && told.contains("not/there/adapter_config.json"), "{told}");
    assert_eq!(told.matches("No such file").count(), 1, "the cause is told once: {told}");
    let told = refused(&["--prompt", "hi", "--adapter", "x=dummy:one"]);
    assert!(told.contains("adapter x") && told.contains("dummy:SEED"), "{told}");
    assert!(refused(&["--prompt", "hi", "--adapter", "nameless"]).contains("NAME=DIR"));
}

#[test]
fn a_number_below_none_is_told_as_that() {
    let told = refused(&["--prompt", "hi", "--max-tokens", "-1"]);
    assert!(told.contains("invalid value '-1' for '--max-tokens <N>'"), "{told}");
}

#[test]
fn an_unknown_adapter_fails_its_line_and_no_other() {
    let text = r#"{"id": "a", "prompt": "hi", "max_tokens": 1, "adapters": [{"name": "nobody"}]}
{"id": "b", "prompt": "hi", "max_tokens": 1}"#;
    let file = Written::new("requests.jsonl", text);
    let output = loam(&["--requests", file.text()]).output().expect("the program starts");
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("request a") && told.contains("`nobody`"), "{told}");
    let answers = lines(&String::from_utf8_lossy(&output.stdout));
    assert_eq!(answers.iter().map(|line| line["id"].as_str()).collect::<Vec<_>>(), [Some("b")]);
}

#[test]
fn a_malformed_line_is_named_by_file_and_number() {
    let fine = "{\"id\": \"a\", \"prompt\": \"hi\"}\n";
    let after = |line: &str| format!("{fine}\n{line}\n").into_bytes();
    refused_file(&after("{\"id\": \"b\","), &["line 3", "JSON"]);
    refused_file(&after("[]"), &["line 3", "object"]);
    refused_file(&after(r#"{"id": "b", "prompt": "hi", "maxTokens": 3}"#), &["line 3", "`maxTokens`", "`max_tokens`"]);
    refused_file(&after(r#"{"id": "b", "prompt": "hi", "temperature": "hot"}"#), &["line 3", "`temperature`"]);
    refused_file(&after(r#"{"prompt": "hi"}"#), &["line 3", "`id`"]);
    refused_file(&after(r#"{"id": "b"}"#), &["line 3", "`prompt`"]);
    refused_file(&[fine.as_bytes(), b"\xff\xfe\n"].concat(), &["line 2", "utf-8"]);
}

#[test]
fn hostile_lines_are_refused() {
    let line = |fields: &str| format!("{{\"id\": \"a\", {fields}}}").into_bytes();
    let deep = format!(r#""messages": {}{}"#, "[".repeat(100_000), "]".repeat(100_000));
    refused_file(&line(&deep), &["line 1", "recursion"]);
    refused_file(&line(r#""prompt": "hi", "n": 4000000000"#), &["line 1", "`n`", "128"]);
    refused_file(&line(r#""prompt": "hi", "max_tokens": 1e400"#), &["line 1"]);
    refused_file(&line(r#""prompt": "hi", "prompt": "twice""#), &["line 1", "twice"]);
    refused_file(&line(&format!(r#""prompt": "{}""#, "a".repeat(17 << 20))), &["line 1", "`prompt`"]);
    refused_file(&vec![b'a'; 33 << 20], &["line 1", "a line can have"]);
}

#[test]
fn a_model_that_is_not_there_is_named() {
    let output = over("not/there", &["--prompt", "hi"]).output().expect("the program starts");
    let told = said(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("not/there is no model's folder") && told.contains("is not downloaded"), "{told}");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    for way in ["--requests", "--chat"] {
        assert!(refused(&[way, "not/there"]).contains("not/there"));
    }
    let file = Written::new("chat.json", r#"{"message": []}"#);
    let told = refused(&["--chat", file.text()]);
    assert!(told.contains(file.text()) && told.contains("`messages`"), "{told}");
}

#[test]
fn arguments_that_mean_nothing_are_refused() {
    let cases: [(&[&str], &str); 9] = [
        (&["--prompt-tokens", "512"], "token 512"),
        (&["--prompt", "hi", "--max-tokens", "0"], "`max_tokens`"),
        (&["--prompt", "hi", "--max-tokens", "9999"], "`max_tokens`"),
        (&["--prompt", "hi", "--temperature", "-1"], "`temperature`"),
        (&["--prompt", "hi", "--temperature", "nan"], "`temperature`"),
        (&["--prompt", "hi", "--max-num-batched-tokens", "0"], "`max_num_batched_tokens`"),
        (&["--prompt", "hi", "--max-model-len", "513"], "`max_model_len`"),
        (&["--prompt", "hi", "--chat", "a.json"], "cannot be used with"),
        // Each line says this for itself: it is not ignored in silence.
        (&["--requests", "a.jsonl", "--max-tokens", "3"], "cannot be used with"),
    ];
    for (arguments, expected) in cases {
        let told = refused(arguments);
        assert!(told.contains(expected), "{arguments:?}: {told}");
    }
}
