//! Log-probabilities in the shapes of either endpoint.

use std::sync::Arc;

use loam_engine::detokenizer::Detokenizer;
use loam_engine::executor::{Chosen, Sampled};
use loam_engine::tokenizer::Tokenizer;
use serde::{Serialize, Serializer};

/// What JSON has where a logarithm is no number: vLLM's word for it too.
const LOGPROB_MIN: f32 = -9999.0;

/// A log-probability that JSON has a form for.
pub(super) const fn finite(logprob: f32) -> f32 {
    if logprob.is_finite() { logprob } else { LOGPROB_MIN }
}

/// How tokens are written.
pub(super) struct Spelling {
    pub(super) tokenizer: Option<Arc<Tokenizer>>,
    /// Whether a token is written as its id.
    pub(super) as_ids: bool,
}

impl Spelling {
    /// A token's text; half a character is a replacement character. Without a tokenizer, its id.
    pub(super) fn text(&self, token: u32) -> String {
        match &self.tokenizer {
            Some(tokenizer) if !self.as_ids => String::from_utf8_lossy(&tokenizer.bytes(token)).into_owned(),
            _ => format!("token_id:{token}"),
        }
    }

    fn bytes(&self, token: u32) -> Option<Vec<u8>> {
        self.tokenizer.as_ref().map(|tokenizer| tokenizer.bytes(token))
    }
}

/// Log-probabilities of tokens, in order.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Logprobs {
    Chat {
        content: Vec<ChatToken>,
        refusal: Option<Vec<ChatToken>>,
    },
    Completion {
        tokens: Vec<String>,
        /// None for a prompt's first token, which nothing foretold.
        token_logprobs: Vec<Option<f32>>,
        top_logprobs: Vec<Option<Top>>,
        /// Characters of the choice's text before the token.
        text_offset: Vec<u64>,
    },
}

#[derive(Serialize)]
pub(super) struct ChatToken {
    #[serde(flatten)]
    token: ChatTop,
    top_logprobs: Vec<ChatTop>,
}

#[derive(Serialize)]
struct ChatTop {
    token: String,
    logprob: f32,
    bytes: Option<Vec<u8>>,
}

/// The most probable tokens by their texts. Of several with one text, the first counts.
pub(super) struct Top(Vec<(String, f32)>);

impl Serialize for Top {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(token, logprob)| (token, logprob)))
    }
}

impl Logprobs {
    pub(super) const fn chat() -> Self {
        Self::Chat { content: Vec::new(), refusal: None }
    }

    pub(super) const fn completion() -> Self {
        Self::Completion {
            tokens: Vec::new(),
            token_logprobs: Vec::new(),
            top_logprobs: Vec::new(),
            text_offset: Vec::new(),
        }
    }

    /// Adds tokens of an answer, with so many of the most probable ones beside each.
    pub(super) fn add(&mut self, sampled: &[Sampled], top: u32, spelling: &Spelling, offsets: &mut Offsets) {
        for Sampled { chosen, top: most } in sampled {
            let most = &most[..most.len().min(top as usize)];
            match self {
                Self::Chat { content, .. } => content.push(ChatToken {
                    token: chat_top(chosen.token, chosen.log_probability, spelling),
                    top_logprobs: most.iter().map(|(token, logprob)| chat_top(*token, *logprob, spelling)).collect(),
                }),
                Self::Completion { .. } => self.add_text(chosen.token, Some((chosen, most)), spelling, offsets),
            }
        }
    }

    /// Adds the tokens of a prompt, with so many of the most probable ones beside each; of the first there is no
    /// log-probability.
    pub(super) fn add_prompt(
        &mut self,
        prompt: &[u32],
        (scores, top): (&[Sampled], u32),
        spelling: &Spelling,
        offsets: &mut Offsets,
    ) {
        for (place, token) in prompt.iter().enumerate() {
            let score = place.checked_sub(1).and_then(|place| scores.get(place));
            let score = score.map(|it| (&it.chosen, &it.top[..it.top.len().min(top as usize)]));
            self.add_text(*token, score, spelling, offsets);
        }
    }

    /// Adds what follows, of the same shape.
    pub(super) fn append(&mut self, rest: Option<Self>) {
        match (self, rest) {
            (Self::Chat { content, .. }, Some(Self::Chat { content: more, .. })) => content.extend(more),
            (
                Self::Completion { tokens, token_logprobs, top_logprobs, text_offset },
                Some(Self::Completion { tokens: a, token_logprobs: b, top_logprobs: c, text_offset: d }),
            ) => {
                tokens.extend(a);
                token_logprobs.extend(b);
                top_logprobs.extend(c);
                text_offset.extend(d);
            }
            _ => {}
        }
    }

    fn add_text(
        &mut self,
        token: u32,
        score: Option<(&Chosen, &[(u32, f32)])>,
        spelling: &Spelling,
        offsets: &mut Offsets,
    ) {
        let Self::Completion { tokens, token_logprobs, top_logprobs, text_offset } = self else { return };
        tokens.push(spelling.text(token));
        token_logprobs.push(score.map(|(chosen, _)| finite(chosen.log_probability)));
        top_logprobs.push(score.map(|(chosen, most)| top(chosen, most, spelling)));
        text_offset.push(offsets.next(token));
    }
}

fn chat_top(token: u32, logprob: f32, spelling: &Spelling) -> ChatTop {
    ChatTop { token: spelling.text(token), logprob: finite(logprob), bytes: spelling.bytes(token) }
}

/// The chosen token is always among them.
fn top(chosen: &Chosen, most: &[(u32, f32)], spelling: &Spelling) -> Top {
    let mut all: Vec<(String, f32)> = Vec::with_capacity(most.len() + 1);
    let chosen = (chosen.token, chosen.log_probability);
    for (token, logprob) in std::iter::once(&chosen).chain(most) {
        let text = spelling.text(*token);
        if all.iter().all(|(other, _)| *other != text) {
            all.push((text, finite(*logprob)));
        }
    }
    Top(all)
}

/// Where tokens begin in a text: as many characters in as are certain before them.
pub(super) struct Offsets {
    detokenizer: Option<Detokenizer>,
    chars: u64,
}

impl Offsets {
    /// Without a tokenizer there is no text, and everything begins at 0.
    pub(super) fn new(tokenizer: Option<&Arc<Tokenizer>>, skip_special: bool, chars: u64) -> Self {
        let detokenizer = tokenizer.map(|tokenizer| Detokenizer::new(Arc::clone(tokenizer), skip_special));
        Self { detokenizer, chars }
    }

    fn next(&mut self, token: u32) -> u64 {
        let begins = self.chars;
        if let Some(detokenizer) = &mut self.detokenizer {
            self.chars += detokenizer.push(token).chars().count() as u64;
        }
        begins
    }
}
