//! Sequences: prefill against decode, chunks against the whole, alone against a crowd.

use loam_kernels::backend::{Attend, Attention, Device, HeadShape, RopeStore};
use loam_kernels::layout::DType::{self, Bf16, F32};
use loam_kernels::layout::{KvShape, PagedKv, Rope, RopeScaling};

use super::machine::{Machine, Matrix, bits, each_level, filled, noise, same};
use super::schedule::{Request, Schedule, Space, chunks, crowd, whole};

#[derive(Clone, Copy, Debug)]
struct Case {
    heads: HeadShape,
    page_tokens: usize,
    activations: DType,
    pages: DType,
    rotary_dim: usize,
    window: Option<u32>,
}

const CASE: Case = Case {
    heads: HeadShape { q_heads: 4, kv_heads: 2, head_dim: 64 },
    page_tokens: 16,
    activations: Bf16,
    pages: Bf16,
    rotary_dim: 64,
    window: None,
};

/// Lengths on both sides of a tile's end and of a split's.
const LENGTHS: [usize; 5] = [600, 1, 65, 513, 130];

/// Every sequence's rows: queries turned, output, and `log_sum_exp`, in bits.
fn run(machine: &Machine, case: &Case, schedule: &Schedule) -> Vec<Vec<Vec<u32>>> {
    let Case { heads, page_tokens, activations, rotary_dim, window, .. } = *case;
    let adapters = Vec::new();
    let requests = LENGTHS.map(|tokens| Request { tokens: vec![0; tokens], adapters: adapters.clone() });
    let space = Space::new(&requests, 1, page_tokens, 0);
    let shape = KvShape { layers: 2, kv_heads: heads.kv_heads, head_dim: heads.head_dim, page_tokens };
    // What nobody wrote holds NaN: an attention that looks too far shows it.
    let pages = filled(machine, case.pages, space.pages * shape.page_len(), |_| f32::NAN);
    let mut kv = PagedKv::new(pages, shape).unwrap();
    let rope = Rope { rotary_dim, theta: 10_000.0, scaling: RopeScaling::Default };
    let table = rope.table(LENGTHS[0]).unwrap();
    let angles = Matrix::new(machine, F32, [LENGTHS[0], rotary_dim, 0], |row, column| table[row * rotary_dim + column]);
    let (mut done, mut out) = ([0; LENGTHS.len()], vec![Vec::new(); LENGTHS.len()]);
    for shares in schedule {
        let step = machine.step(space.inputs(&requests, &done, shares, &[]), space.limits(&requests)).unwrap();
        let rows: Vec<(usize, usize)> = shares
            .iter()
            .flat_map(|&(request, count)| (0..count).map(move |index| (request, index)))
            .map(|(request, index)| (request, done[request] + index))
            .collect();
        let mut qkv = Matrix::new(machine, activations, [rows.len(), heads.qkv_width(), 0], |row, column| {
            noise(rows[row].0 as u64, rows[row].1, column) * 0.5
        });
        let angles = angles.rows();
        let op = RopeStore { qkv: qkv.rows_mut(), delta: None, q_heads: heads.q_heads, angles, kv: &mut kv, layer: 1 };
        machine.rope_store(&step, op).unwrap();
        let mut attended = Matrix::poisoned(machine, activations, rows.len(), heads.q_width());
        let mut log_sum_exp = Matrix::poisoned(machine, F32, rows.len(), heads.q_heads);
        let op = Attend {
            q: qkv.rows().columns(0, heads.q_width()).unwrap(),
            kv: &kv,
            layer: 1,
            scale: 0.125,
            window,
            out: attended.rows_mut(),
            log_sum_exp: Some(log_sum_exp.rows_mut()),
        };
        machine.attention(&step, op).unwrap();
        let (queries, attended, log_sum_exp) = (qkv.bits(machine), attended.bits(machine), log_sum_exp.bits(machine));
        for (row, (request, _)) in rows.iter().enumerate() {
            let queries = &queries[row][..heads.q_width()];
            out[*request].push([queries, &attended[row], &log_sum_exp[row]].concat());
        }
        shares.iter().for_each(|(request, count)| done[*request] += count);
    }
    let stored = bits(machine, kv.memory());
    for (request, rows) in out.iter_mut().enumerate() {
        let table = space.table(&requests, request);
        for (position, row) in rows.iter_mut().enumerate() {
            for head in 0..heads.kv_heads {
                let (page, slot) = (table[position / page_tokens] as usize, position % page_tokens);
                for at in [shape.keys_at(page, 1, head), shape.values_at(page, 1, head)] {
                    row.extend(&stored[at + slot * heads.head_dim..][..heads.head_dim]);
                }
            }
        }
    }
    out
}

