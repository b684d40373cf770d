//! What is asked for: a prompt, adapters, how tokens are chosen, and when the answer ends.

use loam_kernels::layout::{ADAPTERS_PER_ROW_MAX, TOP_LOG_PROBABILITIES_MAX};

use crate::constraint::Constraint;
use crate::error::Error;
use crate::json::{Json, quoted};
use crate::sampler::SamplingOptions;

/// Bytes of a prompt's text.
pub const PROMPT_BYTES_MAX: usize = 16 << 20;
/// Token ids of a prompt.
pub const PROMPT_TOKENS_MAX: usize = 4 << 20;
/// Messages of a chat.
pub const MESSAGES_MAX: usize = 16_384;
/// Bytes of an adapter's or a tenant's name.
pub const NAME_BYTES_MAX: usize = 255;
/// What an adapter's weight can be at most, either way.
pub const WEIGHT_MAX: f64 = 1000.0;
/// The same in millionths.
pub(crate) const WEIGHT_MILLIONTHS_MAX: i64 = (WEIGHT_MAX * 1e6) as i64;
/// Tokens of an answer.
pub const ANSWER_TOKENS_MAX: u32 = 4 << 20;
/// Stop strings of a request.
pub const STOP_STRINGS_MAX: usize = 64;
/// Bytes of a stop string.
pub const STOP_STRING_BYTES_MAX: usize = 1024;
/// Token ids that end an answer.
pub const STOP_TOKENS_MAX: usize = 256;
/// Answers to one prompt.
pub const CHOICES_MAX: u32 = 128;
/// The most probable tokens reported beside each token.
pub const LOG_PROBABILITIES_MAX: u32 = TOP_LOG_PROBABILITIES_MAX as u32;

/// A request, as its caller states it.
#[derive(Clone, Debug, PartialEq)]
pub struct Generate {
    /// What to answer.
    pub prompt: Prompt,
    /// Adapters to mix into the base model; none for the base alone.
    pub adapters: Vec<AdapterUse>,
    /// Tokens of an answer at most. More than the model has positions for are refused.
    pub max_tokens: Option<u32>,
    /// The same where `max_tokens` is absent, as far as there are positions; where it is too, as many as there are.
    pub usual_tokens: Option<u32>,
    /// Until an answer has so many tokens, no token may end it and no stop string is looked for.
    pub min_tokens: u32,
    /// How tokens are chosen.
    pub sampling: SamplingOptions,
    /// Texts that end an answer.
    pub stop: Vec<String>,
    /// Tokens that end an answer.
    pub stop_token_ids: Vec<u32>,
    /// Whether what ended the answer is part of its text.
    pub include_stop: bool,
    /// Whether the model's own ends are tokens like others.
    pub ignore_eos: bool,
    /// Whether special tokens leave no text.
    pub skip_special_tokens: bool,
    /// How many answers.
    pub n: u32,
    /// How many of the most probable tokens to report beside each token; absent, no log-probabilities at all.
    pub logprobs: Option<u32>,
    /// Whether the log-probability of each token of the prompt is wanted.
    pub prompt_logprobs: bool,
    /// Whether the logits after the prompt are wanted.
    pub logits: bool,
    /// The form that an answer must have.
    pub constraint: Option<Constraint>,
    /// Who goes first: the lower number.
    pub priority: i32,
    /// Milliseconds from its arrival after which nobody waits for it.
    pub deadline_ms: Option<u64>,
    /// Who pays; empty for the tenant that there always is.
    pub tenant: String,
}

/// What to answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Prompt {
    /// A text, tokenised with the special tokens that the tokenizer adds.
    Text(String),
    /// Messages, rendered by the model's chat template.
    Chat(ChatPrompt),
    /// Token ids, as they are.
    Tokens(Vec<u32>),
}

