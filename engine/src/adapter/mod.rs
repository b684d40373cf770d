//! Adapters: known by name, parsed and digested, loaded, resident.

mod aliases;
mod catalog;
mod dummy;
mod files;
mod generation;
mod json;
mod load;
mod loader;
mod pattern;
mod peft;
pub mod pool;
mod roots;
mod source;
mod targets;
mod tensors;

use std::fmt;

use loam_kernels::layout::AdapterLayout;
use loam_ledger_core::Hash;

pub use aliases::ADAPTERS_MAX;
pub use catalog::{Catalog, CatalogOptions, Expected, Listed, Loaded, NAME_BYTES_MAX, Reference, Resolved, check_name};
pub use dummy::Dummy;
pub use load::{BaseTensor, BaseTensors, NoBaseTensors, load};
pub use loader::{Job, Loader, LoaderEvent, LoaderOptions, Notify, Read};
pub use peft::{CONFIG_BYTES_MAX, CONFIG_FILE, PeftConfig};
pub use roots::{Roots, Way};
pub use source::Source;
pub use targets::Chosen;
pub use tensors::{HEADER_BYTES_MAX, TENSORS_FILE, TENSORS_MAX, Tensor, TensorFile};

/// A generation's number within one engine: what the scheduler and the pool count by. Never used again for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AdapterId(pub u32);

/// What an adapter *is*: SHA-256 over its canonical configuration and its tensors. Names are aliases of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub Hash);

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An adapter in host memory, laid out as backends want it.
#[derive(Debug)]
pub struct HostAdapter {
    /// What it is.
    pub generation: Generation,
    /// What lies where in the slab.
    pub layout: AdapterLayout,
    /// All its values.
    pub slab: Vec<u8>,
}
