//! The decoder of the Llama family, written once over [`Backend`]; it reads like the paper.

use std::sync::Arc;

use loam_kernels::Backend;
use loam_kernels::backend::{
    Activation, Add, AddRmsNorm, ApplyLinear, Attend, Embed, Expand, Gate, GatherRows, HeadDelta, HeadShape, QkNorm,
    RmsNorm, RopeStore, Sample, SampleOutputs, Score, Shrink, TakeTokens,
};
use loam_kernels::layout::{
    ADAPTERS_PER_ROW_MAX, DType, Linear, Memory as _, PagedKv, RowSet, Rows, RowsMut, Sampling, StepPlan,
};

use super::scratch::Scratch;
use super::sites::{ModelShape, SITES_OF_LAYER, Sites};
use super::tap::Tap;
use loam_kernels::Error;

/// Sites of a layer.
const QKV: usize = 0;
const O: usize = 1;
const GATE_UP: usize = 2;
const DOWN: usize = 3;

/// One layer's weights.
pub(crate) struct Layer<M> {
    pub(crate) attention_norm: Arc<M>,
    pub(crate) mlp_norm: Arc<M>,
    /// Norms of each head's query and key (Qwen3).
    pub(crate) qk_norms: Option<(Arc<M>, Arc<M>)>,
    pub(crate) qkv: Linear<M>,
    pub(crate) o: Linear<M>,
    pub(crate) gate_up: Linear<M>,
    pub(crate) down: Linear<M>,
    /// Positions that a row sees.
    pub(crate) window: Option<u32>,
}

/// A model's weights on a device, and its forward pass.
pub struct Decoder<B: Backend> {
    pub(crate) backend: Arc<B>,
    pub(crate) shape: ModelShape,
    pub(crate) sites: Sites,
    pub(crate) dtype: DType,
    pub(crate) embedding: Arc<B::Memory>,
    pub(crate) layers: Vec<Layer<B::Memory>>,
    pub(crate) norm: Arc<B::Memory>,
    pub(crate) head: Linear<B::Memory>,
    pub(crate) angles: B::Memory,
    pub(crate) positions: usize,
    pub(crate) rotary_dim: usize,
    pub(crate) epsilon: f32,
    pub(crate) activation: Activation,
}

/// What one pass works on, beside the weights.
pub(crate) struct Pass<'a, B: Backend> {
    pub(crate) step: &'a B::Step,
    pub(crate) kv: &'a mut PagedKv<B::Memory>,
    pub(crate) adapters: &'a B::Adapters,
    /// For each site, how wide `h` is: room for all ranks that an adapter has there. 0 where none has any.
    pub(crate) h_widths: &'a [usize],
    /// Whether `h` has room for every row's adapters, whoever uses how many: what is recorded serves later steps too.
    pub(crate) for_all_adapters: bool,
    /// Whether rows may have tokens that the step before has drawn.
    pub(crate) takes_tokens: bool,
    /// Who wants the sites' inputs; none when serving.
    pub(crate) tap: Option<&'a mut (dyn Tap<B::Memory> + Send)>,
}

impl<B: Backend> Decoder<B> {
    /// Every operation of one step up to its logits, in order.
    pub(crate) fn forward(&self, pass: &mut Pass<'_, B>, s: &mut Scratch<B::Memory>) -> Result<(), Error> {
        if pass.takes_tokens {
            let tokens = Rows::new(&s.tokens, s.tokens.len(), 1)?;
            let known = RowsMut::new(&mut s.known, pass.rows(RowSet::Batch), 1)?;
            self.backend.take_tokens(pass.step, TakeTokens { tokens, known })?;
        }
        self.embed(pass, s)?;
        for number in 0..self.layers.len() {
            self.attend(pass, s, number)?;
            self.project(pass, s, number)?;
            self.gate(pass, s, number)?;
            self.reduce(pass, s, number)?;
        }
        self.logits(pass, s)?;
        self.score(pass, s)
    }