/// Messages and what else a chat template is given.
#[derive(Clone, Debug, PartialEq)]
pub struct ChatPrompt {
    /// An array of objects with a `role`.
    pub messages: Json,
    /// An array of descriptions of functions.
    pub tools: Option<Json>,
    /// An array of documents.
    pub documents: Option<Json>,
    /// Whether the prompt ends with the beginning of an answer.
    pub add_generation_prompt: bool,
    /// Variables of the template by name.
    pub kwargs: Vec<(String, Json)>,
}

/// One adapter of a request.
#[derive(Clone, Debug, PartialEq)]
pub struct AdapterUse {
    /// Its name.
    pub name: String,
    /// What its delta is multiplied by; see [`weight_millionths`].
    pub weight: f64,
}

/// A weight in millionths, rounded to the nearest, halves away from zero. That value computes, keys and is recorded, so
/// one that rounds to nothing is refused.
pub fn weight_millionths(weight: f64) -> Result<i64, Error> {
    if !weight.is_finite() || weight.abs() > WEIGHT_MAX {
        let allowed = format!("-{WEIGHT_MAX} to {WEIGHT_MAX}");
        return Err(Error::Request { field: "adapters.weight", found: weight.to_string(), allowed });
    }
    let millionths = (weight * 1e6).round() as i64;
    if millionths == 0 && weight != 0.0 {
        // It would be named beside the answer and have no part in it.
        let allowed = "0, or a millionth and more either way".to_owned();
        return Err(Error::Request { field: "adapters.weight", found: weight.to_string(), allowed });
    }
    Ok(millionths)
}

/// The number that a weight in millionths computes with.
pub fn weight_factor(millionths: i64) -> f32 {
    (millionths as f64 / 1e6) as f32
}

impl Default for Generate {
    fn default() -> Self {
        Self {
            prompt: Prompt::Tokens(Vec::new()),
            adapters: Vec::new(),
            max_tokens: None,
            usual_tokens: None,
            min_tokens: 0,
            sampling: SamplingOptions::default(),
            stop: Vec::new(),
            stop_token_ids: Vec::new(),
            include_stop: false,
            ignore_eos: false,
            skip_special_tokens: true,
            n: 1,
            logprobs: None,
            prompt_logprobs: false,
            logits: false,
            constraint: None,
            priority: 0,
            deadline_ms: None,
            tenant: String::new(),
        }
    }
}

impl Default for ChatPrompt {
    fn default() -> Self {
        Self {
            messages: Json::Array(Vec::new()),
            tools: None,
            documents: None,
            add_generation_prompt: true,
            kwargs: Vec::new(),
        }
    }
}

impl Generate {
    /// Refuses everything that can be refused without knowing the model.
    pub fn check(&self) -> Result<(), Error> {
        self.prompt.check()?;
        self.check_adapters()?;
        self.check_ends()?;
        self.sampling.check()?;
        within("n", self.n, 1, CHOICES_MAX)?;
        if let Some(count) = self.logprobs {
            within("logprobs", count, 0, LOG_PROBABILITIES_MAX)?;
        }
        if let Some(constraint) = &self.constraint {
            constraint.check()?;
        }
        if self.deadline_ms == Some(0) {
            return refuse("deadline_ms", "0", "1 or more");
        }
        at_most("tenant", self.tenant.len(), NAME_BYTES_MAX, "bytes")
    }

    /// The adapters' weights as they compute, in the request's order.
    pub fn weights_millionths(&self) -> Result<Vec<i64>, Error> {
        self.adapters.iter().map(|adapter| weight_millionths(adapter.weight)).collect()
    }

    fn check_adapters(&self) -> Result<(), Error> {
        at_most("adapters", self.adapters.len(), ADAPTERS_PER_ROW_MAX, "adapters")?;
        for (index, adapter) in self.adapters.iter().enumerate() {
            weight_millionths(adapter.weight)?;
            if adapter.name.is_empty() {
                return refuse("adapters.name", "empty", "the name of an adapter");
            }
            at_most("adapters.name", adapter.name.len(), NAME_BYTES_MAX, "bytes")?;
            if self.adapters[..index].iter().any(|other| other.name == adapter.name) {
                let found = format!("{} twice", quoted(&adapter.name));
                return refuse("adapters.name", &found, "each adapter once, with one weight");
            }
        }
        Ok(())
    }

