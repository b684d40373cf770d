//! How a row's next token is chosen.

use std::collections::HashSet;

use super::philox;
use crate::error::{Error, expect_below};

/// Top log-probabilities that can be asked for.
pub const TOP_LOG_PROBABILITIES_MAX: usize = 64;

/// One row's choice. The default is greedy.
///
/// In this order: penalties by what was seen, biases, the mask, temperature, `top_k`, `top_p`, `min_p`. Tokens rank by
/// logit, equal ones by id, the lower first; `top_k` keeps that many; `top_p` of those the fewest first ones whose
/// probabilities, among those kept, reach it; `min_p` of those the ones at least so probable, relative to the first.
/// One number in 0..1 then chooses among them in order of id: where their running sum first passes it. It is made of
/// `seed` and `draw` by Philox 4x32-10 (key: the seed's two words, the lower first; counter: the draw's two words, then
/// zeros): the upper 53 bits of `first word * 2^32 + second word`, over 2^53.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// 0 takes the first in rank after penalties, biases and mask; `top_k`, `top_p` and `min_p` do not apply.
    pub temperature: f32,
    /// 0 keeps all.
    pub top_k: u32,
    /// 1 keeps all.
    pub top_p: f32,
    /// 0 keeps all.
    pub min_p: f32,
    /// Divides positive logits and multiplies negative ones of tokens in prompt or output; 1 does nothing.
    pub repetition_penalty: f32,
    /// Taken off the logits of tokens in the output; 0 does nothing.
    pub presence_penalty: f32,
    /// Taken off once for each time that a token is in the output; 0 does nothing.
    pub frequency_penalty: f32,
    /// Tokens in prompt and output, each once; only read where a penalty is in force.
    pub seen: Vec<Seen>,
    /// Whether the row's own token is in the output once more than `seen` says. Where the step before draws it, only the
    /// device knows it.
    pub counts_own: bool,
    /// Added to the logits of single tokens; each token at most once.
    pub bias: Vec<(u32, f32)>,
    /// Bit `token % 32` of word `token / 32` says whether a token may come; where absent all may.
    pub mask: Option<Vec<u32>>,
    /// The request's seed.
    pub seed: u64,
    /// Which draw of the request this is: the position of the token drawn.
    pub draw: u64,
    /// How many of the most probable tokens to report, beside the chosen one.
    pub top_log_probabilities: u32,
}

/// How often a token was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The token.
    pub token: u32,
    /// Whether it is in the prompt.
    pub in_prompt: bool,
    /// How often it is in the output.
    pub in_output: u32,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            seen: Vec::new(),
            counts_own: false,
            bias: Vec::new(),
            mask: None,
            seed: 0,
            draw: 0,
            top_log_probabilities: 0,
        }
    }
}

impl Sampling {
    /// Refuses numbers that mean nothing, tokens outside the vocabulary, and masks that allow no token.
    pub fn check(&self, vocabulary: usize) -> Result<(), Error> {
        let within = |what, value: f32, fits: bool, allowed| {
            if fits { Ok(()) } else { Err(Error::Unsupported { what, found: value.to_string(), allowed }) }
        };
        let Self { temperature, top_p, min_p, repetition_penalty: repetition, .. } = *self;
        within("temperature", temperature, temperature.is_finite() && temperature >= 0.0, "0 or more")?;
        within("top_p", top_p, top_p > 0.0 && top_p <= 1.0, "above 0 and at most 1")?;
        within("min_p", min_p, (0.0..=1.0).contains(&min_p), "0 to 1")?;
        within("repetition_penalty", repetition, repetition.is_finite() && repetition > 0.0, "above 0")?;
        for (what, value) in
            [("presence_penalty", self.presence_penalty), ("frequency_penalty", self.frequency_penalty)]
        {
            within(what, value, value.is_finite(), "a finite number")?;
        }
        expect_below("top_log_probabilities", self.top_log_probabilities as usize, TOP_LOG_PROBABILITIES_MAX + 1)?;
        self.seen.iter().try_for_each(|seen| expect_below("a token seen", seen.token as usize, vocabulary))?;
        let mut biased = HashSet::new();
        for &(token, bias) in &self.bias {
            if !biased.insert(token) {
                let found = format!("two biases of token {token}");
                return Err(Error::Unsupported { what: "a bias", found, allowed: "one for each token" });
            }
            expect_below("a biased token", token as usize, vocabulary)?;
            if bias.is_nan() || bias == f32::INFINITY {
                return Err(Error::NotFinite {
                    what: "a bias",
                    value: bias,
                    also: " (minus infinity forbids a token)",
                });
            }
        }
        self.check_mask(vocabulary)
    }

    fn check_mask(&self, vocabulary: usize) -> Result<(), Error> {
        let Some(mask) = &self.mask else { return Ok(()) };
        crate::error::expect_shape("a mask in words", mask.len(), vocabulary.div_ceil(32))?;
        if (0..vocabulary).any(|token| self.allows(token)) {
            return Ok(());
        }
        Err(Error::Unsupported { what: "a mask", found: "empty".to_owned(), allowed: "one that allows a token" })
    }

    /// Whether the mask lets a token come.
    pub fn allows(&self, token: usize) -> bool {
        self.mask.as_ref().is_none_or(|mask| mask[token / 32] >> (token % 32) & 1 == 1)
    }

    /// The draw's number, in 0..1.
    pub(crate) fn number(&self) -> f64 {
        philox::number(self.seed, self.draw) as f64 / (1_u64 << philox::BITS) as f64
    }

    /// The draw's number times `2^64`, exactly.
    #[cfg(any(feature = "cuda", feature = "emulate"))]
    pub(crate) fn number_in_bits(&self) -> u64 {
        philox::number(self.seed, self.draw) << (u64::BITS - philox::BITS)
    }

    /// Whether any logit is changed before it is chosen from.
    pub(crate) fn adjusts(&self) -> bool {
        self.penalizes() && (self.counts_own || !self.seen.is_empty()) || !self.bias.is_empty() || self.mask.is_some()
    }

    /// Whether what was seen changes any logit.
    pub fn penalizes(&self) -> bool {
        self.repetition_penalty != 1.0 || self.presence_penalty != 0.0 || self.frequency_penalty != 0.0
    }
}
