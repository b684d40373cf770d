//! What the operations stand on: memories, mapped files, and runs.

use std::fs;
use std::sync::Arc;

use loam_kernels::Error;
use loam_kernels::backend::{Backend, Source};
use loam_kernels::layout::{DType, Memory};
use loam_kernels::mapped::Mapped;

use crate::check::{Mismatch, Want, compare};
use crate::cover::cases;
use crate::random::Random;
use crate::sheet::{Frame, Sheet, download, upload};
use crate::values::{Values, poison};
use crate::{attention, dense, lora};

/// Some values in a file, or to be written somewhere in a memory.
#[derive(Clone, Debug)]
pub(crate) struct ValuesCase {
    seed: u64,
    dtype: DType,
    len: usize,
    /// Bytes before them in the file; not all of these suit every type.
    offset: usize,
}

/// All of it, in pairs.
pub(crate) fn cases() -> Vec<ValuesCase> {
    cases!(ValuesCase {
        dtype: [DType::F32, DType::Bf16, DType::F16, DType::U32],
        len: [0, 1, 7, 4096],
        offset: [0, 1, 2, 3, 4, 64, 4098],
    })
}

/// A file's values are those stored; what is allocated holds zeros; what is written is read.
pub(crate) fn check<B: Backend>(device: &B, case: &ValuesCase) -> Result<(), Mismatch> {
    let mut random = Random::new(case.seed);
    let values = Values::of(case.dtype, 1, case.len, |_, _| 100.0 * random.unit());
    let folder = tempfile::tempdir().expect("a folder for a test");
    let path = folder.path().join("weights");
    let stored = [poison(DType::U32).repeat(case.offset)[..case.offset].to_vec(), values.bytes.clone()].concat();
    fs::write(&path, stored).expect("a file in a folder of our own");
    let source = Source { file: Arc::new(Mapped::open(&path)?), offset: case.offset as u64 };
    let loaded = device.load(&source, case.dtype, case.len)?;
    expect(device, "what was loaded", &loaded, &values)?;

    let mut written = device.allocate(case.dtype, case.len)?;
    let mut held = Values::of(case.dtype, 1, case.len, |_, _| 0.0);
    expect(device, "what was allocated", &written, &held)?;
    let from = case.len / 3;
    let bytes = &values.bytes[from * case.dtype.bytes()..];
    device.write(&mut written, from, bytes)?;
    held.bytes[from * case.dtype.bytes()..].copy_from_slice(bytes);
    expect(device, "what was written", &written, &held)
}

fn expect<B: Backend>(device: &B, what: &'static str, memory: &B::Memory, values: &Values) -> Result<(), Mismatch> {
    if (memory.dtype(), memory.len()) != (values.dtype, values.width) {
        return Err(Mismatch::Broken(format!("{what}: {} of {}", memory.len(), memory.dtype())));
    }
    let mut sheet = Sheet::new(device, values, Frame::Packed)?;
    sheet.hold(device, &upload(device, &download(device, memory)?)?)?;
    compare(device, what, &sheet, &values.row(0).into_iter().map(Want::Exactly).collect::<Vec<_>>())
}

/// Operations inside a run are those outside, and what the closure refuses the run refuses.
pub(crate) fn check_run<B: Backend>(device: &B, (): &()) -> Result<(), Mismatch> {
    let mut result = Ok(());
    let mut within = || {
        result = first(device, &dense::linear::cases(), dense::linear::check)
            .and_then(|()| first(device, &attention::attend::mixed(), attention::attend::check))
            .and_then(|()| first(device, &lora::cases(lora::Popularity::Uniform), lora::check));
        Ok(())
    };
    device.run(None, &mut within)?;
    result?;
    let refused = device.run(None, &mut || Err(Error::EmptySlot { slot: 77 }));
    match refused {
        Err(Error::EmptySlot { slot: 77 }) => Ok(()),
        other => Err(Mismatch::Broken(format!("a run that was refused returned {other:?}"))),
    }
}

/// A few of the cases, one in five.
fn first<B, C>(device: &B, cases: &[C], check: impl Fn(&B, &C) -> Result<(), Mismatch>) -> Result<(), Mismatch> {
    cases.iter().step_by(5).try_for_each(|case| check(device, case))
}
