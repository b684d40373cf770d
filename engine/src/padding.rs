//! Steps that a device records once and replays: which they are, and rows of nobody's, with which a few sizes of steps
//! serve all.

use loam_kernels::Error;
use loam_kernels::backend::{Device, GraphKey};
use loam_kernels::layout::{StepInputs, StepLimits};

/// What a model's steps are padded with.
#[derive(Debug)]
pub(crate) struct Padding {
    /// Pages that nobody else has: they lie beyond those that requests can be given.
    pages: Vec<u32>,
    /// Positions of a page that rows can have.
    page_positions: usize,
}

impl Padding {
    /// For steps of a model on a device; none where it records nothing. `limits` are those of steps before padding.
    pub(crate) fn of<D: Device>(device: &D, limits: &StepLimits) -> Option<Self> {
        let page_positions = limits.page_tokens.min(limits.positions).max(1);
        let pages = GraphKey::PADDING_ROWS_MAX.div_ceil(page_positions) as u32;
        let first = limits.pages as u32;
        device.records().then(|| Self { pages: (first..first + pages).collect(), page_positions })
    }

    /// How many pages there are for it: one or two, unless pages are tiny.
    pub(crate) fn pages(&self) -> usize {
        self.pages.len()
    }

    /// Rows of the recorded steps that this one is like but for its numbers: one row a request, each sampled once and in
    /// order, none scored.
    pub(crate) fn rows(&self, inputs: &StepInputs) -> Option<u32> {
        let own = inputs.tokens.len();
        let is_decode = own > 0 && inputs.segments.iter().all(|segment| segment.rows <= 1);
        let is_alike = is_decode && inputs.sampled.iter().copied().eq(0..own as u32) && inputs.scored.is_empty();
        GraphKey::rows_for(own).filter(|_| is_alike)
    }

    /// Adds rows until there are so many. Each is sampled like the others, and nobody reads what it draws.
    pub(crate) fn pad(&self, inputs: &mut StepInputs, rows: u32) -> Result<(), Error> {
        inputs.pad(rows as usize, &self.pages, self.page_positions)
    }
}
