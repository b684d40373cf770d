//! A transformer of two layers over the backend's operations: what an engine would run.

use std::sync::Arc;

use loam_kernels::backend::{
    Activation, Add, AddRmsNorm, ApplyLinear, Attend, Attention, Dense, Embed, Expand, Gate, GatherRows, HeadDelta,
    HeadShape, Lora, QkNorm, RmsNorm, RopeStore, Sampler, Score, Shrink,
};
use loam_kernels::layout::DType::{self, Bf16, F32, U32};
use loam_kernels::layout::{KvShape, Linear, PagedKv, Part, Rope, RopeScaling, RowSet, SiteKind, SiteShape};
use loam_kernels::layout::{Split, StepPlan, Stored};

use super::adapters::table;
use super::machine::{Adapters, Machine, MachineMemory, Matrix, Step, filled, noise};

pub(crate) const VOCABULARY: usize = 257;
const LAYERS: usize = 2;
const HIDDEN: usize = 136;
const INTERMEDIATE: usize = 168;
const HEADS: HeadShape = HeadShape { q_heads: 4, kv_heads: 2, head_dim: 64 };
const KV_WIDTH: usize = 128;

/// Sites of a layer; after those of all layers come the head's and the embedding's.
const QKV: usize = 0;
const O: usize = 1;
const GATE_UP: usize = 2;
const DOWN: usize = 3;
const SITES_OF_LAYER: usize = 4;
const HEAD: usize = LAYERS * SITES_OF_LAYER;
const EMBEDDING: usize = HEAD + 1;
/// More than any adapter's rank at a site.
const H_WIDTH: usize = 96;

pub(crate) struct Model<'a> {
    machine: &'a Machine,
    dtype: DType,
    layers: Vec<Layer>,
    embedding: MachineMemory,
    last_norm: MachineMemory,
    head: Linear<MachineMemory>,
    angles: Matrix,
    /// Absent in a model that never heard of adapters.
    adapters: Option<Adapters>,
}

struct Layer {
    norms: [MachineMemory; 2],
    qk_norms: [MachineMemory; 2],
    qkv: Linear<MachineMemory>,
    o: Linear<MachineMemory>,
    gate_up: Linear<MachineMemory>,
    down: Linear<MachineMemory>,
}

fn sites() -> Vec<SiteShape> {
    let linear = |in_features, modules| SiteShape { kind: SiteKind::Linear, in_features, modules };
    let mut sites = Vec::new();
    for _ in 0..LAYERS {
        sites.push(linear(HIDDEN, vec![HEADS.q_width(), KV_WIDTH, KV_WIDTH]));
        sites.push(linear(HEADS.q_width(), vec![HIDDEN]));
        sites.push(linear(HIDDEN, vec![INTERMEDIATE, INTERMEDIATE]));
        sites.push(linear(INTERMEDIATE, vec![HIDDEN]));
    }
    sites.push(linear(HIDDEN, vec![VOCABULARY]));
    sites.push(SiteShape { kind: SiteKind::Embedding, in_features: VOCABULARY, modules: vec![HIDDEN] });
    sites
}

/// Ranks of all modules: adapters of one rank, with holes, of one site only.
fn ranks(adapter: usize) -> Vec<Vec<(u32, f32)>> {
    let rank = |site: usize, module: usize| match adapter {
        0 => 8,
        1 if module == 1 || site >= HEAD => 0,
        1 => 32,
        2 if site % SITES_OF_LAYER == QKV && site < HEAD => 3,
        2 => 0,
        3 => 1 + (site + module) as u32 % 5,
        _ => 16,
    };
    let modules = |(site, shape): (usize, SiteShape)| {
        (0..shape.modules.len()).map(|module| (rank(site, module), 0.05 * (module + 1) as f32)).collect()
    };
    sites().into_iter().enumerate().map(modules).collect()
}

