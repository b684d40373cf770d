//! Linear layers as stored.

use std::sync::Arc;

use super::{DType, Memory};
use crate::error::{Error, WEIGHTS, expect_shape, expect_type};

/// One linear layer, or several that read the same input (q, k and v; gate and up), stacked along their outputs.
#[derive(Debug)]
pub struct Linear<M> {
    in_features: usize,
    out_features: usize,
    parts: Vec<Part<M>>,
    split: Split,
}

/// One layer of a stack. Memories are shared: tied embeddings are one memory with two users.
#[derive(Debug)]
pub struct Part<M> {
    /// The weights.
    pub weight: Stored<M>,
    /// `[out_features]`, added after the sum.
    pub bias: Option<Arc<M>>,
}

/// In which form weights are stored. Callers hand it on; only kernels look inside.
#[derive(Debug)]
#[non_exhaustive]
pub enum Stored<M> {
    /// `[out_features, in_features]`, row by row, in the memory's own type.
    Dense(Arc<M>),
}

/// How a layer would be divided among devices. One device ignores it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// By outputs: each device computes some of them.
    Column,
    /// By inputs: each device holds a part of each sum.
    Row,
    /// Not at all.
    Replicated,
}

impl<M: Memory> Linear<M> {
    /// A stack of layers over inputs of `in_features`.
    pub fn new(in_features: usize, split: Split, parts: Vec<Part<M>>) -> Result<Self, Error> {
        if in_features == 0 || parts.is_empty() {
            return Err(Error::Shape { what: "a linear layer's input", expected: 1, found: 0 });
        }
        let mut out_features = 0;
        for part in &parts {
            let Stored::Dense(weight) = &part.weight;
            expect_type("a linear layer's weight", weight.dtype(), WEIGHTS)?;
            expect_shape("a linear layer's last row of weights", weight.len() % in_features, 0)?;
            let out = weight.len() / in_features;
            if let Some(bias) = &part.bias {
                expect_shape("a linear layer's bias", bias.len(), out)?;
                expect_type("a linear layer's bias", bias.dtype(), WEIGHTS)?;
            }
            out_features += out;
        }
        Ok(Self { in_features, out_features, parts, split })
    }

    /// A single dense layer.
    pub fn dense(in_features: usize, split: Split, weight: Arc<M>, bias: Option<Arc<M>>) -> Result<Self, Error> {
        Self::new(in_features, split, vec![Part { weight: Stored::Dense(weight), bias }])
    }

    /// Values in an input row.
    pub const fn in_features(&self) -> usize {
        self.in_features
    }

    /// Values in an output row, over the whole stack.
    pub const fn out_features(&self) -> usize {
        self.out_features
    }

    /// The stacked layers, in order of their outputs.
    pub fn parts(&self) -> &[Part<M>] {
        &self.parts
    }

    /// How it would be divided among devices.
    pub const fn split(&self) -> Split {
        self.split
    }
}

impl<M: Memory> Part<M> {
    /// Type of its stored weights.
    pub fn dtype(&self) -> DType {
        let Stored::Dense(weight) = &self.weight;
        weight.dtype()
    }
}
