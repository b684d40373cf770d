//! Requests and answers as lines of JSON: what `loam generate --requests` reads and writes.

use loam_ledger_core::row::Finish;
use serde::Serialize;

use crate::constraint::Constraint;
use crate::error::Error;
use crate::json::{Json, quoted};
use crate::request::{AdapterUse, ChatPrompt, Generate, Prompt, at_most, refuse};
use crate::sampler::SamplingOptions;

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
    let mut fields = Fields { left, asked: Vec::new() };
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

/// A line's fields that nobody has asked for yet.
struct Fields {
    left: Vec<(String, Json)>,
    asked: Vec<&'static str>,
}

impl Fields {
    fn take(&mut self, field: &'static str) -> Option<Json> {
        self.asked.push(field);
        let place = self.left.iter().position(|(name, _)| name == field)?;
        Some(self.left.swap_remove(place).1).filter(|value| *value != Json::Null)
    }

    fn read<T>(
        &mut self,
        field: &'static str,
        read: impl FnOnce(&'static str, Json) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        self.take(field).map(|value| read(field, value)).transpose()
    }

    fn finish(&self) -> Result<(), Error> {
        let Some((name, _)) = self.left.first() else { return Ok(()) };
        let letters = |name: &str| name.to_lowercase().replace(['_', '-'], "");
        let meant = self.asked.iter().find(|asked| letters(asked) == letters(name));
        let hint = match meant {
            Some(meant) => format!("`{meant}` is one"),
            None => format!("it can have {}", self.asked.join(", ")),
        };
        Err(Error::RequestField { field: quoted(name).replace('"', ""), hint })
    }
}

fn request(fields: &mut Fields) -> Result<Generate, Error> {
    let other = Generate::default();
    Ok(Generate {
        prompt: prompt(fields)?,
        adapters: fields.read("adapters", adapters)?.unwrap_or_default(),
        max_tokens: fields.read("max_tokens", count)?,
        min_tokens: fields.read("min_tokens", count)?.unwrap_or(0),
        sampling: SamplingOptions {
            temperature: fields.read("temperature", number)?,
            top_k: fields.read("top_k", top_k)?,
            top_p: fields.read("top_p", number)?,
            min_p: fields.read("min_p", number)?,
            repetition_penalty: fields.read("repetition_penalty", number)?,
            presence_penalty: fields.read("presence_penalty", number)?,
            frequency_penalty: fields.read("frequency_penalty", number)?,
            logit_bias: fields.read("logit_bias", logit_bias)?.unwrap_or_default(),
            seed: fields.read("seed", seed)?,
        },
        stop: fields.read("stop", texts)?.unwrap_or_default(),
        stop_token_ids: fields.read("stop_token_ids", tokens)?.unwrap_or_default(),
        include_stop: fields.read("include_stop", flag)?.unwrap_or(other.include_stop),
        ignore_eos: fields.read("ignore_eos", flag)?.unwrap_or(other.ignore_eos),
        skip_special_tokens: fields.read("skip_special_tokens", flag)?.unwrap_or(other.skip_special_tokens),
        n: fields.read("n", count)?.unwrap_or(other.n),
        logprobs: fields.read("logprobs", count)?,
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

fn chat(fields: &mut Fields) -> Result<Option<ChatPrompt>, Error> {
    let messages = fields.take("messages");
    let tools = fields.take("tools");
    let documents = fields.take("documents");
    let begin = fields.read("add_generation_prompt", flag)?;
    let kwargs = fields.read("chat_template_kwargs", object)?;
    let Some(messages) = messages else {
        let given = [
            ("tools", tools.is_some()),
            ("documents", documents.is_some()),
            ("add_generation_prompt", begin.is_some()),
            ("chat_template_kwargs", kwargs.is_some()),
        ];
        return match given.iter().find(|(_, given)| *given) {
            Some((field, _)) => refuse(field, "given", "given beside `messages`"),
            None => Ok(None),
        };
    };
    let add_generation_prompt = begin.unwrap_or(true);
    Ok(Some(ChatPrompt { messages, tools, documents, add_generation_prompt, kwargs: kwargs.unwrap_or_default() }))
}

fn constraint(fields: &mut Fields) -> Result<Option<Constraint>, Error> {
    let constraints = [
        fields.read("response_format", response_format)?.flatten(),
        fields.take("json_schema").map(Constraint::JsonSchema),
        fields.read("regex", text)?.map(Constraint::Regex),
        fields.read("grammar", text)?.map(Constraint::Grammar),
        fields.read("choice", texts)?.map(Constraint::Choice),
    ];
    let mut given = constraints.into_iter().flatten();
    let first = given.next();
    match given.next() {
        None => Ok(first),
        Some(second) => refuse(second.field(), "a second form of the answer", "the only one"),
    }
}

/// As OpenAI's chat interface has it.
fn response_format(field: &'static str, value: Json) -> Result<Option<Constraint>, Error> {
    match value.find("type").and_then(Json::as_str) {
        Some("text") => Ok(None),
        Some("json_object") => Ok(Some(Constraint::JsonObject)),
        Some("json_schema") => match value.find("json_schema").and_then(|outer| outer.find("schema")) {
            Some(schema) => Ok(Some(Constraint::JsonSchema(schema.clone()))),
            None => refuse(field, "without a schema", "{\"type\": \"json_schema\", \"json_schema\": {\"schema\": ..}}"),
        },
        _ => refuse(field, &value.shown(), "an object whose `type` is \"text\", \"json_object\" or \"json_schema\""),
    }
}

fn adapters(field: &'static str, value: Json) -> Result<Vec<AdapterUse>, Error> {
    list(field, value)?.into_iter().map(adapter).collect()
}

fn adapter(value: Json) -> Result<AdapterUse, Error> {
    let Json::Object(fields) = value else {
        return refuse("adapters", &value.shown(), "objects with `name` and `weight`");
    };
    let mut adapter = AdapterUse { name: String::new(), weight: 1.0 };
    for (name, value) in fields {
        match name.as_str() {
            "name" => adapter.name = text("adapters.name", value)?,
            "weight" => adapter.weight = float("adapters.weight", &value)?,
            _ => {
                let hint = "an adapter has `name` and `weight`".to_owned();
                return Err(Error::RequestField {
                    field: format!("adapters.{}", quoted(&name).replace('"', "")),
                    hint,
                });
            }
        }
    }
    Ok(adapter)
}

fn logit_bias(field: &'static str, value: Json) -> Result<Vec<(u32, f32)>, Error> {
    let bias = |(token, bias): (String, Json)| match token.parse() {
        Ok(token) => Ok((token, number(field, bias)?)),
        Err(_) => refuse(field, &quoted(&token), "token ids"),
    };
    object(field, value)?.into_iter().map(bias).collect()
}

fn text(field: &'static str, value: Json) -> Result<String, Error> {
    match value {
        Json::String(text) => Ok(text),
        other => refuse(field, &other.shown(), "a string"),
    }
}

fn texts(field: &'static str, value: Json) -> Result<Vec<String>, Error> {
    match value {
        Json::String(text) => Ok(vec![text]),
        Json::Array(values) => values.into_iter().map(|value| text(field, value)).collect(),
        other => refuse(field, &other.shown(), "a string or an array of strings"),
    }
}

fn list(field: &'static str, value: Json) -> Result<Vec<Json>, Error> {
    match value {
        Json::Array(values) => Ok(values),
        other => refuse(field, &other.shown(), "an array"),
    }
}

fn object(field: &'static str, value: Json) -> Result<Vec<(String, Json)>, Error> {
    match value {
        Json::Object(fields) => Ok(fields),
        other => refuse(field, &other.shown(), "an object"),
    }
}

fn flag(field: &'static str, value: Json) -> Result<bool, Error> {
    match value {
        Json::Bool(value) => Ok(value),
        other => refuse(field, &other.shown(), "true or false"),
    }
}

fn tokens(field: &'static str, value: Json) -> Result<Vec<u32>, Error> {
    list(field, value)?.into_iter().map(|value| count(field, value)).collect()
}

fn count(field: &'static str, value: Json) -> Result<u32, Error> {
    match value {
        Json::Integer(number) if u32::try_from(number).is_ok() => Ok(number as u32),
        other => refuse(field, &other.shown(), "a whole number from 0 to 4294967295"),
    }
}

fn whole(field: &'static str, value: Json) -> Result<u64, Error> {
    match value {
        Json::Integer(number) if number >= 0 => Ok(number as u64),
        Json::Unsigned(number) => Ok(number),
        other => refuse(field, &other.shown(), "a whole number from 0 on"),
    }
}

/// Any whole number of 64 bits, with or without a sign.
fn seed(field: &'static str, value: Json) -> Result<u64, Error> {
    match value {
        Json::Integer(number) => Ok(number as u64),
        other => whole(field, other),
    }
}

/// Others write -1 where all tokens are kept.
fn top_k(field: &'static str, value: Json) -> Result<u32, Error> {
    if value == Json::Integer(-1) { Ok(0) } else { count(field, value) }
}

fn priority(field: &'static str, value: Json) -> Result<i32, Error> {
    match value {
        Json::Integer(number) if i32::try_from(number).is_ok() => Ok(number as i32),
        other => refuse(field, &other.shown(), "a whole number of 32 bits"),
    }
}

fn float(field: &'static str, value: &Json) -> Result<f64, Error> {
    match value {
        Json::Integer(number) => Ok(*number as f64),
        Json::Unsigned(number) => Ok(*number as f64),
        Json::Float(number) => Ok(*number),
        other => refuse(field, &other.shown(), "a number"),
    }
}

fn number(field: &'static str, value: Json) -> Result<f32, Error> {
    float(field, &value).map(|number| number as f32)
}
