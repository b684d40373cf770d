//! A small decoder on the emulated GPU, over memories that are allocated once: what an engine runs, and a graph
//! records.

use std::sync::Arc;

use loam_kernels::Error;
use loam_kernels::backend::{
    Activation, Add, AddRmsNorm, ApplyLinear, Attend, Attention, Dense, Device, Embed, Expand, Gate, GatherRows,
    HeadShape, Lora, QkNorm, RmsNorm, RopeStore, Shrink,
};
use loam_kernels::cuda::device::DeviceMemory;
use loam_kernels::cuda::{Cuda, CudaAdapters, CudaStep};
use loam_kernels::layout::DType::{Bf16, F32};
use loam_kernels::layout::{
    ADAPTERS_PER_ROW_MAX, Adapter, AdapterLayout, KvShape, Linear, Memory, PagedKv, Part, Rope, RopeScaling, RowSet,
    Rows, RowsMut, SiteKind, SiteShape, Split, StepLimits, StepPlan, Stored,
};

use crate::sequence::{memory, noise};

pub(crate) const VOCABULARY: usize = 70;
pub(crate) const LIMITS: StepLimits =
    StepLimits { vocabulary: VOCABULARY, positions: 600, pages: 120, page_tokens: 16, slots: 6 };
/// Rows that there is room for.
const ROWS_MAX: usize = 24;
const HIDDEN: usize = 72;
/// Two cuts of a sum.
const INTERMEDIATE: usize = 520;
const HEADS: HeadShape = HeadShape { q_heads: 2, kv_heads: 1, head_dim: 64 };
const QKV: [usize; 3] = [128, 64, 64];
const H_WIDTH: usize = 96;
/// Sites of a layer: queries, keys and values; outputs; gates and ups; down. Then the head, and the embedding.
const SITES_OF_LAYER: usize = 4;

struct Layer {
    norms: [DeviceMemory; 2],
    qk_norms: [DeviceMemory; 2],
    linear: [Linear<DeviceMemory>; SITES_OF_LAYER],
}

/// Activations, each large enough for all rows.
struct Room {
    residual: DeviceMemory,
    normed: DeviceMemory,
    qkv: DeviceMemory,
    attended: DeviceMemory,
    narrow: DeviceMemory,
    gate_up: DeviceMemory,
    gated: DeviceMemory,
    chosen: DeviceMemory,
    h: DeviceMemory,
    delta: DeviceMemory,
    logits: DeviceMemory,
}

pub(crate) struct Decoder<'a> {
    gpu: &'a Cuda,
    layers: Vec<Layer>,
    embedding: DeviceMemory,
    last_norm: DeviceMemory,
    head: Linear<DeviceMemory>,
    angles: DeviceMemory,
    adapters: CudaAdapters,
    kv: PagedKv<DeviceMemory>,
    room: Room,
}

fn sites(layers: usize) -> Vec<SiteShape> {
    let linear = |in_features, modules| SiteShape { kind: SiteKind::Linear, in_features, modules };
    let layer = || {
        [
            linear(HIDDEN, QKV.to_vec()),
            linear(HEADS.q_width(), vec![HIDDEN]),
            linear(HIDDEN, vec![INTERMEDIATE; 2]),
            linear(INTERMEDIATE, vec![HIDDEN]),
        ]
    };
    let mut sites: Vec<SiteShape> = (0..layers).flat_map(|_| layer()).collect();
    sites.push(linear(HIDDEN, vec![VOCABULARY]));
    sites.push(SiteShape { kind: SiteKind::Embedding, in_features: VOCABULARY, modules: vec![HIDDEN] });
    sites
}

fn linear(gpu: &Cuda, seed: usize, in_features: usize, outs: &[usize]) -> Linear<DeviceMemory> {
    let part = |(part, out): (usize, &usize)| {
        let weight = memory(gpu, Bf16, out * in_features, |at| 0.2 * noise(seed + part * 7919 + at * 3));
        Part { weight: Stored::Dense(Arc::new(weight)), bias: None }
    };
    Linear::new(in_features, Split::Column, outs.iter().enumerate().map(part).collect()).expect("it fits")
}

