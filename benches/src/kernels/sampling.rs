//! From logits to tokens.

use loam_kernels::backend::{ApplyLinear, Dense as _, Device as _, Sample, SampleOutputs, Sampler as _, Score};
use loam_kernels::cpu::CpuStep;
use loam_kernels::layout::{DType, Rows, RowsMut, Sampling, Scored, Segment, StepInputs, StepLimits};
use loam_kernels::{Cpu, Error};

use super::Bench;
use super::models::LLAMA_1B;
use crate::contest::contest;
use crate::counts::{counted, float};
use crate::filled::{floats, values};

/// Tokens of Llama 3.
const VOCABULARY: usize = 128_256;

/// Rows that are scored.
const SCORED_ROWS: usize = 64;

impl Bench<'_> {
    pub(super) fn sampling(&mut self) -> anyhow::Result<()> {
        let warm = Sampling { temperature: 0.8, seed: 7, ..Sampling::default() };
        let ways = [
            ("greedy", Sampling::default()),
            ("greedy with 5 top log-probabilities", Sampling { top_log_probabilities: 5, ..Sampling::default() }),
            ("temperature", warm.clone()),
            ("top_p 0.95", Sampling { top_p: 0.95, ..warm.clone() }),
            ("top_k 50, top_p 0.95", Sampling { top_k: 50, top_p: 0.95, ..warm }),
        ];
        for rows in [1, 32] {
            for (name, way) in self.some(&ways) {
                self.sample(name, way, rows)?;
            }
        }
        self.score()
    }

    fn sample(&mut self, name: &str, way: &Sampling, rows: usize) -> anyhow::Result<()> {
        let (cpu, top) = (self.cpu, 5);
        let logits = peaked(cpu, rows)?;
        let ways = vec![way.clone(); rows];
        let column = |dtype, width| cpu.allocate(dtype, rows * width);
        let (mut tokens, mut log_probabilities) = (column(DType::U32, 1)?, column(DType::F32, 1)?);
        let (mut ranks, mut top_tokens) = (column(DType::U32, 1)?, column(DType::U32, top)?);
        let mut top_log_probabilities = column(DType::F32, top)?;
        let step = step(cpu, rows, false)?;
        let mut ours = |_| {
            let out = SampleOutputs {
                tokens: RowsMut::new(&mut tokens, rows, 1)?,
                log_probabilities: RowsMut::new(&mut log_probabilities, rows, 1)?,
                ranks: RowsMut::new(&mut ranks, rows, 1)?,
                top_tokens: RowsMut::new(&mut top_tokens, rows, top)?,
                top_log_probabilities: RowsMut::new(&mut top_log_probabilities, rows, top)?,
            };
            cpu.sample(&step, Sample { logits: Rows::new(&logits, rows, VOCABULARY)?, own: None, rows: &ways, out })?;
            Ok(rows)
        };
        let mut reading = self.roofs.large_pages.contestant();
        let times = contest(self.rounds(), &mut [&mut reading, &mut ours])?;
        let floor = times.median(0) * float(VOCABULARY * DType::F32.bytes());
        let name = format!("sample, {name}, {} of {VOCABULARY}", counted(rows, "row"));
        self.add(&name, times.median(1) * 1e6, "us/row", Some(floor * 1e6), "roof: its logits read once");
        Ok(())
    }

    /// The log-probability of given tokens, beside the logits alone.
    fn score(&mut self) -> anyhow::Result<()> {
        let (cpu, rows, k) = (self.cpu, SCORED_ROWS, LLAMA_1B.head.in_features);
        let head = LLAMA_1B.head.linear(cpu, DType::Bf16)?;
        let x = values(cpu, DType::Bf16, rows * k)?;
        let (mut log_probabilities, mut ranks) = (cpu.allocate(DType::F32, rows)?, cpu.allocate(DType::U32, rows)?);
        let (mut best_said, mut best_tokens) = (cpu.allocate(DType::F32, rows)?, cpu.allocate(DType::U32, rows)?);
        let mut logits = cpu.allocate(DType::F32, rows * VOCABULARY)?;
        let step = step(cpu, rows, true)?;
        let mut ours = |_| {
            cpu.log_probability_of(
                &step,
                Score {
                    x: Rows::new(&x, rows, k)?,
                    head: &head,
                    delta: None,
                    log_probabilities: RowsMut::new(&mut log_probabilities, rows, 1)?,
                    ranks: RowsMut::new(&mut ranks, rows, 1)?,
                    best_tokens: RowsMut::new(&mut best_tokens, rows, 1)?,
                    best_log_probabilities: RowsMut::new(&mut best_said, rows, 1)?,
                },
            )?;
            Ok(rows)
        };
        let mut linear = |_| {
            let (x, out) = (Rows::new(&x, rows, k)?, RowsMut::new(&mut logits, rows, VOCABULARY)?);
            cpu.linear(ApplyLinear { x, weights: &head, out })?;
            Ok(rows)
        };
        let times = contest(self.rounds().min(3), &mut [&mut ours, &mut linear])?;
        let name = format!("log_probability_of, {rows} rows, {VOCABULARY} x {k}");
        let note = format!("{:.0} us/row; roof: the logits alone", times.median(0) * 1e6);
        self.add(&name, times.ratio(0, 1), "of linear", Some(1.0), note);
        Ok(())
    }
}

/// Logits as models make them: most of them alike, a few far above.
fn peaked(cpu: &Cpu, rows: usize) -> anyhow::Result<loam_kernels::cpu::CpuMemory> {
    let mut bytes = Vec::with_capacity(rows * VOCABULARY * DType::F32.bytes());
    for value in floats(rows * VOCABULARY) {
        let spread = value * 40.0;
        let logit = spread + if spread > 3.96 { (spread - 3.96) * 200.0 } else { 0.0 };
        bytes.extend(logit.to_le_bytes());
    }
    let mut logits = cpu.allocate(DType::F32, rows * VOCABULARY)?;
    cpu.write(&mut logits, 0, &bytes)?;
    Ok(logits)
}

/// One row a request, each sampled or each scored.
fn step(cpu: &Cpu, rows: usize, scored: bool) -> Result<CpuStep, Error> {
    let rows = u32::try_from(rows).expect("a bench counts few rows");
    let segment = |row| Segment { first_row: row, rows: 1, first_position: 0, first_page: row, pages: 1 };
    let inputs = StepInputs {
        tokens: vec![0; rows as usize],
        segments: (0..rows).map(segment).collect(),
        pages: (0..rows).collect(),
        sampled: if scored { Vec::new() } else { (0..rows).collect() },
        scored: if scored { (0..rows).map(|row| Scored { row, token: row }).collect() } else { Vec::new() },
        ..StepInputs::default()
    };
    let limits = StepLimits { vocabulary: VOCABULARY, positions: 1, pages: rows as usize, page_tokens: 16, slots: 0 };
    cpu.step(inputs, limits)
}
