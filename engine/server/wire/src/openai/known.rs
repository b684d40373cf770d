//! Every field that a request can have: those that are read, those that change nothing, and those that can only say
//! what is done anyway.

use loam_engine::fields::{Fields, object, text};
use loam_engine::json::Json;

use super::body::wrong;
use super::request::Endpoint;
use crate::problem::Problem;

/// Read at both endpoints.
const READ: &[&str] = &[
    "model",
    "adapters",
    "adapter_id",
    "adapter_source",
    "merged_adapters",
    "max_tokens",
    "min_tokens",
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "repetition_penalty",
    "presence_penalty",
    "frequency_penalty",
    "logit_bias",
    "seed",
    "stop",
    "stop_token_ids",
    "include_stop_str_in_output",
    "ignore_eos",
    "skip_special_tokens",
    "n",
    "best_of",
    "logprobs",
    "prompt_logprobs",
    "return_token_ids",
    "return_tokens_as_token_ids",
    "response_format",
    "structured_outputs",
    "guided_json",
    "guided_regex",
    "guided_choice",
    "guided_grammar",
    "priority",
    "request_id",
    "stream",
    "stream_options",
    "loam",
];

const READ_CHAT: &[&str] = &[
    "messages",
    "tools",
    "tool_choice",
    "documents",
    "add_generation_prompt",
    "chat_template_kwargs",
    "max_completion_tokens",
    "top_logprobs",
];

const READ_COMPLETION: &[&str] = &["prompt", "echo"];

/// They tell the operator something, and change no answer.
const TEXTS_IGNORED: &[&str] = &["user", "safety_identifier", "prompt_cache_key", "session_id"];
const OBJECTS_IGNORED: &[&str] = &["metadata"];

/// What a field can say without asking for anything.
#[derive(Clone, Copy)]
enum Neutral {
    Absent,
    False,
    True,
    /// A string, an array or an object without contents.
    Empty,
    Words(&'static [&'static str]),
    Number(f64),
    /// An array of this word.
    Only(&'static str),
}

/// A field that others have: what it can say here, and in words, with the reason or the way round.
struct Unsupported(&'static str, Neutral, &'static str);

const UNSUPPORTED: &[Unsupported] = &[
    Unsupported("use_beam_search", Neutral::False, "false: answers are sampled, and no beams are searched"),
    Unsupported("length_penalty", Neutral::Number(1.0), "1: it is of beam search, which there is not"),
    Unsupported("allowed_token_ids", Neutral::Absent, "absent: `structured_outputs` gives an answer its form"),
    Unsupported("bad_words", Neutral::Empty, "empty: `logit_bias` of -100 keeps a token out"),
    Unsupported("logits_processors", Neutral::Empty, "empty: requests bring no code"),
    Unsupported("logprob_token_ids", Neutral::Empty, "absent: log-probabilities are of the most probable tokens"),
    Unsupported("truncate_prompt_tokens", Neutral::Absent, "absent: a prompt is never cut unseen"),
    Unsupported("truncation_side", Neutral::Words(&["left", "right"]), "\"left\" or \"right\": no prompt is cut"),
    Unsupported("spaces_between_special_tokens", Neutral::True, "true"),
    Unsupported("watermarking", Neutral::False, "false: answers carry no watermark"),
    Unsupported("repetition_detection", Neutral::Absent, "absent: `repetition_penalty` and `max_tokens` bound it"),
    Unsupported("thinking_token_budget", Neutral::Number(-1.0), "-1: thinking is text like other text"),
    Unsupported("cache_salt", Neutral::Absent, "absent: prefixes are kept apart by tenant"),
    Unsupported("kv_transfer_params", Neutral::Empty, "absent: no cache is sent elsewhere"),
    Unsupported("ec_transfer_params", Neutral::Empty, "absent: no cache is sent elsewhere"),
    Unsupported("vllm_xargs", Neutral::Empty, "empty: there are no custom extensions"),
    Unsupported("stream_interval", Neutral::Number(1.0), "1: each step's tokens are sent when they may be"),
    Unsupported("return_token_offsets", Neutral::False, "false: `return_token_ids` gives ids"),
    Unsupported("return_mm_kwargs", Neutral::True, "true: there is text only"),
    Unsupported("routed_experts_prompt_start", Neutral::Number(0.0), "0: no experts are routed to"),
    Unsupported("guided_decoding_backend", Neutral::Absent, "absent: there is one implementation"),
    Unsupported("guided_whitespace_pattern", Neutral::Absent, "absent: a schema's white space is JSON's"),
    Unsupported("structural_tag", Neutral::Absent, "absent: `structured_outputs` gives an answer its form"),
    Unsupported("service_tier", Neutral::Words(&["auto", "default"]), "\"auto\" or \"default\": there is one tier"),
    Unsupported("store", Neutral::False, "false: answers are not stored"),
    Unsupported("api_token", Neutral::Absent, "absent: an adapter is loaded before it is used"),
];

