//! Vectors of f32 at each level of instructions, and how a kernel is run at one.
//!
//! A kernel is written once over [`Simd`]. Everything it calls is `#[inline(always)]`, so that it is compiled whole
//! inside the one function of its level that carries the target features.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod scalar;

use std::fmt;

use half::{bf16, f16};

use crate::error::Error;
use crate::layout::{DType, Element};
use scalar::Scalar;

/// A level of instructions. Each has its own order of sums, hence its own bits; they agree within tolerance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Plain Rust, eight lanes as an array: any processor.
    Scalar,
    /// AVX2 and FMA: eight lanes.
    Avx2,
    /// AVX-512: sixteen lanes.
    Avx512,
    /// AVX-512 with products of bf16 pairs: thirty-two values at a time where both operands are bf16.
    Avx512Bf16,
}

/// All levels, the plainest first.
const LEVELS: [Level; 4] = [Level::Scalar, Level::Avx2, Level::Avx512, Level::Avx512Bf16];

impl Level {
    /// The levels that this processor has.
    pub fn available() -> impl Iterator<Item = Self> {
        LEVELS.into_iter().filter(|level| level.is_available())
    }

    /// The best of them.
    pub fn best() -> Self {
        Self::available().last().unwrap_or(Self::Scalar)
    }

