//! Angles, against the formulas of Transformers' `modeling_rope_utils`, and numbers that make none.

use std::f64::consts::TAU;

use loam_kernels::layout::{Rope, RopeScaling};

use crate::given::{error, unsupported};

const THETA: f64 = 500_000.0;
const DIM: usize = 128;

/// Frequencies of pairs of Llama 3.1, from a Python of the same formulas.
const LLAMA3_KNOWN: [(usize, f64); 9] = [
    (0, 1.0),
    (10, 0.12868737343265052),
    (28, 0.0032114459947525913),
    (30, 0.0013718935677611381),
    (31, 0.0008567514129196321),
    (33, 0.00031269375038406517),
    (36, 7.78465527393245e-05),
    (50, 4.411534674558404e-06),
    (63, 3.068925988914511e-07),
];

/// Frequencies of a model, its table of angles, and the expected frequency of each pair.
#[track_caller]
fn check(rotary_dim: usize, theta: f64, scaling: RopeScaling, factor: f64, expected: impl Fn(usize) -> f64) {
    let rope = Rope { rotary_dim, theta, scaling };
    let frequencies = rope.frequencies().unwrap();
    assert_eq!(frequencies.len(), rotary_dim / 2);
    for (pair, found) in frequencies.iter().enumerate() {
        let expected = expected(pair);
        assert!((found / expected - 1.0).abs() < 1e-12, "pair {pair}: {found} where {expected} belongs");
    }
    let table = rope.table(1000).unwrap();
    assert_eq!(table.len(), 1000 * rotary_dim);
    for position in [0, 1, 17, 999] {
        let (cosines, sines) = table[position * rotary_dim..][..rotary_dim].split_at(rotary_dim / 2);
        for (pair, (cosine, sine)) in cosines.iter().zip(sines).enumerate() {
            let (s, c) = (expected(pair) * position as f64).sin_cos();
            let close = |found: f32, expected: f64| (f64::from(found) - expected).abs() < 1e-6 * factor.max(1.0);
            assert!(close(*cosine, c * factor) && close(*sine, s * factor), "position {position}, pair {pair}");
        }
    }
}

/// `1 / theta^(2 pair / dim)`
fn trained(theta: f64, dim: usize, pair: usize) -> f64 {
    1.0 / theta.powf((2 * pair) as f64 / dim as f64)
}

#[test]
fn as_trained() {
    check(DIM, THETA, RopeScaling::Default, 1.0, |pair| trained(THETA, DIM, pair));
    check(48, 10_000.0, RopeScaling::Default, 1.0, |pair| trained(10_000.0, 48, pair));
    check(2, 10_000.0, RopeScaling::Default, 1.0, |_| 1.0);
}

#[test]
fn linear() {
    check(DIM, THETA, RopeScaling::Linear { factor: 4.0 }, 1.0, |pair| trained(THETA, DIM, pair) / 4.0);
}

/// As `_compute_llama3_parameters` has it, by wavelengths.
fn llama3(factor: f64, low: f64, high: f64, context: f64, pair: usize) -> f64 {
    let frequency = trained(THETA, DIM, pair);
    let wavelength = TAU / frequency;
    if wavelength < context / high {
        frequency
    } else if wavelength > context / low {
        frequency / factor
    } else {
        let smooth = (context / wavelength - low) / (high - low);
        (1.0 - smooth) * frequency / factor + smooth * frequency
    }
}

#[test]
fn llama3_as_llama_3_1_has_it() {
    let (factor, low_freq_factor, high_freq_factor, original_positions) = (8.0, 1.0, 4.0, 8192.0);
    let scaling = RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_positions };
    check(DIM, THETA, scaling, 1.0, |pair| llama3(8.0, 1.0, 4.0, 8192.0, pair));
    // Numbers made elsewhere: short, between, and long wavelengths.
    let found = Rope { rotary_dim: DIM, theta: THETA, scaling }.frequencies().unwrap();
    let known = LLAMA3_KNOWN;
    assert!(known.iter().all(|(pair, value)| (found[*pair] / value - 1.0).abs() < 1e-9), "{found:?}");
}

#[test]
fn llama3_as_llama_3_2_has_it() {
    let (factor, low_freq_factor, high_freq_factor, original_positions) = (32.0, 1.0, 4.0, 8192.0);
    let scaling = RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_positions };
    check(DIM, THETA, scaling, 1.0, |pair| llama3(32.0, 1.0, 4.0, 8192.0, pair));
}

/// A model's YaRN: factor, trained context, beta_fast, beta_slow, and whether the blend is at whole pairs.
type Yarn = (f64, f64, f64, f64, bool);

/// As `_compute_yarn_parameters` has it.
fn yarn((factor, context, fast, slow, truncate): Yarn, theta: f64, dim: usize, pair: usize) -> f64 {
    let correction = |rotations: f64| (dim as f64 * (context / (rotations * TAU)).ln()) / (2.0 * theta.ln());
    let (mut low, mut high) = (correction(fast), correction(slow));
    if truncate {
        (low, high) = (low.floor(), high.ceil());
    }
    let (low, mut high) = (low.max(0.0), high.min(dim as f64 - 1.0));
    if low == high {
        high += 0.001;
    }
    let ramp = ((pair as f64 - low) / (high - low)).clamp(0.0, 1.0);
    let extrapolation = 1.0 - ramp;
    let frequency = theta.powf((2 * pair) as f64 / dim as f64);
    (1.0 / (factor * frequency)) * (1.0 - extrapolation) + (1.0 / frequency) * extrapolation
}