const UNSUPPORTED_CHAT: &[Unsupported] = &[
    Unsupported("echo", Neutral::False, "false: /v1/completions can repeat its prompt"),
    Unsupported("continue_final_message", Neutral::False, "false: render the prompt, and give it to /v1/completions"),
    Unsupported("add_special_tokens", Neutral::False, "false: the template writes the special tokens"),
    Unsupported("chat_template", Neutral::Absent, "absent: the model's own template is used"),
    Unsupported("parallel_tool_calls", Neutral::True, "true: tool calls are not parsed, so nothing can bound them"),
    Unsupported("functions", Neutral::Empty, "absent: `tools` describes functions"),
    Unsupported("function_call", Neutral::Words(&["none"]), "\"none\": tool calls are not parsed"),
    Unsupported("reasoning_effort", Neutral::Absent, "absent: `chat_template_kwargs` tells a template what it knows"),
    Unsupported("include_reasoning", Neutral::True, "true: reasoning is part of the text and not parsed"),
    Unsupported("verbosity", Neutral::Words(&["medium"]), "\"medium\": say it in a message"),
    Unsupported("modalities", Neutral::Only("text"), "[\"text\"]: there is text only"),
    Unsupported("audio", Neutral::Absent, "absent: there is text only"),
    Unsupported("prediction", Neutral::Absent, "absent: no text is predicted"),
    Unsupported("web_search_options", Neutral::Absent, "absent: nothing is searched"),
    Unsupported("moderation", Neutral::Absent, "absent: nothing is moderated"),
    Unsupported("prompt_cache_options", Neutral::Empty, "absent: prefixes stay cached while there is room"),
    Unsupported(
        "prompt_cache_retention",
        Neutral::Words(&["in_memory", "in-memory"]),
        "\"in_memory\": prefixes stay cached while there is room",
    ),
    Unsupported("media_io_kwargs", Neutral::Empty, "absent: there is text only"),
    Unsupported("mm_processor_kwargs", Neutral::Empty, "absent: there is text only"),
    Unsupported("return_prompt_text", Neutral::False, "false: `return_token_ids` shows the prompt as token ids"),
];

const UNSUPPORTED_COMPLETION: &[Unsupported] = &[
    Unsupported("suffix", Neutral::Empty, "absent: nothing is filled in between"),
    Unsupported("add_special_tokens", Neutral::True, "true: give token ids where none are to be added"),
    Unsupported("prompt_embeds", Neutral::Absent, "absent: a prompt is text or token ids"),
];

/// Every field that a request of this endpoint can have.
pub fn fields(endpoint: Endpoint) -> Vec<&'static str> {
    let read = match endpoint {
        Endpoint::Chat => READ_CHAT,
        Endpoint::Completion => READ_COMPLETION,
    };
    let known = [READ, read, TEXTS_IGNORED, OBJECTS_IGNORED].concat();
    known.into_iter().chain(unsupported(endpoint).map(|it| it.0)).collect()
}

fn unsupported(endpoint: Endpoint) -> impl Iterator<Item = &'static Unsupported> {
    let own = match endpoint {
        Endpoint::Chat => UNSUPPORTED_CHAT,
        Endpoint::Completion => UNSUPPORTED_COMPLETION,
    };
    UNSUPPORTED.iter().chain(own)
}

/// Takes the fields that nothing is made of, and refuses those that ask for something.
pub(super) fn settle(fields: &mut Fields, endpoint: Endpoint) -> Result<(), Problem> {
    for field in TEXTS_IGNORED {
        fields.read(field, text)?;
    }
    for field in OBJECTS_IGNORED {
        fields.read(field, object)?;
    }
    for Unsupported(field, neutral, allowed) in unsupported(endpoint) {
        if let Some(value) = fields.take(field)
            && !neutral.is(&value)
        {
            return Err(wrong(field, &value.shown(), allowed));
        }
    }
    Ok(())
}

impl Neutral {
    fn is(self, value: &Json) -> bool {
        match (self, value) {
            (Self::Absent, _) => false,
            (Self::False, value) => *value == Json::Bool(false),
            (Self::True, value) => *value == Json::Bool(true),
            (Self::Empty, Json::String(text)) => text.is_empty(),
            (Self::Empty, Json::Array(values)) => values.is_empty(),
            (Self::Empty, Json::Object(fields)) => fields.is_empty(),
            (Self::Words(words), Json::String(text)) => words.contains(&text.as_str()),
            (Self::Number(number), Json::Integer(value)) => *value as f64 == number,
            (Self::Number(number), Json::Float(value)) => *value == number,
            (Self::Only(word), Json::Array(values)) => matches!(&values[..], [Json::String(text)] if text == word),
            _ => false,
        }
    }
}
