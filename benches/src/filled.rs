//! Values to fill memories with.

use half::{bf16, f16};
use loam_kernels::backend::Device;
use loam_kernels::layout::DType;

/// Values of a pattern that repeats; its length is a prime, so that rows differ.
const PATTERN_LEN: usize = 1_048_573;

/// Memory of small values either side of zero: no sum overflows, none meets a denormal number.
pub(crate) fn values<D: Device>(device: &D, dtype: DType, len: usize) -> anyhow::Result<D::Memory> {
    let pattern = floats(PATTERN_LEN.min(len));
    let mut bytes = Vec::with_capacity(pattern.len() * dtype.bytes());
    for value in pattern {
        match dtype {
            DType::F32 => bytes.extend(value.to_le_bytes()),
            DType::Bf16 => bytes.extend(bf16::from_f32(value).to_le_bytes()),
            DType::F16 => bytes.extend(f16::from_f32(value).to_le_bytes()),
            DType::U32 => anyhow::bail!("only numbers with a fraction are filled in"),
        }
    }
    let mut memory = device.allocate(dtype, len)?;
    for at in (0..len).step_by(PATTERN_LEN) {
        let count = PATTERN_LEN.min(len - at);
        device.write(&mut memory, at, &bytes[..count * dtype.bytes()])?;
    }
    Ok(memory)
}

/// The same for rivals.
pub(crate) fn floats(len: usize) -> Vec<f32> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let signed = i16::from_ne_bytes([state.to_le_bytes()[2], state.to_le_bytes()[3]]);
        f32::from(signed) / 327_680.0
    };
    let pattern: Vec<f32> = (0..PATTERN_LEN.min(len)).map(|_| next()).collect();
    let mut values = Vec::with_capacity(len);
    while values.len() < len {
        values.extend_from_slice(&pattern[..pattern.len().min(len - values.len())]);
    }
    values
}
