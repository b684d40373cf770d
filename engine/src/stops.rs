//! When an answer ends, and how much of its text can be delivered before that is known.

use loam_ledger_core::row::Finish;

use crate::detokenizer::Detokenizer;
use crate::event::StoppedBy;
use crate::request::Generate;

/// One answer's ends.
///
/// Text is held back only as far as it could be the beginning of a stop string. Of several stop strings the one that is
/// complete first ends the answer; of those that end together, the longest.
#[derive(Clone, Debug)]
pub struct Stops {
    eos: Vec<u32>,
    stop_tokens: Vec<u32>,
    forbidden: Vec<u32>,
    patterns: Vec<Pattern>,
    include_stop: bool,
    min_tokens: u32,
    max_tokens: u32,
    tokens: u32,
    held: String,
    finish: Option<Finish>,
    stopped_by: Option<StoppedBy>,
}

/// What a token brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Text that can be delivered now.
    pub text: String,
    /// Why the answer ended with this token, if it did.
    pub finish: Option<Finish>,
}

impl Stops {
    /// A request's ends, beside the model's own. `max_tokens` is the request's, or what the model has room for.
    pub fn new(request: &Generate, eos: &[u32], max_tokens: u32) -> Self {
        let eos = if request.ignore_eos { Vec::new() } else { eos.to_vec() };
        let mut forbidden: Vec<u32> = eos.iter().chain(&request.stop_token_ids).copied().collect();
        forbidden.sort_unstable();
        forbidden.dedup();
        Self {
            eos,
            stop_tokens: request.stop_token_ids.clone(),
            forbidden,
            patterns: request.stop.iter().map(|text| Pattern::new(text)).collect(),
            include_stop: request.include_stop,
            min_tokens: request.min_tokens,
            max_tokens,
            tokens: 0,
            held: String::new(),
            finish: None,
            stopped_by: None,
        }
    }

    /// Tokens that cannot come next, because the answer is shorter than its least length.
    pub fn forbidden(&self) -> &[u32] {
        self.forbidden_after(0)
    }

    /// The same when so many more tokens have come that end nothing.
    pub fn forbidden_after(&self, more: u32) -> &[u32] {
        if self.tokens.saturating_add(more) < self.min_tokens { &self.forbidden } else { &[] }
    }

    /// Tokens taken so far.
    pub const fn tokens(&self) -> u32 {
        self.tokens
    }

    /// Why the answer ended.
    pub const fn finish(&self) -> Option<Finish> {
        self.finish
    }

    /// Which of the request's own stops ended it.
    pub const fn stopped_by(&self) -> Option<StoppedBy> {
        self.stopped_by
    }

    /// Takes the next token. `detokenizer` is the answer's own; absent, the answer has no text. Nothing comes after the
    /// end.
    pub fn push(&mut self, token: u32, detokenizer: Option<&mut Detokenizer>) -> Progress {
        if self.finish.is_some() {
            return Progress { text: String::new(), finish: self.finish };
        }
        self.tokens = self.tokens.saturating_add(1);
        let by_token = if self.eos.contains(&token) {
            Some(Finish::STOP)
        } else if self.stop_tokens.contains(&token) {
            Some(Finish::STOP_SEQUENCE)
        } else {
            None
        };
        let ended = by_token.or_else(|| (self.tokens >= self.max_tokens).then_some(Finish::LENGTH));
        let mut delta = String::new();
        if let Some(detokenizer) = detokenizer {
            if by_token.is_none() || self.include_stop {
                delta = detokenizer.push(token);
            }
            if ended.is_some() {
                delta += &detokenizer.finish();
            }
        }
        let mut progress = self.search(&delta);
        if progress.finish.is_none() && ended.is_some() {
            progress.text += &self.give_up();
            progress.finish = ended;
            self.stopped_by = (ended == Some(Finish::STOP_SEQUENCE)).then_some(StoppedBy::Token(token));
        }
        self.finish = progress.finish;
        progress
    }

    /// Text that was held back, where an answer ends by other means: a deadline, a client gone.
    pub fn flush(&mut self, detokenizer: Option<&mut Detokenizer>) -> String {
        if self.finish.is_some() {
            return String::new();
        }
        let rest = detokenizer.map(Detokenizer::finish).unwrap_or_default();
        let mut progress = self.search(&rest);
        if progress.finish.is_none() {
            progress.text += &self.give_up();
        }
        progress.text
    }

    /// What was held back, where no stop string can follow any more.
    fn give_up(&mut self) -> String {
        self.patterns.clear();
        std::mem::take(&mut self.held)
    }

    fn search(&mut self, delta: &str) -> Progress {
        if self.patterns.is_empty() || self.tokens <= self.min_tokens && self.min_tokens > 0 {
            return Progress { text: delta.to_owned(), finish: None };
        }
        let before = self.held.len();
        self.held += delta;
        for at in before..self.held.len() {
            let byte = self.held.as_bytes()[at];
            let steps = self.patterns.iter_mut().enumerate();
            let met = steps.filter_map(|(place, pattern)| pattern.step(byte).map(|length| (length, place))).max();
            if let Some((length, place)) = met {
                self.stopped_by = Some(StoppedBy::Text(place));
                let mut text = std::mem::take(&mut self.held);
                text.truncate(if self.include_stop { at + 1 } else { at + 1 - length });
                return Progress { text, finish: Some(Finish::STOP_SEQUENCE) };
            }
        }
        // A pattern's beginning starts where a character does, and the text ends where one does.
        let kept = self.patterns.iter().map(|pattern| pattern.matched).max().unwrap_or(0);
        let tail = self.held.split_off(self.held.len() - kept);
        Progress { text: std::mem::replace(&mut self.held, tail), finish: None }
    }
}

/// A stop string, searched for byte by byte without ever looking back (Knuth, Morris and Pratt).
#[derive(Clone, Debug)]
struct Pattern {
    bytes: Vec<u8>,
    /// For each length of a beginning: the longest shorter one that is also its end.
    shorter: Vec<usize>,
    matched: usize,
}

impl Pattern {
    fn new(text: &str) -> Self {
        let bytes = text.as_bytes().to_vec();
        let mut shorter = vec![0; bytes.len() + 1];
        let mut length = 0;
        for end in 1..bytes.len() {
            while length > 0 && bytes[length] != bytes[end] {
                length = shorter[length];
            }
            length += usize::from(bytes[length] == bytes[end]);
            shorter[end + 1] = length;
        }
        Self { bytes, shorter, matched: 0 }
    }

    /// Takes a byte; the pattern's length where it is complete with it.
    fn step(&mut self, byte: u8) -> Option<usize> {
        while self.matched > 0 && self.bytes[self.matched] != byte {
            self.matched = self.shorter[self.matched];
        }
        self.matched += usize::from(self.bytes[self.matched] == byte);
        (self.matched == self.bytes.len()).then(|| {
            self.matched = self.shorter[self.matched];
            self.bytes.len()
        })
    }
}
