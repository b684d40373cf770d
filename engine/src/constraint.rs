//! Answers of a given form: which tokens may come next, by a JSON schema, a regular expression, a grammar or a list.
//!
//! The first compilation wraps the process's panic hook: llguidance keeps its own panics from it and passes on others.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use llguidance::api::{ParserLimits, TopLevelGrammar};
use llguidance::earley::Parser;
use llguidance::toktrie::{ApproximateTokEnv, InferenceCapabilities, TokEnv, TokRxInfo, TokTrie};
use llguidance::{Matcher, ParserFactory};

use crate::apart::apart;
use crate::error::Error;
use crate::json::Json;
use crate::request::{at_most, refuse};
use crate::text::Text;
use crate::tokenizer::Tokenizer;

/// Bytes of a schema, or of all choices.
pub const SCHEMA_BYTES_MAX: usize = 64 << 10;
/// Bytes of an expression. Compiling takes the square of them at worst: here 10 MB, and a tenth of a second.
pub const REGEX_BYTES_MAX: usize = 4 << 10;
/// Bytes of a grammar.
pub const GRAMMAR_BYTES_MAX: usize = 32 << 10;
/// Texts of a [`Constraint::Choice`].
pub const CONSTRAINT_CHOICES_MAX: usize = 1024;
/// Bytes of one form's tables, which all answers of a request share.
pub const FORM_BYTES_MAX: usize = 16 << 20;
/// Bytes of the tables of all forms; while there are so many, none is begun.
pub const FORMS_BYTES_MAX: usize = 1 << 30;

/// The form that an answer must have.
#[derive(Clone, Debug, PartialEq)]
pub enum Constraint {
    /// JSON that a schema describes.
    JsonSchema(Json),
    /// Any JSON object.
    JsonObject,
    /// A text that a regular expression matches as a whole.
    Regex(String),
    /// A text of a grammar in Lark's notation.
    Grammar(String),
    /// One of these texts.
    Choice(Vec<String>),
}

impl Constraint {
    /// What a request calls it.
    pub const fn field(&self) -> &'static str {
        match self {
            Self::JsonSchema(_) => "json_schema",
            Self::JsonObject => "response_format",
            Self::Regex(_) => "regex",
            Self::Grammar(_) => "grammar",
            Self::Choice(_) => "choice",
        }
    }

    /// What can be compiled. The library refuses what is wrong and what is too large for its limits in the same way.
    const fn allowed(&self) -> &'static str {
        match self {
            Self::JsonSchema(_) => "a valid JSON schema, within the limits for its size",
            Self::Regex(_) => "a valid regular expression, within the limits for its size",
            Self::Grammar(_) => "a valid grammar in Lark's notation, within the limits for its size",
            Self::JsonObject | Self::Choice(_) => "a form within the limits for its size",
        }
    }

    /// Refuses what is too large to look at.
    pub fn check(&self) -> Result<(), Error> {
        let field = self.field();
        match self {
            Self::JsonObject => Ok(()),
            Self::JsonSchema(schema) => {
                if !matches!(schema, Json::Object(_) | Json::Bool(_)) {
                    return refuse(field, &schema.shown(), "an object");
                }
                let bytes = serde_json::to_string(schema).map_or(usize::MAX, |text| text.len());
                at_most(field, bytes, SCHEMA_BYTES_MAX, "bytes")
            }
            Self::Regex(text) => at_most(field, text.len(), REGEX_BYTES_MAX, "bytes"),
            Self::Grammar(text) => at_most(field, text.len(), GRAMMAR_BYTES_MAX, "bytes"),
            Self::Choice(texts) => {
                if texts.is_empty() || texts.iter().any(String::is_empty) {
                    return refuse(field, "empty", "one text or more, none of them empty");
                }
                at_most(field, texts.len(), CONSTRAINT_CHOICES_MAX, "texts")?;
                at_most(field, texts.iter().map(String::len).sum(), SCHEMA_BYTES_MAX, "bytes")
            }
        }
    }

    fn grammar(&self) -> TopLevelGrammar {
        let object = || Json::Object(vec![("type".to_owned(), Json::from("object"))]);
        match self {
            Self::JsonSchema(schema) => TopLevelGrammar::from_json_schema(value(schema)),
            Self::JsonObject => TopLevelGrammar::from_json_schema(value(&object())),
            Self::Regex(text) => TopLevelGrammar::from_regex(text),
            Self::Grammar(text) => TopLevelGrammar::from_lark(text.clone()),
            Self::Choice(texts) => {
                let texts: Vec<_> = texts.iter().map(|text| Json::from(text.as_str())).collect();
                let quoted: Vec<_> =
                    texts.iter().map(|text| serde_json::to_string(text).expect("a string has a JSON form")).collect();
                TopLevelGrammar::from_lark(format!("start: {}\n", quoted.join(" | ")))
            }
        }
    }
}

fn value(json: &Json) -> serde_json::Value {
    serde_json::to_value(json).expect("every number of it is finite")
}

