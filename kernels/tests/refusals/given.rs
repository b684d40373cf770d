//! Arguments as a test gives them, and how a refusal is compared.

use std::borrow::Borrow;
use std::io::Write;
use std::sync::Arc;

use loam_kernels::backend::{Device, Source};
use loam_kernels::cpu::{CpuMemory, CpuOptions, CpuStep};
use loam_kernels::layout::{DType, Memory, Pair, Rows, RowsMut, Scored, Segment, StepInputs, StepLimits, Taken};
use loam_kernels::mapped::Mapped;
use loam_kernels::{Cpu, Error};

/// A matrix that a test asks for: its type, rows and width, and where it lies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Given {
    pub(crate) dtype: DType,
    pub(crate) rows: usize,
    pub(crate) width: usize,
    pub(crate) mapped: bool,
}

pub(crate) const fn given(dtype: DType, rows: usize, width: usize) -> Given {
    Given { dtype, rows, width, mapped: false }
}

impl Given {
    pub(crate) const fn mapped(self) -> Self {
        Self { mapped: true, ..self }
    }
}

pub(crate) fn cpu() -> Cpu {
    Cpu::new(CpuOptions::default()).unwrap()
}

/// What every byte holds that nobody wrote.
const POISON: u8 = 0x3e;

/// A matrix in a memory of its own, full of poison.
pub(crate) struct Held {
    pub(crate) memory: CpuMemory,
    given: Given,
}

impl Held {
    pub(crate) fn new(cpu: &Cpu, given: Given) -> Self {
        let len = given.rows * given.width;
        let bytes = vec![POISON; len * given.dtype.bytes()];
        let memory = if given.mapped {
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(&bytes).unwrap();
            let source = Source { file: Arc::new(Mapped::open(file.path()).unwrap()), offset: 0 };
            cpu.load(&source, given.dtype, len).unwrap()
        } else {
            let mut memory = cpu.allocate(given.dtype, len).unwrap();
            cpu.write(&mut memory, 0, &bytes).unwrap();
            memory
        };
        Self { memory, given }
    }

    pub(crate) fn rows(&self) -> Rows<'_, CpuMemory> {
        Rows::new(&self.memory, self.given.rows, self.given.width).unwrap()
    }

    pub(crate) fn rows_mut(&mut self) -> RowsMut<'_, CpuMemory> {
        RowsMut::new(&mut self.memory, self.given.rows, self.given.width).unwrap()
    }
}

/// Whether a memory holds nothing but poison.
pub(crate) fn untouched(cpu: &Cpu, memory: &CpuMemory) -> bool {
    let mut bytes = vec![0; memory.len() * memory.dtype().bytes()];
    cpu.read(memory, 0, &mut bytes).unwrap();
    bytes.iter().all(|byte| *byte == POISON)
}

/// What became of an operation: its result, and whether its outputs are as they were.
pub(crate) struct Outcome {
    pub(crate) result: Result<(), Error>,
    pub(crate) untouched: bool,
}

impl Outcome {
    pub(crate) fn of(cpu: &Cpu, result: Result<(), Error>, outputs: &[&Held]) -> Self {
        Self { result, untouched: outputs.iter().all(|output| untouched(cpu, &output.memory)) }
    }
}

/// An operation that was done, so that refusing a change of it proves something.
#[track_caller]
pub(crate) fn done(outcome: Outcome) {
    outcome.result.unwrap();
    assert!(!outcome.untouched, "an operation that is done writes");
}

/// An operation that was refused: with this error, in words that name the thing, and with nothing written.
#[track_caller]
pub(crate) fn refused(outcome: Outcome, expected: Error, says: &str) {
    error(outcome.result, expected, says);
    assert!(outcome.untouched, "{says}: something was written");
}

/// A refusal outside of operations.
#[track_caller]
pub(crate) fn error<T>(result: Result<T, Error>, expected: impl Borrow<Error>, says: &str) {
    let expected = expected.borrow();
    let Err(found) = result else { panic!("not refused: {expected}") };
    assert_eq!(format!("{found:?}"), format!("{expected:?}"), "{found}");
    let text = found.to_string();
    assert!(text.contains(says), "`{text}` does not say `{says}`");
}

pub(crate) const VOCABULARY: usize = 40;
pub(crate) const ROWS: usize = 4;

pub(crate) const LIMITS: StepLimits =
    StepLimits { vocabulary: VOCABULARY, positions: 64, pages: 4, page_tokens: 16, slots: 3 };

/// A step that is as it should be: a request of three rows, of which two use an adapter, and one of a single row.
pub(crate) fn inputs() -> StepInputs {
    let segment =
        |first_row, rows, first_position, first_page| Segment { first_row, rows, first_position, first_page, pages: 2 };
    StepInputs {
        tokens: vec![1, 2, 3, 39],
        taken: vec![Taken { row: 1, place: 2 }],
        segments: vec![segment(0, 3, 0, 0), segment(3, 1, 20, 2)],
        pages: vec![0, 1, 2, 3],
        sampled: vec![2, 3],
        scored: vec![Scored { row: 0, token: 2 }, Scored { row: 3, token: 0 }],
        pairs: [0, 2, 3].map(|row| Pair { row, slot: 1, weight: 1.0 }).to_vec(),
    }
}

pub(crate) fn step(cpu: &Cpu) -> CpuStep {
    cpu.step(inputs(), LIMITS).unwrap()
}

pub(crate) const fn shape(what: &'static str, expected: usize, found: usize) -> Error {
    Error::Shape { what, expected, found }
}

pub(crate) const fn holds(what: &'static str, found: DType, allowed: &'static str) -> Error {
    Error::Type { what, found, allowed }
}

pub(crate) fn unsupported(what: &'static str, found: &str, allowed: &'static str) -> Error {
    Error::Unsupported { what, found: found.to_owned(), allowed }
}

pub(crate) const fn limit(what: &'static str, value: usize, limit: usize) -> Error {
    Error::Limit { what, value, limit }
}

/// What is said of weights where an output belongs.
pub(crate) fn mapped_output() -> Error {
    unsupported("an output", "a mapped file", "allocated memory")
}
