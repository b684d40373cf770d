//! What a client asks, from its message.

use loam_engine::constraint::Constraint;
use loam_engine::json::Json;
use loam_engine::request::{AdapterUse, ChatPrompt, Generate, Prompt};
use loam_engine::sampler::SamplingOptions;
use loam_proto::v1;

use crate::asked::Asked;
use crate::problem::Problem;

/// Reads a request, or refuses it by the field that is wrong.
pub fn asked(request: v1::GenerateRequest) -> Result<Asked, Problem> {
    let v1::GenerateRequest { prompt, adapters, sampling, ends, n, logprobs, form, nonce, receipt, .. } = request;
    let ends = ends.unwrap_or_default();
    let generate = Generate {
        prompt: self::prompt(prompt)?,
        adapters: adapters
            .into_iter()
            .map(|it| AdapterUse { name: it.name, weight: it.weight.unwrap_or(1.0) })
            .collect(),
        max_tokens: ends.max_tokens,
        usual_tokens: None,
        min_tokens: ends.min_tokens,
        sampling: self::sampling(sampling.unwrap_or_default()),
        stop: ends.stop,
        stop_token_ids: ends.stop_token_ids,
        include_stop: ends.include_stop,
        ignore_eos: ends.ignore_eos,
        skip_special_tokens: !request.special_tokens,
        n: n.max(1),
        logprobs,
        prompt_logprobs: request.prompt_logprobs,
        logits: false,
        constraint: form.and_then(|form| form.form).map(constraint).transpose()?,
        priority: request.priority,
        deadline_ms: None,
        tenant: String::new(),
    };
    generate.check().map_err(|error| called(error.into()))?;
    Ok(Asked { generate, nonce: self::nonce(&nonce)?, receipt })
}

/// A problem in the words of the messages.
pub fn called(problem: Problem) -> Problem {
    match problem.field.as_deref() {
        Some("prompt_tokens") => problem.called("tokens"),
        Some("messages") => problem.called("chat"),
        _ => problem,
    }
}

fn nonce(bytes: &[u8]) -> Result<Option<[u8; 32]>, Problem> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let wrong = |_| Problem::field("nonce", format!("`nonce` has {} bytes; it can have 32, or none", bytes.len()));
    bytes.try_into().map(Some).map_err(wrong)
}

fn prompt(prompt: Option<v1::generate_request::Prompt>) -> Result<Prompt, Problem> {
    use v1::generate_request::Prompt as Given;
    match prompt {
        Some(Given::Text(text)) => Ok(Prompt::Text(text)),
        Some(Given::Tokens(tokens)) => Ok(Prompt::Tokens(tokens.ids)),
        Some(Given::Chat(chat)) => Ok(Prompt::Chat(self::chat(chat)?)),
        None => Err(Problem::field("prompt", "`prompt` is absent; it can be `text`, `tokens` or `chat`")),
    }
}

/// Reads messages and what goes with them.
pub fn chat(chat: v1::Chat) -> Result<ChatPrompt, Problem> {
    let mut arguments: Vec<(String, String)> = chat.template_arguments_json.into_iter().collect();
    // A map on the wire has no order.
    arguments.sort();
    let argument = |(name, text): (String, String)| {
        let value = json("template_arguments_json", &text)?.unwrap_or_default();
        Ok((name, value))
    };
    Ok(ChatPrompt {
        messages: Json::Array(chat.messages.into_iter().map(message).collect::<Result<_, _>>()?),
        tools: json("tools_json", &chat.tools_json)?,
        documents: json("documents_json", &chat.documents_json)?,
        add_generation_prompt: !chat.no_generation_prompt,
        kwargs: arguments.into_iter().map(argument).collect::<Result<_, Problem>>()?,
    })
}

fn message(message: v1::ChatMessage) -> Result<Json, Problem> {
    let mut fields =
        vec![("role".to_owned(), Json::String(message.role)), ("content".to_owned(), Json::String(message.content))];
    match json("more_json", &message.more_json)? {
        None => {}
        Some(Json::Object(more)) => {
            if let Some((name, _)) = more.iter().find(|(name, _)| ["role", "content"].contains(&name.as_str())) {
                return Err(Problem::field(
                    "more_json",
                    format!("`more_json` has `{name}`, which is a field of its own"),
                ));
            }
            fields.extend(more);
        }
        Some(other) => {
            return Err(Problem::field("more_json", format!("`more_json` is {}; it can be an object", other.shown())));
        }
    }
    Ok(Json::Object(fields))
}

/// JSON in a text; none where the text is empty.
fn json(field: &'static str, text: &str) -> Result<Option<Json>, Problem> {
    if text.is_empty() {
        return Ok(None);
    }
    let wrong = |error| Problem::field(field, format!("`{field}` is not valid JSON: {error}"));
    Json::parse(text).map(Some).map_err(wrong)
}

fn sampling(sampling: v1::Sampling) -> SamplingOptions {
    let mut logit_bias: Vec<(u32, f32)> = sampling.logit_bias.into_iter().collect();
    logit_bias.sort_by_key(|(token, _)| *token);
    SamplingOptions {
        temperature: sampling.temperature,
        top_k: sampling.top_k,
        top_p: sampling.top_p,
        min_p: sampling.min_p,
        repetition_penalty: sampling.repetition_penalty,
        presence_penalty: sampling.presence_penalty,
        frequency_penalty: sampling.frequency_penalty,
        logit_bias,
        seed: sampling.seed,
    }
}

fn constraint(form: v1::form::Form) -> Result<Constraint, Problem> {
    use v1::form::Form;
    match form {
        Form::JsonSchema(text) => {
            let absent = || Problem::field("json_schema", "`json_schema` is empty; it can be a schema as JSON");
            json("json_schema", &text)?.map(Constraint::JsonSchema).ok_or_else(absent)
        }
        Form::JsonObject(true) => Ok(Constraint::JsonObject),
        Form::JsonObject(false) => {
            Err(Problem::field("json_object", "`json_object` is false; leave `form` out where any text will do"))
        }
        Form::Regex(text) => Ok(Constraint::Regex(text)),
        Form::Grammar(text) => Ok(Constraint::Grammar(text)),
        Form::Choice(choices) => Ok(Constraint::Choice(choices.texts)),
    }
}
