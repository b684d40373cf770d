//! A model's text side, read from its folder: tokenizer, chat templates, what ends an answer, sampling defaults.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use jiff::Zoned;

use crate::constraint::{Constraint, ConstraintFactory, ConstraintState};
use crate::error::Error;
use crate::generation::GenerationDefaults;
use crate::request::{ChatPrompt, Prompt};
use crate::sampler::SamplingOptions;
use crate::template::ChatTemplates;
use crate::tokenizer::Tokenizer;

/// What is between texts and tokens. A model without a tokenizer serves token ids alone.
pub struct Text {
    tokenizer: Option<Arc<Tokenizer>>,
    templates: Option<ChatTemplates>,
    eos: Vec<u32>,
    defaults: SamplingOptions,
    vocabulary: usize,
    /// Made when the first request asks for a form: most models never need it.
    constraints: OnceLock<Result<ConstraintFactory, String>>,
}

impl Text {
    /// Reads a model's folder.
    pub fn read(folder: &Path, vocabulary: usize) -> Result<Self, Error> {
        let tokenizer = Tokenizer::read(folder)?.map(Arc::new);
        let GenerationDefaults { mut eos, sampling } = GenerationDefaults::read(folder, tokenizer.as_deref())?;
        // What the model cannot say cannot end its answers.
        eos.retain(|token| (*token as usize) < vocabulary);
        Ok(Self {
            tokenizer,
            templates: Some(ChatTemplates::read(folder)?),
            eos,
            defaults: sampling,
            vocabulary,
            constraints: OnceLock::new(),
        })
    }

    /// A model of token ids alone.
    pub fn none(eos: &[u32], vocabulary: usize) -> Self {
        let (eos, defaults) = (eos.to_vec(), SamplingOptions::default());
        Self { tokenizer: None, templates: None, eos, defaults, vocabulary, constraints: OnceLock::new() }
    }

    /// The tokenizer, where there is one.
    pub fn tokenizer(&self) -> Option<&Arc<Tokenizer>> {
        self.tokenizer.as_ref()
    }

    /// Tokens that end an answer.
    pub fn eos(&self) -> &[u32] {
        &self.eos
    }

    /// What the model's files say where a request says nothing.
    pub fn sampling_defaults(&self) -> &SamplingOptions {
        &self.defaults
    }

    /// A prompt's tokens.
    pub fn prompt(&self, prompt: &Prompt) -> Result<Vec<u32>, Error> {
        self.prompt_within(prompt, usize::MAX)
    }

    /// The same, for so many positions: a text that cannot have room there is refused unread. Tokenising takes a hundred
    /// times its bytes.
    pub fn prompt_within(&self, prompt: &Prompt, positions: usize) -> Result<Vec<u32>, Error> {
        let encode = |tokenizer: &Tokenizer, text: &str, add_special| {
            let least = tokenizer.tokens_min(text.len());
            if least >= positions {
                let (found, allowed) = (format!("at least {least}"), (positions - 1).to_string());
                return Err(Error::ContextFull { field: "prompt", found, allowed, positions });
            }
            tokenizer.encode(text, add_special)
        };
        match prompt {
            Prompt::Tokens(tokens) => Ok(tokens.clone()),
            Prompt::Text(text) => encode(self.needed("prompt")?, text, true),
            // A template writes the special tokens itself.
            Prompt::Chat(chat) => encode(self.needed("messages")?, &self.render(chat)?, false),
        }
    }

    /// A chat's text, as the model's template has it.
    pub fn render(&self, chat: &ChatPrompt) -> Result<String, Error> {
        match &self.templates {
            Some(templates) => templates.render(chat, &Zoned::now()),
            None => Err(no_tokenizer("messages")),
        }
    }

    /// Begins an answer of a given form.
    pub fn constrain(&self, constraint: &Constraint) -> Result<ConstraintState, Error> {
        let tokenizer = self.needed(constraint.field())?;
        let factory = self.constraints.get_or_init(|| {
            ConstraintFactory::new(tokenizer, &self.eos, self.vocabulary).map_err(|error| error.to_string())
        });
        match factory {
            Ok(factory) => factory.begin(constraint),
            Err(reason) => Err(Error::Constraint { reason: reason.clone() }),
        }
    }

    fn needed(&self, field: &'static str) -> Result<&Arc<Tokenizer>, Error> {
        self.tokenizer.as_ref().ok_or_else(|| no_tokenizer(field))
    }
}

fn no_tokenizer(field: &'static str) -> Error {
    let allowed = "left out: this model has no tokenizer.json; ask with `prompt_tokens`".to_owned();
    Error::Request { field, found: "given".to_owned(), allowed }
}
