//! Sequences: heads, pages, windows, angles.

use loam_kernels::backend::{Attend, Attention, CopyPages, Device, RopeStore};
use loam_kernels::layout::DType::{Bf16, F16, F32, U32};
use loam_kernels::layout::{DType, KvShape, PagedKv, StepLimits};

use crate::given::{Given, Held, LIMITS, Outcome, ROWS, cpu, done, error, given, holds, inputs, limit, mapped_output};
use crate::given::{refused, shape, unsupported, untouched};

#[derive(Clone, Copy)]
struct Args {
    qkv: Given,
    delta: Given,
    q_heads: usize,
    angles: Given,
    kv: KvShape,
    /// Pages that exist, their type, and whether they lie in a file.
    pages: (usize, DType, bool),
    layer: usize,
    scale: f32,
    window: Option<u32>,
    out: Given,
    log_sum_exp: Given,
    limits: StepLimits,
    copies: [(u32, u32); 2],
}

const KV: KvShape = KvShape { layers: 2, kv_heads: 1, head_dim: 64, page_tokens: 16 };

/// Two query heads and one of keys and of values.
const ROPE: Args = Args {
    qkv: given(Bf16, ROWS, 256),
    delta: given(F32, ROWS, 256),
    q_heads: 2,
    angles: given(F32, 64, 64),
    kv: KV,
    pages: (4, Bf16, false),
    layer: 1,
    scale: 0.125,
    window: Some(5),
    out: given(F32, ROWS, 128),
    log_sum_exp: given(F32, ROWS, 2),
    limits: LIMITS,
    copies: [(0, 1), (3, 2)],
};
const ATTEND: Args = Args { qkv: given(Bf16, ROWS, 128), ..ROPE };

fn pages(cpu: &loam_kernels::Cpu, args: &Args) -> Held {
    let (pages, dtype, mapped) = args.pages;
    Held::new(cpu, Given { mapped, ..given(dtype, pages, args.kv.page_len()) })
}

fn rope_store(args: Args) -> Outcome {
    let cpu = cpu();
    let [mut qkv, delta, angles] = [args.qkv, args.delta, args.angles].map(|given| Held::new(&cpu, given));
    let mut kv = PagedKv::new(pages(&cpu, &args).memory, args.kv).unwrap();
    let op = RopeStore {
        qkv: qkv.rows_mut(),
        delta: Some(delta.rows()),
        q_heads: args.q_heads,
        angles: angles.rows(),
        kv: &mut kv,
        layer: args.layer,
    };
    let result = cpu.rope_store(&cpu.step(inputs(), args.limits).unwrap(), op);
    let outcome = Outcome::of(&cpu, result, &[&qkv]);
    Outcome { untouched: outcome.untouched && untouched(&cpu, kv.memory()), ..outcome }
}

fn attention(args: Args) -> Outcome {
    let cpu = cpu();
    let [q, mut out, mut log_sum_exp] = [args.qkv, args.out, args.log_sum_exp].map(|given| Held::new(&cpu, given));
    let kv = PagedKv::new(pages(&cpu, &args).memory, args.kv).unwrap();
    let op = Attend {
        q: q.rows(),
        kv: &kv,
        layer: args.layer,
        scale: args.scale,
        window: args.window,
        out: out.rows_mut(),
        log_sum_exp: Some(log_sum_exp.rows_mut()),
    };
    let result = cpu.attention(&cpu.step(inputs(), args.limits).unwrap(), op);
    Outcome::of(&cpu, result, &[&out, &log_sum_exp])
}

/// Pages that are all alike show no copy, so `done` is not asked of it; the conformance suite is.
fn copy_pages(args: Args) -> Outcome {
    let cpu = cpu();
    let mut kv = PagedKv::new(pages(&cpu, &args).memory, args.kv).unwrap();
    let result = cpu.copy_pages(CopyPages { kv: &mut kv, copies: &args.copies });
    Outcome { result, untouched: untouched(&cpu, kv.memory()) }
}

fn check(operation: fn(Args) -> Outcome, change: Args, expected: loam_kernels::Error, says: &str) {
    refused(operation(change), expected, says);
}

#[test]
fn all_are_done_as_they_should_be() {
    done(rope_store(ROPE));
    done(attention(ATTEND));
    copy_pages(ROPE).result.unwrap();
}

