//! Keeping what goes into linear layers, for who computes gradients from it.

use loam_kernels::Error;
use loam_kernels::layout::{RowSet, Rows};

/// Hears of a pass's activations while they are there. Serving has none.
pub trait Tap<M> {
    /// `x` is what a site's modules are about to read, one row for each row of `set`, before any adapter's delta of that
    /// site. After this call it is overwritten: copy what is wanted. Called once a pass for each site of each layer, in
    /// order; then for the head, for each set that has rows. The embedding reads the step's tokens: it is not tapped.
    fn input(&mut self, site: usize, set: RowSet, x: Rows<'_, M>) -> Result<(), Error>;
}
