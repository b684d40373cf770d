//! Dense operations, row by row.

use std::sync::Arc;

use half::f16;
use loam_kernels::backend::{
    Activation, Add, AddRmsNorm, ApplyLinear, Dense, Device, Embed, Gate, GatherRows, HeadShape, Product, QkNorm,
    RmsNorm,
};
use loam_kernels::layout::DType::{self, Bf16, F16, F32};
use loam_kernels::layout::{Linear, Part, RowSet, Split, Stored};

use super::crowd::check_rows;
use super::machine::{Machine, Matrix, Step, filled, noise};
use super::schedule::{Request, Space};

/// An operation over chosen rows, at each type of activations.
#[track_caller]
fn check(what: &str, operation: impl Fn(&Machine, DType, &[usize]) -> Vec<Vec<u32>>) {
    for dtype in [F32, Bf16] {
        check_rows(&format!("{what}, {dtype}"), |machine, chosen| operation(machine, dtype, chosen));
    }
}

const VOCABULARY: usize = 90;

/// A step of requests with one row each; every third uses an adapter.
fn step(machine: &Machine, chosen: &[usize]) -> Step {
    let request = |&row: &usize| Request {
        tokens: vec![(row * 37 % VOCABULARY) as u32],
        adapters: if has_adapter(row) { vec![(0, 1.0)] } else { Vec::new() },
    };
    let requests: Vec<Request> = chosen.iter().map(request).collect();
    let space = Space::new(&requests, VOCABULARY, 16, 1);
    let each: Vec<(usize, usize)> = (0..chosen.len()).map(|request| (request, 1)).collect();
    let inputs = space.inputs(&requests, &vec![0; chosen.len()], &each, &[0]);
    machine.step(inputs, space.limits(&requests)).unwrap()
}

fn has_adapter(row: usize) -> bool {
    row.is_multiple_of(3)
}

/// Chosen rows of an endless matrix; how far apart rows lie changes with the crowd.
fn rows_of(machine: &Machine, dtype: DType, chosen: &[usize], width: usize, seed: u64) -> Matrix {
    Matrix::new(machine, dtype, [chosen.len(), width, chosen.len() % 4], |row, column| noise(seed, chosen[row], column))
}

/// As above; rows without an adapter may not be read.
fn delta_of(machine: &Machine, chosen: &[usize], width: usize) -> Matrix {
    Matrix::new(machine, F32, [chosen.len(), width, 0], |row, column| {
        if has_adapter(chosen[row]) { noise(99, chosen[row], column) } else { f32::NAN }
    })
}

/// Puts the columns of several matrices side by side.
fn beside(matrices: &[Vec<Vec<u32>>]) -> Vec<Vec<u32>> {
    (0..matrices[0].len()).map(|row| matrices.iter().flat_map(|matrix| matrix[row].clone()).collect()).collect()
}

/// Lengths of sums: shorter than a vector, whole vectors, and with a rest; the last walks many.
const SUMS: [usize; 6] = [1, 7, 33, 64, 100, 515];

fn linear(machine: &Machine, dtype: DType, weights: DType, k: usize, chosen: &[usize]) -> Vec<Vec<u32>> {
    let stored = |seed, len, dtype| Arc::new(filled(machine, dtype, len, |at| noise(seed, at / k, at % k)));
    let part = |seed, out: usize, bias: bool| Part {
        weight: Stored::Dense(stored(seed, out * k, weights)),
        bias: bias.then(|| stored(seed + 1, out, F32)),
    };
    // Columns in three parts, none a multiple of a block; together they are more than one thread's.
    let layers = Linear::new(k, Split::Column, vec![part(1, 70, true), part(3, 3, false), part(5, 230, true)]).unwrap();
    let x = rows_of(machine, dtype, chosen, k, 7);
    let outs = [F32, Bf16].map(|dtype| {
        let mut out = Matrix::poisoned(machine, dtype, chosen.len(), layers.out_features());
        machine.linear(ApplyLinear { x: x.rows(), weights: &layers, out: out.rows_mut() }).unwrap();
        out.bits(machine)
    });
    beside(&outs)
}

#[track_caller]
fn check_linear(weights: DType) {
    for k in SUMS {
        check(&format!("linear over {k} of {weights}"), |machine, dtype, chosen| {
            linear(machine, dtype, weights, k, chosen)
        });
    }
}

#[test]
fn linear_with_f32_weights() {
    check_linear(F32);
}

#[test]
fn linear_with_bf16_weights() {
    check_linear(Bf16);
}

#[test]
fn linear_with_f16_weights() {
    assert!(noise(1, 0, 0).abs() < f16::MAX.to_f32(), "weights fit the type");
    check_linear(F16);
}

#[track_caller]
fn check_product(a_transposed: bool, b_transposed: bool) {
    let (k, n) = (130, 75);
    check("product", |machine, dtype, chosen| {
        let a = if a_transposed {
            Matrix::new(machine, dtype, [k, chosen.len(), 1], |row, column| noise(1, chosen[column], row))
        } else {
            rows_of(machine, dtype, chosen, k, 1)
        };
        let (rows, columns) = if b_transposed { (n, k) } else { (k, n) };
        let b = Matrix::new(machine, dtype, [rows, columns, 2], |row, column| noise(2, row, column));
        let mut out = Matrix::poisoned(machine, F32, chosen.len(), n);
        let op = Product { a: a.rows(), a_transposed, b: b.rows(), b_transposed, out: out.rows_mut() };
        machine.product(op).unwrap();
        out.bits(machine)
    });
}

#[test]
fn product_as_it_lies() {
    check_product(false, false);
}

