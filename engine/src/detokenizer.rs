//! Tokens to text, one at a time: what is delivered is never a broken character and never taken back.

use std::sync::Arc;

use crate::tokenizer::Tokenizer;

/// One answer's text. All deltas together are the tokenizer's decoding of all tokens.
#[derive(Clone, Debug)]
pub struct Detokenizer {
    tokenizer: Arc<Tokenizer>,
    skip_special: bool,
    state: State,
}

impl Detokenizer {
    /// Before the first token. With `skip_special`, special tokens leave no text.
    pub fn new(tokenizer: Arc<Tokenizer>, skip_special: bool) -> Self {
        let state = State::new(tokenizer.decoding());
        Self { tokenizer, skip_special, state }
    }

    /// Takes the next token; the text that is certain with it.
    pub fn push(&mut self, token: u32) -> String {
        match self.tokenizer.piece(token) {
            Some(piece) if !(self.skip_special && piece.special) => {
                if let State::Whole(tokens) = &mut self.state {
                    tokens.push(token);
                    return String::new();
                }
                self.state.push(&piece.text)
            }
            _ => String::new(),
        }
    }

    /// The rest of the text. What follows begins a new one.
    pub fn finish(&mut self) -> String {
        let state = std::mem::replace(&mut self.state, State::new(self.tokenizer.decoding()));
        match state {
            State::Whole(tokens) => self.tokenizer.decode_whole(&tokens, self.skip_special),
            State::Chain(chain) => chain.finish(),
        }
    }
}

/// How a tokenizer makes text of tokens, as far as it can be done token by token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decoding {
    /// Rules for tokens, then for the text that they make together.
    Chain { rules: Vec<Rule>, join: Join, strips: Vec<Strip> },
    /// Rules that look at the whole text: all of it is decoded at the end.
    Whole,
}

/// What happens to each token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// One text for another.
    Replace { from: String, to: String },
    /// `<0xE6>` is a byte. A run of them is text where it is UTF-8 as a whole, else one replacement character a byte.
    ByteFallback,
    /// A mark stands for a space, which the first token loses.
    Metaspace { mark: char, first_loses: bool },
    /// Takes a character off each token's ends.
    Strip(Strip),
}

/// A character taken off the beginning and the end, so many times at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Strip {
    pub(crate) content: char,
    pub(crate) start: usize,
    pub(crate) stop: usize,
}

/// How tokens become one text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Join {
    /// One after the other.
    Plain,
    /// With spaces between: tokenizers without a decoder.
    Spaced,
    /// Characters stand for bytes.
    Bytes,
}

#[derive(Clone, Debug)]
enum State {
    Whole(Vec<u32>),
    Chain(Chain),
}

impl State {
    fn new(decoding: &Decoding) -> Self {
        match decoding {
            Decoding::Whole => Self::Whole(Vec::new()),
            Decoding::Chain { rules, join, strips } => Self::Chain(Chain {
                stages: rules.iter().map(|rule| Stage { rule: rule.clone(), first: true, run: Vec::new() }).collect(),
                join: *join,
                first: true,
                bytes: Vec::new(),
                strips: strips.iter().map(|strip| TextStrip { strip: *strip, cut: 0, held: 0 }).collect(),
            }),
        }
    }

    fn push(&mut self, token: &str) -> String {
        match self {
            Self::Whole(_) => String::new(),
            Self::Chain(chain) => chain.push(token),
        }
    }
}

#[derive(Clone, Debug)]
struct Chain {
    stages: Vec<Stage>,
    join: Join,
    first: bool,
    /// The beginning of a character.
    bytes: Vec<u8>,
    strips: Vec<TextStrip>,
}

impl Chain {
    fn push(&mut self, token: &str) -> String {
        let mut tokens = vec![token.to_owned()];
        for stage in &mut self.stages {
            tokens = tokens.into_iter().flat_map(|token| stage.step(token)).collect();
        }
        let text = tokens.iter().map(|token| self.join(token)).collect();
        self.strip(text)
    }

    fn finish(mut self) -> String {
        let mut tokens = Vec::new();
        for stage in &mut self.stages {
            tokens = tokens.into_iter().flat_map(|token| stage.step(token)).collect::<Vec<_>>();
            tokens.extend(stage.end_run());
        }
        let mut text: String = tokens.iter().map(|token| self.join(token)).collect();
        text += &String::from_utf8_lossy(&std::mem::take(&mut self.bytes));
        // What a strip still holds back is what it takes off the end.
        self.strip(text)
    }

