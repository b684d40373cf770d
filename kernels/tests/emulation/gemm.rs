//! Linear layers and products on the emulated GPU: sums of several cuts, ragged edges, and the same bits in every tile.

use std::sync::Arc;

use half::{bf16, f16};
use loam_kernels::backend::{ApplyLinear, Dense, Device, Product};
use loam_kernels::cuda::device::DeviceMemory;
use loam_kernels::cuda::{Cuda, CudaMode};
use loam_kernels::layout::{DType, Linear, Memory, Part, Rows, RowsMut, Split, Stored};

use crate::gpu;
use crate::sequence::{memory, noise, products};

/// Two cuts of 512, and a part of a third that is no multiple of anything.
const K: usize = 1100;

/// The value as a type keeps it.
fn kept(dtype: DType, value: f32) -> f64 {
    match dtype {
        DType::F32 => value.into(),
        DType::Bf16 => bf16::from_f32(value).into(),
        DType::F16 => f16::from_f32(value).into(),
        DType::U32 => unreachable!("no values"),
    }
}

/// A matrix inside a wider one of NaN, so that rows begin at odd places and what is read too much is seen.
struct Framed {
    memory: DeviceMemory,
    rows: usize,
    width: usize,
    left: usize,
}

/// What lies left and right of a framed matrix.
const MARGIN: usize = 3;

impl Framed {
    fn new(
        gpu: &Cuda,
        dtype: DType,
        [rows, width]: [usize; 2],
        margin: usize,
        value: impl Fn(usize, usize) -> f32,
    ) -> Self {
        let stride = width + 2 * margin;
        let inside = |at: usize| (margin..margin + width).contains(&(at % stride));
        let of = |at: usize| if inside(at) { value(at / stride, at % stride - margin) } else { f32::NAN };
        Self { memory: memory(gpu, dtype, rows * stride, of), rows, width, left: margin }
    }

    fn stride(&self) -> usize {
        self.width + 2 * self.left
    }

    fn reading(&self) -> Rows<'_, DeviceMemory> {
        let all = Rows::new(&self.memory, self.rows, self.stride()).expect("it fits");
        all.columns(self.left, self.width).expect("it fits")
    }

    fn writing(&mut self) -> RowsMut<'_, DeviceMemory> {
        let (stride, left, width) = (self.stride(), self.left, self.width);
        RowsMut::new(&mut self.memory, self.rows, stride).expect("it fits").columns(left, width).expect("it fits")
    }

    /// All of it, as bytes, row by row; what lies around is seen to be as it was.
    fn bytes(&self, gpu: &Cuda) -> Vec<Vec<u8>> {
        let bytes = self.memory.dtype().bytes();
        let mut all = vec![0; self.memory.len() * bytes];
        gpu.read(&self.memory, 0, &mut all).expect("values");
        all.chunks_exact(self.stride().max(1) * bytes)
            .map(|row| {
                let (left, rest) = row.split_at(self.left * bytes);
                let (inside, right) = rest.split_at(self.width * bytes);
                let values = [left, right].into_iter().flat_map(|side| values(self.memory.dtype(), side));
                assert!(values.into_iter().all(f64::is_nan), "a value beside the output was written");
                inside.to_vec()
            })
            .collect()
    }
}

fn values(dtype: DType, bytes: &[u8]) -> Vec<f64> {
    match dtype {
        DType::Bf16 => bytes.chunks_exact(2).map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f64()).collect(),
        _ => bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]).into()).collect(),
    }
}

/// A stack of layers over `k` inputs. Output `o` of the stack has the same weights and bias in every stack.
fn stack(gpu: &Cuda, k: usize, dtypes: &[DType], outs: &[usize], bias: Option<DType>) -> Linear<DeviceMemory> {
    let mut first = 0;
    let parts = outs.iter().zip(dtypes.iter().cycle()).map(|(out, dtype)| {
        let weight = Arc::new(memory(gpu, *dtype, out * k, |at| noise(first * k + at)));
        let bias = bias.map(|dtype| Arc::new(memory(gpu, dtype, *out, |at| noise(7_000_000 + first + at))));
        first += out;
        Part { weight: Stored::Dense(weight), bias }
    });
    Linear::new(k, Split::Replicated, parts.collect()).expect("layers")
}

/// The values of row `row` of an input.
fn input(row: usize, k: usize) -> f32 {
    noise(9_000_000 + row * 5000 + k)
}