fn rows(memory: &DeviceMemory, rows: usize, width: usize) -> Rows<'_, DeviceMemory> {
    Rows::new(memory, rows, width).expect("there is room")
}

fn rows_mut(memory: &mut DeviceMemory, rows: usize, width: usize) -> RowsMut<'_, DeviceMemory> {
    RowsMut::new(memory, rows, width).expect("there is room")
}

impl<'a> Decoder<'a> {
    pub(crate) fn new(gpu: &'a Cuda, layers: usize) -> Self {
        let norm = |seed, width| memory(gpu, Bf16, width, |at| 1.0 + 0.1 * noise(seed + at));
        let layer = |layer: usize| Layer {
            norms: [norm(layer, HIDDEN), norm(layer + 10, HIDDEN)],
            qk_norms: [norm(layer + 20, HEADS.head_dim), norm(layer + 30, HEADS.head_dim)],
            linear: [
                linear(gpu, layer + 40, HIDDEN, &QKV),
                linear(gpu, layer + 50, HEADS.q_width(), &[HIDDEN]),
                linear(gpu, layer + 60, HIDDEN, &[INTERMEDIATE; 2]),
                linear(gpu, layer + 70, INTERMEDIATE, &[HIDDEN]),
            ],
        };
        let rope = Rope { rotary_dim: HEADS.head_dim, theta: 10_000.0, scaling: RopeScaling::Default };
        let angles = rope.table(LIMITS.positions).expect("a table");
        let shape = KvShape { layers, kv_heads: HEADS.kv_heads, head_dim: HEADS.head_dim, page_tokens: 16 };
        let kv = memory(gpu, Bf16, LIMITS.pages * shape.page_len(), noise);
        let wide = |dtype, width| gpu.allocate(dtype, ROWS_MAX * width).expect("memory");
        Self {
            gpu,
            layers: (0..layers).map(layer).collect(),
            embedding: memory(gpu, Bf16, VOCABULARY * HIDDEN, |at| noise(at + 80)),
            last_norm: norm(81, HIDDEN),
            head: linear(gpu, 82, HIDDEN, &[VOCABULARY]),
            angles: memory(gpu, F32, angles.len(), |at| angles[at]),
            adapters: gpu.adapters(&sites(layers), LIMITS.slots).expect("a table"),
            kv: PagedKv::new(kv, shape).expect("pages"),
            room: Room {
                residual: wide(Bf16, HIDDEN),
                normed: wide(Bf16, HIDDEN),
                qkv: wide(Bf16, QKV.iter().sum()),
                attended: wide(Bf16, HEADS.q_width()),
                narrow: wide(Bf16, HIDDEN),
                gate_up: wide(Bf16, 2 * INTERMEDIATE),
                gated: wide(Bf16, INTERMEDIATE),
                chosen: wide(Bf16, HIDDEN),
                h: wide(F32, ADAPTERS_PER_ROW_MAX * H_WIDTH),
                delta: wide(F32, 2 * INTERMEDIATE),
                logits: wide(F32, VOCABULARY),
            },
        }
    }

    /// Puts an adapter whose modules have this rank into a slot; `None` empties it.
    pub(crate) fn install(&mut self, slot: u32, seed: usize, rank: Option<u32>) {
        let adapter = rank.map(|rank| {
            let sites = sites(self.layers.len());
            // Every third module has none.
            let of = |module: usize| if (module + seed).is_multiple_of(3) { 0 } else { rank };
            let ranks: Vec<Vec<(u32, f32)>> =
                sites.iter().map(|site| (0..site.modules.len()).map(|module| (of(module), 0.5)).collect()).collect();
            let layout = AdapterLayout::new(Bf16, &sites, &ranks).expect("ranks");
            let slab = memory(self.gpu, Bf16, layout.len(), |at| 0.3 * noise(at * 5 + seed));
            Arc::new(Adapter::new(slab, layout).expect("it fits"))
        });
        self.gpu.install(&mut self.adapters, slot, adapter).expect("a slot");
    }

