//! Adapters: what a step takes longer with them, layer by layer, as the engine runs it.

use std::ops::Range;
use std::sync::Arc;

use loam_kernels::backend::{ApplyLinear, Dense as _, Device as _, Expand, Lora as _, Shrink};
use loam_kernels::cpu::{CpuAdapters, CpuMemory, CpuStep};
use loam_kernels::layout::{
    Adapter, AdapterLayout, DType, Linear, Pair, RowSet, Rows, RowsMut, Segment, SiteShape, StepInputs, StepLimits,
};
use loam_kernels::{Cpu, Error};

use super::Bench;
use super::models::{LLAMA_1B, LLAMA_8B, Model, Stack};
use crate::contest::{Contestant, contest};
use crate::counts::{counted, float};
use crate::filled::values;

const RANK: u32 = 16;

/// Adapters that are resident; a step with few of them uses others in each round, so that none is met in cache again.
const SLOTS: usize = 32;

/// Layers whose weights are kept apart; a model's layers take them in turn, each with adapters of its own.
const WEIGHTS_BYTES: usize = 900 << 20;

const PAGE_TOKENS: usize = 16;

/// Rows and adapters of a step: rows share adapters evenly, neighbours first.
struct Case {
    rows: usize,
    adapters: usize,
    prefill: bool,
}

const fn case(rows: usize, adapters: usize, prefill: bool) -> Case {
    Case { rows, adapters, prefill }
}

const CASES: [Case; 7] = [
    case(1, 1, false),
    case(8, 1, false),
    case(32, 1, false),
    case(8, 8, false),
    case(32, 32, false),
    case(256, 1, true),
    case(256, 8, true),
];

/// Some of a model's layers, with adapters.
struct Resident {
    layers: usize,
    stacks: [Stack; 4],
    weights: Vec<[Linear<CpuMemory>; 4]>,
    adapters: CpuAdapters,
    /// Bytes of one layer's `A` and of its `B`, over all sites.
    shrink_bytes: usize,
    expand_bytes: usize,
}

/// What a step's operations read and write.
struct Buffers {
    x: CpuMemory,
    out: CpuMemory,
    h: CpuMemory,
    delta: CpuMemory,
}

/// Which operations of a step to run.
#[derive(Clone, Copy)]
struct Which {
    base: bool,
    shrink: bool,
    expand: bool,
}

const BASE: Which = Which { base: true, shrink: false, expand: false };
const BOTH: Which = Which { base: true, shrink: true, expand: true };
const ALONE: Which = Which { base: false, shrink: true, expand: true };
const SHRINK: Which = Which { base: false, shrink: true, expand: false };
const EXPAND: Which = Which { base: false, shrink: false, expand: true };

