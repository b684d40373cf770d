//! From logits to tokens: each row by itself, on one thread, by what its logits and its own numbers say.

mod choose;
mod rank;
mod row;
mod score;
mod seen;
#[cfg(test)]
mod tests;

use std::cell::RefCell;

use super::memory::{In, Out};
use super::pool::share;
use super::{Cpu, CpuMemory, CpuStep};
use crate::backend::{Sample, SampleOutputs, Sampler, Score};
use crate::error::Error;
use crate::layout::Sampling;
use choose::choose;
use row::Row;
use seen::Seen;

impl Sampler for Cpu {
    fn sample(&self, step: &CpuStep, mut op: Sample<'_, CpuMemory>) -> Result<(), Error> {
        op.check(&step.0)?;
        op.logits.memory().expect_unchanged()?;
        op.own.map_or(Ok(()), |own| own.memory().expect_unchanged())?;
        let SampleOutputs { tokens, log_probabilities, ranks, top_tokens, top_log_probabilities } = &mut op.out;
        for out in [&mut *tokens, log_probabilities, ranks, top_tokens, top_log_probabilities] {
            out.memory_mut().expect_output()?;
        }
        let answers = Answers {
            tokens: Out::of(tokens),
            log_probabilities: Out::of(log_probabilities),
            ranks: Out::of(ranks),
            top_tokens: Out::of(top_tokens),
            top_log_probabilities: Out::of(top_log_probabilities),
        };
        let (logits, rows) = (In::<f32>::of(&op.logits), op.rows);
        let own = op.own.as_ref().map(In::<u32>::of);
        let own = |row: usize| {
            let counted = own.as_ref().filter(|_| rows[row].counts_own);
            counted.map(|own| own.row(step.0.sampled()[row] as usize)[0])
        };
        let bytes = rows.len() * logits.width * size_of::<f32>() * READINGS;
        let tasks = self.pool.tasks(rows.len(), bytes);
        self.pool.each(tasks, bytes, |task| {
            SCRATCH.with_borrow_mut(|scratch| {
                for row in share(task, tasks, rows.len()) {
                    self.sample_row(row, logits.row(row), (&rows[row], own(row)), &answers, scratch);
                }
            });
        });
        Ok(())
    }

    fn log_probability_of(&self, step: &CpuStep, op: Score<'_, Self>) -> Result<(), Error> {
        self.score(step, op)
    }
}

/// About how often a row is read.
const READINGS: usize = 4;

thread_local! {
    /// A row's memory is as long as the vocabulary: each thread keeps its own from step to step.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

#[derive(Debug, Default)]
struct Scratch {
    peaks: Vec<f32>,
    choice: choose::Scratch,
}

/// Where each row's answer goes.
struct Answers<'a> {
    tokens: Out<'a, u32>,
    log_probabilities: Out<'a, f32>,
    ranks: Out<'a, u32>,
    top_tokens: Out<'a, u32>,
    top_log_probabilities: Out<'a, f32>,
}

impl Cpu {
    fn sample_row(
        &self,
        index: usize,
        logits: &[f32],
        (sampling, own): (&Sampling, Option<u32>),
        answers: &Answers<'_>,
        scratch: &mut Scratch,
    ) {
        let raw = Row::new(self.level, logits, &mut scratch.peaks);
        let token = choose(self.level, logits, raw, (sampling, own), &mut scratch.choice);
        let logit = raw.logit(token);
        let seen = Seen::of_row(self.level, logits, logit);
        // SAFETY: a row's answers are written by the task that has the row.
        unsafe {
            answers.tokens.row(index)[0] = token as u32;
            answers.log_probabilities.row(index)[0] = seen.log_probability(logit);
            answers.ranks.row(index)[0] = seen.above as u32;
        }
        let keys = &mut scratch.choice.keys;
        rank::first(&raw, sampling.top_log_probabilities as usize, keys);
        // SAFETY: as above.
        let (tokens, log_probabilities) = unsafe {
            (answers.top_tokens.part(index, 0, keys.len()), answers.top_log_probabilities.part(index, 0, keys.len()))
        };
        for ((key, token), log_probability) in keys.iter().zip(tokens).zip(log_probabilities) {
            (*token, *log_probability) = (key.token(), seen.log_probability(key.logit()));
        }
    }
}
