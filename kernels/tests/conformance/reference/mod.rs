//! Every operation once more, in f64, written from its documented meaning and from nothing else.
//!
//! Beside each value stands how far arithmetic in f32 may be from it, from the magnitudes that were added.

pub(crate) mod attention;
pub(crate) mod dense;
pub(crate) mod lora;
pub(crate) mod sampling;

/// A sum of products, and the sum of their magnitudes.
pub(crate) fn dot(a: &[f64], b: &[f64]) -> (f64, f64) {
    const LANES: usize = 8;
    assert_eq!(a.len(), b.len(), "a product is of equally many values");
    let (mut sums, mut magnitudes) = ([0.0; LANES], [0.0; LANES]);
    let whole = a.len() / LANES * LANES;
    for (a, b) in a[..whole].chunks_exact(LANES).zip(b[..whole].chunks_exact(LANES)) {
        for lane in 0..LANES {
            let product = a[lane] * b[lane];
            sums[lane] += product;
            magnitudes[lane] += product.abs();
        }
    }
    for (a, b) in a[whole..].iter().zip(&b[whole..]) {
        sums[0] += a * b;
        magnitudes[0] += (a * b).abs();
    }
    (sums.iter().sum(), magnitudes.iter().sum())
}
