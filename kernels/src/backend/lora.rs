//! Adapters: what each row's own add to a linear layer.

use super::dense::expect_rows;
use super::{Device, dense::expect_delta};
use crate::error::{Error, expect_below, expect_type};
use crate::layout::{DType, Memory, RowSet, Rows, RowsMut, SiteKind, SitePlace, SiteShape, StepPlan};

/// Operations over pairs (row, adapter). In a step without pairs they do nothing and touch no byte.
pub trait Lora: Device {
    /// See [`Shrink`].
    fn lora_shrink(&self, step: &Self::Step, op: Shrink<'_, Self>) -> Result<(), Error>;
    /// See [`Expand`].
    fn lora_expand(&self, step: &Self::Step, op: Expand<'_, Self>) -> Result<(), Error>;
}

/// The first half: each pair's row through its adapter's `A`.
///
/// `h[pair, r] = sum_k x[row, k] * A[r, k]`, for the ranks of all the site's modules, one after the other. At an
/// embedding `h[pair, r] = A[r, token[row]]`. A pair's values beyond its adapter's rank are left as they are.
pub struct Shrink<'a, D: Device + ?Sized> {
    /// Resident adapters.
    pub adapters: &'a D::Adapters,
    /// Which site.
    pub site: usize,
    /// Which rows these are.
    pub set: RowSet,
    /// `[rows, in_features]`; at an embedding none.
    pub x: Option<Rows<'a, D::Memory>>,
    /// `[pairs or more, the largest rank of the site's adapters in use or more]` in f32.
    pub h: RowsMut<'a, D::Memory>,
}

/// The second half: through `B`, scaled, into the row's delta.
///
/// `delta[row, o] = sum_pairs sum_r (weight[pair] * scale[module] * h[pair, r]) * B[o, r]`, pairs in order of
/// generation, each module into its own columns. A module without rank gives zeros; rows without a pair are left alone.
pub struct Expand<'a, D: Device + ?Sized> {
    /// Resident adapters.
    pub adapters: &'a D::Adapters,
    /// Which site.
    pub site: usize,
    /// Which rows these are.
    pub set: RowSet,
    /// As [`Shrink`] left it.
    pub h: Rows<'a, D::Memory>,
    /// `[rows, out_features]` in f32.
    pub delta: RowsMut<'a, D::Memory>,
}

impl<D: Device + ?Sized> Shrink<'_, D> {
    /// Refuses what does not fit the step, the site, and its places in the adapters that the pairs use.
    pub fn check<'s>(
        &self,
        step: &StepPlan,
        site: &SiteShape,
        mut places: impl Iterator<Item = &'s SitePlace>,
    ) -> Result<(), Error> {
        let (rows, pairs) = (step.rows(self.set), step.pairs(self.set).pairs().len());
        expect_type("h", self.h.dtype(), &[DType::F32])?;
        match (site.kind, &self.x) {
            (SiteKind::Linear, Some(x)) => expect_rows("a site's input", x, rows, site.in_features)?,
            (SiteKind::Embedding, None) if self.set == RowSet::Batch => {
                let (vocabulary, tokens) = (step.limits().vocabulary, site.in_features);
                expect_below("the step's vocabulary", vocabulary, tokens.saturating_add(1))?;
            }
            (kind, x) => {
                let found = format!("{kind:?} with{} input", if x.is_some() { "" } else { "out" });
                let allowed = "linear with input, or an embedding without, over the batch";
                return Err(Error::Unsupported { what: "a site", found, allowed });
            }
        }
        places.try_for_each(|place| expect_h(&self.h.reading(), pairs, place))
    }
}

impl<D: Device + ?Sized> Expand<'_, D> {
    /// Refuses what does not fit the step, the site, and its places in the adapters that the pairs use.
    pub fn check<'s>(
        &self,
        step: &StepPlan,
        site: &SiteShape,
        mut places: impl Iterator<Item = &'s SitePlace>,
    ) -> Result<(), Error> {
        let (rows, pairs) = (step.rows(self.set), step.pairs(self.set).pairs().len());
        expect_type("h", self.h.dtype(), &[DType::F32])?;
        expect_delta(Some(&self.delta.reading()), rows, site.out_features())?;
        places.try_for_each(|place| expect_h(&self.h, pairs, place))
    }
}

/// Refuses an `h` that cannot hold all pairs at an adapter's rank.
pub(super) fn expect_h<M: Memory>(h: &Rows<'_, M>, pairs: usize, place: &SitePlace) -> Result<(), Error> {
    expect_type("h", h.dtype(), &[DType::F32])?;
    let least = |what, found, expected| {
        if found >= expected { Ok(()) } else { Err(Error::Shape { what, expected, found }) }
    };
    least("h, by pairs,", h.rows(), pairs)?;
    least("h, by rank,", h.width(), place.rank)
}
