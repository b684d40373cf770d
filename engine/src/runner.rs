//! Runs steps of a model on a backend: adapters into their slots, rows through the decoder, answers back to the host.

use std::sync::Arc;

use loam_kernels::Backend;
use loam_kernels::backend::{CopyPages, GraphKey};
use loam_kernels::layout::{Adapter, KvShape, PagedKv, RowSet, StepLimits, StepPlan};

use crate::adapter::HostAdapter;
use crate::error::Error;
use crate::executor::{Batch, Chosen, Executor, ExecutorLimits, Outputs, Sampled, Uploaded, Uploader};
use crate::model::decoder::{Decoder, Pass};
use crate::model::scratch::Scratch;

/// How much of everything there is.
#[derive(Clone, Copy, Debug)]
pub struct RunnerOptions {
    /// Pages of keys and values.
    pub pages: usize,
    /// Positions in a page.
    pub page_tokens: usize,
    /// Slots for adapters.
    pub slots: usize,
    /// Rows of a step.
    pub rows_max: usize,
}

/// A model on a backend, with its pages and its adapters.
pub struct Runner<B: Backend> {
    backend: Arc<B>,
    decoder: Decoder<B>,
    kv: PagedKv<B::Memory>,
    adapters: B::Adapters,
    /// What lies in each slot, to know at which sites a step has anything to add.
    slots: Vec<Option<Arc<Adapter<B::Memory>>>>,
    scratch: Scratch<B::Memory>,
    limits: ExecutorLimits,
}

impl<B: Backend + 'static> Runner<B> {
    /// Reserves everything that steps will need.
    pub fn new(decoder: Decoder<B>, options: RunnerOptions) -> Result<Self, Error> {
        let backend = Arc::clone(&decoder.backend);
        let RunnerOptions { pages, page_tokens, slots, rows_max } = options;
        let shape = decoder.shape;
        let kv = KvShape { layers: shape.layers, kv_heads: shape.kv_heads, head_dim: shape.head_dim, page_tokens };
        kv.check()?;
        let memory = backend.allocate(decoder.dtype, kv.page_len().saturating_mul(pages))?;
        let step = StepLimits { vocabulary: shape.vocabulary, positions: decoder.positions, pages, page_tokens, slots };
        Ok(Self {
            kv: PagedKv::new(memory, kv)?,
            adapters: backend.adapters(decoder.sites.shapes(), slots)?,
            slots: vec![None; slots],
            scratch: Scratch::new(&*backend, &shape, &decoder.sites, decoder.dtype, rows_max)?,
            limits: ExecutorLimits { step, rows_max },
            decoder,
            backend,
        })
    }

    fn install(&mut self, batch: &Batch) -> Result<(), Error> {
        for (slot, uploaded) in &batch.installs {
            let adapter = uploaded.as_ref().map(|uploaded| {
                let adapter = Arc::clone(&uploaded.0).downcast::<Adapter<B::Memory>>();
                adapter.expect("an adapter was uploaded by this executor's own uploader")
            });
            self.backend.install(&mut self.adapters, *slot, adapter.clone())?;
            self.slots[*slot as usize] = adapter;
        }
        if !batch.copies.is_empty() {
            self.backend.copy_pages(CopyPages { kv: &mut self.kv, copies: &batch.copies })?;
        }
        Ok(())
    }

    /// For each site, whether the step's adapters add anything there; and what `h` needs at most.
    fn adapted(&self, plan: &StepPlan) -> (Vec<bool>, usize) {
        let mut adapted = vec![false; self.decoder.sites.shapes().len()];
        let mut h_width = 0;
        for group in plan.pairs(RowSet::Batch).groups() {
            let Some(adapter) = &self.slots[group.slot as usize] else { continue };
            for (adapted, site) in adapted.iter_mut().zip(adapter.layout().sites()) {
                *adapted |= site.rank > 0;
                h_width = h_width.max(site.rank);
            }
        }
        (adapted, h_width)
    }

    fn outputs(&self, plan: &StepPlan, batch: &Batch) -> Result<Outputs, Error> {
        let s = &self.scratch;
        let rows = plan.rows(RowSet::Sampled);
        let (tokens, ranks) = (self.words(&s.tokens, 0, rows)?, self.words(&s.ranks, 0, rows)?);
        let log_probabilities = self.floats(&s.log_probabilities, 0, rows)?;
        let top_tokens = self.words(&s.top_tokens, 0, rows * s.top_max)?;
        let top_log_probabilities = self.floats(&s.top_log_probabilities, 0, rows * s.top_max)?;
        let sampled = (0..rows).map(|row| {
            let asked = batch.sampling[row].top_log_probabilities as usize;
            let top = row * s.top_max..row * s.top_max + asked.min(plan.limits().vocabulary);
            let chosen = Chosen { token: tokens[row], log_probability: log_probabilities[row], rank: ranks[row] };
            let top = top_tokens[top.clone()].iter().copied().zip(top_log_probabilities[top].iter().copied());
            Sampled { chosen, top: top.collect() }
        });
        let sampled = sampled.collect();
        let rows = plan.rows(RowSet::Scored);
        let ranks = self.words(&s.scored_ranks, 0, rows)?;
        let log_probabilities = self.floats(&s.scored_log_probabilities, 0, rows)?;
        let scored = plan.scored().iter().zip(log_probabilities).zip(ranks);
        let scored =
            scored.map(|((scored, log_probability), rank)| Chosen { token: scored.token, log_probability, rank });
        let vocabulary = plan.limits().vocabulary;
        let logits = batch.logits.iter().map(|place| self.floats(&s.logits, *place as usize * vocabulary, vocabulary));
        Ok(Outputs { sampled, scored: scored.collect(), logits: logits.collect::<Result<_, _>>()? })
    }

    fn words(&self, memory: &B::Memory, at: usize, count: usize) -> Result<Vec<u32>, Error> {
        let mut bytes = vec![0; count * 4];
        self.backend.read(memory, at, &mut bytes)?;
        Ok(bytes.chunks_exact(4).map(|word| u32::from_ne_bytes([word[0], word[1], word[2], word[3]])).collect())
    }

    fn floats(&self, memory: &B::Memory, at: usize, count: usize) -> Result<Vec<f32>, Error> {
        Ok(self.words(memory, at, count)?.into_iter().map(f32::from_bits).collect())
    }
}

