//! Requests and answers as lines of JSON: what `loam generate --requests` reads and writes.

use loam_ledger_core::row::Finish;
use serde::Serialize;

use crate::error::Error;
use crate::fields::{
    Fields, adapters, answer_tokens, chat, choices, constraint, count, flag, log_probabilities, priority, sampling,
    text, texts, tokens, whole,
};
use crate::json::Json;
use crate::request::{Generate, Prompt, at_most, refuse};

/// Bytes of a line.
pub const LINE_BYTES_MAX: usize = 32 << 20;
/// Bytes of a request's id.
pub const ID_BYTES_MAX: usize = 255;

/// Reads one line: the request's id and the request, checked. Unknown fields and wrong types are refused by name.
/// A field that is `null` counts as left out.
pub fn parse(line: &str) -> Result<(String, Generate), Error> {
    if line.len() > LINE_BYTES_MAX {
        let reason = format!("it has {} bytes; a line can have {LINE_BYTES_MAX}", line.len());
        return Err(Error::RequestJson { reason });
    }
    let json = Json::parse(line).map_err(|error| Error::RequestJson { reason: error.to_string() })?;
    let Json::Object(left) = json else {
        return Err(Error::RequestJson { reason: format!("it is {}; a request is an object", json.shown()) });
    };
    let mut fields = Fields::new(left);
    let id = fields.read("id", text)?.unwrap_or_default();
    at_most("id", id.len(), ID_BYTES_MAX, "bytes")?;
    if id.is_empty() {
        return refuse("id", "absent or empty", "a text that the answer is found by");
    }
    let request = request(&mut fields)?;
    fields.finish()?;
    request.check()?;
    Ok((id, request))
}

/// One answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct AnswerLine {
    /// The request's id.
    pub id: String,
    /// Which of the request's answers; only where it asked for several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub choice: Option<u32>,
    /// The prompt's token ids.
    pub prompt_tokens: Vec<u32>,
    /// The answer's token ids.
    pub tokens: Vec<u32>,
    /// The answer's text, where the model has a tokenizer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Why the answer ended: see [`finish_reason`].
    pub finish_reason: &'static str,
    /// The name by which the request's receipt is asked for, where a ledger keeps the record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receipt: Option<String>,
    /// Of each token of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logprobs: Option<Vec<TokenLine>>,
    /// Log-probability of each token of the prompt but the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_logprobs: Option<Vec<f32>>,
    /// Logits after the prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logits_last: Option<Vec<f32>>,
    /// Numbers of tokens.
    pub usage: UsageLine,
}

/// A token of an answer and how probable it was.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct TokenLine {
    /// Its id.
    pub token: u32,
    /// Its log-probability, of the logits as they are.
    pub logprob: f32,
    /// How many tokens were more probable.
    pub rank: u32,
    /// The most probable tokens: id and log-probability.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub top: Vec<(u32, f32)>,
}

/// Numbers of tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct UsageLine {
    /// Tokens of the prompt.
    pub prompt_tokens: u64,
    /// Those of them whose keys and values were there already.
    pub cached_tokens: u64,
    /// Tokens of the answer.
    pub completion_tokens: u64,
}

impl AnswerLine {
    /// The line, without its end. What is no number in JSON becomes `null`.
    pub fn to_line(&self) -> String {
        serde_json::to_string(self).expect("numbers and texts have a JSON form")
    }
}

/// Why an answer ended, in a word.
pub const fn finish_reason(finish: Finish) -> &'static str {
    match finish {
        Finish::STOP => "stop",
        Finish::STOP_SEQUENCE => "stop_sequence",
        Finish::LENGTH => "length",
        Finish::CANCELLED => "cancelled",
        Finish::DEADLINE => "deadline",
        _ => "failed",
    }
}

fn request(fields: &mut Fields) -> Result<Generate, Error> {
    let other = Generate::default();
    Ok(Generate {
        prompt: prompt(fields)?,
        adapters: fields.read("adapters", adapters)?.unwrap_or_default(),
        max_tokens: fields.read("max_tokens", answer_tokens)?,
        usual_tokens: other.usual_tokens,
        min_tokens: fields.read("min_tokens", count)?.unwrap_or(0),
        sampling: sampling(fields)?,
        stop: fields.read("stop", texts)?.unwrap_or_default(),
        stop_token_ids: fields.read("stop_token_ids", tokens)?.unwrap_or_default(),
        include_stop: fields.read("include_stop", flag)?.unwrap_or(other.include_stop),
        ignore_eos: fields.read("ignore_eos", flag)?.unwrap_or(other.ignore_eos),
        skip_special_tokens: fields.read("skip_special_tokens", flag)?.unwrap_or(other.skip_special_tokens),
        n: fields.read("n", choices)?.unwrap_or(other.n),
        logprobs: fields.read("logprobs", log_probabilities)?,
        prompt_logprobs: fields.read("prompt_logprobs", flag)?.unwrap_or(other.prompt_logprobs),
        logits: fields.read("logits", flag)?.unwrap_or(other.logits),
        constraint: constraint(fields)?,
        priority: fields.read("priority", priority)?.unwrap_or(other.priority),
        deadline_ms: fields.read("deadline_ms", whole)?,
        tenant: fields.read("tenant", text)?.unwrap_or_default(),
    })
}

fn prompt(fields: &mut Fields) -> Result<Prompt, Error> {
    let prompts = [
        fields.read("prompt", text)?.map(Prompt::Text),
        fields.read("prompt_tokens", tokens)?.map(Prompt::Tokens),
        chat(fields)?.map(Prompt::Chat),
    ];
    let mut given = prompts.into_iter().flatten();
    match (given.next(), given.next()) {
        (Some(prompt), None) => Ok(prompt),
        (None, _) => refuse("prompt", "absent", "given, or `messages`, or `prompt_tokens`"),
        (Some(_), Some(_)) => refuse("prompt", "given twice", "one of `prompt`, `messages` and `prompt_tokens`"),
    }
}