impl Bench<'_> {
    pub(super) fn lora(&mut self) -> anyhow::Result<()> {
        for model in if self.quick { &[LLAMA_1B][..] } else { &[LLAMA_8B, LLAMA_1B] } {
            // Layers are all alike: of the larger model a quarter is enough.
            let layers = if model.layers > 16 { model.layers / 4 } else { model.layers };
            let resident = Resident::new(self.cpu, model, layers)?;
            for case in if self.quick { &CASES[..4] } else { &CASES[..] } {
                self.lora_case(model, &resident, case)?;
            }
        }
        Ok(())
    }

    fn lora_case(&mut self, model: &Model, resident: &Resident, case: &Case) -> anyhow::Result<()> {
        let cpu = self.cpu;
        let buffers = || Buffers::new(cpu, resident, case.rows);
        let (mut base, mut both) = (buffers()?, buffers()?);
        let (mut alone, mut shrink, mut expand) = (buffers()?, buffers()?, buffers()?);
        let steps = (0..SLOTS).step_by(case.adapters).map(|first| case.step(cpu, first));
        let steps: Vec<CpuStep> = steps.collect::<Result<_, _>>()?;
        // A step's layers in short turns: with and without adapters stand so close that both meet the same machine.
        let layers = if case.prefill { 1 } else { resident.layers / 4 };
        let turn = |round: usize| round * layers..(round + 1) * layers;
        let step = |round: usize, of: usize| &steps[(round * 4 + of) % steps.len()];
        let mut base = |round| resident.run(cpu, step(round, 0), &mut base, turn(round), case.rows, BASE);
        let mut both = |round| resident.run(cpu, step(round, 0), &mut both, turn(round), case.rows, BOTH);
        let mut alone = |round| resident.run(cpu, step(round, 1), &mut alone, turn(round), case.rows, ALONE);
        let mut shrink = |round| resident.run(cpu, step(round, 2), &mut shrink, turn(round), case.rows, SHRINK);
        let mut expand = |round| resident.run(cpu, step(round, 3), &mut expand, turn(round), case.rows, EXPAND);
        let rounds = if self.quick || case.prefill { 8 } else { 40 };
        let mut reading = self.roofs.large_pages.contestant();
        // Reading stands between those that run adapters alone, and drives their bytes out of the cache.
        let mut again = self.roofs.large_pages.contestant();
        let mut contestants: [Contestant<'_>; 7] =
            [&mut base, &mut both, &mut reading, &mut alone, &mut again, &mut shrink, &mut expand];
        let times = contest(rounds, &mut contestants)?;
        let (base, both, reading, alone, shrink, expand) = (0, 1, 2, 3, 5, 6);

        let base_time = times.median(base);
        let time_of = |bytes: usize| times.median(reading) * float(bytes * layers * case.adapters);
        let (shrink_floor, expand_floor) = (time_of(resident.shrink_bytes), time_of(resident.expand_bytes));
        let floor = shrink_floor + expand_floor;
        let added = times.difference(both, base);
        let (phase, aim) = match case {
            Case { prefill: true, .. } => ("prefill ", "aim 0.03; "),
            Case { adapters: 1, .. } => ("", "aim 0.03; "),
            _ => ("", ""),
        };
        let name = format!(
            "LoRA, {}, {phase}{}, {}",
            model.name,
            counted(case.rows, "row"),
            counted(case.adapters, "adapter")
        );
        let alone_time = times.median(alone);
        let note = format!(
            "{aim}rank {RANK}, all sites; alone {:.4}: shrink {:.4}, expand {:.4}; turns of {}",
            alone_time / base_time,
            times.median(shrink) / base_time,
            times.median(expand) / base_time,
            counted(layers, "layer")
        );
        self.add(&format!("{name}, added"), added / base_time, "of base linears", Some(floor / base_time), note);
        if !case.prefill {
            let aim = if case.adapters == 8 { "aim 1.2; " } else { "" };
            let note = format!(
                "{aim}alone {:.2}: shrink {:.2}, expand {:.2}",
                alone_time / floor,
                times.median(shrink) / shrink_floor,
                times.median(expand) / expand_floor
            );
            self.add(&format!("{name}, added"), added / floor, "of its bytes' reading", Some(1.0), note);
        }
        Ok(())
    }
}

impl Case {
    /// A step of one token a request in decode, of one request an adapter in prefill, from one slot on.
    fn step(&self, cpu: &Cpu, first_slot: usize) -> Result<CpuStep, Error> {
        let number = |count: usize| u32::try_from(count).expect("a bench counts few rows");
        let requests = if self.prefill { self.adapters } else { self.rows };
        let rows = self.rows / requests;
        let pages = rows.div_ceil(PAGE_TOKENS);
        let segment = |request| Segment {
            first_row: number(request * rows),
            rows: number(rows),
            first_position: 0,
            first_page: number(request * pages),
            pages: number(pages),
        };
        let each = self.rows / self.adapters;
        let pair = |row| Pair { row: number(row), slot: number((first_slot + row / each) % SLOTS), weight: 1.0 };
        let inputs = StepInputs {
            tokens: vec![0; self.rows],
            segments: (0..requests).map(segment).collect(),
            pages: (0..number(requests * pages)).collect(),
            pairs: (0..self.rows).map(pair).collect(),
            ..StepInputs::default()
        };
        let limits = StepLimits {
            vocabulary: 1,
            positions: rows,
            pages: requests * pages,
            page_tokens: PAGE_TOKENS,
            slots: SLOTS,
        };
        cpu.step(inputs, limits)
    }
}

