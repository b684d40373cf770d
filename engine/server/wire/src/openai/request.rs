//! A request's body, read: one request for the engine or several, and how their answers are to look.

use loam_engine::fields::{
    self, Fields, answer_tokens, choices, count, flag, log_probabilities, priority, text, texts, tokens,
};
use loam_engine::json;
use loam_engine::json::Json;
use loam_engine::request::{Generate, Prompt};

use super::body::{parts, wrong};
use super::model_name::Model;
use super::{body, chat, completion, form, known, model_name};
use crate::asked::nonce_from_hex;
use crate::problem::Problem;

/// Prompts of one request.
pub const PROMPTS_MAX: usize = 64;
/// Bytes of a request's id.
pub const REQUEST_ID_BYTES_MAX: usize = 128;
/// Tokens of a completion that does not say how many.
const COMPLETION_TOKENS: u32 = 16;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `/v1/chat/completions`.
    Chat,
    /// `/v1/completions`.
    Completion,
}

/// A request's body, read.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// Where it came in.
    pub endpoint: Endpoint,
    /// As the client wrote it, or the first name of the base where it wrote none; answers repeat it.
    pub model: String,
    /// One, or as many as there are prompts, which differ in nothing else.
    pub requests: Vec<Generate>,
    /// Whether the answer is a stream.
    pub stream: bool,
    /// Whether the stream ends with what was used.
    pub usage_in_stream: bool,
    /// Whether each chunk says what was used so far.
    pub continuous_usage: bool,
    /// Whether the answer begins with the prompt.
    pub echo: bool,
    /// Whether the answer says how probable each token of the prompt was.
    pub prompt_logprobs: Option<u32>,
    /// 32 bytes of the client's choice for its receipt.
    pub nonce: Option<[u8; 32]>,
    /// Whether the answer ends with a receipt for each choice.
    pub receipt: bool,
    /// Whether the answer holds the token ids of prompt and answer.
    pub return_token_ids: bool,
    /// Whether log-probabilities name tokens by their ids.
    pub tokens_as_ids: bool,
    /// The id that the client gave the request: printable ASCII without spaces, 1 to 128 bytes.
    pub request_id: Option<String>,
    /// What the client called the fields: for what is refused later, too.
    pub names: Names,
}

/// Reads a body. `base_names` are the names of the base model: any other name is an adapter's, and whether there is one
/// is the engine's to say.
pub fn read(endpoint: Endpoint, body: &[u8], base_names: &[String]) -> Result<Call, Problem> {
    let mut fields = body::read(body, &known::fields(endpoint))?;
    let model = model_name::read(&mut fields, base_names)?;
    let prompts = match endpoint {
        Endpoint::Chat => {
            chat::tool_choice(&mut fields)?;
            vec![Prompt::Chat(chat::read(&mut fields)?)]
        }
        Endpoint::Completion => completion::read(&mut fields)?,
    };
    let stream = stream(&mut fields)?;
    let extension = fields.take("loam").map(extension).transpose()?.unwrap_or_default();
    let echo = endpoint == Endpoint::Completion && fields.read("echo", flag)?.unwrap_or(false);
    let prompt_logprobs = prompt_logprobs(&mut fields, stream.on)?;
    let (mut generate, names) = generate(&mut fields, endpoint, &model)?;
    if echo && generate.logprobs.is_some() {
        check_echo(generate.logprobs, stream.on)?;
    }
    generate.prompt_logprobs = prompt_logprobs.is_some() || echo && generate.logprobs.is_some();
    let call = Call {
        endpoint,
        model: model.name,
        requests: Vec::new(),
        stream: stream.on,
        usage_in_stream: stream.usage,
        continuous_usage: stream.continuous,
        echo,
        prompt_logprobs,
        nonce: extension.nonce,
        receipt: extension.receipt,
        return_token_ids: fields.read("return_token_ids", flag)?.unwrap_or(false),
        tokens_as_ids: fields.read("return_tokens_as_token_ids", flag)?.unwrap_or(false),
        request_id: fields.take("request_id").map(request_id).transpose()?,
        names,
    };
    known::settle(&mut fields, endpoint)?;
    fields.finish()?;
    let requests: Vec<Generate> = prompts.into_iter().map(|prompt| Generate { prompt, ..generate.clone() }).collect();
    requests.iter().try_for_each(Generate::check).map_err(|error| call.names.of(error.into()))?;
    Ok(Call { requests, ..call })
}

