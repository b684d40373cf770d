//! Random weights of any shape, from a seed: for measuring without a model.

use half::{bf16, f16};
use loam_kernels::layout::DType;
use loam_ledger_core::hash::digest;

/// Values that one thread makes at a time.
const CHUNK_VALUES: usize = 1 << 20;

/// How far values spread: what Transformers begins training with.
const DEVIATION: f32 = 0.02;

/// A tensor's values, in runs: `write` is told where each begins. Norms are ones; all else spreads evenly around zero.
/// They follow from seed, name and place alone, however many threads there are.
pub(super) fn values<E>(
    seed: u64,
    name: &str,
    shape: &[usize],
    dtype: DType,
    mut write: impl FnMut(usize, &[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let count: usize = shape.iter().product();
    let key = digest(&[b"loam/dummy/v1\0".as_slice(), &seed.to_be_bytes(), name.as_bytes()].concat());
    let key = u64::from_be_bytes(key.0[..8].try_into().expect("a digest has 32 bytes"));
    let constant = shape.len() == 1 && !name.ends_with(".bias");
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let run = CHUNK_VALUES * threads;
    let mut bytes = vec![0; run.min(count) * dtype.bytes()];
    for first in (0..count).step_by(run) {
        let bytes = &mut bytes[..run.min(count - first) * dtype.bytes()];
        std::thread::scope(|scope| {
            for (chunk, bytes) in bytes.chunks_mut(CHUNK_VALUES * dtype.bytes()).enumerate() {
                let at = key.wrapping_add((first + chunk * CHUNK_VALUES) as u64);
                scope.spawn(move || fill(bytes, dtype, constant, at));
            }
        });
        write(first, bytes)?;
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn made(seed: u64, name: &str, shape: &[usize], dtype: DType) -> Vec<u8> {
        let mut made = Vec::new();
        let write = |at: usize, bytes: &[u8]| {
            assert_eq!(at * dtype.bytes(), made.len(), "run after run");
            made.extend_from_slice(bytes);
            Ok::<_, ()>(())
        };
        values(seed, name, shape, dtype, write).unwrap();
        made
    }

    /// What one thread would write, value after value.
    fn in_one_go(seed: u64, name: &str, count: usize, dtype: DType) -> Vec<u8> {
        let key = digest(&[b"loam/dummy/v1\0".as_slice(), &seed.to_be_bytes(), name.as_bytes()].concat());
        let mut bytes = vec![0; count * dtype.bytes()];
        fill(&mut bytes, dtype, false, u64::from_be_bytes(key.0[..8].try_into().unwrap()));
        bytes
    }

    #[test]
    fn values_do_not_depend_on_how_the_work_is_divided() {
        // Three runs and a half on one thread, a bit of one run on many.
        let shape = [7, CHUNK_VALUES / 2 + 3];
        for dtype in [DType::Bf16, DType::F32] {
            let made = made(5, "a.weight", &shape, dtype);
            assert!(made == in_one_go(5, "a.weight", shape[0] * shape[1], dtype), "{dtype}");
        }
    }

    #[test]
    fn values_follow_from_seed_and_name() {
        let of = |seed, name: &str| made(seed, name, &[64, 64], DType::F32);
        assert_eq!(of(1, "a.weight"), of(1, "a.weight"));
        assert_ne!(of(1, "a.weight"), of(2, "a.weight"));
        assert_ne!(of(1, "a.weight"), of(1, "b.weight"));
    }

    #[test]
    fn norms_are_ones_and_all_else_spreads_around_zero() {
        let floats = |name: &str, shape: &[usize]| -> Vec<f32> {
            let bytes = made(3, name, shape, DType::F32);
            bytes.chunks_exact(4).map(|it| f32::from_ne_bytes(it.try_into().unwrap())).collect()
        };
        assert!(floats("norm.weight", &[100]).iter().all(|value| *value == 1.0));
        for found in [floats("q_proj.bias", &[100_000]), floats("q_proj.weight", &[100, 1000])] {
            let mean = found.iter().sum::<f32>() / 1e5;
            let deviation = (found.iter().map(|it| it * it).sum::<f32>() / 1e5).sqrt();
            assert!(mean.abs() < 3e-4 && (deviation / DEVIATION - 1.0).abs() < 0.02, "{mean} {deviation}");
        }
    }
}