    /// One step: logits of sampled rows.
    pub(crate) fn forward(&mut self, step: &CudaStep) -> Result<(), Error> {
        let Self { gpu, layers, embedding, last_norm, head, angles, adapters, kv, room } = self;
        let (set, plan): (_, &StepPlan) = (RowSet::Batch, step.as_ref());
        let (count, epsilon) = (plan.rows(set), 1e-6);
        let pairs = count * ADAPTERS_PER_ROW_MAX;
        let head_site = layers.len() * SITES_OF_LAYER;
        let delta = |h: &mut DeviceMemory, delta: &mut DeviceMemory, site, set, x: Option<Rows<'_, _>>, width| {
            gpu.beside(&mut || {
                gpu.lora_shrink(step, Shrink { adapters, site, set, x, h: rows_mut(h, pairs, H_WIDTH) })?;
                let (h, delta) = (rows(h, pairs, H_WIDTH), rows_mut(delta, plan.rows(set), width));
                gpu.lora_expand(step, Expand { adapters, site, set, h, delta })
            })
        };
        gpu.embed(step, Embed { table: embedding, out: rows_mut(&mut room.residual, count, HIDDEN) })?;
        delta(&mut room.h, &mut room.delta, head_site + 1, set, None, HIDDEN).and_then(|()| gpu.join())?;
        let x = rows_mut(&mut room.residual, count, HIDDEN);
        gpu.add(step, Add { x, delta: rows(&room.delta, count, HIDDEN), set })?;
        let (x, out) = (rows(&room.residual, count, HIDDEN), rows_mut(&mut room.normed, count, HIDDEN));
        gpu.rms_norm(RmsNorm { x, weight: &layers[0].norms[0], epsilon, out, inverse: None })?;
        for (layer, it) in layers.iter().enumerate() {
            let site = layer * SITES_OF_LAYER;
            let wide = HEADS.qkv_width();
            let (x, out) = (rows(&room.normed, count, HIDDEN), rows_mut(&mut room.qkv, count, wide));
            delta(&mut room.h, &mut room.delta, site, set, Some(rows(&room.normed, count, HIDDEN)), wide)?;
            gpu.linear(ApplyLinear { x, weights: &it.linear[0], out })?;
            gpu.join()?;
            let (qkv, held) = (rows_mut(&mut room.qkv, count, wide), rows(&room.delta, count, wide));
            let [q_weight, k_weight] = it.qk_norms.each_ref();
            gpu.qk_norm(step, QkNorm { qkv, delta: Some(held), heads: HEADS, q_weight, k_weight, epsilon })?;
            let (qkv, angles) = (rows_mut(&mut room.qkv, count, wide), rows(angles, LIMITS.positions, HEADS.head_dim));
            gpu.rope_store(step, RopeStore { qkv, delta: None, q_heads: HEADS.q_heads, angles, kv, layer })?;
            let q = rows(&room.qkv, count, wide).columns(0, HEADS.q_width()).expect("they are first");
            let out = rows_mut(&mut room.attended, count, HEADS.q_width());
            gpu.attention(step, Attend { q, kv, layer, scale: 0.125, window: None, out, log_sum_exp: None })?;
            let attended = || rows(&room.attended, count, HEADS.q_width());
            let out = rows_mut(&mut room.narrow, count, HIDDEN);
            delta(&mut room.h, &mut room.delta, site + 1, set, Some(attended()), HIDDEN)?;
            gpu.linear(ApplyLinear { x: attended(), weights: &it.linear[1], out })?;
            let add = |room: &mut Room, weight| {
                gpu.join()?;
                let (x, delta) = (rows(&room.narrow, count, HIDDEN), Some(rows(&room.delta, count, HIDDEN)));
                let residual = rows_mut(&mut room.residual, count, HIDDEN);
                let out = rows_mut(&mut room.normed, count, HIDDEN);
                gpu.add_rms_norm(step, AddRmsNorm { residual, x, delta, set, weight, epsilon, out, inverse: None })
            };
            add(room, &it.norms[1])?;
            let wide = 2 * INTERMEDIATE;
            let (x, out) = (rows(&room.normed, count, HIDDEN), rows_mut(&mut room.gate_up, count, wide));
            delta(&mut room.h, &mut room.delta, site + 2, set, Some(rows(&room.normed, count, HIDDEN)), wide)?;
            gpu.linear(ApplyLinear { x, weights: &it.linear[2], out })?;
            gpu.join()?;
            let (gate_up, held) = (rows(&room.gate_up, count, wide), Some(rows(&room.delta, count, wide)));
            let out = rows_mut(&mut room.gated, count, INTERMEDIATE);
            gpu.gate(step, Gate { activation: Activation::Silu, gate_up, delta: held, out })?;
            let gated = || rows(&room.gated, count, INTERMEDIATE);
            let out = rows_mut(&mut room.narrow, count, HIDDEN);
            delta(&mut room.h, &mut room.delta, site + 3, set, Some(gated()), HIDDEN)?;
            gpu.linear(ApplyLinear { x: gated(), weights: &it.linear[3], out })?;
            add(room, layers.get(layer + 1).map_or(&*last_norm, |next| &next.norms[0]))?;
        }
        let (set, x) = (RowSet::Sampled, rows(&room.normed, count, HIDDEN));
        let sampled = plan.rows(set);
        gpu.gather_rows(step, GatherRows { x, set, out: rows_mut(&mut room.chosen, sampled, HIDDEN) })?;
        let (x, out) = (rows(&room.chosen, sampled, HIDDEN), rows_mut(&mut room.logits, sampled, VOCABULARY));
        delta(&mut room.h, &mut room.delta, head_site, set, Some(rows(&room.chosen, sampled, HIDDEN)), VOCABULARY)?;
        gpu.linear(ApplyLinear { x, weights: head, out })?;
        gpu.join()?;
        let x = rows_mut(&mut room.logits, sampled, VOCABULARY);
        gpu.add(step, Add { x, delta: rows(&room.delta, sampled, VOCABULARY), set })
    }

    /// The first rows' logits, as bytes.
    pub(crate) fn logits(&self, rows: usize) -> Vec<u8> {
        let mut bytes = vec![0; rows * VOCABULARY * 4];
        self.gpu.read(&self.room.logits, 0, &mut bytes).expect("values");
        bytes
    }

    /// All pages, as bytes.
    pub(crate) fn pages(&self) -> Vec<u8> {
        let memory = self.kv.memory();
        let mut bytes = vec![0; memory.len() * memory.dtype().bytes()];
        self.gpu.read(memory, 0, &mut bytes).expect("values");
        bytes
    }

    /// Bytes of a page.
    pub(crate) fn page_bytes(&self) -> usize {
        self.kv.shape().page_len() * self.kv.dtype().bytes()
    }

    /// Makes all activations NaN: what a step does not write is seen.
    pub(crate) fn poison(&mut self) {
        let it = &mut self.room;
        let bf16 = [&mut it.residual, &mut it.normed, &mut it.qkv, &mut it.attended, &mut it.narrow];
        let more = [&mut it.gate_up, &mut it.gated, &mut it.chosen, &mut it.h, &mut it.delta, &mut it.logits];
        for memory in bf16.into_iter().chain(more) {
            let bytes = vec![0xff; memory.len() * memory.dtype().bytes()];
            self.gpu.write(memory, 0, &bytes).expect("room");
        }
    }
}
