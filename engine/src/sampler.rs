//! How one sequence's tokens are chosen: what a request says, what the model's files say, and what was seen so far.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};

use loam_kernels::layout::{Sampling, Seen};

use crate::error::Error;
use crate::request::{at_most, refuse};

/// Tokens that a request can give a bias.
pub const LOGIT_BIAS_MAX: usize = 1024;
/// What a bias can be at most, either way.
pub const LOGIT_BIAS_VALUE_MAX: f32 = 100.0;
/// What a presence or frequency penalty can be at most, either way.
pub const PENALTY_MAX: f32 = 2.0;

/// What a request says. What it leaves open, the model's files decide.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SamplingOptions {
    /// 0 takes the most probable token.
    pub temperature: Option<f32>,
    /// Keeps so many of the most probable tokens; 0 keeps all.
    pub top_k: Option<u32>,
    /// Keeps the most probable tokens that together are so probable; 1 keeps all.
    pub top_p: Option<f32>,
    /// Keeps tokens at least so probable, relative to the most probable one; 0 keeps all.
    pub min_p: Option<f32>,
    /// Of tokens in prompt or answer; 1 does nothing.
    pub repetition_penalty: Option<f32>,
    /// Of tokens in the answer, once; 0 does nothing.
    pub presence_penalty: Option<f32>,
    /// Of tokens in the answer, each time; 0 does nothing.
    pub frequency_penalty: Option<f32>,
    /// Added to the logits of tokens.
    pub logit_bias: Vec<(u32, f32)>,
    /// Where the random numbers begin; absent, the engine chooses.
    pub seed: Option<u64>,
}

/// How tokens are chosen, with nothing left open.
#[derive(Clone, Debug, PartialEq)]
pub struct SamplingParameters {
    /// As in [`SamplingOptions`].
    pub temperature: f32,
    /// As in [`SamplingOptions`].
    pub top_k: u32,
    /// As in [`SamplingOptions`].
    pub top_p: f32,
    /// As in [`SamplingOptions`].
    pub min_p: f32,
    /// As in [`SamplingOptions`].
    pub repetition_penalty: f32,
    /// As in [`SamplingOptions`].
    pub presence_penalty: f32,
    /// As in [`SamplingOptions`].
    pub frequency_penalty: f32,
    /// In order of token, each once.
    pub logit_bias: Vec<(u32, f32)>,
}

impl SamplingOptions {
    /// Refuses numbers that mean nothing.
    pub fn check(&self) -> Result<(), Error> {
        let number = |field, value: Option<f32>, fits: fn(f32) -> bool, allowed| match value {
            Some(value) if !fits(value) => refuse(field, &value.to_string(), allowed),
            _ => Ok(()),
        };
        number("temperature", self.temperature, |value| value.is_finite() && value >= 0.0, "0 or more")?;
        number("top_p", self.top_p, |value| value > 0.0 && value <= 1.0, "above 0 and at most 1")?;
        number("min_p", self.min_p, |value| (0.0..=1.0).contains(&value), "0 to 1")?;
        let repetition = |value: f32| value.is_finite() && value > 0.0;
        number("repetition_penalty", self.repetition_penalty, repetition, "above 0")?;
        let penalty = |value: f32| value.abs() <= PENALTY_MAX;
        number("presence_penalty", self.presence_penalty, penalty, "-2 to 2")?;
        number("frequency_penalty", self.frequency_penalty, penalty, "-2 to 2")?;
        at_most("logit_bias", self.logit_bias.len(), LOGIT_BIAS_MAX, "tokens")?;
        let mut tokens: Vec<u32> = self.logit_bias.iter().map(|(token, _)| *token).collect();
        tokens.sort_unstable();
        if let Some(pair) = tokens.windows(2).find(|pair| pair[0] == pair[1]) {
            return refuse("logit_bias", &format!("two values for token {}", pair[0]), "one for each token");
        }
        self.logit_bias.iter().try_for_each(|(_, bias)| {
            let fits: fn(f32) -> bool = |bias| bias.abs() <= LOGIT_BIAS_VALUE_MAX;
            number("logit_bias", Some(*bias), fits, "-100 to 100")
        })
    }

    /// What the request says, else what the model's files say, else what does nothing.
    pub fn resolve(&self, defaults: &Self) -> SamplingParameters {
        let mut logit_bias =
            if self.logit_bias.is_empty() { defaults.logit_bias.clone() } else { self.logit_bias.clone() };
        logit_bias.sort_unstable_by_key(|(token, _)| *token);
        SamplingParameters {
            temperature: self.temperature.or(defaults.temperature).unwrap_or(1.0),
            top_k: self.top_k.or(defaults.top_k).unwrap_or(0),
            top_p: self.top_p.or(defaults.top_p).unwrap_or(1.0),
            min_p: self.min_p.or(defaults.min_p).unwrap_or(0.0),
            repetition_penalty: self.repetition_penalty.or(defaults.repetition_penalty).unwrap_or(1.0),
            presence_penalty: self.presence_penalty.or(defaults.presence_penalty).unwrap_or(0.0),
            frequency_penalty: self.frequency_penalty.or(defaults.frequency_penalty).unwrap_or(0.0),
            logit_bias,
        }
    }
}