fn generate(fields: &mut Fields, endpoint: Endpoint, model: &Model) -> Result<(Generate, Names), Problem> {
    let other = Generate::default();
    let (max_tokens, max_tokens_name) = max_tokens(fields, endpoint)?;
    let form = form::read(fields)?;
    let n = fields.read("n", choices)?.unwrap_or(other.n);
    if let Some(best_of) = fields.take("best_of")
        && !choices("best_of", best_of.clone()).is_ok_and(|best_of| best_of == n)
    {
        return Err(wrong("best_of", &best_of.shown(), &format!("{n}, which is `n`: all answers are returned")));
    }
    let names = Names {
        max_tokens: max_tokens_name,
        logprobs: if endpoint == Endpoint::Chat { "top_logprobs" } else { "logprobs" },
        adapter: model.field,
        form: form.as_ref().map(|(field, _)| *field),
    };
    let generate = Generate {
        adapters: model.adapters.clone(),
        max_tokens,
        usual_tokens: (endpoint == Endpoint::Completion).then_some(COMPLETION_TOKENS),
        min_tokens: fields.read("min_tokens", count)?.unwrap_or(0),
        sampling: fields::sampling(fields)?,
        stop: fields.read("stop", texts)?.unwrap_or_default(),
        stop_token_ids: fields.read("stop_token_ids", tokens)?.unwrap_or_default(),
        include_stop: fields.read("include_stop_str_in_output", flag)?.unwrap_or(other.include_stop),
        ignore_eos: fields.read("ignore_eos", flag)?.unwrap_or(other.ignore_eos),
        skip_special_tokens: fields.read("skip_special_tokens", flag)?.unwrap_or(other.skip_special_tokens),
        n,
        logprobs: logprobs(fields, endpoint)?,
        constraint: form.map(|(_, form)| form),
        priority: fields.read("priority", priority)?.unwrap_or(other.priority),
        ..other
    };
    Ok((generate, names))
}

fn max_tokens(fields: &mut Fields, endpoint: Endpoint) -> Result<(Option<u32>, &'static str), Problem> {
    let old = fields.read("max_tokens", answer_tokens)?;
    if endpoint == Endpoint::Completion {
        return Ok((old, "max_tokens"));
    }
    match (old, fields.read("max_completion_tokens", answer_tokens)?) {
        (Some(old), Some(new)) if old != new => {
            let allowed = format!("{old}, which is `max_tokens`, or stand alone");
            Err(wrong("max_completion_tokens", &new.to_string(), &allowed))
        }
        (_, Some(new)) => Ok((Some(new), "max_completion_tokens")),
        (old, None) => Ok((old, "max_tokens")),
    }
}

fn logprobs(fields: &mut Fields, endpoint: Endpoint) -> Result<Option<u32>, Problem> {
    if endpoint == Endpoint::Completion {
        return Ok(fields.read("logprobs", log_probabilities)?);
    }
    let wanted = fields.read("logprobs", flag)?.unwrap_or(false);
    match fields.read("top_logprobs", log_probabilities)? {
        Some(top) if top > 0 && !wanted => {
            Err(wrong("top_logprobs", &format!("{top} without `logprobs`"), "given where `logprobs` is true"))
        }
        top => Ok(wanted.then_some(top.unwrap_or(0))),
    }
}

/// How many of the most probable tokens there can be beside each of a prompt.
const PROMPT_LOG_PROBABILITIES_MAX: u32 = 1;

/// How many of the most probable tokens beside each of the prompt.
fn prompt_logprobs(fields: &mut Fields, stream: bool) -> Result<Option<u32>, Problem> {
    let Some(value) = fields.take("prompt_logprobs") else { return Ok(None) };
    let shown = value.shown();
    match count("prompt_logprobs", value) {
        Ok(_) if stream => {
            let found = format!("{shown} in a stream");
            Err(wrong("prompt_logprobs", &found, "absent where `stream` is true"))
        }
        Ok(most) if most <= PROMPT_LOG_PROBABILITIES_MAX => Ok(Some(most)),
        _ => {
            let allowed = "0, 1 or absent: of a prompt, each token and the most probable one are computed";
            Err(wrong("prompt_logprobs", &shown, allowed))
        }
    }
}

