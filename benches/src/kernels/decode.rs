//! Linears in decode: a few rows, and weights that come from memory each time.

use half::f16;
use loam_kernels::backend::{ApplyLinear, Dense as _, Device as _};
use loam_kernels::cpu::CpuMemory;
use loam_kernels::layout::{DType, Linear, Rows, RowsMut};
use loam_rivals::Problem;

use super::Bench;
use super::models::{LLAMA_1B, LLAMA_8B, Model, Stack};
use crate::contest::{Contestant, Times, contest};
use crate::counts::{counted, float};
use crate::filled::{floats, values};

/// Weights of one shape lie in memory so many times, and are walked in turn, that none is met in cache again.
const ROTATION_BYTES: usize = 512 << 20;

/// A rival walks so much in a round: it takes longer.
const RIVAL_BYTES: usize = 128 << 20;

const ROWS_MAX: usize = 32;

/// Seconds of a layer's four stacks, each the sum of medians.
#[derive(Default)]
struct Layer {
    ours: f64,
    reading: f64,
    reading_small: f64,
    arithmetic: f64,
    gemm: f64,
    gemm_f16: f64,
    matrixmultiply: f64,
}

impl Bench<'_> {
    pub(super) fn decode(&mut self) -> anyhow::Result<()> {
        let all_rows: &[usize] = if self.quick { &[1, 8] } else { &[1, 4, 8, 16, ROWS_MAX] };
        for model in if self.quick { &[LLAMA_1B][..] } else { &[LLAMA_8B, LLAMA_1B] } {
            let mut layers: Vec<Layer> = all_rows.iter().map(|_| Layer::default()).collect();
            for stack in &model.stacks {
                let times = self.decode_stack(model, stack, all_rows)?;
                for ((layer, times), rows) in layers.iter_mut().zip(times).zip(all_rows) {
                    let bytes = float(stack.len() * DType::Bf16.bytes());
                    layer.ours += times.median(OURS);
                    layer.reading += times.median(READING) * bytes;
                    layer.reading_small += times.median(READING_SMALL) * bytes;
                    layer.arithmetic += times.median(IN_CACHE) * float(stack.operations(*rows));
                    layer.gemm += times.median(GEMM);
                    layer.gemm_f16 += times.median(GEMM_F16);
                    layer.matrixmultiply += times.median(MATRIXMULTIPLY);
                }
            }
            for (rows, layer) in all_rows.iter().zip(&layers) {
                let name = format!("decode linears, {} layer, {}", model.name, counted(*rows, "row"));
                let note = format!("aim 0.85; reading small pages is {:.2} of it", layer.reading / layer.reading_small);
                let roof = roof(layer.reading, layer.arithmetic);
                self.add(&name, layer.reading / layer.ours, "of read rate", Some(roof), note);
                let (name, note) = (format!("{name}, time"), "f32, so that it reads twice the bytes");
                self.add(&name, layer.ours / layer.gemm_f16, "of gemm's in f16", None, "as many bytes");
                self.add(&name, layer.ours / layer.gemm, "of gemm's", None, note);
                self.add(&name, layer.ours / layer.matrixmultiply, "of matrixmultiply's", None, note);
            }
            if model.name == LLAMA_1B.name && !self.quick {
                self.decode_stack(model, &model.head, all_rows)?;
            }
        }
        Ok(())
    }

    /// One shape, at each number of rows.
    fn decode_stack(&mut self, model: &Model, stack: &Stack, all_rows: &[usize]) -> anyhow::Result<Vec<Times>> {
        let bytes = stack.len() * DType::Bf16.bytes();
        let copies = (if self.quick { ROTATION_BYTES / 4 } else { ROTATION_BYTES }).div_ceil(bytes);
        let weights: Vec<_> = (0..copies).map(|_| stack.linear(self.cpu, DType::Bf16)).collect::<Result<_, _>>()?;
        let rival_copies = (2 * RIVAL_BYTES).div_ceil(2 * bytes);
        let rival_weights: Vec<_> = (0..rival_copies).map(|_| floats(stack.len())).collect();
        let halves = |weights: &Vec<f32>| weights.iter().copied().map(f16::from_f32).collect();
        let rival_halves: Vec<Vec<f16>> = rival_weights.iter().map(halves).collect();
        let mut times = Vec::new();
        for rows in all_rows {
            let found = self.decode_rows(stack, *rows, &weights, &rival_weights, &rival_halves)?;
            let name = format!("decode linear, {} {}, {}", model.name, stack.name, counted(*rows, "row"));
            let share = found.ratio(READING, OURS) * float(bytes);
            let note = format!(
                "{:.1} GB/s; time over gemm's {:.2}, over matrixmultiply's {:.2}",
                float(bytes) / found.median(OURS) / 1e9,
                found.ratio(OURS, GEMM),
                found.ratio(OURS, MATRIXMULTIPLY)
            );
            let arithmetic = found.median(IN_CACHE) * float(stack.operations(*rows));
            let roof = roof(found.median(READING) * float(bytes), arithmetic);
            self.add(&name, share, "of read rate", Some(roof), note);
            times.push(found);
        }
        Ok(times)
    }

    fn decode_rows(
        &self,
        stack: &Stack,
        rows: usize,
        weights: &[Linear<CpuMemory>],
        rival_weights: &[Vec<f32>],
        rival_halves: &[Vec<f16>],
    ) -> anyhow::Result<Times> {
        let (cpu, k, columns) = (self.cpu, stack.in_features, stack.out_features());
        let (x, mut out) = (values(cpu, DType::Bf16, rows * k)?, cpu.allocate(DType::F32, rows * columns)?);
        let mut ours = |_| {
            cpu.run(None, &mut || {
                weights.iter().try_for_each(|weights| {
                    let x = Rows::new(&x, rows, k)?;
                    cpu.linear(ApplyLinear { x, weights, out: RowsMut::new(&mut out, rows, columns)? })
                })
            })?;
            anyhow::Ok(weights.len())
        };
        let (rival_x, mut rival_out) = (floats(rows * k), vec![0.0; rows * columns]);
        let each = RIVAL_BYTES.div_ceil(stack.len() * size_of::<f32>());
        let turn = |round: usize| (round * each..(round + 1) * each).map(|at| &rival_weights[at % rival_weights.len()]);
        let mut by_gemm = |round| {
            for w in turn(round) {
                Problem { rows, k, columns, x: &rival_x, w, out: &mut rival_out }.by_gemm();
            }
            Ok(each)
        };
        let mut other_out = vec![0.0; rows * columns];
        let mut by_matrixmultiply = |round| {
            for w in turn(round) {
                Problem { rows, k, columns, x: &rival_x, w, out: &mut other_out }.by_matrixmultiply();
            }
            Ok(each)
        };
        let half_x: Vec<f16> = rival_x.iter().copied().map(f16::from_f32).collect();
        let mut half_out = vec![f16::ZERO; rows * columns];
        let mut by_gemm_f16 = |round: usize| {
            for at in round * each..(round + 1) * each {
                let w = &rival_halves[at % rival_halves.len()];
                Problem { rows, k, columns, x: &half_x, w, out: &mut half_out }.by_gemm();
            }
            Ok(each)
        };
        let mut reading = self.roofs.large_pages.contestant();
        let mut reading_small = self.roofs.small_pages.contestant();
        let mut in_cache = self.roofs.in_cache_bf16.contestant(cpu)?;
        let mut contestants: [Contestant<'_>; 7] = [
            &mut reading,
            &mut ours,
            &mut by_gemm,
            &mut by_matrixmultiply,
            &mut reading_small,
            &mut in_cache,
            &mut by_gemm_f16,
        ];
        contest(self.rounds(), &mut contestants)
    }
}

/// The share of the read rate that arithmetic leaves: with many rows it takes longer than reading.
fn roof(reading: f64, arithmetic: f64) -> f64 {
    reading / f64::max(reading, arithmetic)
}

/// Places in the contest.
const READING: usize = 0;
const OURS: usize = 1;
const GEMM: usize = 2;
const MATRIXMULTIPLY: usize = 3;
const READING_SMALL: usize = 4;
const IN_CACHE: usize = 5;
const GEMM_F16: usize = 6;