/// Tests that change one argument of an operation.
macro_rules! refuses {
    ($(
        $name:ident: $operation:ident($base:ident, $($field:ident: $change:expr),+) => $expected:expr, $says:literal;
    )+) => {
        $(
            #[test]
            fn $name() {
                check($operation, Args { $($field: $change,)+ ..$base }, $expected, $says);
            }
        )+
    };
}

const F32_OR_BF16: &str = "f32 or bf16";
const EVEN: &str = "even, and at most the head's size";
const FEW: usize = ROWS - 1;

refuses! {
    rows_of_other_width: rope_store(ROPE, qkv: given(Bf16, ROWS, 255))
        => shape("queries, keys and values", 256, 255), "queries, keys and values has 255 where 256 belong";
    rows_of_other_count: rope_store(ROPE, qkv: given(Bf16, FEW, 256))
        => shape("queries, keys and values", ROWS, FEW), "queries, keys and values has 3";
    rows_of_f16: rope_store(ROPE, qkv: given(F16, ROWS, 256))
        => holds("queries, keys and values", F16, F32_OR_BF16), "queries, keys and values holds f16";
    rows_mapped: rope_store(ROPE, qkv: ROPE.qkv.mapped()) => mapped_output(), "an output is a mapped file";
    heads_of_none: rope_store(ROPE, q_heads: 0)
        => unsupported("the number of query heads", "0 over 1", "a multiple of the heads of keys"), "query heads is 0";
    heads_shared_unevenly: rope_store(ROPE, q_heads: 3, kv: KvShape { kv_heads: 2, ..KV })
        => unsupported("the number of query heads", "3 over 2", "a multiple of the heads of keys"), "query heads is 3";
    delta_of_bf16: rope_store(ROPE, delta: given(Bf16, ROWS, 256))
        => holds("a delta", Bf16, "f32"), "a delta holds bf16";
    delta_of_other_width: rope_store(ROPE, delta: given(F32, ROWS, 128))
        => shape("a delta", 256, 128), "a delta has 128";
    angles_of_bf16: rope_store(ROPE, angles: given(Bf16, 64, 64))
        => holds("the table of angles", Bf16, "f32"), "the table of angles holds bf16";
    angles_of_odd_width: rope_store(ROPE, angles: given(F32, 64, 63))
        => unsupported("the rotary dimension", "63", EVEN), "the rotary dimension is 63";
    angles_of_none: rope_store(ROPE, angles: given(F32, 64, 0))
        => unsupported("the rotary dimension", "0", EVEN), "the rotary dimension is 0";
    angles_wider_than_a_head: rope_store(ROPE, angles: given(F32, 64, 66))
        => unsupported("the rotary dimension", "66", EVEN), "the rotary dimension is 66";
    angles_for_fewer_positions: rope_store(ROPE, angles: given(F32, 63, 64))
        => limit("the step's positions", 64, 64), "the step's positions 64 is not below 64";
    layer_to_store_that_is_none: rope_store(ROPE, layer: 2) => limit("a layer", 2, 2), "a layer 2 is not below 2";
    pages_to_store_of_another_size: rope_store(ROPE, kv: KvShape { page_tokens: 32, ..KV })
        => shape("a page", 16, 32), "a page has 32 where 16 belong";
    pages_to_store_fewer_than_the_step_has: rope_store(ROPE, pages: (3, Bf16, false))
        => limit("the step's pages", 4, 4), "the step's pages 4 is not below 4";
    pages_to_store_mapped: rope_store(ROPE, pages: (4, Bf16, true)) => mapped_output(), "an output is a mapped file";

    queries_of_f16: attention(ATTEND, qkv: given(F16, ROWS, 128))
        => holds("queries", F16, F32_OR_BF16), "queries holds f16";
    queries_of_other_count: attention(ATTEND, qkv: given(F32, FEW, 128))
        => shape("queries", ROWS, FEW), "queries has 3";
    queries_of_half_a_head: attention(ATTEND, qkv: given(F32, ROWS, 96))
        => shape("queries", 64, 96), "queries has 96 where 64 belong";
    queries_of_less_than_a_head: attention(ATTEND, qkv: given(F32, ROWS, 32))
        => unsupported("the number of query heads", "0 over 1", "a multiple of the heads of keys"), "query heads is 0";
    queries_shared_unevenly: attention(ATTEND, qkv: given(F32, ROWS, 192), kv: KvShape { kv_heads: 2, ..KV })
        => unsupported("the number of query heads", "3 over 2", "a multiple of the heads of keys"), "query heads is 3";
    output_of_other_width: attention(ATTEND, out: given(F32, ROWS, 64))
        => shape("attention's output", 128, 64), "attention's output has 64";
    output_of_tokens: attention(ATTEND, out: given(U32, ROWS, 128))
        => holds("attention's output", U32, F32_OR_BF16), "attention's output holds u32";
    output_mapped: attention(ATTEND, out: ATTEND.out.mapped()) => mapped_output(), "an output is a mapped file";
    log_sum_exp_of_bf16: attention(ATTEND, log_sum_exp: given(Bf16, ROWS, 2))
        => holds("log_sum_exp", Bf16, "f32"), "holds bf16";
    log_sum_exp_of_other_heads: attention(ATTEND, log_sum_exp: given(F32, ROWS, 3))
        => shape("log_sum_exp", 2, 3), "has 3 where 2 belong";
    log_sum_exp_mapped: attention(ATTEND, log_sum_exp: ATTEND.log_sum_exp.mapped())
        => mapped_output(), "an output is a mapped file";
    window_of_none: attention(ATTEND, window: Some(0))
        => unsupported("the attention window", "0", "1 or more, or none"), "the attention window is 0";
    layer_that_is_none: attention(ATTEND, layer: 9) => limit("a layer", 9, 2), "a layer 9 is not below 2";
    pages_of_another_size: attention(ATTEND, kv: KvShape { page_tokens: 64, ..KV })
        => shape("a page", 16, 64), "a page has 64 where 16 belong";
    pages_fewer_than_the_step_has: attention(ATTEND, pages: (3, F32, false))
        => limit("the step's pages", 4, 4), "the step's pages 4 is not below 4";

    copy_from_a_page_that_is_none: copy_pages(ROPE, copies: [(0, 1), (4, 0)])
        => limit("a page", 4, 4), "a page 4 is not below 4";
    copy_to_a_page_that_is_none: copy_pages(ROPE, copies: [(0, 1), (0, u32::MAX)])
        => limit("a page", u32::MAX as usize, 4), "a page 4294967295 is not below 4";
    copy_to_a_file: copy_pages(ROPE, pages: (4, F32, true)) => mapped_output(), "an output is a mapped file";
}

