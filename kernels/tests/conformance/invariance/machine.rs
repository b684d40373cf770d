//! Matrices to give a machine, and their bits.

use half::{bf16, f16};
use loam_kernels::backend::Device;
use loam_kernels::layout::{DType, Memory, Rows, RowsMut};

pub(crate) use super::{ALONE_EVERY, CROWDS, Machine, each_level};

pub(crate) type MachineMemory = <Machine as Device>::Memory;
pub(crate) type Step = <Machine as Device>::Step;
pub(crate) type Adapters = <Machine as Device>::Adapters;

/// A number that a seed and two places decide, in -4..4 and of many magnitudes: sums in another order have other bits.
pub(crate) fn noise(seed: u64, row: usize, column: usize) -> f32 {
    let bits = hash(seed, row, column);
    let magnitude = f32::from_bits((127 - 5 + (bits % 7) as u32) << 23);
    ((bits >> 40) as f32 / (1 << 23) as f32 - 1.0) * magnitude * 2.0
}

pub(crate) fn hash(seed: u64, row: usize, column: usize) -> u64 {
    let mut bits = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (row as u64) << 32 ^ column as u64;
    for factor in [0xbf58_476d_1ce4_e5b9, 0x94d0_49bb_1331_11eb, 0x2545_f491_4f6c_dd1d] {
        bits = (bits ^ bits >> 31).wrapping_mul(factor);
    }
    bits ^ bits >> 29
}

/// Bytes of values as a type stores them.
pub(crate) fn encoded(dtype: DType, values: impl IntoIterator<Item = f32>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for value in values {
        match dtype {
            DType::F32 => bytes.extend(value.to_le_bytes()),
            DType::Bf16 => bytes.extend(bf16::from_f32(value).to_le_bytes()),
            DType::F16 => bytes.extend(f16::from_f32(value).to_le_bytes()),
            DType::U32 => bytes.extend((value as u32).to_le_bytes()),
        }
    }
    bytes
}

pub(crate) fn filled(machine: &Machine, dtype: DType, len: usize, value: impl Fn(usize) -> f32) -> MachineMemory {
    let mut memory = machine.allocate(dtype, len).unwrap();
    machine.write(&mut memory, 0, &encoded(dtype, (0..len).map(value))).unwrap();
    memory
}

/// All values of a memory, as the bits they are stored in.
pub(crate) fn bits(machine: &Machine, memory: &MachineMemory) -> Vec<u32> {
    let size = memory.dtype().bytes();
    let mut bytes = vec![0; memory.len() * size];
    machine.read(memory, 0, &mut bytes).unwrap();
    let value = |bytes: &[u8]| bytes.iter().rev().fold(0, |bits, byte| bits << 8 | u32::from(*byte));
    bytes.chunks_exact(size).map(value).collect()
}

/// A matrix in a memory of its own, whose rows begin after `left` values that nobody may read.
pub(crate) struct Matrix {
    memory: MachineMemory,
    rows: usize,
    width: usize,
    left: usize,
}

impl Matrix {
    pub(crate) fn new(
        machine: &Machine,
        dtype: DType,
        [rows, width, left]: [usize; 3],
        value: impl Fn(usize, usize) -> f32,
    ) -> Self {
        let stride = left + width;
        let memory = filled(machine, dtype, rows * stride, |at| match at % stride {
            column if column < left => f32::NAN,
            column => value(at / stride, column - left),
        });
        Self { memory, rows, width, left }
    }

    /// NaN everywhere; tokens are all ones.
    pub(crate) fn poisoned(machine: &Machine, dtype: DType, rows: usize, width: usize) -> Self {
        let poison = if dtype == DType::U32 { u32::MAX as f32 } else { f32::NAN };
        Self::new(machine, dtype, [rows, width, 0], |_, _| poison)
    }

    pub(crate) fn rows(&self) -> Rows<'_, MachineMemory> {
        let whole = Rows::new(&self.memory, self.rows, self.left + self.width).unwrap();
        whole.columns(self.left, self.width).unwrap()
    }

    pub(crate) fn rows_mut(&mut self) -> RowsMut<'_, MachineMemory> {
        let whole = RowsMut::new(&mut self.memory, self.rows, self.left + self.width).unwrap();
        whole.columns(self.left, self.width).unwrap()
    }

    /// Each row's bits.
    pub(crate) fn bits(&self, machine: &Machine) -> Vec<Vec<u32>> {
        let bits = bits(machine, &self.memory);
        let stride = self.left + self.width;
        (0..self.rows).map(|row| bits[row * stride + self.left..][..self.width].to_vec()).collect()
    }
}

/// Two rows must have the same bits.
#[track_caller]
pub(crate) fn same(expected: &[u32], found: &[u32], what: impl Fn() -> String) {
    assert_eq!(expected.len(), found.len(), "{}: lengths", what());
    if let Some(column) = (0..expected.len()).find(|column| expected[*column] != found[*column]) {
        let (expected, found) = (expected[column], found[column]);
        panic!("{}: column {column} is {found:#010x} where {expected:#010x} was", what());
    }
}