/// Rows `rows` through a stack: bytes of each row of the output.
fn apply(gpu: &Cuda, types: [DType; 2], layers: &Linear<DeviceMemory>, rows: &[usize], margin: usize) -> Vec<Vec<u8>> {
    let [x_type, out_type] = types;
    let (k, n) = (layers.in_features(), layers.out_features());
    let x = Framed::new(gpu, x_type, [rows.len(), k], margin, |row, k| input(rows[row], k));
    let mut out = Framed::new(gpu, out_type, [rows.len(), n], margin, |_, _| f32::NAN);
    gpu.linear(ApplyLinear { x: x.reading(), weights: layers, out: out.writing() }).expect("a linear layer");
    out.bytes(gpu)
}

/// Every value is near its sum in f64.
fn near(got: &[u8], out_type: DType, k: usize, what: &str, want: impl Fn(usize) -> f64) {
    // Roundings and sums of noise both grow like the root of their number; the output's type rounds once more.
    let slack = (k + 4) as f64 / f64::from(1 << 24);
    let rounding = if out_type == DType::Bf16 { 1.0 / 256.0 } else { 0.0 };
    for (column, got) in values(out_type, got).into_iter().enumerate() {
        let want = want(column);
        assert!((got - want).abs() <= slack + rounding * want.abs(), "{what}, column {column}: {got}, not {want}");
    }
}

/// A stack of layers of types in turn, at every kind of edge, against f64.
fn adds_up(x_type: DType, weights: &[DType], bias: Option<DType>, out_type: DType) {
    let gpu = gpu(CudaMode::Deterministic);
    let outs = [65, 1, 10];
    for k in [1, 15, 511, 513, K] {
        let layers = stack(&gpu, k, weights, &outs, bias);
        let of_column = |column| weights[(usize::from(column >= 65) + usize::from(column >= 66)) % weights.len()];
        for (rows, margin) in [(0, 0), (1, MARGIN), (17, 0), (66, MARGIN)] {
            let numbers: Vec<usize> = (0..rows).collect();
            for (row, got) in apply(&gpu, [x_type, out_type], &layers, &numbers, margin).iter().enumerate() {
                near(got, out_type, k, &format!("k {k}, row {row} of {rows}"), |column| {
                    let dtype = of_column(column);
                    let sum: f64 =
                        (0..k).map(|i| kept(x_type, input(row, i)) * kept(dtype, noise(column * k + i))).sum();
                    sum + bias.map_or(0.0, |dtype| kept(dtype, noise(7_000_000 + column)))
                });
            }
        }
    }
}

#[test]
fn layers_of_bf16_add_up() {
    adds_up(DType::Bf16, &[DType::Bf16], Some(DType::F16), DType::F32);
    adds_up(DType::Bf16, &[DType::Bf16], None, DType::Bf16);
}

#[test]
fn layers_of_other_types_add_up() {
    adds_up(DType::F32, &[DType::F32, DType::Bf16, DType::F16], Some(DType::F32), DType::F32);
    adds_up(DType::Bf16, &[DType::F16, DType::Bf16, DType::F32], Some(DType::Bf16), DType::Bf16);
}

/// `rows` rows of inputs times `columns` outputs, each operand as it lies or transposed.
fn multiply(
    gpu: &Cuda,
    types: [DType; 2],
    flips: [bool; 2],
    [rows, columns, k]: [usize; 3],
    margin: usize,
) -> Vec<Vec<u8>> {
    let [a_transposed, b_transposed] = flips;
    let a = if a_transposed {
        Framed::new(gpu, types[0], [k, rows], margin, |k, row| input(row, k))
    } else {
        Framed::new(gpu, types[0], [rows, k], margin, input)
    };
    let b = if b_transposed {
        Framed::new(gpu, types[1], [columns, k], margin, |column, i| noise(column * k + i))
    } else {
        Framed::new(gpu, types[1], [k, columns], margin, |i, column| noise(column * k + i))
    };
    let mut out = Framed::new(gpu, DType::F32, [rows, columns], margin, |_, _| f32::NAN);
    let op = Product { a: a.reading(), a_transposed, b: b.reading(), b_transposed, out: out.writing() };
    gpu.product(op).expect("a product");
    out.bytes(gpu)
}

const FLIPS: [[bool; 2]; 4] = [[false, false], [false, true], [true, false], [true, true]];

