//! Rows of the emulated GPU: the same bits alone and in a crowd, in prefill, in chunks and in decode.

use std::sync::Arc;

use loam_kernels::backend::{Attend, Attention, Device, Expand, Lora, Shrink};
use loam_kernels::cuda::device::{DeviceMemory, Emulation};
use loam_kernels::cuda::{Cuda, CudaMode};
use loam_kernels::layout::{
    Adapter, AdapterLayout, DType, KvShape, Memory, PagedKv, Pair, RowSet, Rows, RowsMut, Segment, SiteKind, SiteShape,
    StepInputs, StepLimits,
};

use crate::gpu;

/// A number that depends on where it is, and on nothing else.
pub(crate) fn noise(at: usize) -> f32 {
    let mixed = (at as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 40) as f32 / (1 << 23) as f32 - 1.0
}

pub(crate) fn memory(gpu: &Cuda, dtype: DType, len: usize, value: impl Fn(usize) -> f32) -> DeviceMemory {
    let mut memory = gpu.allocate(dtype, len).expect("memory");
    let bytes: Vec<u8> = (0..len)
        .flat_map(|at| match dtype {
            DType::Bf16 => half::bf16::from_f32(value(at)).to_le_bytes().to_vec(),
            DType::F16 => half::f16::from_f32(value(at)).to_le_bytes().to_vec(),
            _ => value(at).to_le_bytes().to_vec(),
        })
        .collect();
    gpu.write(&mut memory, 0, &bytes).expect("room");
    memory
}

/// A matrix's rows, each as its bytes.
pub(crate) fn rows_of(gpu: &Cuda, memory: &DeviceMemory, width: usize) -> Vec<Vec<u8>> {
    let mut bytes = vec![0; memory.len() * memory.dtype().bytes()];
    gpu.read(memory, 0, &mut bytes).expect("values");
    bytes.chunks_exact(width * memory.dtype().bytes()).map(<[u8]>::to_vec).collect()
}

const SHAPE: KvShape = KvShape { layers: 1, kv_heads: 2, head_dim: 64, page_tokens: 16 };
const HEADS: usize = 6;
const WIDTH: usize = HEADS * SHAPE.head_dim;
const PAGES_EACH: usize = 34;
const LIMITS: StepLimits =
    StepLimits { vocabulary: 10, positions: PAGES_EACH * 16, pages: 3 * PAGES_EACH, page_tokens: 16, slots: 4 };

/// Sequences' rows, `(sequence, first position, rows)`, all in one step: output and `log_sum_exp` of each, in bits.
fn attend(gpu: &Cuda, dtypes: [DType; 3], window: Option<u32>, runs: &[(usize, u32, u32)]) -> Vec<Vec<u8>> {
    let [q_type, kv_type, out_type] = dtypes;
    let kv = memory(gpu, kv_type, LIMITS.pages * SHAPE.page_len(), |at| 2.0 * noise(at));
    let kv = PagedKv::new(kv, SHAPE).expect("pages");
    let (mut inputs, mut names) = (StepInputs::default(), Vec::new());
    for &(sequence, first_position, rows) in runs {
        let (first_row, first_page) = (names.len() as u32, inputs.pages.len() as u32);
        let pages = PAGES_EACH as u32;
        inputs.segments.push(Segment { first_row, rows, first_position, first_page, pages });
        // Pages in no order.
        inputs.pages.extend((0..pages).map(|page| (page * 7 % pages) * 3 + sequence as u32));
        names.extend((first_position..first_position + rows).map(|position| (sequence, position)));
    }
    inputs.tokens = vec![0; names.len()];
    let rows = names.len();
    let q = memory(gpu, q_type, rows * WIDTH, |at| {
        let (sequence, position) = names[at / WIDTH];
        noise((sequence * 1000 + position as usize) * WIDTH + at % WIDTH)
    });
    let mut out = gpu.allocate(out_type, rows * WIDTH).expect("memory");
    let mut sums = gpu.allocate(DType::F32, rows * HEADS).expect("memory");
    let step = gpu.step(inputs, LIMITS).expect("a step");
    let op = Attend {
        q: Rows::new(&q, rows, WIDTH).expect("it fits"),
        kv: &kv,
        layer: 0,
        scale: 0.125,
        window,
        out: RowsMut::new(&mut out, rows, WIDTH).expect("it fits"),
        log_sum_exp: Some(RowsMut::new(&mut sums, rows, HEADS).expect("it fits")),
    };
    gpu.attention(&step, op).expect("attention");
    let sums = rows_of(gpu, &sums, HEADS);
    rows_of(gpu, &out, WIDTH).into_iter().zip(sums).map(|(out, sums)| [out, sums].concat()).collect()
}

