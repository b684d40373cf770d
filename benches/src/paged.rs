//! Attention over pages, as it is measured: the heads of Llama-3-8B, keys and values that come from memory.

use loam_kernels::Error;
use loam_kernels::backend::{Attend, Attention};
use loam_kernels::layout::{DType, KvShape, PagedKv, Rows, RowsMut, Segment, StepInputs, StepLimits};

use crate::filled::values;

/// Heads of Llama-3-8B.
pub(crate) const Q_HEADS: usize = 32;
pub(crate) const KV_HEADS: usize = 8;
pub(crate) const HEAD_DIM: usize = 128;
pub(crate) const PAGE_TOKENS: usize = 16;

/// Requests of one length, with pages of their own.
pub(crate) struct Case {
    pub(crate) requests: usize,
    /// Tokens of each, those of this step included.
    pub(crate) tokens: usize,
    /// Rows of each in this step.
    pub(crate) rows: usize,
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
