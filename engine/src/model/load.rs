//! From a configuration and tensors to a decoder on a device.

use std::collections::BTreeSet;
use std::sync::Arc;

use loam_kernels::Backend;
use loam_kernels::layout::{DType, Linear, Part, Split, Stored};

use super::config::{Family, ModelConfig};
use super::decoder::{Decoder, Layer};
use super::sites::Sites;
use super::weights::{Wanted, Weights};
use crate::error::Error;

/// Takes tensors by name, and remembers which were taken.
struct Taker<'a, B: Backend> {
    backend: &'a B,
    weights: &'a Weights,
    taken: BTreeSet<String>,
}

impl<B: Backend> Taker<'_, B> {
    fn take(&mut self, name: &str, shape: &[usize]) -> Result<Arc<B::Memory>, Error> {
        self.take_all(&[Wanted { name: name.to_owned(), shape: shape.to_vec() }])
    }

    /// Some tensors in one memory.
    fn take_all(&mut self, tensors: &[Wanted]) -> Result<Arc<B::Memory>, Error> {
        let memory = match tensors {
            [tensor] => self.weights.load(self.backend, tensor)?,
            _ => self.weights.load_joined(self.backend, tensors)?,
        };
        self.taken.extend(tensors.iter().map(|tensor| tensor.name.clone()));
        Ok(Arc::new(memory))
    }

    /// Layers that read the same input, stacked: as one, where a device has them in memory of its own and they are of one type.
    fn linear(
        &mut self,
        prefix: &str,
        modules: &[(&str, usize)],
        in_features: usize,
        (split, bias): (Split, bool),
    ) -> Result<Linear<B::Memory>, Error> {
        let wanted = |(module, out): &(&str, usize), what: &str, width: &[usize]| Wanted {
            name: format!("{prefix}{module}.{what}"),
            shape: [&[*out], width].concat(),
        };
        let weights: Vec<Wanted> = modules.iter().map(|it| wanted(it, "weight", &[in_features])).collect();
        let biases: Vec<Wanted> = modules.iter().filter(|_| bias).map(|it| wanted(it, "bias", &[])).collect();
        let is_one =
            !self.backend.loads_in_place() && self.is_of_one_type(&weights)? && self.is_of_one_type(&biases)?;
        let together = if is_one { modules.len() } else { 1 };
        let mut biases = biases.chunks(together);
        let parts = weights.chunks(together).map(|weights| {
            let weight = Stored::Dense(self.take_all(weights)?);
            let bias = biases.next().map(|biases| self.take_all(biases)).transpose()?;
            Ok(Part { weight, bias })
        });
        Ok(Linear::new(in_features, split, parts.collect::<Result<_, Error>>()?)?)
    }

    fn is_of_one_type(&self, tensors: &[Wanted]) -> Result<bool, Error> {
        let types = tensors.iter().map(|it| self.weights.dtype(it)).collect::<Result<Vec<_>, _>>()?;
        Ok(types.windows(2).all(|pair| pair[0] == pair[1]))
    }
}

impl<B: Backend> Decoder<B> {
    /// Loads a model. `dtype` is what activations, keys and values are kept as; `positions`, how long requests can be.
    pub fn load(
        backend: Arc<B>,
        config: &ModelConfig,
        weights: &Weights,
        dtype: DType,
        positions: usize,
    ) -> Result<Self, Error> {
        let shape = config.shape;
        let mut taker = Taker { backend: &*backend, weights, taken: BTreeSet::new() };
        let embedding = taker.take("model.embed_tokens.weight", &[shape.vocabulary, shape.hidden])?;
        let layers = (0..shape.layers).map(|layer| load_layer(&mut taker, config, layer));
        let layers = layers.collect::<Result<Vec<_>, _>>()?;
        let norm = taker.take("model.norm.weight", &[shape.hidden])?;
        let head = if config.tied {
            // Some files repeat the embedding under the head's name.
            weights.expect_tied()?;
            taker.taken.insert("lm_head.weight".to_owned());
            Linear::dense(shape.hidden, Split::Column, Arc::clone(&embedding), None)?
        } else {
            taker.linear("", &[("lm_head", shape.vocabulary)], shape.hidden, (Split::Column, false))?
        };
        weights.expect_all_known(&taker.taken)?;
        let table = config.rope.table(positions)?;
        let mut angles = backend.allocate(DType::F32, table.len())?;
        let bytes: Vec<u8> = table.iter().flat_map(|angle| angle.to_ne_bytes()).collect();
        backend.write(&mut angles, 0, &bytes)?;
        Ok(Self {
            shape,
            sites: Sites::new(&shape),
            dtype,
            embedding,
            layers,
            norm,
            head,
            angles,
            positions,
            rotary_dim: config.rope.rotary_dim,
            epsilon: config.epsilon,
            activation: config.activation,
            backend,
        })
    }
}

fn load_layer<B: Backend>(
    taker: &mut Taker<'_, B>,
    config: &ModelConfig,
    layer: usize,
) -> Result<Layer<B::Memory>, Error> {
    let shape = config.shape;
    let (hidden, intermediate) = (shape.hidden, shape.intermediate);
    let (q, kv) = (shape.q_heads * shape.head_dim, shape.kv_heads * shape.head_dim);
    let prefix = format!("model.layers.{layer}.");
    let (attention, mlp) = (format!("{prefix}self_attn."), format!("{prefix}mlp."));
    let qk_norms = if config.family == Family::Qwen3 {
        let q_norm = taker.take(&format!("{attention}q_norm.weight"), &[shape.head_dim])?;
        Some((q_norm, taker.take(&format!("{attention}k_norm.weight"), &[shape.head_dim])?))
    } else {
        None
    };
    let qkv = [("q_proj", q), ("k_proj", kv), ("v_proj", kv)];
    let gate_up = [("gate_proj", intermediate), ("up_proj", intermediate)];
    Ok(Layer {
        attention_norm: taker.take(&format!("{prefix}input_layernorm.weight"), &[hidden])?,
        mlp_norm: taker.take(&format!("{prefix}post_attention_layernorm.weight"), &[hidden])?,
        qk_norms,
        qkv: taker.linear(&attention, &qkv, hidden, (Split::Column, config.qkv_bias))?,
        o: taker.linear(&attention, &[("o_proj", hidden)], q, (Split::Row, config.o_bias))?,
        gate_up: taker.linear(&mlp, &gate_up, hidden, (Split::Column, config.mlp_bias))?,
        down: taker.linear(&mlp, &[("down_proj", hidden)], intermediate, (Split::Row, config.mlp_bias))?,
        window: config.windows[layer],
    })
}