/// A prompt's end across a split's end: whole, in chunks, token by token, in a crowd.
fn attends_alike(dtypes: [DType; 3], window: Option<u32>) {
    let gpu = gpu(CudaMode::Deterministic);
    let whole = attend(&gpu, dtypes, window, &[(0, 500, 30)]);
    let chunks: Vec<_> = [(500, 7), (507, 16), (523, 7)]
        .iter()
        .flat_map(|&(from, rows)| attend(&gpu, dtypes, window, &[(0, from, rows)]))
        .collect();
    assert!(whole == chunks, "in chunks");
    let crowd = attend(&gpu, dtypes, window, &[(1, 9, 5), (2, 511, 1), (0, 500, 30), (1, 20, 1)]);
    assert!(whole == crowd[6..36], "in a crowd");
    for position in 500..530 {
        let alone = attend(&gpu, dtypes, window, &[(0, position, 1)]);
        assert!(whole[position as usize - 500] == alone[0], "position {position} in decode");
    }
    let decoded = attend(&gpu, dtypes, window, &[(1, 513, 1), (0, 513, 1), (2, 64, 1)]);
    assert!(whole[13] == decoded[1], "in a crowd that decodes");
}

#[test]
fn attention_has_one_arithmetic_in_f32() {
    attends_alike([DType::F32; 3], None);
}

#[test]
fn attention_has_one_arithmetic_in_bf16() {
    attends_alike([DType::Bf16; 3], None);
    attends_alike([DType::Bf16; 3], Some(40));
}

#[test]
fn attention_has_one_arithmetic_where_types_are_mixed() {
    attends_alike([DType::F32, DType::Bf16, DType::F32], Some(513));
}

/// Whichever block of a row ends last, splits are merged in their order.
#[test]
fn splits_are_merged_in_order() {
    for mode in [CudaMode::Deterministic, CudaMode::Fast] {
        let gpu = gpu(mode);
        let decoded = |dtype| attend(&gpu, [dtype; 3], None, &[(0, 543, 1), (1, 520, 1), (2, 140, 1)]);
        for dtype in [DType::Bf16, DType::F32] {
            let expected = decoded(dtype);
            for seed in 1..=8 {
                Emulation::seed(seed * 0x9e37_79b9);
                assert!(decoded(dtype) == expected, "{mode:?}, {dtype:?}, seed {seed}");
            }
        }
    }
}

const SITE: [usize; 2] = [1100, 130];
const RANKS: [u32; 4] = [1, 8, 20, 64];

