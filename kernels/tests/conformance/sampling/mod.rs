//! The sampling group: each operation's cases, and its check.

pub(crate) mod choose;
pub(crate) mod draws;
pub(crate) mod score;

use loam_kernels::backend::{Sample, SampleOutputs, Sampler};
use loam_kernels::layout::{DType, Sampling};

use crate::check::Mismatch;
use crate::random::Random;
use crate::scene::Scene;
use crate::sheet::{Frame, Sheet};
use crate::values::Values;

/// What was said of some rows' choices.
pub(crate) struct Answers<B: Sampler> {
    pub(crate) tokens: Sheet<B>,
    pub(crate) log_probabilities: Sheet<B>,
    pub(crate) ranks: Sheet<B>,
    pub(crate) top_tokens: Sheet<B>,
    pub(crate) top_log_probabilities: Sheet<B>,
    /// Each sampled row's own token, as the device was told it.
    pub(crate) own: Vec<u32>,
}

/// Chooses a token for each row of logits, which is another row of the batch: as many from its end.
pub(crate) fn sample<B: Sampler>(
    device: &B,
    logits: &Values,
    rows: &[Sampling],
    frame: Frame,
) -> Result<Answers<B>, Mismatch> {
    let mut random = Random::new(1);
    let mut scene = Scene::of_segments(&mut random, &[(0, rows.len() as u32)], 64, logits.width);
    scene.inputs.sampled = (0..rows.len() as u32).rev().collect();
    // Some are no tokens.
    let own: Vec<u32> = rows.iter().map(|_| random.below(logits.width + 1 + logits.width / 50) as u32).collect();
    let known = Values::of(DType::U32, rows.len(), 1, |row, _| f64::from(own[row]));
    let known = Sheet::new(device, &known, frame)?;
    let top = rows.iter().map(|row| row.top_log_probabilities).max().unwrap_or(0) as usize + 1;
    let column = |dtype, width| Sheet::poisoned(device, dtype, rows.len(), width, frame);
    let mut answers = Answers {
        tokens: column(DType::U32, 1)?,
        log_probabilities: column(DType::F32, 1)?,
        ranks: column(DType::U32, 1)?,
        top_tokens: column(DType::U32, top)?,
        top_log_probabilities: column(DType::F32, top)?,
        own: own.into_iter().rev().collect(),
    };
    let sheet = Sheet::new(device, logits, frame)?;
    let step = device.step(scene.inputs, scene.limits)?;
    let out = SampleOutputs {
        tokens: answers.tokens.writing()?,
        log_probabilities: answers.log_probabilities.writing()?,
        ranks: answers.ranks.writing()?,
        top_tokens: answers.top_tokens.writing()?,
        top_log_probabilities: answers.top_log_probabilities.writing()?,
    };
    device.sample(&step, Sample { logits: sheet.reading()?, own: Some(known.reading()?), rows, out })?;
    Ok(answers)
}
