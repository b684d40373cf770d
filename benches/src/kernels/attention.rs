//! Attention: in decode the pages come from memory, in prefill arithmetic takes the time.

use loam_kernels::Error;
use loam_kernels::backend::{Attend, Attention};
use loam_kernels::layout::{DType, KvShape, PagedKv, Rows, RowsMut, Segment, StepInputs, StepLimits};

use super::contest::contest;
use super::models::values;
use super::{Bench, counted, float};

/// Heads of Llama-3-8B.
const Q_HEADS: usize = 32;
const KV_HEADS: usize = 8;
const HEAD_DIM: usize = 128;
const PAGE_TOKENS: usize = 16;

/// Pages hold at least so much, in as many layers as it takes, so that none is met in cache again.
const PAGES_BYTES: usize = 512 << 20;

/// Requests of one length, with pages of their own.
pub(crate) struct Case {
    pub(crate) requests: usize,
    /// Tokens of each, those of this step included.
    pub(crate) tokens: usize,
    /// Rows of each in this step.
    pub(crate) rows: usize,
}

impl Bench<'_> {
    pub(super) fn attention(&mut self) -> anyhow::Result<()> {
        for &tokens in self.some(&[1024, 8192]) {
            for requests in if self.quick { vec![8] } else { vec![1, 8, 32] } {
                self.decode_attention(&Case { requests, tokens, rows: 1 })?;
            }
        }
        for &tokens in self.some(&[1024, 4096]) {
            self.prefill_attention(&Case { requests: 1, tokens, rows: tokens })?;
        }
        Ok(())
    }

    fn decode_attention(&mut self, case: &Case) -> anyhow::Result<()> {
        let layer_bytes = case.layer_bytes();
        let layers = PAGES_BYTES.div_ceil(layer_bytes);
        let kv = case.pages(self.cpu, layers)?;
        let mut ours = case.contestant(self.cpu, &kv, 1)?;
        let mut reading = self.roofs.large_pages.contestant();
        let times = contest(self.rounds(), &mut [&mut reading, &mut ours])?;
        let name = format!("decode attention, {} of {} tokens", counted(case.requests, "request"), case.tokens);
        let rate = float(layer_bytes) / times.median(1) / 1e9;
        let note = format!("{rate:.1} GB/s; {Q_HEADS}/{KV_HEADS} heads of {HEAD_DIM}, bf16 pages of {PAGE_TOKENS}");
        self.add(&name, times.ratio(0, 1) * float(layer_bytes), "of read rate", Some(1.0), note);
        Ok(())
    }

    fn prefill_attention(&mut self, case: &Case) -> anyhow::Result<()> {
        let kv = case.pages(self.cpu, 1)?;
        let mut ours = case.contestant(self.cpu, &kv, 1)?;
        let mut in_cache = self.roofs.in_cache_f32.contestant(self.cpu)?;
        let times = contest(self.rounds().min(3), &mut [&mut in_cache, &mut ours])?;
        // A row sees itself and all before it; each position costs a product with its key and one with its value.
        let positions = float(case.tokens) * float(case.tokens + 1) / 2.0;
        let operations = positions * float(Q_HEADS * HEAD_DIM * 2 * 2);
        let name = format!("prefill attention, {} tokens", case.tokens);
        let note = format!("{:.0} GF/s; of the rate in f32", operations / times.median(1) / 1e9);
        self.add(&name, times.ratio(0, 1) * operations, "of in-cache rate", Some(1.0), note);
        Ok(())
    }
}

impl Case {
    fn pages_each(&self) -> usize {
        self.tokens.div_ceil(PAGE_TOKENS)
    }

    /// Bytes of keys and values that a layer's attention reads.
    pub(crate) const fn layer_bytes(&self) -> usize {
        self.requests * self.tokens * 2 * KV_HEADS * HEAD_DIM * DType::Bf16.bytes()
    }

    pub(crate) fn pages<D: Attention>(&self, device: &D, layers: usize) -> anyhow::Result<PagedKv<D::Memory>> {
        let shape = KvShape { layers, kv_heads: KV_HEADS, head_dim: HEAD_DIM, page_tokens: PAGE_TOKENS };
        let memory = values(device, DType::Bf16, self.requests * self.pages_each() * shape.page_len())?;
        Ok(PagedKv::new(memory, shape)?)
    }

    /// Attends so often in every layer; its time is for one. A device that answers before it is done is waited for at
    /// the end.
    pub(crate) fn contestant<'a, D: Attention>(
        &self,
        device: &'a D,
        kv: &'a PagedKv<D::Memory>,
        turns: usize,
    ) -> anyhow::Result<impl FnMut(usize) -> anyhow::Result<usize> + use<'a, D>> {
        let (rows, width) = (self.requests * self.rows, Q_HEADS * HEAD_DIM);
        let (q, mut out) = (values(device, DType::Bf16, rows * width)?, device.allocate(DType::Bf16, rows * width)?);
        let (step, layers) = (self.step(device)?, kv.shape().layers);
        let scale = 0.088_388_35;
        Ok(move |_| {
            device.run(None, &mut || {
                (0..turns * layers).try_for_each(|turn| {
                    let (q, out) = (Rows::new(&q, rows, width)?, RowsMut::new(&mut out, rows, width)?);
                    let layer = turn % layers;
                    device.attention(&step, Attend { q, kv, layer, scale, window: None, out, log_sum_exp: None })
                })
            })?;
            device.read(&out, 0, &mut [0; DType::Bf16.bytes()])?;
            Ok(turns * layers)
        })
    }

    /// The last rows of each request.
    fn step<D: Attention>(&self, device: &D) -> Result<D::Step, Error> {
        let number = |count: usize| u32::try_from(count).expect("a bench counts few tokens");
        let pages = self.requests * self.pages_each();
        let segment = |request| Segment {
            first_row: number(request * self.rows),
            rows: number(self.rows),
            first_position: number(self.tokens - self.rows),
            first_page: number(request * self.pages_each()),
            pages: number(self.pages_each()),
        };
        let inputs = StepInputs {
            tokens: vec![0; self.requests * self.rows],
            segments: (0..self.requests).map(segment).collect(),
            // Neighbours in a sequence are no neighbours in memory.
            pages: (0..pages).map(|page| number(page * SCATTER % pages)).collect(),
            ..StepInputs::default()
        };
        let limits = StepLimits { vocabulary: 1, positions: self.tokens, pages, page_tokens: PAGE_TOKENS, slots: 0 };
        device.step(inputs, limits)
    }
}

/// A prime, so that its multiples reach every page of a power of two.
const SCATTER: usize = 1_000_003;
