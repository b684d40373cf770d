//! Memory: how much there is, and where in it one reads and writes.

use loam_kernels::backend::Device;
use loam_kernels::cpu::{CpuOptions, Level};
use loam_kernels::layout::DType::{self, Bf16, F32, U32};
use loam_kernels::layout::Memory;
use loam_kernels::{Cpu, Error};

use crate::given::{Held, cpu, error, given, untouched};

/// A write and a read of so many bytes at a place, in a memory of ten values.
#[track_caller]
fn check(dtype: DType, at: usize, bytes: usize, expected: impl Fn(&'static str) -> Error, says: &str) {
    let cpu = cpu();
    let mut held = Held::new(&cpu, given(dtype, 1, 10));
    let mut read = vec![0xee; bytes];
    error(cpu.write(&mut held.memory, at, &read), expected("what is written"), says);
    error(cpu.read(&held.memory, at, &mut read), expected("what is read"), says);
    assert!(untouched(&cpu, &held.memory) && read.iter().all(|byte| *byte == 0xee), "something was written");
}

const fn beyond(from: usize, to: usize) -> impl Fn(&'static str) -> Error {
    move |what| Error::OutOfBounds { what, from, to, len: 10 }
}

#[test]
fn one_value_beyond_the_end() {
    check(Bf16, 8, 6, beyond(8, 11), "needs values 8 to 11 of a memory that holds 10");
}

#[test]
fn beginning_beyond_the_end() {
    check(F32, 11, 0, beyond(11, 11), "needs values 11 to 11 of a memory that holds 10");
}

#[test]
fn beginning_at_the_end_of_all_numbers() {
    check(U32, usize::MAX, 4, beyond(usize::MAX, usize::MAX), "of a memory that holds 10");
}

#[test]
fn half_a_value() {
    let expected = |what| Error::Alignment { what, offset: 7, bytes: 4, dtype: F32 };
    check(F32, 0, 7, expected, "is at byte 7, which is no multiple of the 4 bytes of f32");
}

#[test]
fn all_of_it_and_nothing_at_its_end() {
    let cpu = cpu();
    let mut memory = cpu.allocate(Bf16, 3).unwrap();
    assert_eq!((memory.dtype(), memory.len(), memory.is_empty()), (Bf16, 3, false));
    cpu.write(&mut memory, 0, &[1, 2, 3, 4, 5, 6]).unwrap();
    cpu.write(&mut memory, 3, &[]).unwrap();
    let mut bytes = [0; 4];
    cpu.read(&memory, 1, &mut bytes).unwrap();
    assert_eq!(bytes, [3, 4, 5, 6]);
    assert!(cpu.allocate(F32, 0).unwrap().is_empty());
}

#[test]
fn more_than_there_is() {
    let expected = Error::OutOfMemory { what: "values", bytes: 1 << 62 };
    error(cpu().allocate(F32, 1 << 60), expected, "out of memory: 4611686018427387904 bytes for values");
}

#[test]
fn more_than_can_be_counted() {
    for (dtype, len) in [(F32, usize::MAX), (Bf16, usize::MAX), (F32, usize::MAX / 2), (Bf16, usize::MAX / 2)] {
        let bytes = len.saturating_mul(dtype.bytes());
        let says = format!("out of memory: {bytes} bytes");
        error(cpu().allocate(dtype, len), Error::OutOfMemory { what: "values", bytes }, &says);
    }
}

/// On a processor that has them all this proves nothing, and cannot.
#[test]
fn instructions_that_the_processor_lacks() {
    let all = [Level::Scalar, Level::Avx2, Level::Avx512, Level::Avx512Bf16];
    for level in all.into_iter().filter(|level| !Level::available().any(|available| available == *level)) {
        let expected = Error::Level { level: level.name(), best: Level::best().name() };
        let made = Cpu::new(CpuOptions { level: Some(level), ..CpuOptions::default() });
        error(made, expected, &format!("this processor lacks {level}"));
    }
}