#[track_caller]
fn check_yarn(of: Yarn, theta: f64, dim: usize) {
    let (factor, original_positions, beta_fast, beta_slow, truncate) = of;
    let attention_factor = RopeScaling::yarn_attention_factor(factor, None, None);
    assert!((attention_factor - (0.1 * factor.ln() + 1.0)).abs() < 1e-12);
    let scaling = RopeScaling::Yarn { factor, original_positions, beta_fast, beta_slow, attention_factor, truncate };
    check(dim, theta, scaling, attention_factor, |pair| yarn(of, theta, dim, pair));
}

#[test]
fn yarn_as_qwen_has_it() {
    check_yarn((4.0, 32_768.0, 32.0, 1.0, true), 1_000_000.0, DIM);
}

#[test]
fn yarn_at_parts_of_pairs() {
    check_yarn((32.0, 4096.0, 32.0, 1.0, false), 150_000.0, 64);
}

/// Where the blend would begin before the first pair and end after the last.
#[test]
fn yarn_of_a_short_context() {
    check_yarn((16.0, 100.0, 32.0, 0.0001, true), 10_000.0, 64);
}

/// Where the blend begins and ends at one pair.
#[test]
fn yarn_of_one_step() {
    check_yarn((2.0, 4096.0, 8.0, 8.0, false), 10_000.0, 64);
}

#[test]
fn yarn_attention_factors() {
    let found = |mscale, all| RopeScaling::yarn_attention_factor(40.0, mscale, all);
    let scale = |mscale: f64| 0.1 * mscale * 40_f64.ln() + 1.0;
    for (found, expected) in [
        (found(Some(0.707), Some(1.0)), scale(0.707) / scale(1.0)),
        (found(Some(1.0), Some(1.0)), 1.0),
        (found(Some(0.707), None), scale(1.0)),
        (found(None, Some(0.707)), scale(1.0)),
        (found(Some(0.0), Some(0.707)), scale(1.0)),
        (RopeScaling::yarn_attention_factor(1.0, None, None), 1.0),
        (RopeScaling::yarn_attention_factor(0.5, Some(2.0), Some(3.0)), 1.0),
    ] {
        assert!((found - expected).abs() < 1e-12, "{found} where {expected} belongs");
    }
}

/// Numbers that make no angles, refused by the names that a model's configuration has for them.
#[track_caller]
fn check_refused(change: impl FnOnce(&mut Rope), what: &'static str, found: &str, allowed: &'static str) {
    let mut rope = Rope { rotary_dim: 64, theta: 10_000.0, scaling: RopeScaling::Default };
    change(&mut rope);
    let says = format!("{what} is {found}; it can be {allowed}");
    error(rope.frequencies(), unsupported(what, found, allowed), &says);
    error(rope.table(10), unsupported(what, found, allowed), &says);
}

const ABOVE: &str = "a finite number above 0 (theta: above 1)";

#[test]
fn rotary_dimensions_that_are_none() {
    check_refused(|it| it.rotary_dim = 0, "the rotary dimension", "0", "even, and 2 or more");
    check_refused(|it| it.rotary_dim = 63, "the rotary dimension", "63", "even, and 2 or more");
}

#[test]
fn thetas_that_are_none() {
    for (theta, found) in [(1.0, "1"), (0.0, "0"), (-5.0, "-5"), (f64::NAN, "NaN"), (f64::INFINITY, "inf")] {
        check_refused(|it| it.theta = theta, "rope_theta", found, ABOVE);
    }
}

#[test]
fn factors_that_are_none() {
    for (factor, found) in [(0.0, "0"), (-1.0, "-1"), (f64::NAN, "NaN")] {
        check_refused(|it| it.scaling = RopeScaling::Linear { factor }, "the rope factor", found, ABOVE);
    }
}

#[test]
fn llama3_that_is_none() {
    let scaling = |factor, low_freq_factor, high_freq_factor, original_positions| RopeScaling::Llama3 {
        factor,
        low_freq_factor,
        high_freq_factor,
        original_positions,
    };
    let difference = "high_freq_factor less low_freq_factor";
    check_refused(|it| it.scaling = scaling(0.0, 1.0, 4.0, 8192.0), "the rope factor", "0", ABOVE);
    check_refused(|it| it.scaling = scaling(8.0, 0.0, 4.0, 8192.0), "low_freq_factor", "0", ABOVE);
    check_refused(|it| it.scaling = scaling(8.0, 4.0, 4.0, 8192.0), difference, "0", ABOVE);
    check_refused(|it| it.scaling = scaling(8.0, 4.0, 1.0, 8192.0), difference, "-3", ABOVE);
    check_refused(|it| it.scaling = scaling(8.0, 1.0, 4.0, 0.0), "original_max_position_embeddings", "0", ABOVE);
}

#[test]
fn yarn_that_is_none() {
    let scaling = |factor, original_positions, [beta_fast, beta_slow]: [f64; 2], attention_factor| RopeScaling::Yarn {
        factor,
        original_positions,
        beta_fast,
        beta_slow,
        attention_factor,
        truncate: true,
    };
    let betas = [32.0, 1.0];
    check_refused(|it| it.scaling = scaling(f64::NAN, 4096.0, betas, 1.0), "the rope factor", "NaN", ABOVE);
    let positions = "original_max_position_embeddings";
    check_refused(|it| it.scaling = scaling(4.0, -1.0, betas, 1.0), positions, "-1", ABOVE);
    check_refused(|it| it.scaling = scaling(4.0, 4096.0, [0.0, 1.0], 1.0), "beta_fast", "0", ABOVE);
    check_refused(|it| it.scaling = scaling(4.0, 4096.0, [32.0, 0.0], 1.0), "beta_slow", "0", ABOVE);
    check_refused(|it| it.scaling = scaling(4.0, 4096.0, betas, 0.0), "attention_factor", "0", ABOVE);
}
