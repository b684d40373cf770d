//! What a device must be able to do, in four groups; every operation's meaning is written here, once.
//!
//! An operation is a struct whose fields say what goes in and out, with its shape in brackets. `check` refuses arguments
//! that do not fit; each backend calls it before any work. The arithmetic that all share:
//!
//! * Sums are kept in f32. Values are widened when read and rounded, to nearest even, when written.
//! * An output row depends on its own inputs alone. The order of a sum is a function of the reduced length, so a row
//!   has the same bits alone, in a crowd, in prefill, in decode, and in every chunking.
//! * Bit-equality holds within one backend and one level of instructions; across them, tolerance.

mod attention;
mod dense;
mod device;
mod lora;
mod sampling;

pub use attention::{Attend, Attention, CopyPages, RopeStore};
pub use dense::{
    Activation, Add, AddRmsNorm, ApplyLinear, Dense, Embed, Gate, GatherRows, HeadShape, Product, QkNorm, RmsNorm,
    TakeTokens,
};
pub use device::{Adapted, Device, GraphKey, Reading, Source};
pub use lora::{Expand, Lora, Shrink};
pub use sampling::{HeadDelta, Sample, SampleOutputs, Sampler, Score};

/// Everything a model's forward pass needs, on one device.
pub trait Backend: Dense + Attention + Lora + Sampler {}

impl<D: Dense + Attention + Lora + Sampler> Backend for D {}
