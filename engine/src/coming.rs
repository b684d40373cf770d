//! A step's outputs on their way from the device, and what of them was asked for.

use loam_kernels::Error as KernelsError;
use loam_kernels::backend::{Device, Reading};

use crate::error::Error;
use crate::executor::{Batch, Chosen, Outputs, Sampled};
use crate::model::scratch::Scratch;

/// Outputs of a step whose reads have begun: later steps may overwrite what is read.
#[derive(Default)]
pub(crate) struct Coming {
    /// How many of the most probable tokens each sampled row wants, and how many there are for each.
    asked: Vec<usize>,
    top_max: usize,
    sampled: Answers,
    top_tokens: Option<Reading>,
    top_log_probabilities: Option<Reading>,
    scored_tokens: Vec<u32>,
    scored: Answers,
    best_tokens: Option<Reading>,
    best_log_probabilities: Option<Reading>,
    logits: Vec<Option<Reading>>,
    /// Of a step that says nothing, a word that nobody wants: it comes when the step is done.
    done: Option<Reading>,
}

/// What is said of tokens, a word each; nothing where there are none.
#[derive(Default)]
struct Answers {
    tokens: Option<Reading>,
    log_probabilities: Option<Reading>,
    ranks: Option<Reading>,
}

impl Coming {
    /// Begins to read what a batch asked for; rows of padding, which come last, are nobody's.
    pub(crate) fn of<D: Device>(
        device: &D,
        s: &Scratch<D::Memory>,
        batch: &Batch,
        vocabulary: usize,
    ) -> Result<Self, KernelsError> {
        // Nothing is not asked for: whoever reads it may wait for all that was asked before.
        let words = |memory: &D::Memory, at: usize, count: usize| match count {
            0 => Ok(None),
            _ => device.begin_read(memory, at, count * size_of::<u32>()).map(Some),
        };
        let (rows, scored) = (batch.inputs.sampled.len(), batch.inputs.scored.len());
        let logits = batch.logits.iter().map(|place| words(&s.logits, *place as usize * vocabulary, vocabulary));
        Ok(Self {
            asked: batch.sampling.iter().map(|row| (row.top_log_probabilities as usize).min(vocabulary)).collect(),
            top_max: s.top_max,
            sampled: Answers {
                tokens: words(&s.tokens, 0, rows)?,
                log_probabilities: words(&s.log_probabilities, 0, rows)?,
                ranks: words(&s.ranks, 0, rows)?,
            },
            top_tokens: words(&s.top_tokens, 0, rows * s.top_max)?,
            top_log_probabilities: words(&s.top_log_probabilities, 0, rows * s.top_max)?,
            scored_tokens: batch.inputs.scored.iter().map(|scored| scored.token).collect(),
            scored: Answers {
                tokens: None,
                log_probabilities: words(&s.scored_log_probabilities, 0, scored)?,
                ranks: words(&s.scored_ranks, 0, scored)?,
            },
            best_tokens: words(&s.scored_best_tokens, 0, scored)?,
            best_log_probabilities: words(&s.scored_best_log_probabilities, 0, scored)?,
            logits: logits.collect::<Result<_, _>>()?,
            done: words(&s.tokens, 0, usize::from(rows + scored == 0))?,
        })
    }

    /// Waits for all of it.
    pub(crate) fn wait(self) -> Result<Outputs, Error> {
        let Self { asked, top_max, scored_tokens, .. } = self;
        words(self.done)?;
        let sampled = self.sampled.wait(Vec::new())?;
        let (top_tokens, top_log_probabilities) = (words(self.top_tokens)?, floats(self.top_log_probabilities)?);
        let sampled = sampled.into_iter().zip(asked).enumerate().map(|(row, (chosen, asked))| {
            let top = row * top_max..row * top_max + asked;
            let top = top_tokens[top.clone()].iter().copied().zip(top_log_probabilities[top].iter().copied());
            Sampled { chosen, top: top.collect() }
        });
        let best = words(self.best_tokens)?.into_iter().zip(floats(self.best_log_probabilities)?);
        let scored = self.scored.wait(scored_tokens)?.into_iter().zip(best);
        Ok(Outputs {
            sampled: sampled.collect(),
            scored: scored.map(|(chosen, best)| Sampled { chosen, top: vec![best] }).collect(),
            logits: self.logits.into_iter().map(floats).collect::<Result<_, _>>()?,
        })
    }
}

impl Answers {
    /// `given` are the tokens where none were drawn.
    fn wait(self, given: Vec<u32>) -> Result<Vec<Chosen>, Error> {
        let tokens = self.tokens.map_or(Ok(given), |it| words(Some(it)))?;
        let said = floats(self.log_probabilities)?.into_iter().zip(words(self.ranks)?);
        let chosen = |(token, (log_probability, rank))| Chosen { token, log_probability, rank };
        Ok(tokens.into_iter().zip(said).map(chosen).collect())
    }
}

/// Of nothing there are none.
fn words(reading: Option<Reading>) -> Result<Vec<u32>, Error> {
    let Some(reading) = reading else { return Ok(Vec::new()) };
    let bytes = reading.wait()?;
    Ok(bytes.chunks_exact(4).map(|word| u32::from_ne_bytes([word[0], word[1], word[2], word[3]])).collect())
}

fn floats(reading: Option<Reading>) -> Result<Vec<f32>, Error> {
    Ok(words(reading)?.into_iter().map(f32::from_bits).collect())
}
