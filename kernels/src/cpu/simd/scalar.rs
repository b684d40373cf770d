//! The plain level: eight lanes as an array, each operation said lane by lane.

use std::array::from_fn;

use half::{bf16, f16};

use super::Simd;

/// Plain Rust.
#[derive(Clone, Copy)]
pub(super) struct Scalar;

const LANES: usize = 8;
type Lanes = [f32; LANES];

impl Simd for Scalar {
    const LANES: usize = LANES;
    const ROWS_MAX: usize = 2;
    const PAIRS: bool = false;
    type V = Lanes;
    type P = ();

    #[inline(always)]
    fn splat(self, value: f32) -> Lanes {
        [value; LANES]
    }
    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> Lanes {
        // SAFETY: the caller's; so in all that read or write below.
        unsafe { from.cast::<Lanes>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn load_bf16(self, from: *const bf16) -> Lanes {
        // SAFETY: as above.
        unsafe { from.cast::<[bf16; LANES]>().read_unaligned() }.map(bf16::to_f32)
    }
    #[inline(always)]
    unsafe fn load_f16(self, from: *const f16) -> Lanes {
        // SAFETY: as above.
        unsafe { from.cast::<[f16; LANES]>().read_unaligned() }.map(f16::to_f32_const)
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32, v: Lanes) {
        // SAFETY: as above.
        unsafe { to.cast::<Lanes>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn store_bf16(self, to: *mut bf16, v: Lanes) {
        // SAFETY: as above.
        unsafe { to.cast::<[bf16; LANES]>().write_unaligned(v.map(bf16::from_f32)) }
    }
    #[inline(always)]
    fn add(self, a: Lanes, b: Lanes) -> Lanes {
        from_fn(|i| a[i] + b[i])
    }
    #[inline(always)]
    fn sub(self, a: Lanes, b: Lanes) -> Lanes {
        from_fn(|i| a[i] - b[i])
    }
    #[inline(always)]
    fn mul(self, a: Lanes, b: Lanes) -> Lanes {
        from_fn(|i| a[i] * b[i])
    }
    #[inline(always)]
    fn div(self, a: Lanes, b: Lanes) -> Lanes {
        from_fn(|i| a[i] / b[i])
    }
    #[inline(always)]
    fn max(self, a: Lanes, b: Lanes) -> Lanes {
        from_fn(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    fn min(self, a: Lanes, b: Lanes) -> Lanes {
        from_fn(|i| if a[i] < b[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    fn mul_add(self, a: Lanes, b: Lanes, c: Lanes) -> Lanes {
        from_fn(|i| a[i] * b[i] + c[i])
    }
    #[inline(always)]
    fn round(self, v: Lanes) -> Lanes {
        // Adding and taking off 1.5 * 2^23 leaves no place for a fraction; |v| is far below.
        v.map(|x| (x + 12_582_912.0) - 12_582_912.0)
    }
    #[inline(always)]
    fn scale_by_power(self, v: Lanes, n: Lanes) -> Lanes {
        from_fn(|i| v[i] * f32::from_bits(((n[i] as i32 + 127) << 23) as u32))
    }
    #[inline(always)]
    fn zero_where_below(self, v: Lanes, x: Lanes, limit: Lanes) -> Lanes {
        from_fn(|i| if x[i] < limit[i] { 0.0 } else { v[i] })
    }
    #[inline(always)]
    fn sum(self, v: Lanes) -> f32 {
        let four: [f32; 4] = from_fn(|i| v[i] + v[i + 4]);
        (four[0] + four[2]) + (four[1] + four[3])
    }
    #[inline(always)]
    fn greatest(self, v: Lanes) -> f32 {
        v.into_iter().fold(f32::NEG_INFINITY, f32::max)
    }
    #[inline(always)]
    fn prefetch<T>(self, _: *const T) {}
    #[inline(always)]
    unsafe fn load_pairs(self, _: *const bf16) {
        unreachable!("PAIRS is false")
    }
    #[inline(always)]
    fn dot_pairs(self, _: Lanes, (): (), (): ()) -> Lanes {
        unreachable!("PAIRS is false")
    }
}