fn linear(machine: &Machine, seed: u64, in_features: usize, outs: &[usize]) -> Linear<MachineMemory> {
    let part = |(part, out): (usize, &usize)| {
        let value = |at| noise(seed, part, at) * 0.1;
        let weight = Stored::Dense(Arc::new(filled(machine, Bf16, out * in_features, value)));
        Part { weight, bias: part.is_multiple_of(2).then(|| Arc::new(filled(machine, Bf16, *out, value))) }
    };
    let parts = outs.iter().enumerate().map(part).collect();
    Linear::new(in_features, Split::Column, parts).unwrap()
}

impl<'a> Model<'a> {
    /// Weights that the same seeds always make; adapters, if any, in the slots given.
    pub(crate) fn new(machine: &'a Machine, dtype: DType, positions: usize, slot_of: Option<&[u32]>) -> Self {
        let norm = |seed, width| filled(machine, Bf16, width, |at| 1.0 + noise(seed, 0, at) * 0.1);
        let layer = |layer: u64| Layer {
            norms: [norm(layer, HIDDEN), norm(layer + 10, HIDDEN)],
            qk_norms: [norm(layer + 20, HEADS.head_dim), norm(layer + 30, HEADS.head_dim)],
            qkv: linear(machine, layer + 40, HIDDEN, &[HEADS.q_width(), KV_WIDTH, KV_WIDTH]),
            o: linear(machine, layer + 50, HEADS.q_width(), &[HIDDEN]),
            gate_up: linear(machine, layer + 60, HIDDEN, &[INTERMEDIATE, INTERMEDIATE]),
            down: linear(machine, layer + 70, INTERMEDIATE, &[HIDDEN]),
        };
        let rope = Rope { rotary_dim: HEADS.head_dim, theta: 10_000.0, scaling: RopeScaling::Default };
        let angles = rope.table(positions).unwrap();
        let angle = |row, column| angles[row * HEADS.head_dim + column];
        Self {
            machine,
            dtype,
            layers: (0..LAYERS as u64).map(layer).collect(),
            embedding: filled(machine, Bf16, VOCABULARY * HIDDEN, |at| noise(80, 0, at)),
            last_norm: norm(81, HIDDEN),
            head: linear(machine, 82, HIDDEN, &[VOCABULARY]),
            angles: Matrix::new(machine, F32, [positions, HEADS.head_dim, 0], angle),
            adapters: slot_of.map(|slot_of| table(machine, Bf16, &sites(), ranks, slot_of)),
        }
    }

    /// Pages to keep keys and values in; what nobody wrote is NaN.
    pub(crate) fn pages(&self, pages: usize, page_tokens: usize) -> PagedKv<MachineMemory> {
        let shape = KvShape { layers: LAYERS, kv_heads: HEADS.kv_heads, head_dim: HEADS.head_dim, page_tokens };
        PagedKv::new(filled(self.machine, self.dtype, pages * shape.page_len(), |_| f32::NAN), shape).unwrap()
    }

    /// One step: each row's logits, and the log-probability and rank of the token it is scored by, in bits.
    pub(crate) fn forward(&self, step: &Step, kv: &mut PagedKv<MachineMemory>) -> Vec<Vec<u32>> {
        let (machine, mut residual) = (self.machine, self.poisoned(step, HIDDEN));
        machine.embed(step, Embed { table: &self.embedding, out: residual.rows_mut() }).unwrap();
        if let Some(delta) = self.delta(step, EMBEDDING, None) {
            let op = Add { x: residual.rows_mut(), delta: delta.rows(), set: RowSet::Batch };
            machine.add(step, op).unwrap();
        }
        let mut normed = self.poisoned(step, HIDDEN);
        let (x, weight) = (residual.rows(), &self.layers[0].norms[0]);
        let op = RmsNorm { x, weight, epsilon: 1e-6, out: normed.rows_mut(), inverse: None };
        machine.rms_norm(op).unwrap();
        for layer in 0..LAYERS {
            let attended = self.attend(step, layer, &normed, kv);
            let o = self.linear(step, &self.layers[layer].o, &attended);
            let delta = self.delta(step, layer * SITES_OF_LAYER + O, Some(&attended));
            normed = self.add(step, &mut residual, &o, delta.as_ref(), &self.layers[layer].norms[1]);
            let gated = self.gate(step, layer, &normed);
            let down = self.linear(step, &self.layers[layer].down, &gated);
            let delta = self.delta(step, layer * SITES_OF_LAYER + DOWN, Some(&gated));
            let next = self.layers.get(layer + 1).map_or(&self.last_norm, |layer| &layer.norms[0]);
            normed = self.add(step, &mut residual, &down, delta.as_ref(), next);
        }
        let mut rows = self.logits(step, &normed);
        rows.iter_mut().zip(self.scores(step, &normed)).for_each(|(row, scores)| row.extend(scores));
        rows
    }

