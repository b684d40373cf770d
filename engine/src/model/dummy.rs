//! Random weights of any shape, from a seed: for measuring without a model.

use half::{bf16, f16};
use loam_kernels::layout::DType;
use loam_ledger_core::hash::digest;

/// Values that one thread makes at a time.
const CHUNK_VALUES: usize = 1 << 20;

/// How far values spread: what Transformers begins training with.
const DEVIATION: f32 = 0.02;

/// A tensor's values. Norms are ones; all else is spread evenly around zero. They follow from seed, name and place alone.
pub(super) fn values(seed: u64, name: &str, shape: &[usize], dtype: DType) -> Vec<u8> {
    let count: usize = shape.iter().product();
    let mut bytes = vec![0; count * dtype.bytes()];
    let key = digest(&[b"loam/dummy/v1\0".as_slice(), &seed.to_be_bytes(), name.as_bytes()].concat());
    let key = u64::from_be_bytes(key.0[..8].try_into().expect("a digest has 32 bytes"));
    let constant = shape.len() == 1 && !name.ends_with(".bias");
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let run = CHUNK_VALUES.max(count.div_ceil(threads));
    std::thread::scope(|scope| {
        for (chunk, bytes) in bytes.chunks_mut(run * dtype.bytes()).enumerate() {
            scope.spawn(move || fill(bytes, dtype, constant, key.wrapping_add((chunk * run) as u64)));
        }
    });
    bytes
}

fn fill(bytes: &mut [u8], dtype: DType, constant: bool, first: u64) {
    for (at, out) in (0..).zip(bytes.chunks_exact_mut(dtype.bytes())) {
        let value = if constant { 1.0 } else { spread(mix(first.wrapping_add(at))) };
        match dtype {
            DType::Bf16 => out.copy_from_slice(&bf16::from_f32(value).to_ne_bytes()),
            DType::F16 => out.copy_from_slice(&f16::from_f32(value).to_ne_bytes()),
            DType::F32 | DType::U32 => out.copy_from_slice(&value.to_ne_bytes()),
        }
    }
}

/// A number in -1..1, widened to the deviation wanted.
fn spread(bits: u64) -> f32 {
    let unit = (bits >> 40) as f32 / (1 << 23) as f32 - 1.0;
    unit * DEVIATION * 1.732_050_8
}

/// SplitMix64's finish: neighbouring numbers have nothing in common.
const fn mix(mut number: u64) -> u64 {
    number = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}
