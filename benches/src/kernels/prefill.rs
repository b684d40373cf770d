//! Linears in prefill: many rows, so that arithmetic is what takes the time.

use std::sync::Arc;

use loam_kernels::backend::{ApplyLinear, Dense as _, Device as _};
use loam_kernels::layout::{DType, Linear, Rows, RowsMut, Split};
use loam_rivals::Problem;

use super::Bench;
use crate::contest::{Contestant, contest};
use crate::counts::float;
use crate::filled::{floats, values};

/// Types of activations and of weights.
const TYPES: [(DType, DType); 3] = [(DType::Bf16, DType::Bf16), (DType::F32, DType::Bf16), (DType::F32, DType::F32)];

impl Bench<'_> {
    pub(super) fn prefill(&mut self) -> anyhow::Result<()> {
        for &(k, columns) in self.some(&[(4096, 4096), (4096, 14336)]) {
            for &rows in self.some(&[64, 256, 1024]) {
                self.prefill_shape(rows, k, columns)?;
            }
        }
        Ok(())
    }

    fn prefill_shape(&mut self, rows: usize, k: usize, columns: usize) -> anyhow::Result<()> {
        let cpu = self.cpu;
        let (rival_x, rival_w) = (floats(rows * k), floats(columns * k));
        let (mut rival_out, mut other_out) = (vec![0.0; rows * columns], vec![0.0; rows * columns]);
        let mut by_gemm = |_| {
            Problem { rows, k, columns, x: &rival_x, w: &rival_w, out: &mut rival_out }.by_gemm();
            Ok(1)
        };
        let mut by_matrixmultiply = |_| {
            Problem { rows, k, columns, x: &rival_x, w: &rival_w, out: &mut other_out }.by_matrixmultiply();
            Ok(1)
        };
        let mut ours = Vec::new();
        for (x_type, w_type) in TYPES {
            let weights = Arc::new(values(cpu, w_type, columns * k)?);
            let weights = Linear::dense(k, Split::Replicated, weights, None)?;
            let (x, mut out) = (values(cpu, x_type, rows * k)?, cpu.allocate(DType::F32, rows * columns)?);
            ours.push(move |_| {
                let x = Rows::new(&x, rows, k)?;
                cpu.linear(ApplyLinear { x, weights: &weights, out: RowsMut::new(&mut out, rows, columns)? })?;
                anyhow::Ok(1)
            });
        }
        let [first, second, third] = &mut ours[..] else { unreachable!("one for each of TYPES") };
        let roofs = self.roofs;
        let (mut in_f32, mut in_bf16) = (roofs.in_cache_f32.contestant(cpu)?, roofs.in_cache_bf16.contestant(cpu)?);
        let mut contestants: [Contestant<'_>; 7] =
            [first, second, third, &mut by_gemm, &mut by_matrixmultiply, &mut in_f32, &mut in_bf16];
        let times = contest(self.rounds().min(3), &mut contestants)?;
        let (gemm, matrixmultiply, in_f32, in_bf16) = (3, 4, 5, 6);
        let operations = float(2 * rows * k * columns);
        for (place, (x_type, w_type)) in TYPES.into_iter().enumerate() {
            let both_bf16 = (x_type, w_type) == (DType::Bf16, DType::Bf16);
            let in_cache = if both_bf16 { in_bf16 } else { in_f32 };
            let name = format!("prefill linear, {rows} x {k} x {columns}, {x_type} x {w_type}");
            let note = format!("{:.0} GF/s", operations / times.median(place) / 1e9);
            self.add(&name, times.ratio(in_cache, place) * operations, "of in-cache rate", Some(1.0), note);
            let name = format!("{name}, time");
            self.add(&name, times.ratio(place, gemm), "of gemm's", None, "aim below 1; f32");
            self.add(&name, times.ratio(place, matrixmultiply), "of matrixmultiply's", None, "f32");
        }
        Ok(())
    }
}