    fn attend(&self, step: &Step, layer: usize, normed: &Matrix, kv: &mut PagedKv<MachineMemory>) -> Matrix {
        let it = &self.layers[layer];
        let mut qkv = self.linear(step, &it.qkv, normed);
        let held = self.delta(step, layer * SITES_OF_LAYER + QKV, Some(normed));
        let mut delta = held.as_ref().map(Matrix::rows);
        if layer == 1 {
            // As in Qwen3: the delta is added where the heads are normed, and so no more when they are turned.
            let [q_weight, k_weight] = it.qk_norms.each_ref();
            let (qkv, delta) = (qkv.rows_mut(), delta.take());
            self.machine.qk_norm(step, QkNorm { qkv, delta, heads: HEADS, q_weight, k_weight, epsilon: 1e-6 }).unwrap();
        }
        let (angles, q_heads) = (self.angles.rows(), HEADS.q_heads);
        self.machine.rope_store(step, RopeStore { qkv: qkv.rows_mut(), delta, q_heads, angles, kv, layer }).unwrap();
        let mut out = self.poisoned(step, HEADS.q_width());
        let q = qkv.rows().columns(0, HEADS.q_width()).unwrap();
        let window = (layer == 0).then_some(70);
        let op = Attend { q, kv, layer, scale: 0.125, window, out: out.rows_mut(), log_sum_exp: None };
        self.machine.attention(step, op).unwrap();
        out
    }

    fn gate(&self, step: &Step, layer: usize, normed: &Matrix) -> Matrix {
        let gate_up = self.linear(step, &self.layers[layer].gate_up, normed);
        let delta = self.delta(step, layer * SITES_OF_LAYER + GATE_UP, Some(normed));
        let mut out = self.poisoned(step, INTERMEDIATE);
        let (gate_up, delta) = (gate_up.rows(), delta.as_ref().map(Matrix::rows));
        let op = Gate { activation: Activation::Silu, gate_up, delta, out: out.rows_mut() };
        self.machine.gate(step, op).unwrap();
        out
    }

    fn linear(&self, step: &Step, weights: &Linear<MachineMemory>, x: &Matrix) -> Matrix {
        let mut out = self.poisoned(step, weights.out_features());
        self.machine.linear(ApplyLinear { x: x.rows(), weights, out: out.rows_mut() }).unwrap();
        out
    }

    fn add(
        &self,
        step: &Step,
        residual: &mut Matrix,
        x: &Matrix,
        delta: Option<&Matrix>,
        weight: &MachineMemory,
    ) -> Matrix {
        let mut out = self.poisoned(step, HIDDEN);
        let op = AddRmsNorm {
            residual: residual.rows_mut(),
            x: x.rows(),
            delta: delta.map(Matrix::rows),
            set: RowSet::Batch,
            weight,
            epsilon: 1e-6,
            out: out.rows_mut(),
            inverse: None,
        };
        self.machine.add_rms_norm(step, op).unwrap();
        out
    }

