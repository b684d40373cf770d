//! A backend with one fault in it: the CPU, but for one operation whose inputs or outputs are spoiled on their way.
//!
//! Each fault must be seen by the very cases and checks that backends are mounted on.

mod attention;
mod dense;
mod faults;
mod lora;
mod sampling;

use std::sync::Arc;

use loam_kernels::backend::{Device, GraphKey, Source};
use loam_kernels::cpu::{CpuAdapters, CpuMemory, CpuStep, Level};
use loam_kernels::layout::{Adapter, DType, Memory, Rows, RowsMut, SiteShape, StepInputs, StepLimits};
use loam_kernels::{Cpu, Error};

use crate::sheet::{Frame, Sheet};
use crate::values::Values;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Nothing,
    // Dense.
    TakeTokensFromAnotherPlace,
    TakeTokensTellsAnotherRow,
    EmbedTakesAnotherToken,
    EmbedLeavesTheLastRow,
    GatherTakesAnotherRow,
    GatherLeavesTheLastColumn,
    LinearSwapsColumns,
    LinearSkipsTheLastInput,
    LinearIsScaled,
    LinearLeavesTheLastRow,
    LinearWritesBeyondItsColumns,
    LinearForgetsItsBias,
    ProductIgnoresATransposition,
    ProductSkipsTheLastTerm,
    ProductIsScaled,
    RmsNormDividesByOneLess,
    RmsNormForgetsEpsilon,
    RmsNormSwapsInverses,
    AddRmsNormForgetsTheDelta,
    AddRmsNormNormsWhatWasAdded,
    QkNormTakesTheOtherWeight,
    QkNormSkipsTheLastKey,
    GateSwapsItsHalves,
    GateTakesTheOtherGelu,
    GateLeavesTheLastColumn,
    AddSkipsTheLastColumn,
    AddTouchesRowsWithoutAdapters,
    AddIsScaled,
    // Attention.
    RopeTakesTheNextPosition,
    RopeSkipsTheLastPair,
    RopeIsScaled,
    RopeStoresInAnotherLayer,
    RopeForgetsTheDelta,
    AttentionTakesAnotherPage,
    AttentionSwapsHeads,
    AttentionSkipsTheLastPosition,
    AttentionIsScaled,
    AttentionLosesAllSplitsButTheLast,
    AttentionSeesOnePositionMore,
    AttentionSumsInAnotherBase,
    CopyRunsBackwards,
    CopySkipsTheLastHalf,
    // LoRA.
    ShrinkSwapsPairs,
    ShrinkSkipsTheLastInput,
    ShrinkIsScaled,
    ShrinkLeavesTheLastPair,
    ExpandBeginsOneRankLate,
    ExpandSkipsTheLastRank,
    ExpandIsScaled,
    ExpandForgetsWeights,
    ExpandTakesOnlyTheFirstAdapter,
    ExpandClearsRowsWithoutAdapters,
    // Sampling.
    SampleTakesTheNextToken,
    SampleSkipsTheLastToken,
    SampleIsHotter,
    SampleKeepsOneMore,
    SampleForgetsPenalties,
    SampleForgetsItsOwnToken,
    SampleTakesAnothersOwnToken,
    SampleForgetsTheMask,
    SampleDrawsOnce,
    SampleCountsItself,
    SampleSaysLogitsOnly,
    ScoreSwapsRows,
    ScoreSkipsTheLastInput,
    ScoreForgetsTheDelta,
    ScoreScalesTheDelta,
    ScoreCountsItself,
    ScoreTakesTheTokenAfterTheBest,
    ScoreSaysTheBestIsCertain,
}

/// The CPU with a fault.
#[derive(Debug)]
pub(crate) struct Planted {
    cpu: Cpu,
    fault: Fault,
}

impl Planted {
    pub(crate) fn new(fault: Fault) -> Self {
        Self { cpu: crate::mount::cpu(Level::best()).expect("the best level is there"), fault }
    }

    /// A matrix's values.
    fn view(&self, rows: &Rows<'_, CpuMemory>) -> Result<Values, Error> {
        let mut values = Values::poisoned(rows.dtype(), rows.rows(), rows.width());
        let bytes = rows.width() * rows.dtype().bytes();
        for row in 0..rows.rows() {
            let to = &mut values.bytes[row * bytes..][..bytes];
            self.cpu.read(rows.memory(), rows.offset() + row * rows.stride(), to)?;
        }
        Ok(values)
    }

