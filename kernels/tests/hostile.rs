//! Sizes and memories that only an enemy or a bug would bring: an error value, or at worst a panic, and never a write
//! outside.
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::panic::{AssertUnwindSafe, catch_unwind};

use half::bf16;
use loam_kernels::backend::{
    Add, Attend, Attention as _, Dense as _, Device as _, Expand, HeadShape, Lora as _, RmsNorm, Shrink,
};
use loam_kernels::cpu::{Cpu, CpuMemory, CpuOptions, Level};
use loam_kernels::layout::{
    AdapterLayout, DType, KvShape, Memory as _, PagedKv, PairList, Rope, RopeScaling, RowSet, Rows, RowsMut, Sampling,
    Segment, SiteKind, SiteShape, StepInputs, StepLimits, StepPlan,
};
use loam_kernels::{Error, layout::Pair};

const LIMITS: StepLimits = StepLimits { vocabulary: 8, positions: 64, pages: 4, page_tokens: 16, slots: 2 };

fn cpu(level: Level) -> Cpu {
    Cpu::new(CpuOptions { level: Some(level), ..CpuOptions::default() }).unwrap()
}

fn floats(cpu: &Cpu, values: &[f32]) -> CpuMemory {
    let mut memory = cpu.allocate(DType::F32, values.len()).unwrap();
    cpu.write(&mut memory, 0, &values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>()).unwrap();
    memory
}

fn read(cpu: &Cpu, memory: &CpuMemory) -> Vec<f32> {
    let mut bytes = vec![0; memory.len() * 4];
    cpu.read(memory, 0, &mut bytes).unwrap();
    bytes.chunks_exact(4).map(|value| f32::from_le_bytes(value.try_into().unwrap())).collect()
}

#[track_caller]
fn check(refused: Result<(), Error>) {
    let error = refused.expect_err("this is more than can be addressed");
    assert!(!error.to_string().is_empty());
}

/// A story: a matrix keeps its place, and its memory could be exchanged for a smaller one; the write then went outside.
#[test]
fn a_memory_exchanged_under_a_matrix_is_noticed() {
    let cpu = cpu(Level::best());
    let (x, weight) = (floats(&cpu, &vec![1.0; 1 << 20]), floats(&cpu, &vec![1.0; 1 << 10]));
    let mut memory = floats(&cpu, &vec![0.0; 1 << 20]);
    let mut out = RowsMut::new(&mut memory, 1 << 10, 1 << 10).unwrap();
    *out.memory_mut() = cpu.allocate(DType::F32, 1).unwrap();
    let x = Rows::new(&x, 1 << 10, 1 << 10).unwrap();
    let op = RmsNorm { x, weight: &weight, epsilon: 1e-5, out, inverse: None };
    catch_unwind(AssertUnwindSafe(|| cpu.rms_norm(op))).expect_err("nothing may be written");
}

#[test]
fn matrices_without_values_lie_nowhere() {
    let cpu = cpu(Level::best());
    let memory = floats(&cpu, &[0.0; 8]);
    let empty = Rows::new(&memory, 2, 4).unwrap().columns(2, 2).unwrap().range(2, 0).unwrap();
    assert_eq!((empty.offset(), empty.end(), empty.rows()), (0, 0, 0));
    let narrow = Rows::new(&memory, 2, 4).unwrap().columns(4, 0).unwrap();
    assert_eq!((narrow.offset(), narrow.end(), narrow.width()), (0, 0, 0));
    let thin = Rows::new(&memory, 0, usize::MAX).unwrap().columns(usize::MAX, 0).unwrap();
    assert_eq!((thin.offset(), thin.end()), (0, 0));
}

