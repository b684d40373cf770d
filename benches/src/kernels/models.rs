//! Shapes of the models that are measured.

use std::sync::Arc;

use loam_kernels::Cpu;
use loam_kernels::cpu::CpuMemory;
use loam_kernels::layout::{DType, Linear, Part, SiteKind, SiteShape, Split, Stored};

use crate::filled::values;

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
