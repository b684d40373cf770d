//! Faults of the sampling group.

use loam_kernels::Error;
use loam_kernels::backend::{HeadDelta, Sample, SampleOutputs, Sampler, Score};
use loam_kernels::cpu::{CpuMemory, CpuStep};
use loam_kernels::layout::Sampling;

use super::{Fault, Planted, again, scaled, swap_rows, without_last_column};
use crate::values::Values;

impl Sampler for Planted {
    fn sample(&self, step: &CpuStep, mut op: Sample<'_, CpuMemory>) -> Result<(), Error> {
        let vocabulary = op.logits.width();
        let rows: Vec<Sampling> = op.rows.iter().map(|row| self.spoiled_row(row)).collect();
        let logits = self.changed(&op.logits, |logits| {
            if self.fault == Fault::SampleSkipsTheLastToken && logits.width > 1 {
                (0..logits.rows).for_each(|row| logits.set(row, logits.width - 1, f64::NEG_INFINITY));
            }
        })?;
        let out = SampleOutputs {
            tokens: again(&mut op.out.tokens)?,
            log_probabilities: again(&mut op.out.log_probabilities)?,
            ranks: again(&mut op.out.ranks)?,
            top_tokens: again(&mut op.out.top_tokens)?,
            top_log_probabilities: again(&mut op.out.top_log_probabilities)?,
        };
        let spoil_own = |own: &mut Values| {
            if self.fault == Fault::SampleTakesAnothersOwnToken {
                swap_rows(own);
            }
        };
        let own = op.own.as_ref().map(|own| self.changed(own, spoil_own)).transpose()?;
        let own = own.as_ref().map(|own| own.reading()).transpose()?;
        self.cpu.sample(step, Sample { logits: logits.reading()?, own, rows: &rows, out })?;
        match self.fault {
            Fault::SampleTakesTheNextToken => self.spoil(&mut op.out.tokens, |tokens| {
                let next = |token: f64| (token as usize + 1) % vocabulary;
                (0..tokens.rows).for_each(|row| tokens.set(row, 0, next(tokens.at(row, 0)) as f64));
            }),
            Fault::SampleCountsItself => self.spoil(&mut op.out.ranks, one_more),
            Fault::SampleSaysLogitsOnly => self.spoil(&mut op.out.log_probabilities, scaled),
            _ => Ok(()),
        }
    }

    fn log_probability_of(&self, step: &CpuStep, mut op: Score<'_, Self>) -> Result<(), Error> {
        let fault = self.fault;
        let x = self.changed(&op.x, |x| {
            if fault == Fault::ScoreSkipsTheLastInput {
                without_last_column(x);
            }
        })?;
        let scale = |h: &mut Values| {
            if fault == Fault::ScoreScalesTheDelta {
                scaled(h);
            }
        };
        let h = op.delta.as_ref().map(|delta| self.changed(&delta.h, scale)).transpose()?;
        let delta = match (&op.delta, &h) {
            (Some(delta), Some(h)) if fault != Fault::ScoreForgetsTheDelta => {
                Some(HeadDelta { adapters: delta.adapters, site: delta.site, h: h.reading()? })
            }
            _ => None,
        };
        self.cpu.log_probability_of(
            step,
            Score {
                x: x.reading()?,
                head: op.head,
                delta,
                log_probabilities: again(&mut op.log_probabilities)?,
                ranks: again(&mut op.ranks)?,
                best_tokens: again(&mut op.best_tokens)?,
                best_log_probabilities: again(&mut op.best_log_probabilities)?,
            },
        )?;
        match fault {
            Fault::ScoreTakesTheTokenAfterTheBest => self.spoil(&mut op.best_tokens, |tokens| {
                let next = |token: f64| (token as usize + 1) % op.head.out_features();
                (0..tokens.rows).for_each(|row| tokens.set(row, 0, next(tokens.at(row, 0)) as f64));
            }),
            Fault::ScoreSaysTheBestIsCertain => self.spoil(&mut op.best_log_probabilities, |said| {
                (0..said.rows).for_each(|row| said.set(row, 0, 0.0));
            }),
            Fault::ScoreSwapsRows => self.spoil(&mut op.log_probabilities, swap_rows),
            Fault::ScoreCountsItself => self.spoil(&mut op.ranks, one_more),
            _ => Ok(()),
        }
    }
}

fn one_more(ranks: &mut Values) {
    (0..ranks.rows).for_each(|row| ranks.set(row, 0, ranks.at(row, 0) + 1.0));
}

impl Planted {
    fn spoiled_row(&self, row: &Sampling) -> Sampling {
        let mut row = row.clone();
        match self.fault {
            Fault::SampleIsHotter => row.temperature *= 1.05,
            Fault::SampleKeepsOneMore if row.top_k > 0 => row.top_k += 1,
            Fault::SampleForgetsPenalties => row.seen.clear(),
            Fault::SampleForgetsItsOwnToken => row.counts_own = false,
            Fault::SampleForgetsTheMask => row.mask = None,
            Fault::SampleDrawsOnce => row.draw = 0,
            _ => {}
        }
        row
    }
}