/// A seed for who named none. It is recorded, so that the answer can be had again.
pub(crate) fn random_seed() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// The seed of one of a request's answers: the first has the request's own.
pub const fn choice_seed(seed: u64, choice: u32) -> u64 {
    if choice == 0 {
        return seed;
    }
    // SplitMix64's steps: neighbouring choices, and neighbouring seeds, have nothing in common.
    let mut mixed = seed.wrapping_add((choice as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// One sequence's choices. They follow from prompt, parameters and seed alone, whatever else a step holds.
#[derive(Clone, Debug)]
pub struct SequenceSampler {
    base: Sampling,
    position: u64,
    vocabulary: usize,
    /// Where in the base's `seen` each token stands; kept only where a penalty is in force.
    places: Option<HashMap<u32, usize>>,
}

impl SequenceSampler {
    /// Begins after a prompt. `seed` is the choice's own, see [`choice_seed`]; `logprobs` as in the request.
    pub fn new(
        parameters: &SamplingParameters,
        seed: u64,
        logprobs: Option<u32>,
        prompt: &[u32],
        vocabulary: usize,
    ) -> Result<Self, Error> {
        if let Some((token, _)) = parameters.logit_bias.iter().find(|(token, _)| *token as usize >= vocabulary) {
            let allowed = format!("tokens below {vocabulary}");
            return Err(Error::Request { field: "logit_bias", found: format!("token {token}"), allowed });
        }
        let base = Sampling {
            temperature: parameters.temperature,
            top_k: parameters.top_k,
            top_p: parameters.top_p,
            min_p: parameters.min_p,
            repetition_penalty: parameters.repetition_penalty,
            presence_penalty: parameters.presence_penalty,
            frequency_penalty: parameters.frequency_penalty,
            bias: parameters.logit_bias.clone(),
            seed,
            top_log_probabilities: logprobs.unwrap_or(0),
            ..Sampling::default()
        };
        let places = base.penalizes().then(HashMap::new);
        let mut sampler = Self { base, position: prompt.len() as u64, vocabulary, places };
        prompt.iter().for_each(|token| sampler.see(*token, |seen| seen.in_prompt = true));
        Ok(sampler)
    }

    /// The same choices from another seed.
    pub fn with_seed(&self, seed: u64) -> Self {
        Self { base: Sampling { seed, ..self.base.clone() }, ..self.clone() }
    }

    /// Position that the next token will have.
    pub const fn position(&self) -> u64 {
        self.position
    }

    /// How the next token is chosen. `forbidden` tokens cannot come, unless the mask allows no others.
    pub fn next(&self, forbidden: &[u32], mask: Option<Vec<u32>>) -> Sampling {
        let mut sampling = Sampling { draw: self.position, ..self.base.clone() };
        let forbidden = forbidden.iter().copied().filter(|token| (*token as usize) < self.vocabulary);
        match mask {
            None => forbid(&mut sampling.bias, &forbidden.collect::<Vec<_>>()),
            Some(mut words) => {
                let allowed = words.clone();
                for token in forbidden {
                    if let Some(word) = words.get_mut(token as usize / 32) {
                        *word &= !(1 << (token % 32));
                    }
                }
                sampling.mask = Some(if words.iter().all(|word| *word == 0) { allowed } else { words });
            }
        }
        sampling
    }

    /// How the token after the next is chosen, before the next is known: its row's own token is the next one, and counts
    /// as seen. Where a form says what may come there is no telling.
    pub fn next_but_one(&self, forbidden: &[u32]) -> Sampling {
        let draw = self.position + 1;
        Sampling { draw, counts_own: self.places.is_some(), ..self.next(forbidden, None) }
    }

    /// Takes the token that was chosen.
    pub fn accept(&mut self, token: u32) {
        self.position += 1;
        self.see(token, |seen| seen.in_output += 1);
    }

    fn see(&mut self, token: u32, how: impl FnOnce(&mut Seen)) {
        let Some(places) = &mut self.places else { return };
        let seen = &mut self.base.seen;
        let place = *places.entry(token).or_insert_with(|| {
            seen.push(Seen { token, in_prompt: false, in_output: 0 });
            seen.len() - 1
        });
        how(&mut seen[place]);
    }
}

fn forbid(bias: &mut Vec<(u32, f32)>, forbidden: &[u32]) {
    if forbidden.is_empty() {
        return;
    }
    bias.retain(|(token, _)| !forbidden.contains(token));
    bias.extend(forbidden.iter().map(|token| (*token, f32::NEG_INFINITY)));
    bias.sort_unstable_by_key(|(token, _)| *token);
    bias.dedup_by_key(|(token, _)| *token);
}