    /// Its name, as printed.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Avx512Bf16 => "avx512-bf16",
        }
    }

    /// Refuses a level that this processor lacks.
    pub(crate) fn check(self) -> Result<(), Error> {
        if self.is_available() {
            return Ok(());
        }
        Err(Error::Level { level: self.name(), best: Self::best().name() })
    }

    #[cfg(target_arch = "x86_64")]
    fn is_available(self) -> bool {
        use std::arch::is_x86_feature_detected as has;
        let avx2 = || has!("avx2") && has!("fma") && has!("f16c");
        let avx512 = || avx2() && has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl");
        match self {
            Self::Scalar => true,
            Self::Avx2 => avx2(),
            Self::Avx512 => avx512(),
            Self::Avx512Bf16 => avx512() && has!("avx512bf16"),
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn is_available(self) -> bool {
        self == Self::Scalar
    }

    /// Runs a kernel with this level's instructions.
    pub(crate) fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self {
            Self::Scalar => kernel.run(Scalar),
            // SAFETY: a `Level` other than `Scalar` comes to a backend through `check`, which asked the processor.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { avx2::run(kernel) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => unsafe { avx512::run(kernel) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Bf16 => unsafe { avx512::run_bf16(kernel) },
            #[cfg(not(target_arch = "x86_64"))]
            _ => kernel.run(Scalar),
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Work that is the same at each level but for its vectors. `run` must be `#[inline(always)]`.
pub(crate) trait Kernel {
    /// What comes of it.
    type Output;
    /// Does it.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// Vectors of [`LANES`](Simd::LANES) f32.
///
/// # Safety
/// Values of the implementing types are made by [`Level::run`] alone, where the processor has the instructions.
/// Methods that take a pointer read or write a whole vector there, at any alignment.
pub(crate) trait Simd: Copy + Send + Sync + 'static {
    /// Lanes of a vector.
    const LANES: usize;
    /// Rows of a block of dot products, four columns wide, that stay in registers.
    const ROWS_MAX: usize;
    /// Whether `dot_pairs` exists.
    const PAIRS: bool;
    /// A vector of f32.
    type V: Copy;
    /// A vector of `2 * LANES` bf16.
    type P: Copy;

    fn splat(self, value: f32) -> Self::V;
    unsafe fn load(self, from: *const f32) -> Self::V;
    unsafe fn load_bf16(self, from: *const bf16) -> Self::V;
    unsafe fn load_f16(self, from: *const f16) -> Self::V;
    unsafe fn store(self, to: *mut f32, v: Self::V);
    /// Rounds to nearest even; what is not a number stays so.
    unsafe fn store_bf16(self, to: *mut bf16, v: Self::V);
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// The greater; where either is not a number, `b`.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// The less; where either is not a number, `b`.
    fn min(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    fn round(self, v: Self::V) -> Self::V;
    /// `v * 2^n` of whole `n` from -126 to 127.
    fn scale_by_power(self, v: Self::V, n: Self::V) -> Self::V;
    /// `v`, but 0 where `x < limit`.
    fn zero_where_below(self, v: Self::V, x: Self::V, limit: Self::V) -> Self::V;
    /// The sum of all lanes: halves are added until one is left.
    fn sum(self, v: Self::V) -> f32;
    /// The greatest lane.
    fn greatest(self, v: Self::V) -> f32;

    /// Asks for the cache line at an address, which need not be readable.
    fn prefetch<T>(self, at: *const T);

    unsafe fn load_pairs(self, from: *const bf16) -> Self::P;
    /// Adds to each lane the products of its two neighbours.
    fn dot_pairs(self, sum: Self::V, a: Self::P, b: Self::P) -> Self::V;

    /// The sums of four vectors, each as `sum` makes it.
    #[inline(always)]
    fn sum4(self, v: [Self::V; 4]) -> [f32; 4] {
        [self.sum(v[0]), self.sum(v[1]), self.sum(v[2]), self.sum(v[3])]
    }

    /// `e^x`, within two units in the last place; 0 below the least normal number, and never infinite. What is not
    /// a number stays so.
    #[inline(always)]
    fn exp(self, x: Self::V) -> Self::V {
        const POLYNOMIAL: [f32; 6] =
            [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5];
        // What is not a number passes: of two operands the second is taken then.
        let clamped = self.min(self.splat(88.0), self.max(self.splat(-87.3), x));
        let n = self.round(self.mul(clamped, self.splat(std::f32::consts::LOG2_E)));
        // ln 2 in two parts, the first so short that its product with n is exact.
        let r = self.mul_add(n, self.splat(-0.693_359_4), clamped);
        let r = self.mul_add(n, self.splat(2.121_944_4e-4), r);
        let mut p = self.splat(POLYNOMIAL[0]);
        for coefficient in &POLYNOMIAL[1..] {
            p = self.mul_add(p, r, self.splat(*coefficient));
        }
        let p = self.add(self.mul_add(p, self.mul(r, r), r), self.splat(1.0));
        self.zero_where_below(self.scale_by_power(p, n), x, self.splat(-87.3))
    }
}

/// A stored type that vectors can be read from.
pub(crate) trait Load: Element {
    /// Reads a whole vector.
    ///
    /// # Safety
    /// `LANES` values can be read at `from`.
    unsafe fn load<S: Simd>(simd: S, from: *const Self) -> S::V;

    /// Reads fewer; the rest is zero.
    ///
    /// # Safety
    /// `count` values can be read at `from`, and `count <= LANES`.
    #[inline(always)]
    unsafe fn load_part<S: Simd>(simd: S, from: *const Self, count: usize) -> S::V {
        let mut lanes = [Self::default(); LANES_MAX];
        // SAFETY: the caller's, and `LANES <= LANES_MAX`.
        unsafe {
            std::ptr::copy_nonoverlapping(from, lanes.as_mut_ptr(), count);
            Self::load(simd, lanes.as_ptr())
        }
    }
}

/// A stored type that vectors can be written as.
pub(crate) trait Store: Load {
    /// Writes a whole vector.
    ///
    /// # Safety
    /// `LANES` values can be written at `to`.
    unsafe fn store<S: Simd>(simd: S, to: *mut Self, v: S::V);

    /// Writes the first values of a vector.
    ///
    /// # Safety
    /// `count` values can be written at `to`, and `count <= LANES`.
    #[inline(always)]
    unsafe fn store_part<S: Simd>(simd: S, to: *mut Self, v: S::V, count: usize) {
        let mut lanes = [Self::default(); LANES_MAX];
        // SAFETY: the caller's, and `LANES <= LANES_MAX`.
        unsafe {
            Self::store(simd, lanes.as_mut_ptr(), v);
            std::ptr::copy_nonoverlapping(lanes.as_ptr(), to, count);
        }
    }
}

/// The widest level's lanes.
pub(crate) const LANES_MAX: usize = 16;

impl Load for f32 {
    #[inline(always)]
    unsafe fn load<S: Simd>(simd: S, from: *const Self) -> S::V {
        // SAFETY: the caller's.
        unsafe { simd.load(from) }
    }
}

impl Load for bf16 {
    #[inline(always)]
    unsafe fn load<S: Simd>(simd: S, from: *const Self) -> S::V {
        // SAFETY: the caller's.
        unsafe { simd.load_bf16(from) }
    }
}

impl Load for f16 {
    #[inline(always)]
    unsafe fn load<S: Simd>(simd: S, from: *const Self) -> S::V {
        // SAFETY: the caller's.
        unsafe { simd.load_f16(from) }
    }
}

impl Store for f32 {
    #[inline(always)]
    unsafe fn store<S: Simd>(simd: S, to: *mut Self, v: S::V) {
        // SAFETY: the caller's.
        unsafe { simd.store(to, v) }
    }
}

impl Store for bf16 {
    #[inline(always)]
    unsafe fn store<S: Simd>(simd: S, to: *mut Self, v: S::V) {
        // SAFETY: the caller's.
        unsafe { simd.store_bf16(to, v) }
    }
}

/// Whether two operands are multiplied as pairs of bf16.
#[inline(always)]
pub(crate) fn in_pairs<S: Simd, X: Element, W: Element>() -> bool {
    S::PAIRS && X::DTYPE == DType::Bf16 && W::DTYPE == DType::Bf16
}
