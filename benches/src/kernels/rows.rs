//! Operations that walk rows once: norms and gates.

use loam_kernels::backend::{Activation, Dense as _, Device as _, Gate, RmsNorm};
use loam_kernels::layout::{DType, Rows, RowsMut, Segment, StepInputs, StepLimits};

use super::Bench;
use crate::contest::contest;
use crate::counts::{counted, float};
use crate::filled::values;

const HIDDEN: usize = 4096;
const INTERMEDIATE: usize = 14336;

/// Repeats of what takes microseconds.
const REPEATS: usize = 50;

impl Bench<'_> {
    pub(super) fn rows(&mut self) -> anyhow::Result<()> {
        for &rows in self.some(&[1, 32, 256]) {
            self.norm(rows)?;
            self.gate(rows)?;
        }
        Ok(())
    }

    fn norm(&mut self, rows: usize) -> anyhow::Result<()> {
        let cpu = self.cpu;
        let (x, weight) = (values(cpu, DType::Bf16, rows * HIDDEN)?, values(cpu, DType::Bf16, HIDDEN)?);
        let mut out = cpu.allocate(DType::Bf16, rows * HIDDEN)?;
        let mut ours = |_| {
            cpu.run(None, &mut || {
                (0..REPEATS).try_for_each(|_| {
                    let (x, out) = (Rows::new(&x, rows, HIDDEN)?, RowsMut::new(&mut out, rows, HIDDEN)?);
                    cpu.rms_norm(RmsNorm { x, weight: &weight, epsilon: 1e-5, out, inverse: None })
                })
            })?;
            Ok(REPEATS * rows)
        };
        let times = contest(self.rounds(), &mut [&mut ours])?;
        self.add_row(&format!("rms_norm, bf16, {} of {HIDDEN}", counted(rows, "row")), times.median(0), 2 * 2 * HIDDEN);
        Ok(())
    }

    fn gate(&mut self, rows: usize) -> anyhow::Result<()> {
        let cpu = self.cpu;
        let gate_up = values(cpu, DType::Bf16, rows * 2 * INTERMEDIATE)?;
        let mut out = cpu.allocate(DType::Bf16, rows * INTERMEDIATE)?;
        let number = |count: usize| u32::try_from(count).expect("a bench counts few rows");
        let segment = |row| Segment { first_row: row, rows: 1, first_position: 0, first_page: row, pages: 1 };
        let inputs = StepInputs {
            tokens: vec![0; rows],
            segments: (0..number(rows)).map(segment).collect(),
            pages: (0..number(rows)).collect(),
            ..StepInputs::default()
        };
        let limits = StepLimits { vocabulary: 1, positions: 1, pages: rows, page_tokens: 16, slots: 0 };
        let step = cpu.step(inputs, limits)?;
        let mut ours = |_| {
            cpu.run(None, &mut || {
                (0..REPEATS).try_for_each(|_| {
                    let gate_up = Rows::new(&gate_up, rows, 2 * INTERMEDIATE)?;
                    let out = RowsMut::new(&mut out, rows, INTERMEDIATE)?;
                    cpu.gate(&step, Gate { activation: Activation::Silu, gate_up, delta: None, out })
                })
            })?;
            Ok(REPEATS * rows)
        };
        let times = contest(self.rounds(), &mut [&mut ours])?;
        let name = format!("gate, silu, bf16, {} of {INTERMEDIATE}", counted(rows, "row"));
        self.add_row(&name, times.median(0), 3 * 2 * INTERMEDIATE);
        Ok(())
    }

    fn add_row(&mut self, name: &str, seconds: f64, bytes: usize) {
        let note = format!("{:.1} GB/s read and written, in cache", float(bytes) / seconds / 1e9);
        self.add(name, seconds * 1e6, "us/row", None, note);
    }
}