#[test]
fn no_rows_of_any_width_are_no_work() {
    let cpu = cpu(Level::best());
    let step = cpu.step(StepInputs::default(), LIMITS).unwrap();
    let (mut x, delta) = (floats(&cpu, &[]), floats(&cpu, &[]));
    let x = RowsMut::new(&mut x, 0, 1 << 50).unwrap();
    cpu.add(&step, Add { x, delta: Rows::new(&delta, 0, 1 << 50).unwrap(), set: RowSet::Batch }).unwrap();
}

#[test]
fn rows_of_no_width_are_refused() {
    let cpu = cpu(Level::best());
    let (x, weight, mut out) = (floats(&cpu, &[]), floats(&cpu, &[]), floats(&cpu, &[]));
    let (x, out) = (Rows::new(&x, usize::MAX, 0).unwrap(), RowsMut::new(&mut out, usize::MAX, 0).unwrap());
    check(cpu.rms_norm(RmsNorm { x, weight: &weight, epsilon: 0.0, out, inverse: None }));
}

#[test]
fn sizes_that_overflow_are_refused() {
    let cpu = cpu(Level::best());
    let page = |layers, kv_heads| KvShape { layers, kv_heads, head_dim: 64, page_tokens: 16 };
    for shape in [page(usize::MAX, 1), page(1, usize::MAX), page(1 << 40, 1 << 40)] {
        check(PagedKv::new(cpu.allocate(DType::F32, 64).unwrap(), shape).map(drop));
    }
    for heads in [(usize::MAX, 1), (usize::MAX - 1, usize::MAX - 1)] {
        check(HeadShape { q_heads: heads.0, kv_heads: heads.1, head_dim: usize::MAX }.check());
    }
    let site = |in_features, modules| SiteShape { kind: SiteKind::Linear, in_features, modules };
    for (site, ranks) in [
        (site(usize::MAX, vec![1]), vec![(256, 1.0)]),
        (site(1, vec![usize::MAX]), vec![(2, 1.0)]),
        (site(1, vec![usize::MAX, usize::MAX]), vec![(0, 1.0), (0, 1.0)]),
        (site(1 << 52, vec![1; 4]), vec![(256, 1.0); 4]),
    ] {
        check(AdapterLayout::new(DType::F32, &[site], &[ranks]).map(drop));
    }
    let rope = Rope { rotary_dim: 64, theta: 1e4, scaling: RopeScaling::Default };
    check(rope.table(usize::MAX).map(drop));
    check(Rope { rotary_dim: usize::MAX - 1, ..rope }.frequencies().map(drop));
    check(cpu.adapters(&[], usize::MAX).map(drop));
    check(PairList::new(vec![Pair { row: 0, slot: u32::MAX, weight: 1.0 }; 2], 1, usize::MAX).map(drop));
}

#[test]
fn steps_beyond_counting_are_refused() {
    let far = Segment { first_row: 0, rows: 1, first_position: u32::MAX, first_page: 0, pages: 1 };
    let inputs = StepInputs { tokens: vec![0], segments: vec![far], pages: vec![0], ..StepInputs::default() };
    for limits in [
        StepLimits { positions: usize::MAX, page_tokens: 1 << 30, ..LIMITS },
        StepLimits { positions: 1 << 33, ..LIMITS },
        StepLimits { page_tokens: 0, ..LIMITS },
        StepLimits { page_tokens: 1 << 32, ..LIMITS },
        StepLimits { page_tokens: usize::MAX, ..LIMITS },
        LIMITS,
    ] {
        check(StepPlan::new(inputs.clone(), limits).map(drop));
    }
}

#[test]
fn a_token_has_one_bias() {
    let sampling = |bias| Sampling { bias, ..Sampling::default() };
    sampling(vec![(1, 1.0), (2, 1.0)]).check(8).unwrap();
    check(sampling(vec![(1, 1.0), (2, 1.0), (1, 0.5)]).check(8));
}