/// Makes constraints' states for one model: its tokens as bytes, in a tree.
pub struct ConstraintFactory {
    inner: ParserFactory,
    words: usize,
    /// Bytes of the tables of all forms.
    bytes: Arc<AtomicUsize>,
    /// Held while a form is compiled: what one takes meanwhile is not bounded as what it keeps, so they do it in turn.
    compiling: Mutex<()>,
}

impl ConstraintFactory {
    /// For a tokenizer, the tokens that end an answer, and the rows of the model's logits.
    pub fn new(tokenizer: &Tokenizer, eos: &[u32], vocabulary: usize) -> Result<Self, Error> {
        let failed = |reason: String| Error::Constraint { reason };
        let eos: Vec<u32> = eos.iter().copied().filter(|token| (*token as usize) < vocabulary).collect();
        let Some(first) = eos.first() else {
            return Err(failed("the model's files name no token that ends an answer".to_owned()));
        };
        let size = u32::try_from(vocabulary).map_err(|_| failed(format!("{vocabulary} tokens are too many")))?;
        let tokens: Vec<Vec<u8>> = (0..size).map(|token| marked(tokenizer, token, eos.contains(&token))).collect();
        let trie = TokTrie::from(&TokRxInfo::new(size, *first), &tokens).with_eos_tokens(&eos);
        let environment: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
        let mut inner = ParserFactory::new(
            &environment,
            InferenceCapabilities::default(),
            &llguidance::earley::SlicedBiasComputer::general_slices(),
        )
        .map_err(|error| failed(error.to_string()))?;
        inner.quiet();
        *inner.limits_mut() = limits();
        Ok(Self { inner, words: vocabulary.div_ceil(32), bytes: Arc::default(), compiling: Mutex::default() })
    }

    /// Begins an answer. Compiling takes milliseconds, and seconds for what is made to be slow: not for the thread that
    /// serves.
    pub fn begin(&self, constraint: &Constraint) -> Result<ConstraintState, Error> {
        constraint.check()?;
        let turn = self.compiling.lock().unwrap_or_else(PoisonError::into_inner);
        if self.bytes() >= FORMS_BYTES_MAX {
            return Err(Error::Full { what: "the memory for forms of answers (bytes)", limit: FORMS_BYTES_MAX });
        }
        let compile = || self.inner.create_parser(constraint.grammar()).map_err(|error| error.to_string());
        let parser = apart("structured output", compile).map_err(|reason| {
            let found = format!("refused ({})", sentence(&reason));
            Error::Request { field: constraint.field(), found, allowed: constraint.allowed().to_owned() }
        })?;
        let tables = Tables { lexer: parser.parser.clone(), bytes: Arc::new(Bytes::among(&self.bytes)) };
        let bytes = tables.weigh();
        drop(turn);
        if bytes > FORM_BYTES_MAX {
            let found = format!("a form whose tables take {bytes} bytes");
            return Err(Error::Request {
                field: constraint.field(),
                found,
                allowed: format!("{FORM_BYTES_MAX} at most"),
            });
        }
        Ok(ConstraintState { tables, matcher: Matcher::new(Ok(parser)), words: self.words })
    }

    /// Bytes of the tables of all forms that answers still have.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for ConstraintFactory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConstraintFactory").field("words", &self.words).finish_non_exhaustive()
    }
}

/// What one compilation and one mask may cost: about a tenth of a second, and some tens of megabytes.
fn limits() -> ParserLimits {
    ParserLimits {
        max_items_in_row: 2000,
        initial_lexer_fuel: 1_000_000,
        step_lexer_fuel: 200_000,
        step_max_items: 50_000,
        max_lexer_states: 30_000,
        max_grammar_size: 300_000,
        precompute_large_lexemes: true,
        verbose_errors: false,
    }
}

/// A token's bytes; those of a special one behind a mark that no text has.
fn marked(tokenizer: &Tokenizer, token: u32, ends: bool) -> Vec<u8> {
    let bytes = tokenizer.bytes(token);
    if ends || tokenizer.is_special(token) {
        let name = if bytes.is_empty() { format!("<{token}>").into_bytes() } else { bytes };
        return [&[TokTrie::SPECIAL_TOKEN_MARKER][..], &name].concat();
    }
    // A byte that begins no UTF-8 would read as the mark; nothing of any form contains it.
    if bytes.first() == Some(&TokTrie::SPECIAL_TOKEN_MARKER) { Vec::new() } else { bytes }
}

/// One answer's form, as far as it has come. It can be sent to a thread that computes masks beside the model.
pub struct ConstraintState {
    matcher: Matcher,
    tables: Tables,
    words: usize,
}

impl ConstraintState {
    /// The same state once more, for another answer of the same request: what one works out serves the others too.
    pub fn fork(&self) -> Self {
        Self { matcher: self.matcher.clone(), tables: self.tables.clone(), words: self.words }
    }