    /// What the rows' adapters add at a site. Rows without one keep their NaN, and so does all where nobody has one.
    fn delta(&self, step: &Step, site: usize, x: Option<&Matrix>) -> Option<Matrix> {
        let adapters = self.adapters.as_ref()?;
        let (set, plan): (_, &StepPlan) = (RowSet::Batch, step.as_ref());
        let mut h = Matrix::poisoned(self.machine, F32, plan.pairs(set).pairs().len() + 1, H_WIDTH);
        let op = Shrink { adapters, site, set, x: x.map(Matrix::rows), h: h.rows_mut() };
        self.machine.lora_shrink(step, op).unwrap();
        let mut delta = Matrix::poisoned(self.machine, F32, plan.rows(set), sites()[site].out_features());
        let op = Expand { adapters, site, set, h: h.rows(), delta: delta.rows_mut() };
        self.machine.lora_expand(step, op).unwrap();
        if plan.pairs(set).is_empty() {
            let untouched =
                |matrix: &Matrix| matrix.bits(self.machine).concat().iter().all(|bits| *bits == f32::NAN.to_bits());
            assert!(untouched(&h) && untouched(&delta), "a step without pairs touches no byte");
        }
        Some(delta)
    }

    fn logits(&self, step: &Step, normed: &Matrix) -> Vec<Vec<u32>> {
        let (machine, set, plan): (_, _, &StepPlan) = (self.machine, RowSet::Sampled, step.as_ref());
        let mut chosen = Matrix::poisoned(machine, self.dtype, plan.rows(set), HIDDEN);
        machine.gather_rows(step, GatherRows { x: normed.rows(), set, out: chosen.rows_mut() }).unwrap();
        let mut logits = Matrix::poisoned(machine, F32, plan.rows(set), VOCABULARY);
        let op = ApplyLinear { x: chosen.rows(), weights: &self.head, out: logits.rows_mut() };
        machine.linear(op).unwrap();
        if let Some(adapters) = &self.adapters {
            let site = HEAD;
            let mut h = Matrix::poisoned(machine, F32, plan.pairs(set).pairs().len(), H_WIDTH);
            let op = Shrink { adapters, site, set, x: Some(chosen.rows()), h: h.rows_mut() };
            machine.lora_shrink(step, op).unwrap();
            let mut delta = Matrix::poisoned(machine, F32, plan.rows(set), VOCABULARY);
            let op = Expand { adapters, site, set, h: h.rows(), delta: delta.rows_mut() };
            machine.lora_expand(step, op).unwrap();
            machine.add(step, Add { x: logits.rows_mut(), delta: delta.rows(), set }).unwrap();
        }
        logits.bits(machine)
    }

    fn scores(&self, step: &Step, normed: &Matrix) -> Vec<Vec<u32>> {
        let (machine, set, plan): (_, _, &StepPlan) = (self.machine, RowSet::Scored, step.as_ref());
        let mut chosen = Matrix::poisoned(machine, self.dtype, plan.rows(set), HIDDEN);
        machine.gather_rows(step, GatherRows { x: normed.rows(), set, out: chosen.rows_mut() }).unwrap();
        let mut h = Matrix::poisoned(machine, F32, plan.pairs(set).pairs().len(), H_WIDTH);
        if let Some(adapters) = &self.adapters {
            let op = Shrink { adapters, site: HEAD, set, x: Some(chosen.rows()), h: h.rows_mut() };
            machine.lora_shrink(step, op).unwrap();
        }
        let column = |dtype| Matrix::poisoned(machine, dtype, plan.rows(set), 1);
        let mut said = [F32, U32, U32, F32].map(column);
        let [log_probabilities, ranks, best_tokens, best_log_probabilities] = said.each_mut().map(|it| it.rows_mut());
        let adapters = self.adapters.as_ref();
        let op = Score {
            x: chosen.rows(),
            head: &self.head,
            delta: adapters.map(|adapters| HeadDelta { adapters, site: HEAD, h: h.rows() }),
            log_probabilities,
            ranks,
            best_tokens,
            best_log_probabilities,
        };
        machine.log_probability_of(step, op).unwrap();
        let said = said.map(|it| it.bits(machine));
        (0..plan.rows(set)).map(|row| said.iter().flat_map(|column| column[row].iter().copied()).collect()).collect()
    }

    fn poisoned(&self, step: &Step, width: usize) -> Matrix {
        let plan: &StepPlan = step.as_ref();
        Matrix::poisoned(self.machine, self.dtype, plan.rows(RowSet::Batch), width)
    }
}
