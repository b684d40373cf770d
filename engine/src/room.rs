//! How much memory goes to keys and values, and how long a request that gives.

use loam_kernels::layout::KvShape;

use crate::error::Error;
use crate::model::{ModelConfig, ModelShape, Sites};
use crate::open::OpenOptions;

/// Bytes for keys and values where nobody says, on a device that says nothing of its memory either.
pub const KV_BYTES: usize = 2 << 30;

/// Of a device's free memory, in hundredths: the rest is for what kernels and libraries need meanwhile.
const USED_HUNDREDTHS: usize = 92;

/// Bytes for keys and values: what is said, else what a device with memory of its own has left beside all else.
pub(crate) fn kv_bytes(options: &OpenOptions, shape: &ModelShape, weights: usize, free: Option<usize>) -> usize {
    options.kv_bytes.unwrap_or_else(|| match free {
        None => KV_BYTES,
        Some(free) => (free / 100 * USED_HUNDREDTHS)
            .saturating_sub(weights)
            .saturating_sub(options.adapter_device_bytes)
            .saturating_sub(scratch_bytes(options, shape)),
    })
}

/// About as many bytes as weights have, where no file says.
pub(crate) fn weight_bytes(sites: &Sites, value_bytes: usize) -> usize {
    sites.modules().iter().map(|module| module.in_features * module.out_features * value_bytes).sum()
}

/// About as many as steps need for activations and logits.
fn scratch_bytes(options: &OpenOptions, shape: &ModelShape) -> usize {
    let activations = 4 * shape.hidden + 3 * shape.intermediate + 3 * shape.q_heads * shape.head_dim;
    // Logits, and what adapters add to the widest site.
    let sums = shape.vocabulary + shape.vocabulary.max(2 * shape.intermediate);
    options.step_tokens_max.saturating_mul(activations * options.dtype.bytes() + sums * size_of::<f32>())
}

/// Positions of the longest request: what is asked for, else the model's, as far as there are pages for them.
pub(crate) fn positions(
    options: &OpenOptions,
    config: &ModelConfig,
    kv: &KvShape,
    kv_bytes: usize,
) -> Result<usize, Error> {
    let held = (kv_bytes / (kv.page_len() * options.dtype.bytes())).saturating_mul(options.page_tokens);
    let most = config.positions_max;
    match options.positions_max {
        Some(wanted) if wanted > most.min(held) => {
            let allowed =
                format!("2 to {most} with this model, and at most {held} with so much memory for keys and values");
            Err(Error::Request { field: "positions_max", found: wanted.to_string(), allowed })
        }
        wanted => Ok(wanted.unwrap_or(most.min(held)).max(2)),
    }
}

/// As many pages as the bytes hold, but no more than every running answer could fill.
pub(crate) fn pages(options: &OpenOptions, kv: &KvShape, kv_bytes: usize, positions: usize) -> Result<usize, Error> {
    let page_bytes = kv.page_len() * options.dtype.bytes();
    let one = positions.div_ceil(options.page_tokens);
    let pages = (kv_bytes / page_bytes).min(one.saturating_mul(options.running_max));
    if pages == 0 {
        let allowed = format!("{page_bytes} bytes or more: one page");
        return Err(Error::Request { field: "kv_bytes", found: kv_bytes.to_string(), allowed });
    }
    Ok(pages)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{KV_BYTES, kv_bytes, weight_bytes};
    use crate::model::{ModelShape, Sites};
    use crate::open::OpenOptions;

    /// Llama-3-8B's.
    const SHAPE: ModelShape = ModelShape {
        vocabulary: 128_256,
        hidden: 4096,
        intermediate: 14_336,
        layers: 32,
        q_heads: 32,
        kv_heads: 8,
        head_dim: 128,
    };

    #[test]
    fn what_is_said_holds_and_what_is_left_is_taken() {
        let weights = weight_bytes(&Sites::new(&SHAPE), 2);
        assert_eq!(weights >> 20, 15_316, "8.03 thousand million values of two bytes, but for norms");
        let mut options = OpenOptions::new(Path::new("m"));
        assert_eq!(kv_bytes(&options, &SHAPE, weights, None), KV_BYTES);
        let left = kv_bytes(&options, &SHAPE, weights, Some(79 << 30));
        assert!((50 << 30..54 << 30).contains(&left), "{left} of a card of 80 GB");
        assert_eq!(kv_bytes(&options, &SHAPE, weights, Some(16 << 30)), 0, "a card without room for it");
        options.kv_bytes = Some(1 << 20);
        assert_eq!(kv_bytes(&options, &SHAPE, weights, Some(79 << 30)), 1 << 20);
    }
}
