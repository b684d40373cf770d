//! Chosen tokens, and what is said of them: greedy and drawn, filtered, penalised, biased, masked.

use loam_kernels::backend::Sampler;
use loam_kernels::layout::{DType, Sampling, Seen};

use super::{Answers, sample};
use crate::check::{Mismatch, Want, compare};
use crate::cover::cases;
use crate::random::Random;
use crate::reference::dense::Sum;
use crate::reference::sampling::{choices, log_probability, rank, ranked, with_own};
use crate::scene::ROWS;
use crate::sheet::{FRAMES, Frame};
use crate::values::Values;

/// What rows of logits look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Logits {
    /// No two alike.
    Smooth,
    /// A few far above the rest.
    Peaked,
    /// Many alike.
    Ties,
    /// Minus infinity and no numbers among them; in some rows nothing else.
    Broken,
}

/// Which penalties are in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Penalties {
    Off,
    Repetition,
    PresenceAndFrequency,
    All,
}

/// Which tokens are biased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Biases {
    Off,
    Some,
    Forbidding,
}

/// Which tokens may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Masks {
    Off,
    Half,
    One,
}

/// Rows of logits, each with its own way to choose: even rows as the case says, odd ones at random.
#[derive(Clone, Debug)]
pub(crate) struct ChooseCase {
    seed: u64,
    rows: usize,
    vocabulary: usize,
    logits: Logits,
    temperature: f32,
    top_k: u32,
    top_p: f32,
    min_p: f32,
    penalties: Penalties,
    biases: Biases,
    masks: Masks,
    top: u32,
    frame: Frame,
}

const LOGITS: [Logits; 4] = [Logits::Smooth, Logits::Peaked, Logits::Ties, Logits::Broken];
const TEMPERATURES: &[f32] = &[0.0, 0.3, 1.0, 1.7];
const TOP_K: &[u32] = &[0, 1, 5, 50, 100_000];
const TOP_P: &[f32] = &[1.0, 0.9, 0.5, 1e-3];
const MIN_P: &[f32] = &[0.0, 0.05, 0.3, 1.0];
const PENALTIES: &[Penalties] =
    &[Penalties::Off, Penalties::Repetition, Penalties::PresenceAndFrequency, Penalties::All];
const BIASES: &[Biases] = &[Biases::Off, Biases::Some, Biases::Forbidding];
const MASKS: &[Masks] = &[Masks::Off, Masks::Half, Masks::One];

/// Values to try of what a test is about; of all else, what does nothing.
struct About {
    temperature: &'static [f32],
    top_k: &'static [u32],
    top_p: &'static [f32],
    min_p: &'static [f32],
    penalties: &'static [Penalties],
    biases: &'static [Biases],
    masks: &'static [Masks],
}

const GREEDY: About = About {
    temperature: &[0.0],
    top_k: &[0],
    top_p: &[1.0],
    min_p: &[0.0],
    penalties: &[Penalties::Off],
    biases: &[Biases::Off],
    masks: &[Masks::Off],
};

fn cases_about(about: &About) -> Vec<ChooseCase> {
    // The last is more than two runs of neighbours, whatever their length in a backend.
    let mut vocabularies = vec![1, 5, 67, 257, 2100];
    if crate::cover::long() {
        vocabularies.extend([32_000, 128_256]);
    }
    let cases = cases!(ChooseCase {
        rows: ROWS,
        vocabulary: vocabularies,
        logits: LOGITS,
        temperature: about.temperature,
        top_k: about.top_k,
        top_p: about.top_p,
        min_p: about.min_p,
        penalties: about.penalties,
        biases: about.biases,
        masks: about.masks,
        top: [0, 1, 5, 64],
        frame: FRAMES,
    });
    // Hundreds of rows of a large vocabulary take gigabytes in f64, and say no more than a few do.
    cases.into_iter().filter(|case| case.rows * case.vocabulary <= 1 << 20).collect()
}