/// Rows, `(row's number, slots)`, in one step: each row's delta.
fn adapt(gpu: &Cuda, dtypes: [DType; 2], rows: &[(usize, &[u32])]) -> Vec<Vec<u8>> {
    let [x_type, adapter_type] = dtypes;
    let [inputs, outputs] = SITE;
    let site = SiteShape { kind: SiteKind::Linear, in_features: inputs, modules: vec![outputs] };
    let mut table = gpu.adapters(std::slice::from_ref(&site), RANKS.len()).expect("a table");
    for (slot, rank) in (0..).zip(RANKS) {
        let layout =
            AdapterLayout::new(adapter_type, std::slice::from_ref(&site), &[vec![(rank, 0.5)]]).expect("ranks");
        let slab = memory(gpu, adapter_type, layout.len(), |at| noise(at * 4 + slot as usize));
        let adapter = Arc::new(Adapter::new(slab, layout).expect("it fits"));
        gpu.install(&mut table, slot, Some(adapter)).expect("a slot");
    }
    let mut pairs = Vec::new();
    for slot in 0..RANKS.len() as u32 {
        let own = rows.iter().enumerate().filter(|(_, (_, slots))| slots.contains(&slot));
        pairs.extend(own.map(|(row, _)| Pair { row: row as u32, slot, weight: 0.75 }));
    }
    let count = pairs.len();
    let segment = Segment { first_row: 0, rows: rows.len() as u32, first_position: 0, first_page: 0, pages: 3 };
    let step = StepInputs {
        tokens: vec![0; rows.len()],
        segments: vec![segment],
        pages: vec![0, 1, 2],
        pairs,
        ..StepInputs::default()
    };
    let step = gpu.step(step, LIMITS).expect("a step");
    let x = memory(gpu, x_type, rows.len() * inputs, |at| noise(rows[at / inputs].0 * inputs + at % inputs));
    let mut h = gpu.allocate(DType::F32, count * 64).expect("memory");
    let mut delta = gpu.allocate(DType::F32, rows.len() * outputs).expect("memory");
    let shrink = Shrink {
        adapters: &table,
        site: 0,
        set: RowSet::Batch,
        x: Some(Rows::new(&x, rows.len(), inputs).expect("it fits")),
        h: RowsMut::new(&mut h, count, 64).expect("it fits"),
    };
    gpu.lora_shrink(&step, shrink).expect("the first half");
    let expand = Expand {
        adapters: &table,
        site: 0,
        set: RowSet::Batch,
        h: Rows::new(&h, count, 64).expect("it fits"),
        delta: RowsMut::new(&mut delta, rows.len(), outputs).expect("it fits"),
    };
    gpu.lora_expand(&step, expand).expect("the second half");
    rows_of(gpu, &delta, outputs)
}

/// Rows alone, and among others of the same adapters and of others.
fn adapts_alike(dtypes: [DType; 2]) {
    let gpu = gpu(CudaMode::Deterministic);
    let slots: [&[u32]; 5] = [&[0], &[3], &[1, 2], &[0, 1, 2, 3], &[2]];
    let crowd: Vec<(usize, &[u32])> = (0..45).map(|row| (row, slots[row * row % 7 % 5])).collect();
    let together = adapt(&gpu, dtypes, &crowd);
    for row in [0, 1, 2, 3, 17, 44] {
        let alone = adapt(&gpu, dtypes, &crowd[row..=row]);
        assert!(alone[0].iter().any(|byte| *byte != 0), "row {row} has a delta");
        assert!(together[row] == alone[0], "row {row} of {:?}", crowd[row].1);
    }
    let few = adapt(&gpu, dtypes, &crowd[10..14]);
    assert!(few[..] == together[10..14], "a few rows");
}

#[test]
fn adapters_have_one_arithmetic() {
    adapts_alike([DType::F32, DType::F32]);
    adapts_alike([DType::Bf16, DType::Bf16]);
    adapts_alike([DType::Bf16, DType::F32]);
}

/// Matrix products that some work does.
pub(crate) fn products(work: impl FnOnce()) -> u64 {
    let before = Emulation::counts()[2];
    work();
    Emulation::counts()[2] - before
}

#[test]
fn bf16_is_multiplied_by_matrix_products_and_f32_is_not() {
    let (bf16, f32) = ([DType::Bf16; 3], [DType::F32; 3]);
    let [deterministic, fast] = [CudaMode::Deterministic, CudaMode::Fast].map(gpu);
    let (prompt, token): (&[_], &[_]) = (&[(0, 20, 9)], &[(0, 20, 1)]);
    let attended = |gpu, dtypes, runs| products(|| drop(attend(gpu, dtypes, None, runs))) > 0;
    assert!(attended(&deterministic, bf16, prompt) && attended(&deterministic, bf16, token));
    assert!(attended(&fast, bf16, prompt) && attended(&fast, bf16, token));
    assert!(!attended(&deterministic, f32, prompt) && !attended(&fast, f32, token));

    let rows: Vec<(usize, &[u32])> = (0..4).map(|row| (row, &[1][..])).collect();
    let adapted = |gpu, dtype, rows| products(|| drop(adapt(gpu, [dtype; 2], rows))) > 0;
    assert!(adapted(&deterministic, DType::Bf16, &rows) && adapted(&deterministic, DType::Bf16, &rows[..1]));
    assert!(adapted(&fast, DType::Bf16, &rows) && adapted(&fast, DType::Bf16, &rows[..1]));
    assert!(!adapted(&deterministic, DType::F32, &rows));
}