fn check_echo(logprobs: Option<u32>, stream: bool) -> Result<(), Problem> {
    match logprobs {
        Some(count) if count > PROMPT_LOG_PROBABILITIES_MAX => {
            let allowed = "0 or 1 beside `echo`: of a prompt, each token and the most probable one are computed";
            Err(wrong("logprobs", &count.to_string(), allowed))
        }
        _ if stream => Err(wrong("logprobs", "given beside `echo` in a stream", "absent where `stream` is true")),
        _ => Ok(()),
    }
}

#[derive(Default)]
struct Stream {
    on: bool,
    usage: bool,
    continuous: bool,
}

fn stream(fields: &mut Fields) -> Result<Stream, Problem> {
    let on = fields.read("stream", flag)?.unwrap_or(false);
    let Some(options) = fields.take("stream_options") else { return Ok(Stream { on, ..Stream::default() }) };
    if !on {
        return Err(wrong("stream_options", &options.shown(), "absent where `stream` is not true"));
    }
    let names = ["include_usage", "continuous_usage_stats", "include_obfuscation"];
    let [usage, continuous, obfuscation] = parts("stream_options", options, names)?;
    let read = |field, value: Option<Json>| value.map(|value| flag(field, value)).transpose();
    if read("stream_options.include_obfuscation", obfuscation)? == Some(true) {
        return Err(wrong("stream_options.include_obfuscation", "true", "false: chunks are not padded"));
    }
    let usage = read("stream_options.include_usage", usage)?.unwrap_or(false);
    let continuous = read("stream_options.continuous_usage_stats", continuous)?.unwrap_or(false);
    if continuous && !usage {
        let allowed = "false where `include_usage` is not true";
        return Err(wrong("stream_options.continuous_usage_stats", "true", allowed));
    }
    Ok(Stream { on, usage, continuous })
}

/// Our own fields.
#[derive(Default)]
struct Extension {
    receipt: bool,
    nonce: Option<[u8; 32]>,
}

fn extension(value: Json) -> Result<Extension, Problem> {
    let [receipt, nonce] = parts("loam", value, ["receipt", "nonce"])?;
    let receipt = receipt.map(|value| flag("loam.receipt", value)).transpose()?.unwrap_or(false);
    let nonce = match nonce.map(|value| text("loam.nonce", value)).transpose()? {
        None => None,
        Some(digits) => Some(
            nonce_from_hex(&digits)
                .ok_or_else(|| wrong("loam.nonce", &json::Json::String(digits).shown(), "64 hexadecimal digits"))?,
        ),
    };
    Ok(Extension { receipt, nonce })
}

fn request_id(value: Json) -> Result<String, Problem> {
    let id = text("request_id", value)?;
    let fits = (1..=REQUEST_ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
    if fits {
        return Ok(id);
    }
    let allowed = format!("1 to {REQUEST_ID_BYTES_MAX} printable characters of ASCII without spaces");
    Err(wrong("request_id", &Json::String(id).shown(), &allowed))
}

/// What the client called the fields that the engine has another name for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Names {
    /// How many tokens an answer may have.
    pub max_tokens: &'static str,
    /// How many tokens are reported beside each.
    pub logprobs: &'static str,
    /// What names an adapter.
    pub adapter: &'static str,
    /// What the form of the answer came by.
    pub form: Option<&'static str>,
}

impl Names {
    /// A problem in the client's own words.
    pub fn of(&self, problem: Problem) -> Problem {
        let Some(field) = problem.field.as_deref() else { return problem };
        let theirs = match field {
            "prompt_tokens" => "prompt",
            "max_tokens" => self.max_tokens,
            "logprobs" => self.logprobs,
            "adapters.name" if self.adapter == "model" => return problem.of_model(),
            "adapters.name" => self.adapter,
            "json_schema" | "regex" | "grammar" | "choice" | "response_format" | "form" => self.form.unwrap_or("form"),
            _ => return problem,
        };
        problem.called(theirs)
    }
}