#[test]
fn products_add_up_however_operands_lie() {
    let gpu = gpu(CudaMode::Deterministic);
    for types in [[DType::Bf16, DType::Bf16], [DType::F16, DType::Bf16], [DType::F32, DType::F16]] {
        for flips in FLIPS {
            for (rows, columns, k, margin) in [(1, 1, 1, 0), (3, 66, 513, MARGIN), (17, 64, K, 0), (66, 9, 40, MARGIN)]
            {
                for (row, got) in multiply(&gpu, types, flips, [rows, columns, k], margin).iter().enumerate() {
                    near(got, DType::F32, k, &format!("{types:?}, {flips:?}, k {k}, row {row}"), |column| {
                        (0..k).map(|i| kept(types[0], input(row, i)) * kept(types[1], noise(column * k + i))).sum()
                    });
                }
            }
        }
    }
}

#[test]
fn sums_of_nothing_are_zero() {
    let gpu = gpu(CudaMode::Deterministic);
    for dtype in [DType::Bf16, DType::F32] {
        for flips in FLIPS {
            let out = multiply(&gpu, [dtype; 2], flips, [3, 5, 0], 0);
            assert!(out.len() == 3 && out.concat().iter().all(|byte| *byte == 0), "{dtype}, {flips:?}");
        }
    }
}

/// The same rows and columns in tiles of all kinds, alone and in a crowd, beside other layers, at odd places in memory.
fn has_one_arithmetic(x_type: DType, weights: DType, out_type: DType) {
    let gpu = gpu(CudaMode::Deterministic);
    let types = [x_type, out_type];
    let narrow = 70 * out_type.bytes();
    let columns = |out: Vec<Vec<u8>>| -> Vec<Vec<u8>> { out.into_iter().map(|row| row[..narrow].to_vec()).collect() };
    let run = |outs: &[usize], rows: &[usize], margin| {
        columns(apply(&gpu, types, &stack(&gpu, K, &[weights], outs, Some(weights)), rows, margin))
    };
    let crowd: Vec<usize> = (0..130).collect();
    let whole = run(&[130, 130], &crowd, 0);
    assert!(whole == run(&[130, 130], &crowd, MARGIN), "rows at odd places");
    assert!(whole[..128] == run(&[256], &crowd[..128], 0), "in tiles of 64 rows");
    assert!(whole[3..20] == run(&[70], &crowd[3..20], 0), "in tiles of 64 rows, cuts apart");
    assert!(whole[100..116] == run(&[33, 37], &crowd[100..116], 0), "in a tile of 16 rows, as two layers");
    for row in [0, 64, 129] {
        assert!(whole[row..=row] == run(&[70], &[row], MARGIN), "row {row} alone");
        assert!(whole[row..=row] == run(&[70, 960], &[row], 0), "row {row} alone, its cuts together");
    }
}

#[test]
fn layers_of_bf16_have_one_arithmetic() {
    has_one_arithmetic(DType::Bf16, DType::Bf16, DType::F32);
}

#[test]
fn layers_of_other_types_have_one_arithmetic() {
    has_one_arithmetic(DType::F32, DType::F32, DType::F32);
    has_one_arithmetic(DType::Bf16, DType::F16, DType::Bf16);
}

#[test]
fn products_have_the_arithmetic_of_layers() {
    let gpu = gpu(CudaMode::Deterministic);
    for dtype in [DType::Bf16, DType::F32] {
        let rows: Vec<usize> = (0..20).collect();
        let layers = apply(&gpu, [dtype, DType::F32], &stack(&gpu, K, &[dtype], &[70], None), &rows, 0);
        for flips in FLIPS {
            assert!(layers == multiply(&gpu, [dtype; 2], flips, [20, 70, K], 0), "{dtype}, {flips:?}");
        }
    }
}

#[test]
fn only_bf16_goes_to_matrix_products() {
    let gpu = gpu(CudaMode::Deterministic);
    let of = |x_type, weights| {
        let layers = stack(&gpu, 40, &[weights], &[9], None);
        products(|| drop(apply(&gpu, [x_type, DType::F32], &layers, &[0], 0))) > 0
    };
    assert!(of(DType::Bf16, DType::Bf16));
    assert!(!of(DType::F32, DType::Bf16) && !of(DType::Bf16, DType::F32) && !of(DType::Bf16, DType::F16));
}