impl<B: Backend + 'static> Executor for Runner<B> {
    fn limits(&self) -> ExecutorLimits {
        self.limits
    }

    fn uploader(&self) -> Arc<dyn Uploader> {
        Arc::new(DeviceUploader(Arc::clone(&self.backend)))
    }

    fn execute(&mut self, batch: &Batch) -> Result<Outputs, Error> {
        self.install(batch)?;
        if batch.inputs.tokens.is_empty() {
            return Ok(Outputs::default());
        }
        let rows = batch.inputs.tokens.len();
        if rows > self.limits.rows_max {
            let allowed = format!("at most {}", self.limits.rows_max);
            return Err(Error::Request { field: "rows of a step", found: rows.to_string(), allowed });
        }
        let step = self.backend.step(batch.inputs.clone(), self.limits.step)?;
        let plan: &StepPlan = step.as_ref();
        let (adapted, h_width) = self.adapted(plan);
        let asked = batch.sampling.iter().map(|row| row.top_log_probabilities as usize).max();
        self.scratch.h_width = h_width;
        self.scratch.top_max = asked.unwrap_or(0).max(1);
        let key = GraphKey { rows: rows as u32, with_adapters: h_width > 0 };
        let Self { backend, decoder, kv, adapters, scratch, .. } = self;
        let mut pass = Pass { step: &step, kv, adapters, adapted: &adapted, sampling: &batch.sampling };
        backend.run(Some((key, &step)), &mut || decoder.forward(&mut pass, scratch))?;
        self.outputs(plan, batch)
    }

    fn describe(&self) -> String {
        self.backend.describe()
    }
}

/// Copies adapters into a backend's memory while it runs steps.
struct DeviceUploader<B>(Arc<B>);

impl<B: Backend + 'static> Uploader for DeviceUploader<B> {
    fn upload(&self, adapter: &HostAdapter) -> Result<Uploaded, Error> {
        let mut memory = self.0.allocate(adapter.layout.dtype(), adapter.layout.len())?;
        self.0.write(&mut memory, 0, &adapter.slab)?;
        Ok(Uploaded(Arc::new(Adapter::new(memory, adapter.layout.clone())?)))
    }
}