    /// `residual = embedding[token] + delta`, `normed = norm(residual)`
    fn embed(&self, pass: &mut Pass<'_, B>, s: &mut Scratch<B::Memory>) -> Result<(), Error> {
        let (rows, hidden) = (pass.rows(RowSet::Batch), self.shape.hidden);
        let out = RowsMut::new(&mut s.residual, rows, hidden)?;
        self.backend.embed(pass.step, Embed { table: &self.embedding, out })?;
        let delta = self.adapt(pass, self.sites.embedding(), RowSet::Batch, None, &mut s.h, &mut s.delta)?;
        if let Some(delta) = delta.join(&*self.backend)? {
            let x = RowsMut::new(&mut s.residual, rows, hidden)?;
            self.backend.add(pass.step, Add { x, delta, set: RowSet::Batch })?;
        }
        self.backend.rms_norm(RmsNorm {
            x: Rows::new(&s.residual, rows, hidden)?,
            weight: &self.layers[0].attention_norm,
            epsilon: self.epsilon,
            out: RowsMut::new(&mut s.normed, rows, hidden)?,
            inverse: None,
        })
    }

    /// `attended = attention(rope(qkv(normed)))`
    fn attend(&self, pass: &mut Pass<'_, B>, s: &mut Scratch<B::Memory>, number: usize) -> Result<(), Error> {
        let layer = &self.layers[number];
        let (rows, heads) = (pass.rows(RowSet::Batch), self.heads());
        let (hidden, width) = (self.shape.hidden, heads.qkv_width());
        let x = Rows::new(&s.normed, rows, hidden)?;
        let site = number * SITES_OF_LAYER + QKV;
        let delta = self.adapt(pass, site, RowSet::Batch, Some(x), &mut s.h, &mut s.delta)?;
        self.linear(&layer.qkv, x, &mut s.wide)?;
        let mut delta = delta.join(&*self.backend)?;
        if let Some((q_weight, k_weight)) = &layer.qk_norms {
            // The delta is added where the heads are normed, and so no more when they are turned.
            let (qkv, delta) = (RowsMut::new(&mut s.wide, rows, width)?, delta.take());
            let op = QkNorm { qkv, delta, heads, q_weight, k_weight, epsilon: self.epsilon };
            self.backend.qk_norm(pass.step, op)?;
        }
        let angles = Rows::new(&self.angles, self.positions, self.rotary_dim)?;
        let qkv = RowsMut::new(&mut s.wide, rows, width)?;
        let op = RopeStore { qkv, delta, q_heads: heads.q_heads, angles, kv: pass.kv, layer: number };
        self.backend.rope_store(pass.step, op)?;
        self.backend.attention(
            pass.step,
            Attend {
                q: Rows::new(&s.wide, rows, width)?.columns(0, heads.q_width())?,
                kv: pass.kv,
                layer: number,
                scale: 1.0 / (heads.head_dim as f32).sqrt(),
                window: layer.window,
                out: RowsMut::new(&mut s.attended, rows, heads.q_width())?,
                log_sum_exp: None,
            },
        )
    }

    /// `residual += o(attended)`, `normed = norm(residual)`
    fn project(&self, pass: &mut Pass<'_, B>, s: &mut Scratch<B::Memory>, number: usize) -> Result<(), Error> {
        let layer = &self.layers[number];
        let rows = pass.rows(RowSet::Batch);
        let x = Rows::new(&s.attended, rows, self.heads().q_width())?;
        let site = number * SITES_OF_LAYER + O;
        let delta = self.adapt(pass, site, RowSet::Batch, Some(x), &mut s.h, &mut s.delta)?;
        self.linear(&layer.o, x, &mut s.narrow)?;
        let delta = delta.join(&*self.backend)?;
        self.add_norm(pass, (&mut s.residual, &s.narrow, &mut s.normed), delta, &layer.mlp_norm)
    }

    /// `gated = activation(gate(normed)) * up(normed)`
    fn gate(&self, pass: &mut Pass<'_, B>, s: &mut Scratch<B::Memory>, number: usize) -> Result<(), Error> {
        let layer = &self.layers[number];
        let (rows, intermediate) = (pass.rows(RowSet::Batch), self.shape.intermediate);
        let x = Rows::new(&s.normed, rows, self.shape.hidden)?;
        let site = number * SITES_OF_LAYER + GATE_UP;
        let delta = self.adapt(pass, site, RowSet::Batch, Some(x), &mut s.h, &mut s.delta)?;
        self.linear(&layer.gate_up, x, &mut s.wide)?;
        let delta = delta.join(&*self.backend)?;
        let gate_up = Rows::new(&s.wide, rows, 2 * intermediate)?;
        let out = RowsMut::new(&mut s.gated, rows, intermediate)?;
        self.backend.gate(pass.step, Gate { activation: self.activation, gate_up, delta, out })
    }