/// The first in rank; filters do not apply.
pub(crate) fn greedy() -> Vec<ChooseCase> {
    cases_about(&About { top_k: &[0, 2], top_p: &[1.0, 0.1], min_p: &[0.0, 1.0], ..GREEDY })
}

/// Draws among all.
pub(crate) fn temperature() -> Vec<ChooseCase> {
    cases_about(&About { temperature: &[0.01, 0.3, 1.0, 1.7, 50.0], ..GREEDY })
}

/// Draws among those kept.
pub(crate) fn filters() -> Vec<ChooseCase> {
    cases_about(&About { temperature: &[0.3, 1.0, 1.7], top_k: TOP_K, top_p: TOP_P, min_p: MIN_P, ..GREEDY })
}

/// What was seen.
pub(crate) fn penalties() -> Vec<ChooseCase> {
    cases_about(&About { temperature: &[0.0, 1.0], penalties: PENALTIES, ..GREEDY })
}

/// What the caller wants, or may not have.
pub(crate) fn bias_and_mask() -> Vec<ChooseCase> {
    cases_about(&About { temperature: &[0.0, 1.0], biases: BIASES, masks: MASKS, ..GREEDY })
}

/// All at once.
pub(crate) fn everything() -> Vec<ChooseCase> {
    cases_about(&About {
        temperature: TEMPERATURES,
        top_k: TOP_K,
        top_p: TOP_P,
        min_p: MIN_P,
        penalties: PENALTIES,
        biases: BIASES,
        masks: MASKS,
    })
}

impl ChooseCase {
    fn logits(&self, random: &mut Random) -> Values {
        Values::of(DType::F32, self.rows, self.vocabulary, |row, _| {
            let smooth = 4.0 * random.signed();
            match self.logits {
                Logits::Smooth => smooth,
                Logits::Peaked => 0.3 * smooth.powi(3),
                Logits::Ties => (2.0 * smooth).round() / 4.0,
                Logits::Broken => match random.below(10) {
                    0 | 1 => f64::NAN,
                    2 => f64::NEG_INFINITY,
                    _ if row % 5 == 4 => f64::NEG_INFINITY,
                    _ => smooth,
                },
            }
        })
    }

    fn sampling(&self, random: &mut Random, row: usize) -> Sampling {
        let mut case = self.clone();
        if row % 2 == 1 {
            case.temperature = random.pick(TEMPERATURES);
            (case.top_k, case.top_p) = (random.pick(TOP_K), random.pick(TOP_P));
            case.min_p = random.pick(MIN_P);
            (case.penalties, case.biases) = (random.pick(PENALTIES), random.pick(BIASES));
            case.masks = random.pick(MASKS);
            case.top = random.below(self.top as usize + 1) as u32;
        }
        let (repetition, presence, frequency) = match case.penalties {
            Penalties::Off => (1.0, 0.0, 0.0),
            Penalties::Repetition => (1.3, 0.0, 0.0),
            Penalties::PresenceAndFrequency => (1.0, 0.75, -0.5),
            Penalties::All => (0.8, -0.3, 0.2),
        };
        Sampling {
            temperature: case.temperature,
            top_k: case.top_k,
            top_p: case.top_p,
            min_p: case.min_p,
            repetition_penalty: repetition,
            presence_penalty: presence,
            frequency_penalty: frequency,
            seen: case.seen(random),
            counts_own: random.below(2) == 0,
            bias: case.bias(random),
            mask: case.mask(random),
            seed: random.next(),
            draw: random.next() >> random.below(64),
            top_log_probabilities: case.top,
        }
    }

    /// A third of the tokens, each with one of the ways in which it can have been seen.
    fn seen(&self, random: &mut Random) -> Vec<Seen> {
        let tokens = (0..self.vocabulary as u32).filter(|_| random.below(3) == 0).collect::<Vec<_>>();
        let seen = |token| {
            let in_output = random.below(4) as u32;
            Seen { token, in_prompt: in_output == 0 || random.below(2) == 0, in_output }
        };
        tokens.into_iter().map(seen).collect()
    }