    /// A changed copy of a matrix.
    fn changed(&self, rows: &Rows<'_, CpuMemory>, change: impl FnOnce(&mut Values)) -> Result<Sheet<Cpu>, Error> {
        let mut values = self.view(rows)?;
        change(&mut values);
        Sheet::new(&self.cpu, &values, Frame::Packed)
    }

    /// Changes a matrix where it lies.
    fn spoil(&self, out: &mut RowsMut<'_, CpuMemory>, change: impl FnOnce(&mut Values)) -> Result<(), Error> {
        let mut values = self.view(&out.reading())?;
        change(&mut values);
        let (offset, stride) = (out.offset(), out.stride());
        for row in 0..values.rows {
            self.cpu.write(out.memory_mut(), offset + row * stride, values.row_bytes(row))?;
        }
        Ok(())
    }
}

/// The same matrix again, to write, for a while.
fn again<'a>(out: &'a mut RowsMut<'_, CpuMemory>) -> Result<RowsMut<'a, CpuMemory>, Error> {
    let (offset, rows, width, stride) = (out.offset(), out.rows(), out.width(), out.stride());
    let memory = out.memory_mut();
    if stride == 0 || rows == 0 {
        return RowsMut::new(memory, rows, width);
    }
    let all = memory.len() / stride;
    RowsMut::new(memory, all, stride)?.range(offset / stride, rows)?.columns(offset % stride, width)
}

/// Every value times one that is a little off.
fn scaled(values: &mut Values) {
    for row in 0..values.rows {
        (0..values.width).for_each(|column| values.set(row, column, 1.01 * values.at(row, column)));
    }
}

/// The last column nil.
fn without_last_column(values: &mut Values) {
    if values.width > 0 {
        (0..values.rows).for_each(|row| values.set(row, values.width - 1, 0.0));
    }
}

/// The first row where the last belongs, and the other way round.
fn swap_rows(values: &mut Values) {
    for column in 0..if values.rows > 0 { values.width } else { 0 } {
        let (first, last) = (values.at(0, column), values.at(values.rows - 1, column));
        values.set(0, column, last);
        values.set(values.rows - 1, column, first);
    }
}

/// The last row as it was before.
fn with_last_row_of(before: &Values) -> impl FnOnce(&mut Values) {
    move |values| {
        for column in 0..if values.rows > 0 { values.width } else { 0 } {
            values.set(values.rows - 1, column, before.at(values.rows - 1, column));
        }
    }
}

/// The last column as it was before.
fn with_last_column_of(before: &Values) -> impl FnOnce(&mut Values) {
    move |values| {
        for row in 0..if values.width > 0 { values.rows } else { 0 } {
            values.set(row, values.width - 1, before.at(row, values.width - 1));
        }
    }
}

impl Device for Planted {
    type Memory = CpuMemory;
    type Step = CpuStep;
    type Adapters = CpuAdapters;

    fn describe(&self) -> String {
        format!("{} with a fault: {:?}", self.cpu.describe(), self.fault)
    }

    fn is_deterministic(&self) -> bool {
        self.cpu.is_deterministic()
    }

    fn allocate(&self, dtype: DType, len: usize) -> Result<CpuMemory, Error> {
        self.cpu.allocate(dtype, len)
    }

    fn load(&self, source: &Source, dtype: DType, len: usize) -> Result<CpuMemory, Error> {
        self.cpu.load(source, dtype, len)
    }

    fn write(&self, memory: &mut CpuMemory, at: usize, bytes: &[u8]) -> Result<(), Error> {
        self.cpu.write(memory, at, bytes)
    }

    fn read(&self, memory: &CpuMemory, at: usize, bytes: &mut [u8]) -> Result<(), Error> {
        self.cpu.read(memory, at, bytes)
    }

    fn step(&self, inputs: StepInputs, limits: StepLimits) -> Result<CpuStep, Error> {
        self.cpu.step(inputs, limits)
    }

    fn run(
        &self,
        graph: Option<(GraphKey, &CpuStep)>,
        operations: &mut (dyn FnMut() -> Result<(), Error> + Send),
    ) -> Result<(), Error> {
        self.cpu.run(graph, operations)
    }

    fn adapters(&self, sites: &[SiteShape], slots: usize) -> Result<CpuAdapters, Error> {
        self.cpu.adapters(sites, slots)
    }

    fn install(
        &self,
        adapters: &mut CpuAdapters,
        slot: u32,
        adapter: Option<Arc<Adapter<CpuMemory>>>,
    ) -> Result<Option<Arc<Adapter<CpuMemory>>>, Error> {
        self.cpu.install(adapters, slot, adapter)
    }
}
