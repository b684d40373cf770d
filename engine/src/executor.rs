//! The seam between choosing what to compute and computing it: a step is launched, and its outputs are collected.

use std::any::Any;
use std::sync::Arc;

use loam_kernels::layout::{Sampling, StepInputs, StepLimits};

use crate::adapter::HostAdapter;
use crate::error::Error;

/// What runs steps. Tests have one without a model.
pub trait Executor: Send {
    /// What a step's numbers must stay below, and how many rows it may have.
    fn limits(&self) -> ExecutorLimits;

    /// Puts adapters where steps can use them, from other threads while steps run.
    fn uploader(&self) -> Arc<dyn Uploader>;

    /// How many steps may be launched beyond the one whose outputs are collected next: none where a launch computes.
    fn steps_ahead(&self) -> usize {
        0
    }

    /// Begins one step, whole. After an error nothing of the step holds.
    fn launch(&mut self, batch: &Batch) -> Result<Ticket, Error>;

    /// Waits for a step and takes its outputs: each step's once, in the order in which they were launched. After an error
    /// nothing holds of the step, nor of what was launched after it.
    fn collect(&mut self, ticket: Ticket) -> Result<Outputs, Error>;

    /// Runs one step, where none is in flight.
    fn execute(&mut self, batch: &Batch) -> Result<Outputs, Error> {
        let ticket = self.launch(batch)?;
        self.collect(ticket)
    }

    /// What computes, for people.
    fn describe(&self) -> String;
}

/// Copies adapters to a device.
pub trait Uploader: Send + Sync {
    /// Copies one. Steps that run meanwhile are not held up.
    fn upload(&self, adapter: &HostAdapter) -> Result<Uploaded, Error>;
}

/// An adapter on a device; only the executor that it was made for looks inside.
#[derive(Clone)]
pub struct Uploaded(pub Arc<dyn Any + Send + Sync>);

/// What an executor can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExecutorLimits {
    /// Vocabulary, positions, pages, slots.
    pub step: StepLimits,
    /// Rows of a step.
    pub rows_max: usize,
}

/// A step that was launched: its number among its executor's.
#[derive(Debug, PartialEq, Eq)]
pub struct Ticket(pub u64);

/// One step, laid flat.
#[derive(Default)]
pub struct Batch {
    /// Rows, segments, pages, pairs.
    pub inputs: StepInputs,
    /// How each of [`StepInputs::sampled`] is chosen.
    pub sampling: Vec<Sampling>,
    /// Places in [`StepInputs::sampled`] whose logits are wanted as they are.
    pub logits: Vec<u32>,
    /// Slots to fill before the step, or to empty.
    pub installs: Vec<(u32, Option<Uploaded>)>,
    /// Pages to copy before the step: from, to.
    pub copies: Vec<(u32, u32)>,
}

/// What came of a step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outputs {
    /// One for each sampled row.
    pub sampled: Vec<Sampled>,
    /// One for each scored row, with the most probable token beside it.
    pub scored: Vec<Sampled>,
    /// One row of logits for each of [`Batch::logits`].
    pub logits: Vec<Vec<f32>>,
}

/// A token and how probable the model found it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Chosen {
    /// The token.
    pub token: u32,
    /// Of the logits as they are, before penalties and temperature.
    pub log_probability: f32,
    /// How many tokens have a greater logit.
    pub rank: u32,
}

/// A row's next token.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sampled {
    /// The token drawn.
    pub chosen: Chosen,
    /// The most probable ones, as many as were asked for: token and log-probability.
    pub top: Vec<(u32, f32)>,
}
