//! Steps that a device records once and replays: what they are called, and rows of nobody's, with which a few sizes of
//! steps serve all.

use loam_kernels::Error;
use loam_kernels::backend::{Device, GraphKey};
use loam_kernels::layout::{StepInputs, StepLimits};

/// What a model's steps are padded with.
#[derive(Debug)]
pub(crate) struct Padding {
    model: u64,
    /// Pages that nobody else has: they lie beyond those that requests can be given.
    pages: Vec<u32>,
    /// Positions of a page that rows can have.
    page_positions: usize,
}

impl Padding {
    /// For steps of a model on a device; none where it records nothing. `limits` are those of steps before padding.
    pub(crate) fn of<D: Device>(device: &D, model: u64, limits: &StepLimits) -> Option<Self> {
        let page_positions = limits.page_tokens.min(limits.positions).max(1);
        let pages = GraphKey::PADDING_ROWS_MAX.div_ceil(page_positions) as u32;
        let first = limits.pages as u32;
        device.records().then(|| Self { model, pages: (first..first + pages).collect(), page_positions })
    }

    /// How many pages there are for it: one or two, unless pages are tiny.
    pub(crate) fn pages(&self) -> usize {
        self.pages.len()
    }

    /// What a step is called that differs in its numbers alone from others of its name: one row a request, each sampled
    /// once and in order, none scored.
    pub(crate) fn key(&self, inputs: &StepInputs) -> Option<GraphKey> {
        let own = inputs.tokens.len();
        let is_decode = own > 0 && inputs.segments.iter().all(|segment| segment.rows <= 1);
        let is_alike = is_decode && inputs.sampled.iter().copied().eq(0..own as u32) && inputs.scored.is_empty();
        let rows = GraphKey::rows_for(own).filter(|_| is_alike)?;
        Some(GraphKey { model: self.model, rows, with_adapters: !inputs.pairs.is_empty() })
    }

    /// Adds rows until there are as many as a key says. Each is sampled like the others, and nobody reads what it draws.
    pub(crate) fn pad(&self, inputs: &mut StepInputs, key: GraphKey) -> Result<(), Error> {
        inputs.pad(key.rows as usize, &self.pages, self.page_positions)
    }
}
