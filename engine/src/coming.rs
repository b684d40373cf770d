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
    sampled: Option<Answers>,
    top_tokens: Option<Reading>,
    top_log_probabilities: Option<Reading>,
    scored_tokens: Vec<u32>,
    scored: Option<Answers>,
    logits: Vec<Reading>,
}

/// What is said of tokens, a word each.
struct Answers {
    tokens: Option<Reading>,
    log_probabilities: Reading,
    ranks: Reading,
}

impl Coming {
    /// Begins to read what a batch asked for; rows of padding, which come last, are nobody's.
    pub(crate) fn of<D: Device>(
        device: &D,
        s: &Scratch<D::Memory>,
        batch: &Batch,
        vocabulary: usize,
    ) -> Result<Self, KernelsError> {
        let words =
            |memory: &D::Memory, at: usize, count: usize| device.begin_read(memory, at, count * size_of::<u32>());
        let (rows, scored) = (batch.inputs.sampled.len(), batch.inputs.scored.len());
        Ok(Self {
            asked: batch.sampling.iter().map(|row| (row.top_log_probabilities as usize).min(vocabulary)).collect(),
            top_max: s.top_max,
            sampled: Some(Answers {
                tokens: Some(words(&s.tokens, 0, rows)?),
                log_probabilities: words(&s.log_probabilities, 0, rows)?,
                ranks: words(&s.ranks, 0, rows)?,
            }),
            top_tokens: Some(words(&s.top_tokens, 0, rows * s.top_max)?),
            top_log_probabilities: Some(words(&s.top_log_probabilities, 0, rows * s.top_max)?),
            scored_tokens: batch.inputs.scored.iter().map(|scored| scored.token).collect(),
            scored: Some(Answers {
                tokens: None,
                log_probabilities: words(&s.scored_log_probabilities, 0, scored)?,
                ranks: words(&s.scored_ranks, 0, scored)?,
            }),
            logits: batch
                .logits
                .iter()
                .map(|place| words(&s.logits, *place as usize * vocabulary, vocabulary))
                .collect::<Result<_, _>>()?,
        })
    }

    /// Waits for all of it.
    pub(crate) fn wait(self) -> Result<Outputs, Error> {
        let Self { asked, top_max, scored_tokens, .. } = self;
        let sampled = self.sampled.map_or(Ok(Vec::new()), |it| it.wait(Vec::new()))?;
        let (top_tokens, top_log_probabilities) = (words(self.top_tokens)?, floats(self.top_log_probabilities)?);
        let sampled = sampled.into_iter().zip(asked).enumerate().map(|(row, (chosen, asked))| {
            let top = row * top_max..row * top_max + asked;
            let top = top_tokens[top.clone()].iter().copied().zip(top_log_probabilities[top].iter().copied());
            Sampled { chosen, top: top.collect() }
        });
        Ok(Outputs {
            sampled: sampled.collect(),
            scored: self.scored.map_or(Ok(Vec::new()), |it| it.wait(scored_tokens))?,
            logits: self.logits.into_iter().map(|it| floats(Some(it))).collect::<Result<_, _>>()?,
        })
    }
}

impl Answers {
    /// `given` are the tokens where none were drawn.
    fn wait(self, given: Vec<u32>) -> Result<Vec<Chosen>, Error> {
        let tokens = self.tokens.map_or(Ok(given), |it| words(Some(it)))?;
        let said = floats(Some(self.log_probabilities))?.into_iter().zip(words(Some(self.ranks))?);
        let chosen = |(token, (log_probability, rank))| Chosen { token, log_probability, rank };
        Ok(tokens.into_iter().zip(said).map(chosen).collect())
    }
}

/// Of a step without rows there are none.
fn words(reading: Option<Reading>) -> Result<Vec<u32>, Error> {
    let Some(reading) = reading else { return Ok(Vec::new()) };
    let bytes = reading.wait()?;
    Ok(bytes.chunks_exact(4).map(|word| u32::from_ne_bytes([word[0], word[1], word[2], word[3]])).collect())
}

fn floats(reading: Option<Reading>) -> Result<Vec<f32>, Error> {
    Ok(words(reading)?.into_iter().map(f32::from_bits).collect())
}