    /// `residual += down(gated)`, `normed = norm(residual)` by the next layer's norm, or the last one
    fn reduce(&self, pass: &mut Pass<'_, B>, s: &mut Scratch<B::Memory>, number: usize) -> Result<(), Error> {
        let layer = &self.layers[number];
        let x = Rows::new(&s.gated, pass.rows(RowSet::Batch), self.shape.intermediate)?;
        let site = number * SITES_OF_LAYER + DOWN;
        let delta = self.adapt(pass, site, RowSet::Batch, Some(x), &mut s.h, &mut s.delta)?;
        self.linear(&layer.down, x, &mut s.narrow)?;
        let delta = delta.join(&*self.backend)?;
        let next = self.layers.get(number + 1).map_or(&self.norm, |next| &next.attention_norm);
        self.add_norm(pass, (&mut s.residual, &s.narrow, &mut s.normed), delta, next)
    }
}

/// What adapters add, which nobody may read before it is joined.
struct Beside<'d, M>(Option<Rows<'d, M>>);

impl<'d, M> Beside<'d, M> {
    fn join<B: Backend<Memory = M>>(self, backend: &B) -> Result<Option<Rows<'d, M>>, Error> {
        if self.0.is_some() {
            backend.join()?;
        }
        Ok(self.0)
    }
}

/// From the last norm to tokens.
impl<B: Backend> Decoder<B> {
    /// Logits of the rows that draw.
    fn logits(&self, pass: &mut Pass<'_, B>, s: &mut Scratch<B::Memory>) -> Result<(), Error> {
        let (set, rows) = (RowSet::Sampled, pass.rows(RowSet::Sampled));
        if rows == 0 {
            return Ok(());
        }
        self.gather(pass, s, set)?;
        let x = Rows::new(&s.chosen, rows, self.shape.hidden)?;
        let delta = self.adapt(pass, self.sites.head(), set, Some(x), &mut s.h, &mut s.delta)?;
        self.linear(&self.head, x, &mut s.logits)?;
        if let Some(delta) = delta.join(&*self.backend)? {
            let x = RowsMut::new(&mut s.logits, rows, self.shape.vocabulary)?;
            self.backend.add(pass.step, Add { x, delta, set })?;
        }
        Ok(())
    }

    /// What they draw, by the logits of the step that [`forward`](Self::forward) has just computed.
    pub(crate) fn sample(
        &self,
        step: &B::Step,
        sampling: &[Sampling],
        s: &mut Scratch<B::Memory>,
    ) -> Result<(), Error> {
        let (plan, top): (&StepPlan, _) = (step.as_ref(), s.top_max);
        let rows = plan.rows(RowSet::Sampled);
        if rows == 0 {
            return Ok(());
        }
        self.backend.sample(
            step,
            Sample {
                logits: Rows::new(&s.logits, rows, self.shape.vocabulary)?,
                own: Some(Rows::new(&s.known, plan.rows(RowSet::Batch), 1)?),
                rows: sampling,
                out: SampleOutputs {
                    tokens: RowsMut::new(&mut s.tokens, rows, 1)?,
                    log_probabilities: RowsMut::new(&mut s.log_probabilities, rows, 1)?,
                    ranks: RowsMut::new(&mut s.ranks, rows, 1)?,
                    top_tokens: RowsMut::new(&mut s.top_tokens, rows, top)?,
                    top_log_probabilities: RowsMut::new(&mut s.top_log_probabilities, rows, top)?,
                },
            },
        )
    }

    /// Log-probabilities of given tokens and the best beside each, without logits for any of them.
    fn score(&self, pass: &mut Pass<'_, B>, s: &mut Scratch<B::Memory>) -> Result<(), Error> {
        let (set, rows, site) = (RowSet::Scored, pass.rows(RowSet::Scored), self.sites.head());
        if rows == 0 {
            return Ok(());
        }
        self.gather(pass, s, set)?;
        let x = Rows::new(&s.chosen, rows, self.shape.hidden)?;
        pass.tap(site, set, Some(x))?;
        let mut delta = None;
        if pass.h_widths[site] > 0 {
            let (pairs, width) = (pass.pairs(set), pass.h_widths[site]);
            let h = RowsMut::new(&mut s.h, pairs, width)?;
            self.backend.lora_shrink(pass.step, Shrink { adapters: pass.adapters, site, set, x: Some(x), h })?;
            delta = Some(HeadDelta { adapters: pass.adapters, site, h: Rows::new(&s.h, pairs, width)? });
        }
        self.backend.log_probability_of(
            pass.step,
            Score {
                x,
                head: &self.head,
                delta,
                log_probabilities: RowsMut::new(&mut s.scored_log_probabilities, rows, 1)?,
                ranks: RowsMut::new(&mut s.scored_ranks, rows, 1)?,
                best_tokens: RowsMut::new(&mut s.scored_best_tokens, rows, 1)?,
                best_log_probabilities: RowsMut::new(&mut s.scored_best_log_probabilities, rows, 1)?,
            },
        )
    }

