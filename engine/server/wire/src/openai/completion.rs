//! Prompts of a completion: a text or token ids, or several of one of them.

use loam_engine::fields::{Fields, text, tokens};
use loam_engine::json::Json;
use loam_engine::request::Prompt;

use super::body::wrong;
use super::request::PROMPTS_MAX;
use crate::problem::Problem;

const ALLOWED: &str = "a string, an array of strings, an array of token ids, or an array of such arrays";

/// Reads the prompts, one or more.
pub(super) fn read(fields: &mut Fields) -> Result<Vec<Prompt>, Problem> {
    let prompt = fields.take("prompt").ok_or_else(|| wrong("prompt", "absent", ALLOWED))?;
    let values = match prompt {
        Json::String(text) => return Ok(vec![Prompt::Text(text)]),
        Json::Array(values) => values,
        other => return Err(wrong("prompt", &other.shown(), ALLOWED)),
    };
    let one: fn(Json) -> Result<Prompt, loam_engine::Error> = match values.first() {
        Some(Json::String(_)) => |value| text("prompt", value).map(Prompt::Text),
        Some(Json::Array(_)) => |value| tokens("prompt", value).map(Prompt::Tokens),
        Some(Json::Integer(_)) => return Ok(vec![Prompt::Tokens(tokens("prompt", Json::Array(values))?)]),
        Some(other) => return Err(wrong("prompt", &format!("an array with {}", other.shown()), ALLOWED)),
        None => return Err(wrong("prompt", "empty", ALLOWED)),
    };
    if values.len() > PROMPTS_MAX {
        let allowed = format!("at most {PROMPTS_MAX}");
        return Err(wrong("prompt", &format!("an array of {} prompts", values.len()), &allowed));
    }
    Ok(values.into_iter().map(one).collect::<Result<_, _>>()?)
}