    fn join(&mut self, token: &str) -> String {
        let first = std::mem::replace(&mut self.first, false);
        match self.join {
            Join::Plain => token.to_owned(),
            Join::Spaced if first => token.to_owned(),
            Join::Spaced => format!(" {token}"),
            Join::Bytes => {
                self.bytes.extend(bytes_of(token));
                complete_characters(&mut self.bytes)
            }
        }
    }

    fn strip(&mut self, text: String) -> String {
        self.strips.iter_mut().fold(text, |text, strip| strip.step(&text))
    }
}

/// Bytes that a token of a byte-level vocabulary stands for; a token with other characters stands for itself.
pub(crate) fn bytes_of(token: &str) -> Vec<u8> {
    let bytes: Option<Vec<u8>> = token.chars().map(byte_of).collect();
    bytes.unwrap_or_else(|| token.as_bytes().to_vec())
}

/// The byte that a character of a byte-level vocabulary stands for: itself where it can be printed, else the next free
/// character from U+0100 on.
fn byte_of(character: char) -> Option<u8> {
    let code = u32::from(character);
    match code {
        0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => Some(code as u8),
        0x100..=0x120 => Some((code - 0x100) as u8),
        0x121..=0x142 => Some((code - 0x121 + 0x7f) as u8),
        0x143 => Some(0xad),
        _ => None,
    }
}

/// Takes from the front what is certain: whole characters, and a replacement for what can no longer become one.
fn complete_characters(bytes: &mut Vec<u8>) -> String {
    let (mut text, mut taken) = (String::new(), 0);
    while let Err(error) = std::str::from_utf8(&bytes[taken..]) {
        text += &String::from_utf8_lossy(&bytes[taken..taken + error.valid_up_to()]);
        taken += error.valid_up_to();
        let Some(broken) = error.error_len() else {
            bytes.drain(..taken);
            return text;
        };
        text.push(char::REPLACEMENT_CHARACTER);
        taken += broken;
    }
    text += &String::from_utf8_lossy(&bytes[taken..]);
    bytes.clear();
    text
}

#[derive(Clone, Debug)]
struct Stage {
    rule: Rule,
    first: bool,
    run: Vec<u8>,
}

impl Stage {
    fn step(&mut self, token: String) -> Vec<String> {
        let first = std::mem::replace(&mut self.first, false);
        match &self.rule {
            Rule::Replace { from, to } => vec![token.replace(from.as_str(), to)],
            Rule::Metaspace { mark, first_loses } => {
                let space = if first && *first_loses { "" } else { " " };
                vec![token.replace(*mark, space)]
            }
            Rule::Strip(strip) => vec![strip.of(&token).to_owned()],
            Rule::ByteFallback => match fallback_byte(&token) {
                Some(byte) => {
                    self.run.push(byte);
                    Vec::new()
                }
                None => self.end_run().into_iter().chain([token]).collect(),
            },
        }
    }

    fn end_run(&mut self) -> Vec<String> {
        let run = std::mem::take(&mut self.run);
        let bytes = run.len();
        match String::from_utf8(run) {
            Ok(text) if text.is_empty() => Vec::new(),
            Ok(text) => vec![text],
            Err(_) => vec![char::REPLACEMENT_CHARACTER.to_string(); bytes],
        }
    }
}

/// The byte that `<0xE6>` stands for.
pub(crate) fn fallback_byte(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    if digits.len() == 2 { u8::from_str_radix(digits, 16).ok() } else { None }
}

impl Strip {
    fn of<'t>(&self, mut text: &'t str) -> &'t str {
        for _ in 0..self.start {
            text = text.strip_prefix(self.content).unwrap_or(text);
        }
        for _ in 0..self.stop {
            text = text.strip_suffix(self.content).unwrap_or(text);
        }
        text
    }
}

/// A strip of the text as a whole.
#[derive(Clone, Debug)]
struct TextStrip {
    strip: Strip,
    /// Characters taken off the beginning; all that can be, once another character was met.
    cut: usize,
    /// Characters held back, because they would be taken off if the text ended here.
    held: usize,
}

impl TextStrip {
    fn step(&mut self, text: &str) -> String {
        let mut out = String::new();
        for character in text.chars() {
            if character != self.strip.content {
                self.cut = self.strip.start;
                out.extend(std::iter::repeat_n(self.strip.content, std::mem::take(&mut self.held)));
                out.push(character);
            } else if self.cut < self.strip.start {
                self.cut += 1;
            } else if self.held < self.strip.stop {
                self.held += 1;
            } else {
                out.push(character);
            }
        }
        out
    }
}
