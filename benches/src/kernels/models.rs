//! Shapes of the models that are measured, and values to fill them with.

use std::sync::Arc;

use half::{bf16, f16};
use loam_kernels::Cpu;
use loam_kernels::backend::Device;
use loam_kernels::cpu::CpuMemory;
use loam_kernels::layout::{DType, Linear, Part, SiteKind, SiteShape, Split, Stored};

/// A model, as far as its linears go.
pub(super) struct Model {
    pub(super) name: &'static str,
    pub(super) layers: usize,
    /// The four stacks of a layer.
    pub(super) stacks: [Stack; 4],
    /// The one that makes logits.
    pub(super) head: Stack,
}

/// Linears that read the same input.
#[derive(Clone, Copy)]
pub(super) struct Stack {
    pub(super) name: &'static str,
    pub(super) in_features: usize,
    /// Outputs of each.
    pub(super) parts: &'static [usize],
}

const fn stack(name: &'static str, in_features: usize, parts: &'static [usize]) -> Stack {
    Stack { name, in_features, parts }
}

pub(super) const LLAMA_8B: Model = Model {
    name: "8B",
    layers: 32,
    stacks: [
        stack("qkv", 4096, &[4096, 1024, 1024]),
        stack("o", 4096, &[4096]),
        stack("gate_up", 4096, &[14336, 14336]),
        stack("down", 14336, &[4096]),
    ],
    head: stack("lm_head", 4096, &[128_256]),
};

pub(super) const LLAMA_1B: Model = Model {
    name: "1B",
    layers: 16,
    stacks: [
        stack("qkv", 2048, &[2048, 512, 512]),
        stack("o", 2048, &[2048]),
        stack("gate_up", 2048, &[8192, 8192]),
        stack("down", 8192, &[2048]),
    ],
    head: stack("lm_head", 2048, &[128_256]),
};

impl Stack {
    /// Outputs of all.
    pub(super) fn out_features(&self) -> usize {
        self.parts.iter().sum()
    }

    /// Weights of all.
    pub(super) fn len(&self) -> usize {
        self.in_features * self.out_features()
    }

    /// Multiplications and additions for so many rows.
    pub(super) fn operations(&self, rows: usize) -> usize {
        2 * rows * self.len()
    }

    /// With weights of a type.
    pub(super) fn linear(&self, cpu: &Cpu, dtype: DType) -> anyhow::Result<Linear<CpuMemory>> {
        let parts = self.parts.iter().map(|out| {
            let weight = values(cpu, dtype, self.in_features * out)?;
            anyhow::Ok(Part { weight: Stored::Dense(Arc::new(weight)), bias: None })
        });
        Ok(Linear::new(self.in_features, Split::Replicated, parts.collect::<Result<_, _>>()?)?)
    }

    /// As a site of adapters.
    pub(super) fn site(&self) -> SiteShape {
        SiteShape { kind: SiteKind::Linear, in_features: self.in_features, modules: self.parts.to_vec() }
    }
}

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
pub(super) fn floats(len: usize) -> Vec<f32> {
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