/// Every schedule gives each row the bits that it has when each sequence comes alone and whole.
#[track_caller]
fn check(case: Case) {
    let requests = LENGTHS.map(|tokens| Request { tokens: vec![0; tokens], adapters: Vec::new() });
    let schedules = [
        ("whole, again", whole(&requests)),
        ("token by token", chunks(&requests, 1)),
        ("chunks of 7", chunks(&requests, 7)),
        ("chunks of 64", chunks(&requests, 64)),
        ("chunks of 100", chunks(&requests, 100)),
        ("a crowd in one step", crowd(&requests, &[600])),
        ("a crowd in chunks", crowd(&requests, &[64, 1, 100, 7, 33])),
        ("a crowd token by token", crowd(&requests, &[1])),
    ];
    each_level(|level, machines| {
        let expected = run(&machines[0], &case, &whole(&requests));
        for row in &expected[0] {
            let is_nan = |bits: &u32| {
                if case.activations == F32 {
                    f32::from_bits(*bits).is_nan()
                } else {
                    *bits & 0x7fff > 0x7f80 && *bits < 0x1_0000
                }
            };
            assert!(!row[..2 * case.heads.q_width()].iter().any(is_nan), "nothing beyond a row's own position is read");
        }
        for (index, (name, schedule)) in schedules.iter().enumerate() {
            let which = (index + 1) % machines.len();
            let machine = &machines[which];
            for (request, (expected, found)) in expected.iter().zip(run(machine, &case, schedule)).enumerate() {
                for (position, (expected, found)) in expected.iter().zip(&found).enumerate() {
                    same(expected, found, || {
                        format!("{level}, machine {which}, {name}: sequence {request}, position {position}")
                    });
                }
            }
        }
    });
}

#[test]
fn bf16_rows_over_bf16_pages() {
    check(CASE);
}

#[test]
fn f32_rows_over_f32_pages() {
    check(Case { activations: F32, pages: F32, ..CASE });
}

#[test]
fn f32_rows_over_bf16_pages() {
    check(Case { activations: F32, page_tokens: 32, ..CASE });
}

#[test]
fn bf16_rows_over_f32_pages() {
    check(Case { pages: F32, page_tokens: 64, ..CASE });
}

#[test]
fn one_query_head_a_key_head() {
    check(Case { heads: HeadShape { q_heads: 2, kv_heads: 2, head_dim: 64 }, ..CASE });
}

#[test]
fn many_query_heads_a_key_head() {
    check(Case { heads: HeadShape { q_heads: 7, kv_heads: 1, head_dim: 64 }, ..CASE });
}

#[test]
fn heads_of_96_turned_in_part() {
    check(Case { heads: HeadShape { q_heads: 2, kv_heads: 1, head_dim: 96 }, rotary_dim: 48, ..CASE });
}

#[test]
fn heads_of_128() {
    check(Case { heads: HeadShape { q_heads: 2, kv_heads: 1, head_dim: 128 }, ..CASE });
}

#[test]
fn heads_of_256() {
    check(Case { heads: HeadShape { q_heads: 2, kv_heads: 1, head_dim: 256 }, page_tokens: 32, ..CASE });
}

#[test]
fn window_of_one() {
    check(Case { window: Some(1), ..CASE });
}

#[test]
fn window_within_a_tile() {
    check(Case { window: Some(50), ..CASE });
}

#[test]
fn window_over_tiles() {
    check(Case { window: Some(200), activations: F32, pages: F32, ..CASE });
}

#[test]
fn window_over_a_split() {
    check(Case { window: Some(513), page_tokens: 64, ..CASE });
}
