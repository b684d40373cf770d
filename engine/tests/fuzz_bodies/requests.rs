//! Lines of requests, and templates with what they are given.

use std::path::Path;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use loam_engine::json::Json;
use loam_engine::request::{ChatPrompt, PROMPT_BYTES_MAX, Prompt};
use loam_engine::request_line::{ID_BYTES_MAX, parse};
use loam_engine::template::ChatTemplates;

use super::{refused, soon};

/// Lines of requests.
pub(crate) fn request_line(data: &[u8]) {
    let Ok(text) = core::str::from_utf8(data) else { return };
    let (id, request) = match soon(|| parse(text)) {
        Ok(parsed) => parsed,
        Err(error) => return refused(&error),
    };
    assert!((1..=ID_BYTES_MAX).contains(&id.len()), "{id:?}");
    request.check().expect("what was read was checked");
    let weights = request.weights_millionths().expect("weights were checked");
    assert_eq!(weights.len(), request.adapters.len());
    // Another spelling of the line, its fields in another order, asks for the same.
    let Ok(Json::Object(mut fields)) = Json::parse(text) else { panic!("a request is an object") };
    fields.reverse();
    let respelled = serde_json::to_string(&Json::Object(fields)).expect("a value has a JSON form");
    let (id_again, again) = parse(&respelled).expect("another spelling of the same");
    assert_eq!((&id_again, &again), (&id, &request));
}

/// What a template is given where the input does not say.
const MESSAGES: &str = r#"[{"role": "user", "content": "Hello"}]"#;

/// Chat templates: a template, and after a byte of zero what it is given, as the fields of a request.
pub(crate) fn template(data: &[u8]) {
    let Ok(text) = core::str::from_utf8(data) else { return };
    let (source, fields) = text.split_once('\0').unwrap_or((text, ""));
    let field = |name: &str, value: &str| format!("\"{name}\": {value}");
    let fields = if fields.is_empty() { field("messages", MESSAGES) } else { fields.to_owned() };
    let Ok((_, request)) = parse(&format!("{{\"id\": \"a\", {fields}}}")) else { return };
    let Prompt::Chat(chat) = request.prompt else { return };
    let (rendered, again) = (soon(|| render(source, &chat)), render(source, &chat));
    match rendered {
        Ok(text) => {
            assert!(text.len() <= PROMPT_BYTES_MAX, "{} bytes", text.len());
            assert!(again.is_ok_and(|again| again == text), "the same every time");
        }
        Err(error) => refused(&error),
    }
}

fn render(source: &str, chat: &ChatPrompt) -> Result<String, loam_engine::Error> {
    let special = vec![("bos_token".to_owned(), "<s>".to_owned()), ("eos_token".to_owned(), "</s>".to_owned())];
    let templates = ChatTemplates::new(Path::new("model"), &[("default", source)], special);
    templates.render(chat, &Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC))
}