impl Buffers {
    fn new(cpu: &Cpu, resident: &Resident, rows: usize) -> anyhow::Result<Self> {
        let widest = |of: fn(&Stack) -> usize| resident.stacks.iter().map(of).max().unwrap_or(0);
        Ok(Self {
            x: values(cpu, DType::Bf16, rows * widest(|stack| stack.in_features))?,
            out: cpu.allocate(DType::Bf16, rows * widest(Stack::out_features))?,
            h: cpu.allocate(DType::F32, rows * widest(ranks))?,
            delta: cpu.allocate(DType::F32, rows * widest(Stack::out_features))?,
        })
    }
}

/// Ranks of all modules of a stack.
fn ranks(stack: &Stack) -> usize {
    stack.parts.len() * RANK as usize
}

impl Resident {
    fn new(cpu: &Cpu, model: &Model, layers: usize) -> anyhow::Result<Self> {
        let stacks = model.stacks;
        let sites: Vec<SiteShape> = (0..layers).flat_map(|_| stacks.iter().map(Stack::site)).collect();
        let site_ranks: Vec<_> = sites.iter().map(|site| vec![(RANK, 2.0); site.modules.len()]).collect();
        let mut adapters = cpu.adapters(&sites, SLOTS)?;
        for slot in (0..).take(SLOTS) {
            let layout = AdapterLayout::new(DType::Bf16, &sites, &site_ranks)?;
            let adapter = Adapter::new(values(cpu, DType::Bf16, layout.len())?, layout)?;
            cpu.install(&mut adapters, slot, Some(Arc::new(adapter)))?;
        }
        let layer_bytes = stacks.iter().map(Stack::len).sum::<usize>() * DType::Bf16.bytes();
        let apart = WEIGHTS_BYTES.div_ceil(layer_bytes).min(layers);
        let weights = (0..apart).map(|_| {
            let [first, second, third, fourth] = &stacks;
            let linear = |stack: &Stack| stack.linear(cpu, DType::Bf16);
            anyhow::Ok([linear(first)?, linear(second)?, linear(third)?, linear(fourth)?])
        });
        let bytes = |of: fn(&Stack) -> usize| stacks.iter().map(of).sum::<usize>() * DType::Bf16.bytes();
        Ok(Self {
            layers,
            stacks,
            weights: weights.collect::<Result<_, _>>()?,
            adapters,
            shrink_bytes: bytes(|stack| ranks(stack) * stack.in_features),
            expand_bytes: bytes(|stack| RANK as usize * stack.out_features()),
        })
    }

    /// A step's operations in some layers, in the engine's order. Layers beyond the last are the first again.
    fn run(
        &self,
        cpu: &Cpu,
        step: &CpuStep,
        buffers: &mut Buffers,
        layers: Range<usize>,
        rows: usize,
        which: Which,
    ) -> anyhow::Result<usize> {
        let Buffers { x, out, h, delta } = buffers;
        cpu.run(None, &mut || {
            for layer in layers.clone().map(|layer| layer % self.layers) {
                let weights = &self.weights[layer % self.weights.len()];
                for (place, (stack, weights)) in self.stacks.iter().zip(weights).enumerate() {
                    let (site, set, adapters) = (layer * self.stacks.len() + place, RowSet::Batch, &self.adapters);
                    let x = Rows::new(x, rows, stack.in_features)?;
                    if which.base {
                        let out = RowsMut::new(out, rows, stack.out_features())?;
                        cpu.linear(ApplyLinear { x, weights, out })?;
                    }
                    if which.shrink {
                        let h = RowsMut::new(h, rows, ranks(stack))?;
                        cpu.lora_shrink(step, Shrink { adapters, site, set, x: Some(x), h })?;
                    }
                    if which.expand {
                        let delta = RowsMut::new(delta, rows, stack.out_features())?;
                        let h = Rows::new(h, rows, ranks(stack))?;
                        cpu.lora_expand(step, Expand { adapters, site, set, h, delta })?;
                    }
                }
            }
            Ok(())
        })?;
        Ok(1)
    }
}
