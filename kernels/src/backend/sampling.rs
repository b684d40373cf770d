//! From logits to tokens.

use super::Device;
use super::dense::{expect_column, expect_f32, expect_rows};
use super::lora::expect_h;
use crate::error::{Error, expect_shape, expect_type};
use crate::layout::{DType, Linear, Memory, RowSet, Rows, RowsMut, Sampling, SitePlace, StepPlan};

/// Operations on logits. Logits themselves are a `linear` over gathered rows.
pub trait Sampler: Device {
    /// See [`Sample`].
    fn sample(&self, step: &Self::Step, op: Sample<'_, Self::Memory>) -> Result<(), Error>;
    /// See [`Score`].
    fn log_probability_of(&self, step: &Self::Step, op: Score<'_, Self>) -> Result<(), Error>;
}

/// Chooses each row's next token, as its [`Sampling`] says.
///
/// Log-probabilities and ranks are those of the logits as given, before penalties, biases, mask and temperature:
/// `log_probability = logit - log sum_t exp(logit[t])`; a rank counts the tokens with a greater logit. A logit that is
/// not a number counts as minus infinity, an infinite one as the greatest number; where no token is left, the lowest that
/// the mask allows is chosen. Where every logit is minus infinity, so is every log-probability.
#[derive(Debug)]
pub struct Sample<'a, M> {
    /// `[sampled rows, vocabulary]` in f32.
    pub logits: Rows<'a, M>,
    /// `[batch rows, 1]` in u32: each row's own token, as [`TakeTokens`](super::TakeTokens) made it known; only read of
    /// rows that [count it](Sampling::counts_own), and absent where none does. One that is no token counts nowhere.
    pub own: Option<Rows<'a, M>>,
    /// One for each sampled row.
    pub rows: &'a [Sampling],
    /// Where the answers go.
    pub out: SampleOutputs<'a, M>,
}

/// What is said of chosen tokens.
#[derive(Debug)]
pub struct SampleOutputs<'a, M> {
    /// `[sampled rows, 1]` in u32.
    pub tokens: RowsMut<'a, M>,
    /// `[sampled rows, 1]` in f32.
    pub log_probabilities: RowsMut<'a, M>,
    /// `[sampled rows, 1]` in u32.
    pub ranks: RowsMut<'a, M>,
    /// `[sampled rows, top]` in u32, `top` at least what any row asks for: the most probable tokens, in order of rank.
    /// What a row did not ask for, and what a vocabulary does not have, is left as it is.
    pub top_tokens: RowsMut<'a, M>,
    /// `[sampled rows, top]` in f32.
    pub top_log_probabilities: RowsMut<'a, M>,
}

/// The log-probability of each scored row's token, and the most probable token beside it, without keeping a vocabulary's
/// logits for any row.
///
/// The logits are those of `linear` over the scored rows, plus the adapters' delta, and what is said of them is what
/// [`Sample`] says, both to the bit.
pub struct Score<'a, D: Device + ?Sized> {
    /// `[scored rows, hidden]`
    pub x: Rows<'a, D::Memory>,
    /// The layer that makes logits.
    pub head: &'a Linear<D::Memory>,
    /// Adapters on that layer.
    pub delta: Option<HeadDelta<'a, D>>,
    /// `[scored rows, 1]` in f32.
    pub log_probabilities: RowsMut<'a, D::Memory>,
    /// `[scored rows, 1]` in u32: how many tokens have a greater logit.
    pub ranks: RowsMut<'a, D::Memory>,
    /// `[scored rows, 1]` in u32: the first of the most probable tokens.
    pub best_tokens: RowsMut<'a, D::Memory>,
    /// `[scored rows, 1]` in f32.
    pub best_log_probabilities: RowsMut<'a, D::Memory>,
}

/// Adapters on the layer that makes logits, after [`Shrink`](super::Shrink).
pub struct HeadDelta<'a, D: Device + ?Sized> {
    /// Resident adapters.
    pub adapters: &'a D::Adapters,
    /// The layer's site.
    pub site: usize,
    /// `[pairs or more, rank or more]` in f32.
    pub h: Rows<'a, D::Memory>,
}

impl<M: Memory> Sample<'_, M> {
    /// Refuses what does not fit.
    pub fn check(&self, step: &StepPlan) -> Result<(), Error> {
        let (rows, vocabulary) = (step.rows(RowSet::Sampled), step.limits().vocabulary);
        expect_f32("logits", &self.logits, rows, vocabulary)?;
        expect_shape("the rows to sample", self.rows.len(), rows)?;
        self.rows.iter().try_for_each(|row| row.check(vocabulary))?;
        match &self.own {
            Some(own) => expect_column("own tokens", own, step.rows(RowSet::Batch), DType::U32)?,
            None if self.rows.iter().any(|row| row.counts_own) => {
                let (what, found) = ("a row that counts its own token", "no tokens of rows".to_owned());
                return Err(Error::Unsupported { what, found, allowed: "what the step's tokens are known to be" });
            }
            None => {}
        }
        expect_column("chosen tokens", &self.out.tokens.reading(), rows, DType::U32)?;
        expect_column("log-probabilities", &self.out.log_probabilities.reading(), rows, DType::F32)?;
        expect_column("ranks", &self.out.ranks.reading(), rows, DType::U32)?;
        let asked = self.rows.iter().map(|row| row.top_log_probabilities as usize).max().unwrap_or(0);
        for (what, top, dtype) in [
            ("top tokens", &self.out.top_tokens, DType::U32),
            ("top log-probabilities", &self.out.top_log_probabilities, DType::F32),
        ] {
            expect_type(what, top.dtype(), &[dtype])?;
            expect_shape(what, top.rows(), rows)?;
            if top.width() < asked {
                return Err(Error::Shape { what, expected: asked, found: top.width() });
            }
        }
        Ok(())
    }
}

impl<D: Device + ?Sized> Score<'_, D> {
    /// Refuses what does not fit the step and the site's places in the adapters that the pairs use.
    pub fn check<'s>(&self, step: &StepPlan, mut places: impl Iterator<Item = &'s SitePlace>) -> Result<(), Error> {
        let rows = step.rows(RowSet::Scored);
        expect_rows("rows to score", &self.x, rows, self.head.in_features())?;
        expect_shape("the vocabulary", self.head.out_features(), step.limits().vocabulary)?;
        expect_column("log-probabilities", &self.log_probabilities.reading(), rows, DType::F32)?;
        expect_column("ranks", &self.ranks.reading(), rows, DType::U32)?;
        expect_column("best tokens", &self.best_tokens.reading(), rows, DType::U32)?;
        expect_column("best log-probabilities", &self.best_log_probabilities.reading(), rows, DType::F32)?;
        let Some(delta) = &self.delta else { return Ok(()) };
        places.try_for_each(|place| {
            expect_shape("the vocabulary of an adapter", place.shape.out_features(), self.head.out_features())?;
            expect_h(&delta.h, step.pairs(RowSet::Scored).pairs().len(), place)
        })
    }
}
