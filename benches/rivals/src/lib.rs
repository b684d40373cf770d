//! Rivals: the matrix products that Rust programs use, over checked slices.
//!
//! Both crates take raw pointers and strides; each is called in one place here, where the slices' lengths are compared
//! first. What that adds to a call is a few comparisons.

use half::f16;

/// `out = x w^T`, as of a linear layer: rows of `x`, rows of `w`, rows of `out`, all packed.
#[derive(Debug)]
pub struct Problem<'a, T> {
    /// Rows of `x` and `out`.
    pub rows: usize,
    /// Length of the sums.
    pub k: usize,
    /// Rows of `w`, columns of `out`.
    pub columns: usize,
    /// `[rows, k]`
    pub x: &'a [T],
    /// `[columns, k]`
    pub w: &'a [T],
    /// `[rows, columns]`
    pub out: &'a mut [T],
}

impl<T> Problem<'_, T> {
    /// Panics where a slice is shorter than its matrix.
    fn check(&self) {
        assert!(self.x.len() >= self.rows * self.k, "x holds its rows");
        assert!(self.w.len() >= self.columns * self.k, "w holds its rows");
        assert!(self.out.len() >= self.rows * self.columns, "out holds its rows");
    }

    /// By the crate `gemm`, on rayon's threads.
    fn multiply(self, zero: T, one: T)
    where
        T: Copy + 'static,
    {
        self.check();
        let (k, columns) = (self.k.cast_signed(), self.columns.cast_signed());
        let threads = gemm::Parallelism::Rayon(0);
        // SAFETY: the matrices lie inside their slices, as was compared; strides are those of packed rows, `w` transposed.
        unsafe {
            gemm::gemm(
                self.rows,
                self.columns,
                self.k,
                self.out.as_mut_ptr(),
                1,
                columns,
                false,
                self.x.as_ptr(),
                1,
                k,
                self.w.as_ptr(),
                k,
                1,
                zero,
                one,
                false,
                false,
                false,
                threads,
            );
        }
    }
}

impl Problem<'_, f32> {
    /// By the crate `gemm`, on rayon's threads.
    pub fn by_gemm(self) {
        self.multiply(0.0, 1.0);
    }

    /// By the crate `matrixmultiply`, on threads of its own, four at most.
    pub fn by_matrixmultiply(self) {
        self.check();
        let (k, columns) = (self.k.cast_signed(), self.columns.cast_signed());
        let (x, w, out) = (self.x.as_ptr(), self.w.as_ptr(), self.out.as_mut_ptr());
        // SAFETY: as in `multiply`.
        unsafe { matrixmultiply::sgemm(self.rows, self.k, self.columns, 1.0, x, k, 1, w, 1, k, 0.0, out, columns, 1) }
    }
}

impl Problem<'_, f16> {
    /// By the crate `gemm`, on rayon's threads.
    pub fn by_gemm(self) {
        self.multiply(f16::ZERO, f16::ONE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rivals_compute_what_they_are_asked() {
        for (rows, k, columns) in [(1, 96, 64), (5, 64, 48), (64, 512, 96)] {
            let values = |count: usize| (0..count).map(|at| (at * 37 % 101) as f32 / 101.0 - 0.5).collect::<Vec<f32>>();
            let halves = |values: &[f32]| values.iter().copied().map(f16::from_f32).collect::<Vec<f16>>();
            let (x, w) = (values(rows * k), values(columns * k));
            let (mut one, mut two) = (vec![f32::NAN; rows * columns], vec![f32::NAN; rows * columns]);
            Problem { rows, k, columns, x: &x, w: &w, out: &mut one }.by_gemm();
            Problem { rows, k, columns, x: &x, w: &w, out: &mut two }.by_matrixmultiply();
            let mut three = vec![f16::NAN; rows * columns];
            Problem { rows, k, columns, x: &halves(&x), w: &halves(&w), out: &mut three }.by_gemm();
            for at in 0..rows * columns {
                let (x, w) = (&x[at / columns * k..][..k], &w[at % columns * k..][..k]);
                let expected: f32 = x.iter().zip(w).map(|(x, w)| x * w).sum();
                assert!((one[at] - expected).abs() < 1e-3, "{} for {expected}", one[at]);
                assert!((two[at] - expected).abs() < 1e-3, "{} for {expected}", two[at]);
                assert!((three[at].to_f32() - expected).abs() < 0.05, "{} for {expected}", three[at]);
            }
        }
    }
}
