//! Prompts of completions.

use loam_engine::request::{Generate, Prompt};
use loam_wire::Problem;
use loam_wire::openai::{Call, Endpoint};

use super::ask::{bare, refused};

fn of(prompt: &str) -> Result<Call, Problem> {
    bare(Endpoint::Completion, &format!(r#""prompt": {prompt}"#))
}

#[track_caller]
fn check(prompt: &str, expected: &[Prompt]) {
    let call = of(prompt).unwrap_or_else(|problem| panic!("{prompt}: {}", problem.message));
    let found: Vec<Prompt> = call.requests.into_iter().map(|request| request.prompt).collect();
    assert_eq!(found, expected);
}

fn text(text: &str) -> Prompt {
    Prompt::Text(text.to_owned())
}

#[test]
fn a_text() {
    check("\"a\"", &[text("a")]);
    check("\"\"", &[text("")]);
}

#[test]
fn several_texts() {
    check(r#"["a", "b"]"#, &[text("a"), text("b")]);
    check(r#"["a"]"#, &[text("a")]);
}

#[test]
fn token_ids() {
    check("[1, 2]", &[Prompt::Tokens(vec![1, 2])]);
}

#[test]
fn several_times_token_ids() {
    check("[[1, 2], [3]]", &[Prompt::Tokens(vec![1, 2]), Prompt::Tokens(vec![3])]);
}

#[test]
fn prompts_differ_in_nothing_else() {
    let call = bare(Endpoint::Completion, r#""prompt": ["a", "b"], "n": 2, "seed": 5, "model": "m""#).unwrap();
    let [a, b] = &call.requests[..] else { panic!("two requests") };
    assert_eq!(*b, Generate { prompt: text("b"), ..a.clone() });
}

#[test]
fn what_is_no_prompt_is_refused_by_name() {
    refused(of("[]"), "prompt", "empty");
    refused(of("1"), "prompt", "a string, an array of strings");
    refused(of("{}"), "prompt", "a string, an array of strings");
    refused(of("[true]"), "prompt", "an array with true");
    refused(of("[1, \"a\"]"), "prompt", "\"a\"");
    refused(of("[\"a\", 1]"), "prompt", "a string");
    refused(of("[[1], \"a\"]"), "prompt", "an array");
    refused(of("[-1]"), "prompt", "a whole number");
    refused(of("[1.5]"), "prompt", "an array with 1.5");
    // The engine calls these ids otherwise.
    refused(of("[[]]"), "prompt", "one token or more");
}

#[test]
fn prompts_are_at_most_sixty_four() {
    let prompts = |count: usize| format!("[{}]", vec!["\"a\""; count].join(", "));
    assert_eq!(of(&prompts(64)).unwrap().requests.len(), 64);
    refused(of(&prompts(65)), "prompt", "at most 64");
}
