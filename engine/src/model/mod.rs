//! Architectures, written once over [`Backend`](loam_kernels::Backend).

mod sites;

pub use sites::{ModelShape, Module, SITES_OF_LAYER, Sites};