/// A NaN equals nothing, so these compare by their words.
#[test]
fn scales_that_are_no_numbers() {
    for scale in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let expected = loam_kernels::Error::NotFinite { what: "attention's scale", value: scale, also: "" };
        let says = format!("attention's scale is {scale}, which is not a finite number");
        check(attention, Args { scale, ..ATTEND }, expected, &says);
    }
}

/// Pages that attention is not written for, refused when they are made.
#[test]
fn pages_that_attention_is_not_written_for() {
    let cpu = cpu();
    let made = |shape: KvShape, dtype, len| PagedKv::new(Held::new(&cpu, given(dtype, 1, len)).memory, shape);
    for head_dim in [0, 32, 80, 512] {
        let expected = unsupported("a head's size", &head_dim.to_string(), "64, 96, 128 or 256");
        error(made(KvShape { head_dim, ..KV }, F32, 64), expected, &format!("a head's size is {head_dim}"));
    }
    for page_tokens in [0, 1, 8, 48, 128] {
        let expected = unsupported("a page's number of positions", &page_tokens.to_string(), "16, 32 or 64");
        let says = format!("a page's number of positions is {page_tokens}");
        error(made(KvShape { page_tokens, ..KV }, F32, 64), expected, &says);
    }
    for none in [KvShape { layers: 0, ..KV }, KvShape { kv_heads: 0, ..KV }] {
        let expected = unsupported("the number of layers or heads", "0", "1 or more");
        error(made(none, F32, 64), expected, "the number of layers or heads is 0");
    }
    error(made(KV, F16, KV.page_len()), holds("a page", F16, F32_OR_BF16), "a page holds f16");
    error(made(KV, F32, KV.page_len() + 1), shape("the last page", 0, 1), "the last page has 1 where 0 belong");
    assert_eq!(made(KV, F32, 3 * KV.page_len()).unwrap().pages(), 3);
}