#[test]
fn modules_that_are_not_there_are_refused() {
    let site = SiteShape { kind: SiteKind::Linear, in_features: 2, modules: vec![2] };
    let layout = AdapterLayout::new(DType::F32, &[site], &[vec![(1, 1.0)]]).unwrap();
    let mut slab = vec![0; layout.len() * 4];
    for (site, module) in [(1, 0), (0, 1), (usize::MAX, usize::MAX)] {
        check(layout.write_a(&mut slab, site, module, &[0; 8]));
        check(layout.write_b(&mut slab, site, module, &[0; 8]));
    }
}

/// A story: without pairs nothing was looked at, and a wrong type then met an assertion.
#[test]
fn a_step_without_pairs_is_checked_as_well() {
    let cpu = cpu(Level::best());
    let site = SiteShape { kind: SiteKind::Linear, in_features: 4, modules: vec![4] };
    let adapters = cpu.adapters(&[site], 2).unwrap();
    let segment = Segment { first_row: 0, rows: 1, first_position: 0, first_page: 0, pages: 1 };
    let inputs = StepInputs { tokens: vec![0], segments: vec![segment], pages: vec![0], ..StepInputs::default() };
    let step = cpu.step(inputs, LIMITS).unwrap();
    let x = floats(&cpu, &[0.0; 4]);
    let mut halves = cpu.allocate(DType::Bf16, 4).unwrap();
    let shrink = |h| Shrink { adapters: &adapters, site: 0, set: RowSet::Batch, x: Rows::new(&x, 1, 4).ok(), h };
    check(cpu.lora_shrink(&step, shrink(RowsMut::new(&mut halves, 1, 4).unwrap())));
    let h = Rows::new(&x, 1, 4).unwrap();
    let delta = RowsMut::new(&mut halves, 1, 4).unwrap();
    check(cpu.lora_expand(&step, Expand { adapters: &adapters, site: 0, set: RowSet::Batch, h, delta }));
}

/// A story: `e^NaN` was a number, so a broken adapter's tokens looked like any others.
#[test]
fn attention_does_not_hide_what_is_not_a_number() {
    for level in Level::available() {
        let cpu = cpu(level);
        let shape = KvShape { layers: 1, kv_heads: 1, head_dim: 64, page_tokens: 16 };
        for (keys, query) in [(0.5, f32::NAN), (f32::NAN, 0.5)] {
            let mut pages = cpu.allocate(DType::Bf16, 4 * shape.page_len()).unwrap();
            // Position 3 alone has the key; all values are 1.
            let key_at = shape.keys_at(0, 0, 0) + 3 * 64;
            let ones = [bf16::ONE; 64 * 16].map(bf16::to_le_bytes).concat();
            cpu.write(&mut pages, shape.values_at(0, 0, 0), &ones).unwrap();
            cpu.write(&mut pages, key_at, &[bf16::from_f32(keys); 64].map(bf16::to_le_bytes).concat()).unwrap();
            let kv = PagedKv::new(pages, shape).unwrap();
            for rows in [1_u32, 5] {
                let segment = Segment { first_row: 0, rows, first_position: 5 - rows, first_page: 0, pages: 1 };
                let tokens = vec![0; rows as usize];
                let inputs = StepInputs { tokens, segments: vec![segment], pages: vec![0], ..StepInputs::default() };
                let step = cpu.step(inputs, LIMITS).unwrap();
                let count = rows as usize;
                let q = floats(&cpu, &vec![query; count * 64]);
                let mut out = floats(&cpu, &vec![0.0; count * 64]);
                let (q, out_rows) = (Rows::new(&q, count, 64).unwrap(), RowsMut::new(&mut out, count, 64).unwrap());
                let (layer, scale, window, log_sum_exp) = (0, 0.125, None, None);
                cpu.attention(&step, Attend { q, kv: &kv, layer, scale, window, out: out_rows, log_sum_exp }).unwrap();
                let last = read(&cpu, &out).split_off((count - 1) * 64);
                assert!(last.iter().all(|value| value.is_nan()), "{level}: {last:?}");
            }
        }
    }
}
