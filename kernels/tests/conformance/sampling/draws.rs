//! Many draws: tokens come as often as their probabilities say.

use loam_kernels::backend::Sampler;
use loam_kernels::layout::{DType, Sampling};

use super::sample;
use crate::check::Mismatch;
use crate::cover::cases;
use crate::random::Random;
use crate::reference::sampling::weights;
use crate::sheet::Frame;
use crate::values::Values;

/// One row of logits, drawn from again and again.
#[derive(Clone, Debug)]
pub(crate) struct DrawsCase {
    seed: u64,
    vocabulary: usize,
    temperature: f32,
    top_k: u32,
    top_p: f32,
    min_p: f32,
    /// Whether each draw is another request's, instead of the same request's next.
    by_seed: bool,
}

const DRAWS: usize = 4000;

/// All of it, in pairs.
pub(crate) fn cases() -> Vec<DrawsCase> {
    cases!(DrawsCase {
        vocabulary: [2, 12, 300],
        temperature: [0.5, 1.0, 2.0],
        top_k: [0, 7],
        top_p: [1.0, 0.8],
        min_p: [0.0, 0.1],
        by_seed: [false, true],
    })
}

/// Counts are within five deviations, and what was cut off never comes.
pub(crate) fn check<B: Sampler>(device: &B, case: &DrawsCase) -> Result<(), Mismatch> {
    let mut random = Random::new(case.seed);
    let row = Values::of(DType::F32, 1, case.vocabulary, |_, _| 2.0 * random.signed());
    let logits = Values { rows: DRAWS, bytes: row.bytes.repeat(DRAWS), ..row.clone() };
    let one = |index: u64| Sampling {
        temperature: case.temperature,
        top_k: case.top_k,
        top_p: case.top_p,
        min_p: case.min_p,
        seed: if case.by_seed { index } else { case.seed },
        draw: if case.by_seed { 99 } else { index },
        ..Sampling::default()
    };
    let rows: Vec<Sampling> = (0..DRAWS as u64).map(one).collect();
    let answers = sample(device, &logits, &rows, Frame::Packed)?;
    let mut counts = vec![0_usize; case.vocabulary];
    for token in answers.tokens.values(device)?.columns().concat() {
        let Some(count) = counts.get_mut(token as usize) else {
            return Err(Mismatch::Broken(format!("token {token} of a vocabulary of {}", case.vocabulary)));
        };
        *count += 1;
    }
    let weights = weights(&row.row(0), &rows[0]);
    let total: f64 = weights.iter().sum();
    for (token, (count, weight)) in counts.iter().zip(&weights).enumerate() {
        let (draws, share) = (DRAWS as f64, weight / total);
        let deviation = (draws * share * (1.0 - share)).sqrt();
        if (*count as f64 - draws * share).abs() > 5.0 * deviation + if share > 0.0 { 1.0 } else { 0.0 } {
            let text = format!("token {token} was drawn {count} times of {DRAWS}; its share is {share}");
            return Err(Mismatch::Broken(text));
        }
    }
    Ok(())
}