    /// Bytes of its form's tables, as of the last mask of any of its answers.
    pub fn bytes(&self) -> usize {
        self.tables.bytes.of_one.load(Ordering::Relaxed)
    }

    /// Which tokens may come next: bit `token % 32` of word `token / 32`. The tokens that end the answer are among them
    /// exactly where it may end.
    pub fn mask(&mut self) -> Result<Vec<u32>, Error> {
        let mask = self.matcher.compute_mask_or_eos().map_err(failed)?;
        if self.tables.weigh() > FORM_BYTES_MAX {
            return Err(failed(format!("the form's tables take more than {FORM_BYTES_MAX} bytes; simplify it")));
        }
        let mut words: Vec<u32> = mask.into();
        words.resize(self.words, 0);
        Ok(words)
    }

    /// Takes the token that was chosen. After the answer's end there is nothing more to check.
    pub fn accept(&mut self, token: u32) -> Result<(), Error> {
        if self.is_finished() { Ok(()) } else { self.matcher.consume_token(token).map_err(failed) }
    }

    /// Whether the answer is complete and nothing can follow it.
    pub fn is_finished(&self) -> bool {
        self.matcher.is_stopped() && !self.matcher.is_error()
    }

    /// Whether the answer may end here.
    pub fn may_end(&mut self) -> Result<bool, Error> {
        if self.is_finished() { Ok(true) } else { self.matcher.is_accepting().map_err(failed) }
    }
}

/// A form that was worked out last, for whoever asks for it again: working it out can take a second.
#[derive(Debug, Default)]
pub struct CompiledForm(Option<(Constraint, ConstraintState)>);

impl CompiledForm {
    /// Begins an answer of a given form.
    pub(crate) fn begin(&mut self, asked: &Constraint, text: &Text) -> Result<ConstraintState, Error> {
        if let Some((known, state)) = &self.0
            && known == asked
        {
            return Ok(state.fork());
        }
        let state = text.constrain(asked)?;
        let first = state.fork();
        self.0 = Some((asked.clone(), state));
        Ok(first)
    }
}

impl fmt::Debug for ConstraintState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConstraintState").field("finished", &self.is_finished()).finish_non_exhaustive()
    }
}

/// What is worked out of a form as its answers go on; they share it.
#[derive(Clone)]
struct Tables {
    /// The matchers' own, which tell nothing of it.
    lexer: Parser,
    bytes: Arc<Bytes>,
}

impl Tables {
    /// Counts how many bytes they have by now.
    fn weigh(&self) -> usize {
        let bytes = self.lexer.lexer_stats().num_bytes;
        self.bytes.set(bytes);
        bytes
    }
}

/// One form's bytes among those of all forms, until the last answer that has it is gone.
struct Bytes {
    of_one: AtomicUsize,
    of_all: Arc<AtomicUsize>,
}

impl Bytes {
    fn among(of_all: &Arc<AtomicUsize>) -> Self {
        Self { of_one: AtomicUsize::new(0), of_all: Arc::clone(of_all) }
    }

    fn set(&self, bytes: usize) {
        self.of_all.fetch_add(bytes, Ordering::Relaxed);
        self.of_all.fetch_sub(self.of_one.swap(bytes, Ordering::Relaxed), Ordering::Relaxed);
    }
}

impl Drop for Bytes {
    fn drop(&mut self) {
        self.set(0);
    }
}

fn failed(error: impl fmt::Display) -> Error {
    Error::Constraint { reason: sentence(&error.to_string()) }
}

/// What the library says. Some of its errors are bare names of its own.
fn sentence(error: &str) -> String {
    let said = first_line(error);
    match said.as_str() {
        "NoExtensionBias" | "NoExtension" => {
            "no text has this form, as where a schema refers to itself without an end; give it an end".to_owned()
        }
        _ if said.contains(' ') => said,
        _ => format!("the form cannot be worked out ({said}); simplify it"),
    }
}

/// The first line, and behind a colon at its end what a later one says was wrong: between them is a drawing of where.
fn first_line(text: &str) -> String {
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default();
    let cause = lines.find_map(|line| line.strip_prefix("error: ")).filter(|_| first.ends_with(':'));
    first.chars().chain(cause.into_iter().flat_map(|cause| " ".chars().chain(cause.chars()))).take(300).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_form_is_worked_out_once() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/golden/llama-gqa/base");
        let text = Text::read(&folder, 436).unwrap();
        let (asked, other) = (Constraint::Regex("[ab]+".to_owned()), Constraint::Regex("[cd]+".to_owned()));
        let mut form = CompiledForm::default();
        let mut first = form.begin(&asked, &text).unwrap();
        // Nothing can be worked out for this one.
        let none = Text::none(&[1], 436);
        let mut second = form.begin(&asked, &none).unwrap();
        assert_eq!(first.mask().unwrap(), second.mask().unwrap());
        form.begin(&other, &none).unwrap_err();
    }
}