#[test]
fn product_of_transposed() {
    check_product(true, false);
}

#[test]
fn product_with_transposed() {
    check_product(false, true);
}

#[test]
fn product_of_both_transposed() {
    check_product(true, true);
}

#[test]
fn embed_takes_a_row() {
    check("embed", |machine, dtype, chosen| {
        let table = filled(machine, F16, VOCABULARY * 77, |at| noise(1, at / 77, at % 77));
        let mut out = Matrix::poisoned(machine, dtype, chosen.len(), 77);
        machine.embed(&step(machine, chosen), Embed { table: &table, out: out.rows_mut() }).unwrap();
        out.bits(machine)
    });
}

#[test]
fn rms_norm() {
    for width in [1, 33, 768] {
        check(&format!("rms_norm of {width}"), |machine, dtype, chosen| {
            let (x, weight) =
                (rows_of(machine, dtype, chosen, width, 1), filled(machine, Bf16, width, |at| noise(2, 0, at)));
            let mut out = Matrix::poisoned(machine, dtype, chosen.len(), width);
            let mut inverse = Matrix::poisoned(machine, F32, chosen.len(), 1);
            let to = Some(inverse.rows_mut());
            let op = RmsNorm { x: x.rows(), weight: &weight, epsilon: 1e-5, out: out.rows_mut(), inverse: to };
            machine.rms_norm(op).unwrap();
            beside(&[out.bits(machine), inverse.bits(machine)])
        });
    }
}

#[track_caller]
fn check_add_rms_norm(set: RowSet) {
    let width = 345;
    check("add_rms_norm", |machine, dtype, chosen| {
        let (x, weight) =
            (rows_of(machine, dtype, chosen, width, 1), filled(machine, F32, width, |at| noise(2, 0, at)));
        let (mut residual, delta) = (rows_of(machine, F32, chosen, width, 3), delta_of(machine, chosen, width));
        let mut out = Matrix::poisoned(machine, dtype, chosen.len(), width);
        let mut inverse = Matrix::poisoned(machine, F32, chosen.len(), 1);
        let op = AddRmsNorm {
            residual: residual.rows_mut(),
            x: x.rows(),
            delta: Some(delta.rows()),
            set,
            weight: &weight,
            epsilon: 1e-6,
            out: out.rows_mut(),
            inverse: Some(inverse.rows_mut()),
        };
        machine.add_rms_norm(&step(machine, chosen), op).unwrap();
        beside(&[residual.bits(machine), out.bits(machine), inverse.bits(machine)])
    });
}

#[test]
fn add_rms_norm_over_the_batch() {
    check_add_rms_norm(RowSet::Batch);
}

#[test]
fn add_rms_norm_over_sampled_rows() {
    check_add_rms_norm(RowSet::Sampled);
}

#[test]
fn qk_norm() {
    let heads = HeadShape { q_heads: 4, kv_heads: 2, head_dim: 96 };
    check("qk_norm", |machine, dtype, chosen| {
        let [q_weight, k_weight] = [1, 2].map(|seed| filled(machine, Bf16, heads.head_dim, |at| noise(seed, 0, at)));
        let mut qkv = rows_of(machine, dtype, chosen, heads.qkv_width(), 3);
        let delta = delta_of(machine, chosen, heads.qkv_width());
        let (q_weight, k_weight) = (&q_weight, &k_weight);
        let op = QkNorm { qkv: qkv.rows_mut(), delta: Some(delta.rows()), heads, q_weight, k_weight, epsilon: 1e-6 };
        machine.qk_norm(&step(machine, chosen), op).unwrap();
        qkv.bits(machine)
    });
}

#[track_caller]
fn check_gate(activation: Activation) {
    for width in [5, 1050] {
        check(&format!("gate of {width}"), |machine, dtype, chosen| {
            let (gate_up, delta) =
                (rows_of(machine, dtype, chosen, 2 * width, 1), delta_of(machine, chosen, 2 * width));
            let mut out = Matrix::poisoned(machine, dtype, chosen.len(), width);
            let (gate_up, delta) = (gate_up.rows(), Some(delta.rows()));
            machine.gate(&step(machine, chosen), Gate { activation, gate_up, delta, out: out.rows_mut() }).unwrap();
            out.bits(machine)
        });
    }
}

#[test]
fn gate_by_silu() {
    check_gate(Activation::Silu);
}

#[test]
fn gate_by_gelu() {
    check_gate(Activation::Gelu);
}

#[test]
fn gate_by_gelu_tanh() {
    check_gate(Activation::GeluTanh);
}

#[test]
fn add_reads_rows_with_an_adapter() {
    check("add", |machine, dtype, chosen| {
        let (mut x, delta) = (rows_of(machine, dtype, chosen, 201, 1), delta_of(machine, chosen, 201));
        let op = Add { x: x.rows_mut(), delta: delta.rows(), set: RowSet::Scored };
        machine.add(&step(machine, chosen), op).unwrap();
        x.bits(machine)
    });
}

#[test]
fn gather_rows_takes_a_set() {
    check("gather_rows", |machine, dtype, chosen| {
        let x = rows_of(machine, dtype, chosen, 201, 1);
        let sets = [RowSet::Batch, RowSet::Sampled, RowSet::Scored].map(|set| {
            let mut out = Matrix::poisoned(machine, dtype, chosen.len(), 201);
            machine.gather_rows(&step(machine, chosen), GatherRows { x: x.rows(), set, out: out.rows_mut() }).unwrap();
            out.bits(machine)
        });
        beside(&sets)
    });
}
