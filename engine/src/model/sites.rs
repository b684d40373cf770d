//! Where adapters can add to a model, and what those places are called in PEFT's files.

use loam_kernels::layout::{SiteKind, SiteShape};

/// Sizes of a decoder of the Llama family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModelShape {
    /// Tokens that the embedding has rows for.
    pub vocabulary: usize,
    /// Values in a row of the residual stream.
    pub hidden: usize,
    /// Values in the middle of a gated layer.
    pub intermediate: usize,
    /// How many layers.
    pub layers: usize,
    /// Heads of queries.
    pub q_heads: usize,
    /// Heads of keys and values.
    pub kv_heads: usize,
    /// Values in a head.
    pub head_dim: usize,
}

/// One linear layer, or the embedding, that an adapter can name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// As the model's own files call it, as `model.layers.0.self_attn.q_proj`.
    pub path: String,
    /// Its site.
    pub site: usize,
    /// Its number within the site.
    pub module: usize,
    /// Its layer; none for the embedding and the head.
    pub layer: Option<usize>,
    /// Values in an input row; of the embedding, the vocabulary.
    pub in_features: usize,
    /// Values in an output row.
    pub out_features: usize,
}

/// All sites of a model, in the order that every adapter's layout has: those of each layer, the head's, the embedding's.
#[derive(Clone, Debug)]
pub struct Sites {
    shapes: Vec<SiteShape>,
    modules: Vec<Module>,
}

/// Sites of one layer: q, k and v; o; gate and up; down.
pub const SITES_OF_LAYER: usize = 4;

impl Sites {
    /// The sites of a model of this shape.
    pub fn new(shape: &ModelShape) -> Self {
        let (q, kv) = (shape.q_heads * shape.head_dim, shape.kv_heads * shape.head_dim);
        let (hidden, intermediate) = (shape.hidden, shape.intermediate);
        let of_layer: [(usize, &[(&str, usize)]); SITES_OF_LAYER] = [
            (hidden, &[("self_attn.q_proj", q), ("self_attn.k_proj", kv), ("self_attn.v_proj", kv)]),
            (q, &[("self_attn.o_proj", hidden)]),
            (hidden, &[("mlp.gate_proj", intermediate), ("mlp.up_proj", intermediate)]),
            (intermediate, &[("mlp.down_proj", hidden)]),
        ];
        let mut sites = Self { shapes: Vec::new(), modules: Vec::new() };
        for layer in 0..shape.layers {
            for (in_features, modules) in of_layer {
                let named = modules.iter().map(|(name, out)| (format!("model.layers.{layer}.{name}"), *out));
                sites.push(SiteKind::Linear, Some(layer), in_features, named);
            }
        }
        sites.push(SiteKind::Linear, None, hidden, [("lm_head".to_owned(), shape.vocabulary)].into_iter());
        let embedding = [("model.embed_tokens".to_owned(), hidden)].into_iter();
        sites.push(SiteKind::Embedding, None, shape.vocabulary, embedding);
        sites
    }

    fn push(
        &mut self,
        kind: SiteKind,
        layer: Option<usize>,
        in_features: usize,
        modules: impl Iterator<Item = (String, usize)>,
    ) {
        let site = self.shapes.len();
        let mut outs = Vec::new();
        for (module, (path, out_features)) in modules.enumerate() {
            self.modules.push(Module { path, site, module, layer, in_features, out_features });
            outs.push(out_features);
        }
        self.shapes.push(SiteShape { kind, in_features, modules: outs });
    }

    /// What backends are told.
    pub fn shapes(&self) -> &[SiteShape] {
        &self.shapes
    }

    /// All modules, site after site.
    pub fn modules(&self) -> &[Module] {
        &self.modules
    }

    /// The site of the layer that makes logits.
    pub fn head(&self) -> usize {
        self.shapes.len() - 2
    }

    /// The site of the embedding.
    pub fn embedding(&self) -> usize {
        self.shapes.len() - 1
    }
}
