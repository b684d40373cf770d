//! The attention group: each operation's cases, and its check.

pub(crate) mod attend;
pub(crate) mod copy;
pub(crate) mod rope;

/// Layers of the cases' pages, and the one that is worked on: the others must stay as they are.
pub(crate) const LAYERS: usize = 2;
pub(crate) const LAYER: usize = 1;