    fn gather(&self, pass: &Pass<'_, B>, s: &mut Scratch<B::Memory>, set: RowSet) -> Result<(), Error> {
        let hidden = self.shape.hidden;
        let x = Rows::new(&s.normed, pass.rows(RowSet::Batch), hidden)?;
        let out = RowsMut::new(&mut s.chosen, pass.rows(set), hidden)?;
        self.backend.gather_rows(pass.step, GatherRows { x, set, out })
    }
}

/// What the parts above are made of.
impl<B: Backend> Decoder<B> {
    fn linear(&self, weights: &Linear<B::Memory>, x: Rows<'_, B::Memory>, out: &mut B::Memory) -> Result<(), Error> {
        let out = RowsMut::new(out, x.rows(), weights.out_features())?;
        self.backend.linear(ApplyLinear { x, weights, out })
    }

    /// What the rows' adapters add at a site; none where no adapter of the step has a rank there.
    /// What a set's adapters add to a site's outputs, computed beside what follows until it is [joined](Beside::join).
    fn adapt<'d>(
        &self,
        pass: &mut Pass<'_, B>,
        site: usize,
        set: RowSet,
        x: Option<Rows<'_, B::Memory>>,
        h: &mut B::Memory,
        delta: &'d mut B::Memory,
    ) -> Result<Beside<'d, B::Memory>, Error> {
        pass.tap(site, set, x)?;
        let h_width = pass.h_widths[site];
        if h_width == 0 {
            return Ok(Beside(None));
        }
        let (step, adapters, pairs) = (pass.step, pass.adapters, pass.pairs(set));
        let (rows, width) = (pass.rows(set), self.sites.shapes()[site].out_features());
        self.backend.beside(&mut || {
            let to = RowsMut::new(h, pairs, h_width)?;
            self.backend.lora_shrink(step, Shrink { adapters, site, set, x, h: to })?;
            let (h, delta) = (Rows::new(h, pairs, h_width)?, RowsMut::new(delta, rows, width)?);
            self.backend.lora_expand(step, Expand { adapters, site, set, h, delta })
        })?;
        Ok(Beside(Some(Rows::new(delta, rows, width)?)))
    }

    fn add_norm(
        &self,
        pass: &Pass<'_, B>,
        (residual, x, normed): (&mut B::Memory, &B::Memory, &mut B::Memory),
        delta: Option<Rows<'_, B::Memory>>,
        weight: &B::Memory,
    ) -> Result<(), Error> {
        let (set, rows, hidden) = (RowSet::Batch, pass.rows(RowSet::Batch), self.shape.hidden);
        self.backend.add_rms_norm(
            pass.step,
            AddRmsNorm {
                residual: RowsMut::new(residual, rows, hidden)?,
                x: Rows::new(x, rows, hidden)?,
                delta,
                set,
                weight,
                epsilon: self.epsilon,
                out: RowsMut::new(normed, rows, hidden)?,
                inverse: None,
            },
        )
    }

    fn heads(&self) -> HeadShape {
        let ModelShape { q_heads, kv_heads, head_dim, .. } = self.shape;
        HeadShape { q_heads, kv_heads, head_dim }
    }
}

impl<B: Backend> Pass<'_, B> {
    fn tap(&mut self, site: usize, set: RowSet, x: Option<Rows<'_, B::Memory>>) -> Result<(), Error> {
        match (&mut self.tap, x) {
            (Some(tap), Some(x)) => tap.input(site, set, x),
            _ => Ok(()),
        }
    }

    fn plan(&self) -> &StepPlan {
        self.step.as_ref()
    }

    fn rows(&self, set: RowSet) -> usize {
        self.plan().rows(set)
    }

    /// Rows of `h`.
    fn pairs(&self, set: RowSet) -> usize {
        match self.for_all_adapters {
            true => self.rows(set) * ADAPTERS_PER_ROW_MAX,
            false => self.plan().pairs(set).pairs().len(),
        }
    }
}
