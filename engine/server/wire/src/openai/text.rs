//! Texts to token ids and back, as vLLM's `/tokenize` and `/detokenize`.

use loam_engine::fields::{self, flag, tokens};
use loam_engine::request::{ChatPrompt, Generate, PROMPT_TOKENS_MAX, Prompt};
use loam_engine::text::Text;
use loam_engine::tokenizer::Tokenizer;
use serde::Serialize;

use super::body::{self, wrong};
use super::{chat, model_name};
use crate::problem::Problem;

/// What is to be made token ids.
#[derive(Clone, Debug, PartialEq)]
pub struct Tokenize {
    /// An adapter's name, where the request has one: whether there is such an adapter is the engine's to say.
    pub adapter: Option<String>,
    /// The text.
    pub prompt: TokenizePrompt,
    /// Whether tokens are wanted as the vocabulary spells them, too.
    pub return_token_strs: bool,
}

/// A text, or what a template makes one of.
#[derive(Clone, Debug, PartialEq)]
pub enum TokenizePrompt {
    /// A text.
    Text {
        /// The text.
        text: String,
        /// Whether with what the tokenizer puts around a text.
        add_special_tokens: bool,
    },
    /// Messages.
    Chat(ChatPrompt),
}

/// What is to be made a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detokenize {
    /// As in [`Tokenize`].
    pub adapter: Option<String>,
    /// The token ids.
    pub tokens: Vec<u32>,
}

const TOKENIZE: [&str; 11] = [
    "model",
    "prompt",
    "messages",
    "tools",
    "documents",
    "add_generation_prompt",
    "chat_template_kwargs",
    "add_special_tokens",
    "return_token_strs",
    "continue_final_message",
    "chat_template",
];

/// Reads the body of `POST /tokenize`.
pub fn read_tokenize(body: &[u8], base_names: &[String]) -> Result<Tokenize, Problem> {
    let mut fields = body::read(body, &TOKENIZE)?;
    let model = model_name::name(&mut fields, base_names)?;
    let return_token_strs = fields.read("return_token_strs", flag)?.unwrap_or(false);
    let add_special = fields.read("add_special_tokens", flag)?;
    if fields.read("continue_final_message", flag)? == Some(true) {
        return Err(wrong("continue_final_message", "true", "false"));
    }
    if let Some(template) = fields.take("chat_template") {
        return Err(wrong("chat_template", &template.shown(), "absent: the model's own template is used"));
    }
    let prompt = match fields.read("prompt", fields::text)? {
        Some(text) => TokenizePrompt::Text { text, add_special_tokens: add_special.unwrap_or(true) },
        None if add_special == Some(true) => {
            let allowed = "false beside `messages`: the template writes the special tokens";
            return Err(wrong("add_special_tokens", "true", allowed));
        }
        None => TokenizePrompt::Chat(chat::read(&mut fields)?),
    };
    for name in ["messages", "tools", "documents", "add_generation_prompt", "chat_template_kwargs"] {
        if let Some(value) = fields.take(name) {
            return Err(wrong(name, &value.shown(), "absent beside `prompt`"));
        }
    }
    fields.finish()?;
    let checked = match &prompt {
        TokenizePrompt::Text { text, .. } => Prompt::Text(text.clone()),
        TokenizePrompt::Chat(chat) => Prompt::Chat(chat.clone()),
    };
    Generate { prompt: checked, ..Generate::default() }.check()?;
    Ok(Tokenize { adapter: model.is_adapter.then_some(model.name), prompt, return_token_strs })
}

impl Tokenize {
    /// The token ids, by the model's text side.
    pub fn tokens(&self, text: &Text) -> Result<Vec<u32>, Problem> {
        let tokens = match (&self.prompt, text.tokenizer()) {
            (TokenizePrompt::Text { text, add_special_tokens }, Some(tokenizer)) => {
                tokenizer.encode(text, *add_special_tokens)
            }
            // Without a tokenizer it says what can be asked instead.
            (TokenizePrompt::Text { text: prompt, .. }, None) => text.prompt(&Prompt::Text(prompt.clone())),
            (TokenizePrompt::Chat(chat), _) => text.prompt(&Prompt::Chat(chat.clone())),
        };
        Ok(tokens?)
    }
}

#[derive(Serialize)]
struct Tokenized<'t> {
    count: usize,
    max_model_len: usize,
    tokens: &'t [u32],
    token_strs: Option<Vec<&'t str>>,
}

/// The answer to `POST /tokenize`.
pub fn tokenize_body(asked: &Tokenize, tokens: &[u32], max_model_len: usize, tokenizer: &Tokenizer) -> String {
    let spelled = || tokens.iter().map(|token| tokenizer.token(*token).unwrap_or_default()).collect();
    let token_strs = asked.return_token_strs.then(spelled);
    let body = Tokenized { count: tokens.len(), max_model_len, tokens, token_strs };
    serde_json::to_string(&body).expect("texts and whole numbers have a JSON form")
}

/// Reads the body of `POST /detokenize`.
pub fn read_detokenize(body: &[u8], base_names: &[String]) -> Result<Detokenize, Problem> {
    let mut fields = body::read(body, &["model", "tokens"])?;
    let model = model_name::name(&mut fields, base_names)?;
    let tokens = fields.read("tokens", tokens)?.ok_or_else(|| wrong("tokens", "absent", "an array of token ids"))?;
    fields.finish()?;
    if tokens.len() > PROMPT_TOKENS_MAX {
        return Err(wrong("tokens", &format!("{} token ids", tokens.len()), &format!("at most {PROMPT_TOKENS_MAX}")));
    }
    Ok(Detokenize { adapter: model.is_adapter.then_some(model.name), tokens })
}

#[derive(Serialize)]
struct Detokenized<'t> {
    prompt: &'t str,
}

/// The answer to `POST /detokenize`.
pub fn detokenize_body(text: &str) -> String {
    serde_json::to_string(&Detokenized { prompt: text }).expect("a text has a JSON form")
}