    fn bias(&self, random: &mut Random) -> Vec<(u32, f32)> {
        let mut biases = Vec::new();
        for token in 0..self.vocabulary as u32 {
            match self.biases {
                Biases::Some if random.below(4) == 0 => biases.push((token, (3.0 * random.signed()) as f32)),
                Biases::Forbidding if random.below(3) > 0 => biases.push((token, f32::NEG_INFINITY)),
                _ => {}
            }
        }
        random.shuffle(&mut biases);
        biases
    }

    fn mask(&self, random: &mut Random) -> Option<Vec<u32>> {
        let mut mask = vec![0; self.vocabulary.div_ceil(32)];
        let certain = random.below(self.vocabulary);
        for token in 0..self.vocabulary {
            let allowed = token == certain || self.masks == Masks::Half && random.below(2) == 0;
            mask[token / 32] |= u32::from(allowed) << (token % 32);
        }
        (self.masks != Masks::Off).then_some(mask)
    }
}

/// Each token is one that may be chosen; what is said of it is true.
pub(crate) fn check<B: Sampler>(device: &B, case: &ChooseCase) -> Result<(), Mismatch> {
    let mut random = Random::new(case.seed);
    let logits = case.logits(&mut random);
    let rows: Vec<Sampling> = (0..case.rows).map(|row| case.sampling(&mut random, row)).collect();
    let answers = sample(device, &logits, &rows, case.frame)?;
    let logits = logits.widened();
    let known = rows.iter().zip(&answers.own).map(|(row, own)| with_own(row, *own, case.vocabulary));
    let chosen = check_tokens(device, &answers, &logits, &known.collect::<Vec<_>>())?;
    let sums: Vec<Vec<Sum>> = logits.iter().map(|row| row.iter().map(|logit| Sum::exact(*logit)).collect()).collect();
    let said: Vec<Want> = sums.iter().zip(&chosen).map(|(row, token)| log_probability(row, *token)).collect();
    compare(device, "log_probabilities", &answers.log_probabilities, &said)?;
    let ranks: Vec<Want> =
        logits.iter().zip(&chosen).map(|(row, token)| Want::Exactly(rank(row, *token) as f64)).collect();
    compare(device, "ranks", &answers.ranks, &ranks)?;
    let width = answers.top_tokens.width;
    let (mut tokens, mut log_probabilities) = (Vec::new(), Vec::new());
    for ((row, sums), sampling) in logits.iter().zip(&sums).zip(&rows) {
        let mut first = ranked(row);
        first.truncate(sampling.top_log_probabilities as usize);
        let untouched = vec![Want::Untouched; width - first.len()];
        tokens.extend(first.iter().map(|token| Want::Exactly(*token as f64)).chain(untouched.clone()));
        log_probabilities.extend(first.iter().map(|token| log_probability(sums, *token)).chain(untouched));
    }
    compare(device, "top_tokens", &answers.top_tokens, &tokens)?;
    compare(device, "top_log_probabilities", &answers.top_log_probabilities, &log_probabilities)
}

fn check_tokens<B: Sampler>(
    device: &B,
    answers: &Answers<B>,
    logits: &[Vec<f64>],
    rows: &[Sampling],
) -> Result<Vec<usize>, Mismatch> {
    let chosen: Vec<usize> = answers.tokens.values(device)?.columns().concat().iter().map(|it| *it as usize).collect();
    for (row, (token, (logits, sampling))) in chosen.iter().zip(logits.iter().zip(rows)).enumerate() {
        let choices = choices(logits, sampling);
        if !choices.contains(token) {
            let want = format!("one of {choices:?} by temperature {}", sampling.temperature);
            let got = *token as f64;
            return Err(Mismatch::Value { what: "tokens", row, column: 0, got, want, tolerance: 0.0 });
        }
    }
    // Around the tokens nothing was touched.
    compare(device, "tokens", &answers.tokens, &vec![Want::Anything; rows.len()])?;
    Ok(chosen)
}
