//! Architectures, written once over [`Backend`](loam_kernels::Backend).
//!
//! `config.json` -> [`ModelConfig`]; safetensors -> [`Weights`]; both -> [`Decoder`], whose forward pass a runner calls.

mod config;
pub(crate) mod decoder;
mod digest;
mod dummy;
mod load;
mod rope;
pub(crate) mod scratch;
mod sites;
mod tap;
mod weights;

pub use config::{Family, ModelConfig};
pub use decoder::Decoder;
pub use sites::{ModelShape, Module, SITES_OF_LAYER, Sites};
pub use tap::Tap;
pub use weights::{Progress, Residence, Weights};