    fn check_ends(&self) -> Result<(), Error> {
        if let Some(max_tokens) = self.max_tokens {
            within("max_tokens", max_tokens, 1, ANSWER_TOKENS_MAX)?;
        }
        if let Some(usual_tokens) = self.usual_tokens {
            within("usual_tokens", usual_tokens, 1, ANSWER_TOKENS_MAX)?;
        }
        let longest = self.max_tokens.or(self.usual_tokens).unwrap_or(ANSWER_TOKENS_MAX);
        within("min_tokens", self.min_tokens, 0, longest)?;
        at_most("stop", self.stop.len(), STOP_STRINGS_MAX, "strings")?;
        for text in &self.stop {
            if text.is_empty() {
                return refuse("stop", "an empty string", "strings of at least one byte");
            }
            at_most("stop", text.len(), STOP_STRING_BYTES_MAX, "bytes a string")?;
        }
        at_most("stop_token_ids", self.stop_token_ids.len(), STOP_TOKENS_MAX, "tokens")
    }
}

impl Prompt {
    fn check(&self) -> Result<(), Error> {
        match self {
            Self::Text(text) => at_most("prompt", text.len(), PROMPT_BYTES_MAX, "bytes"),
            Self::Tokens(tokens) if tokens.is_empty() => refuse("prompt_tokens", "empty", "one token or more"),
            Self::Tokens(tokens) => at_most("prompt_tokens", tokens.len(), PROMPT_TOKENS_MAX, "tokens"),
            Self::Chat(chat) => chat.check(),
        }
    }
}

/// Names that a template is given by others.
const TEMPLATE_NAMES: [&str; 4] = ["messages", "tools", "documents", "add_generation_prompt"];

impl ChatPrompt {
    /// A person's one message.
    pub fn user(text: &str) -> Self {
        let message = [("role", "user"), ("content", text)].map(|(field, said)| (field.to_owned(), Json::from(said)));
        Self { messages: Json::Array(vec![Json::Object(message.to_vec())]), ..Self::default() }
    }

    fn check(&self) -> Result<(), Error> {
        let messages = match self.messages.as_array() {
            Some([]) | None => return refuse("messages", &self.messages.shown(), "an array of one message or more"),
            Some(messages) => messages,
        };
        at_most("messages", messages.len(), MESSAGES_MAX, "messages")?;
        for message in messages {
            match message.find("role") {
                Some(Json::String(_)) => {}
                Some(other) => return refuse("messages.role", &other.shown(), "a string"),
                None => return refuse("messages", &message.shown(), "objects with a `role`"),
            }
        }
        for (field, value) in [("tools", &self.tools), ("documents", &self.documents)] {
            if let Some(value) = value
                && value.as_array().is_none()
            {
                return refuse(field, &value.shown(), "an array");
            }
        }
        match self.kwargs.iter().find(|(name, _)| TEMPLATE_NAMES.contains(&name.as_str())) {
            Some((name, _)) => refuse("chat_template_kwargs", &quoted(name), "names that are no fields of their own"),
            None => Ok(()),
        }
    }
}

/// Refuses a field: what was found, and what it can be.
pub fn refuse<T>(field: &'static str, found: &str, allowed: &str) -> Result<T, Error> {
    Err(Error::Request { field, found: found.to_owned(), allowed: allowed.to_owned() })
}

fn within(field: &'static str, found: u32, min: u32, max: u32) -> Result<(), Error> {
    if (min..=max).contains(&found) { Ok(()) } else { refuse(field, &found.to_string(), &format!("{min} to {max}")) }
}

pub(crate) fn at_most(field: &'static str, found: usize, max: usize, unit: &str) -> Result<(), Error> {
    if found <= max { Ok(()) } else { refuse(field, &format!("{found} {unit}"), &format!("at most {max}")) }
}
