//! Texts to token ids and back.

use std::path::Path;

use loam_engine::json::Json;
use loam_engine::request::ChatPrompt;
use loam_engine::text::Text;
use loam_wire::Problem;
use loam_wire::openai::{
    Detokenize, Tokenize, TokenizePrompt, detokenize_body, read_detokenize, read_tokenize, tokenize_body,
};

fn tokenize(body: &str) -> Result<Tokenize, Problem> {
    read_tokenize(body.as_bytes(), &["base".to_owned()])
}

fn detokenize(body: &str) -> Result<Detokenize, Problem> {
    read_detokenize(body.as_bytes(), &["base".to_owned()])
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, Problem>, field: &str, words: &str) {
    let problem = result.expect_err("it is refused");
    assert!(problem.message.contains(words), "{}", problem.message);
    assert_eq!(problem.field.as_deref(), Some(field));
}

fn a_text(add_special_tokens: bool) -> TokenizePrompt {
    TokenizePrompt::Text { text: "a".to_owned(), add_special_tokens }
}

#[test]
fn a_text_to_tokenize() {
    let expected = Tokenize { adapter: None, prompt: a_text(true), return_token_strs: false };
    assert_eq!(tokenize(r#"{"prompt": "a"}"#).unwrap(), expected);
    let expected = Tokenize { adapter: Some("m".to_owned()), prompt: a_text(false), return_token_strs: true };
    let body = r#"{"prompt": "a", "model": "m", "add_special_tokens": false, "return_token_strs": true}"#;
    assert_eq!(tokenize(body).unwrap(), expected);
}

#[test]
fn a_chat_to_tokenize() {
    let messages = r#"[{"role": "user", "content": "a"}]"#;
    let chat = ChatPrompt {
        messages: Json::parse(messages).unwrap(),
        add_generation_prompt: false,
        kwargs: vec![("k".to_owned(), Json::Integer(1))],
        ..ChatPrompt::default()
    };
    let body = format!(
        r#"{{"model": "base", "messages": {messages}, "add_generation_prompt": false, "add_special_tokens": false,
        "chat_template_kwargs": {{"k": 1}}, "continue_final_message": false, "chat_template": null}}"#
    );
    let expected = Tokenize { adapter: None, prompt: TokenizePrompt::Chat(chat), return_token_strs: false };
    assert_eq!(tokenize(&body).unwrap(), expected);
}

#[test]
fn what_tokenize_refuses() {
    refused(tokenize("{}"), "messages", "absent");
    refused(tokenize(r#"{"prompt": 1}"#), "prompt", "a string");
    refused(tokenize(r#"{"prompt": "a", "messages": []}"#), "messages", "beside `prompt`");
    refused(tokenize(r#"{"prompt": "a", "add_generation_prompt": true}"#), "add_generation_prompt", "`prompt`");
    refused(tokenize(r#"{"prompt": "a", "return_token_strs": 1}"#), "return_token_strs", "true or false");
    refused(tokenize(r#"{"prompt": "a", "temperature": 1}"#), "temperature", "has no field");
    let chat = |field: &str| tokenize(&format!(r#"{{"messages": [{{"role": "user", "content": "a"}}], {field}}}"#));
    refused(chat(r#""add_special_tokens": true"#), "add_special_tokens", "template");
    refused(chat(r#""continue_final_message": true"#), "continue_final_message", "false");
    refused(chat(r#""chat_template": "x""#), "chat_template", "the model's own");
}

#[test]
fn tokens_to_detokenize() {
    assert_eq!(detokenize(r#"{"tokens": [1, 2]}"#).unwrap(), Detokenize { adapter: None, tokens: vec![1, 2] });
    let expected = Detokenize { adapter: Some("m".to_owned()), tokens: Vec::new() };
    assert_eq!(detokenize(r#"{"tokens": [], "model": "m"}"#).unwrap(), expected);
    refused(detokenize("{}"), "tokens", "absent");
    refused(detokenize(r#"{"tokens": [-1]}"#), "tokens", "a whole number");
    refused(detokenize(r#"{"tokens": [1], "prompt": "a"}"#), "prompt", "has no field");
}

/// The small model's folder.
fn model() -> Text {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/golden/llama-gqa/base"));
    Text::read(folder, 436).unwrap()
}

#[test]
fn token_ids_of_a_text() {
    let of = |body: &str| tokenize(body).unwrap().tokens(&model()).unwrap();
    assert_eq!(of(r#"{"prompt": " fox", "add_special_tokens": false}"#), [413]);
    // This tokenizer puts nothing around a text.
    assert_eq!(of(r#"{"prompt": " fox"}"#), model().tokenizer().unwrap().encode(" fox", true).unwrap());
}

#[test]
fn token_ids_of_a_chat() {
    let body = r#"{"messages": [{"role": "user", "content": "a fox"}]}"#;
    let tokens = tokenize(body).unwrap().tokens(&model()).unwrap();
    assert!(tokens.contains(&413), "{tokens:?}");
}

#[test]
fn a_model_of_token_ids_alone_says_so() {
    let problem = tokenize(r#"{"prompt": "a"}"#).unwrap().tokens(&Text::none(&[], 8)).unwrap_err();
    assert_eq!(problem.field.as_deref(), Some("prompt"), "{}", problem.message);
}

#[test]
fn answers() {
    let tokenizer = super::ask::tokenizer();
    let answer = |body: &str| tokenize_body(&tokenize(body).unwrap(), &[0, 413], 64, &tokenizer);
    let body = r#"{"count":2,"max_model_len":64,"tokens":[0,413],"token_strs":null}"#;
    assert_eq!(answer(r#"{"prompt": "a"}"#), body);
    // As the vocabulary spells them.
    let body = "{\"count\":2,\"max_model_len\":64,\"tokens\":[0,413],\"token_strs\":[\"<s>\",\"\u{120}fox\"]}";
    assert_eq!(answer(r#"{"prompt": "a", "return_token_strs": true}"#), body);
    assert_eq!(detokenize_body("a\n"), r#"{"prompt":"a\n"}"#);
}
