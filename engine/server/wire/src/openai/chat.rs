//! Messages as chat templates have them: contents are texts, arguments of tool calls are objects.

use loam_engine::fields::{self, Fields};
use loam_engine::json::Json;
use loam_engine::request::ChatPrompt;

use super::body::{parts, wrong};
use crate::problem::Problem;

/// Reads the messages and what goes with them.
pub(super) fn read(fields: &mut Fields) -> Result<ChatPrompt, Problem> {
    let mut chat = fields::chat(fields)?.ok_or_else(|| wrong("messages", "absent", "an array of messages"))?;
    let Json::Array(messages) = chat.messages else {
        return Err(wrong("messages", &chat.messages.shown(), "an array of messages"));
    };
    chat.messages = Json::Array(messages.into_iter().map(message).collect::<Result<_, _>>()?);
    chat.tools.iter().filter_map(Json::as_array).flatten().try_for_each(tool)?;
    Ok(chat)
}

/// Reads `tool_choice`. Tools are described to the model, and what it makes of them stays text.
pub(super) fn tool_choice(fields: &mut Fields) -> Result<(), Problem> {
    let Some(choice) = fields.take("tool_choice") else { return Ok(()) };
    match choice.as_str() {
        Some("none" | "auto") => Ok(()),
        _ => {
            let allowed = "\"none\" or \"auto\": tool calls are not parsed, so none can be demanded; \
                `structured_outputs` gives an answer the form of one";
            Err(wrong("tool_choice", &choice.shown(), allowed))
        }
    }
}

fn tool(tool: &Json) -> Result<(), Problem> {
    match (tool.find("type").and_then(Json::as_str), tool.find("function")) {
        (Some("function"), Some(Json::Object(_))) => Ok(()),
        (Some("function"), _) => Err(wrong("tools.function", "absent or no object", "the description of a function")),
        (kind, _) => {
            let found = kind.map_or_else(|| "absent".to_owned(), |kind| Json::from(kind).shown());
            Err(wrong("tools.type", &found, "\"function\""))
        }
    }
}

/// What else a message holds is the template's to know.
fn message(message: Json) -> Result<Json, Problem> {
    let Json::Object(fields) = message else {
        return Err(wrong("messages", &message.shown(), "objects with `role` and `content`"));
    };
    let role = fields.iter().find(|(name, _)| name == "role").map(|(_, role)| role);
    let is_assistant = role.and_then(Json::as_str) == Some("assistant");
    let (mut read, mut has_content) = (Vec::with_capacity(fields.len()), false);
    let is_null = fields.iter().any(|(name, value)| name == "content" && *value == Json::Null);
    for (name, value) in fields {
        let value = match (name.as_str(), value) {
            (_, Json::Null) => continue,
            ("content", value) => {
                has_content = true;
                Json::String(content(value)?)
            }
            ("tool_calls", value) => tool_calls(value)?,
            // Clients send back an answer as they got it.
            ("annotations", Json::Array(values)) if values.is_empty() => continue,
            ("audio" | "function_call", value) => {
                return Err(wrong(&format!("messages.{name}"), &value.shown(), "absent"));
            }
            (_, value) => value,
        };
        read.push((name, value));
    }
    match (has_content, is_assistant) {
        (true, _) => {}
        // Its turn can be tool calls alone.
        (false, true) => read.push(("content".to_owned(), Json::from(""))),
        (false, false) => {
            let found = if is_null { "null" } else { "absent" };
            return Err(wrong("messages.content", found, "a string or an array of text parts"));
        }
    }
    Ok(Json::Object(read))
}

/// A text, or several that lines part, as vLLM joins them.
fn content(content: Json) -> Result<String, Problem> {
    match content {
        Json::String(text) => Ok(text),
        Json::Array(values) => Ok(values.into_iter().map(part).collect::<Result<Vec<_>, _>>()?.join("\n")),
        other => Err(wrong("messages.content", &other.shown(), "a string or an array of text parts")),
    }
}

fn part(part: Json) -> Result<String, Problem> {
    let kind = part.find("type").cloned().unwrap_or_default();
    if kind.as_str() != Some("text") {
        return Err(wrong("messages.content.type", &kind.shown(), "\"text\": there is text only"));
    }
    let [_, text] = parts("messages.content", part, ["type", "text"])?;
    Ok(fields::text("messages.content.text", text.unwrap_or_default())?)
}

/// Clients send arguments as a text, and templates write an object.
fn tool_calls(calls: Json) -> Result<Json, Problem> {
    let Json::Array(mut calls) = calls else {
        return Err(wrong("messages.tool_calls", &calls.shown(), "an array"));
    };
    for call in &mut calls {
        let Some(arguments) = find(call, "function").and_then(|function| find(function, "arguments")) else {
            return Err(wrong("messages.tool_calls", &call.shown(), "objects whose `function` has `arguments`"));
        };
        if let Json::String(text) = arguments {
            *arguments = match text.trim() {
                "" => Json::Object(Vec::new()),
                text => Json::parse(text).map_err(|error| {
                    wrong("messages.tool_calls.function.arguments", &format!("no JSON ({error})"), "JSON in a string")
                })?,
            };
        }
    }
    Ok(Json::Array(calls))
}

fn find<'j>(json: &'j mut Json, key: &str) -> Option<&'j mut Json> {
    match json {
        Json::Object(fields) => fields.iter_mut().find(|(name, _)| name == key).map(|(_, value)| value),
        _ => None,
    }
}
