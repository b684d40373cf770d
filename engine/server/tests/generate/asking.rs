//! Each way to ask, and what is printed for it.

use std::io::Read as _;
use std::process::Stdio;

use super::{Written, answer, golden, lines, loam, over, request, requests, run, said};

const GREEDY: [&str; 4] = ["--temperature", "0", "--max-tokens", "6"];

fn greedy<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    [arguments, &GREEDY].concat()
}

#[test]
fn a_text_is_answered_in_text() {
    let printed = run(&greedy(&["--prompt", "hello"]));
    let line = answer(&greedy(&["--prompt", "hello"]));
    assert_eq!(printed, format!("{}\n", line["text"].as_str().expect("a text")));
}

#[test]
fn an_answer_line_has_these_fields() {
    let line = answer(&greedy(&["--prompt-tokens", "5,6,7"]));
    let fields: Vec<&str> = line.as_object().expect("an object").keys().map(String::as_str).collect();
    let mut expected = ["id", "prompt_tokens", "tokens", "text", "finish_reason", "usage"];
    expected.sort_unstable();
    let mut fields = fields;
    fields.sort_unstable();
    assert_eq!(fields, expected);
    assert_eq!(line["prompt_tokens"], serde_json::json!([5, 6, 7]));
    assert_eq!(line["finish_reason"], "length");
    assert_eq!(line["tokens"].as_array().expect("tokens").len(), 6);
    let usage = serde_json::json!({"prompt_tokens": 3, "cached_tokens": 0, "completion_tokens": 6});
    assert_eq!(line["usage"], usage);
}

#[test]
fn a_file_of_messages_is_rendered() {
    let messages = r#"[{"role": "user", "content": "hi"}]"#;
    let (array, object) = (messages.to_owned(), format!("{{\"messages\": {messages}}}"));
    let [array, object] = [array, object].map(|text| {
        let file = Written::new("chat.json", text);
        answer(&greedy(&["--chat", file.text()]))
    });
    assert_eq!(array, object);
    let line = request(&format!(r#""messages": {messages}, "temperature": 0, "max_tokens": 6"#));
    assert_eq!((&line["prompt_tokens"], &line["tokens"]), (&array["prompt_tokens"], &array["tokens"]));
    // The template's marks are there: the text alone would be shorter.
    let text = answer(&greedy(&["--prompt", "hi"]));
    let count = |line: &serde_json::Value| line["prompt_tokens"].as_array().expect("tokens").len();
    assert!(count(&array) > count(&text), "{array}");
}

#[test]
fn adapters_of_the_command_line_change_the_answer() {
    let adapter = format!("x={}", golden("adapters/all-r16"));
    let base = answer(&greedy(&["--prompt", "hello", "--dtype", "f32"]));
    let adapted = answer(&greedy(&["--prompt", "hello", "--dtype", "f32", "--adapter", &adapter]));
    assert_ne!(base["tokens"], adapted["tokens"]);
    let file = r#"{"id": "a", "prompt": "hello", "temperature": 0, "max_tokens": 6, "adapters": [{"name": "x"}]}
{"id": "b", "prompt": "hello", "temperature": 0, "max_tokens": 6}"#;
    let file = Written::new("requests.jsonl", file);
    let both = lines(&run(&["--requests", file.text(), "--dtype", "f32", "--adapter", &adapter]));
    assert_eq!((&both[0]["tokens"], &both[1]["tokens"]), (&adapted["tokens"], &base["tokens"]));
}

#[test]
fn weights_can_be_made_up() {
    let line = answer(&["--prompt-tokens", "1,2", "--max-tokens", "3", "--load-format", "dummy", "--temperature", "0"]);
    assert_eq!(line["usage"]["completion_tokens"], 3);
}

#[test]
fn three_hundred_lines_are_answered_each_once_and_as_if_alone() {
    let line = |number: usize| {
        let id = format!("r{number:03}");
        format!("{{\"id\": \"{id}\", \"prompt_tokens\": [{}, 7], \"max_tokens\": 5, \"temperature\": 0}}\n", number + 8)
    };
    let answers = requests(&(0..300).map(line).collect::<String>());
    assert_eq!(answers.len(), 300);
    for (number, answer) in answers.iter().enumerate() {
        assert_eq!(answer["id"], format!("r{number:03}"));
        assert_eq!(answer["prompt_tokens"], serde_json::json!([number + 8, 7]));
    }
    for number in [0, 150, 299] {
        assert_eq!(requests(&line(number))[0]["tokens"], answers[number]["tokens"], "line {number}");
    }
}

#[test]
fn empty_lines_are_no_requests() {
    let line = r#"{"id": "a", "prompt": "hi", "max_tokens": 1}"#;
    assert_eq!(requests(&format!("\n{line}\r\n\n  \n")).len(), 1);
    assert_eq!(requests("").len(), 0);
}

#[test]
fn whoever_stops_reading_ends_the_program_without_a_panic() {
    let line = |number| format!("{{\"id\": \"{number}\", \"prompt\": \"hello\", \"max_tokens\": 200}}\n");
    let file = Written::new("requests.jsonl", (0..40).map(line).collect::<String>());
    for arguments in [&["--requests", file.text()][..], &["--prompt", "hello", "--max-tokens", "400"]] {
        let mut child =
            loam(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
        let mut out = child.stdout.take().expect("a pipe");
        out.read_exact(&mut [0]).expect("something is printed");
        drop(out);
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(said(&output), "", "{arguments:?}");
    }
}

#[test]
fn a_model_in_shards_is_read_too() {
    let folder = golden("../llama3-scaled-tied/base");
    let output = over(&folder, &greedy(&["--prompt", "hello", "--json"])).output().expect("the program starts");
    assert!(output.status.success(), "{}", said(&output));
}
