//! Dense operations: shapes, types, numbers.

use std::sync::Arc;

use loam_kernels::backend::{
    Activation, Add, AddRmsNorm, ApplyLinear, Dense, Embed, Gate, GatherRows, HeadShape, Product, QkNorm, RmsNorm,
    TakeTokens,
};
use loam_kernels::layout::DType::{Bf16, F16, F32, U32};
use loam_kernels::layout::{Linear, Part, RowSet, Rows, Split, Stored};

use crate::given::{Given, Held, Outcome, ROWS, VOCABULARY, cpu, done, given, holds, mapped_output, refused, shape};
use crate::given::{error, limit, step, unsupported};

/// Every operation's arguments are named alike: what is read, the weights, the delta, what is written.
#[derive(Clone, Copy)]
struct Args {
    x: Given,
    weight: Given,
    delta: Given,
    residual: Given,
    out: Given,
    inverse: Given,
    epsilon: f32,
    set: RowSet,
    heads: HeadShape,
}

const WIDTH: usize = 6;

const ARGS: Args = Args {
    x: given(Bf16, ROWS, WIDTH),
    weight: given(Bf16, 1, WIDTH),
    delta: given(F32, ROWS, WIDTH),
    residual: given(F32, ROWS, WIDTH),
    out: given(Bf16, ROWS, WIDTH),
    inverse: given(F32, ROWS, 1),
    epsilon: 1e-5,
    set: RowSet::Batch,
    heads: HeadShape { q_heads: 2, kv_heads: 1, head_dim: 2 },
};

const LINEAR: Args = Args { weight: given(F16, 5, WIDTH), out: given(F32, ROWS, 5), ..ARGS };
const GATE: Args = Args { x: given(Bf16, ROWS, 2 * WIDTH), delta: given(F32, ROWS, 2 * WIDTH), ..ARGS };
const EMBED: Args = Args { weight: given(F16, VOCABULARY, WIDTH), ..ARGS };
const TAKE: Args = Args { x: given(U32, 3, 1), residual: given(U32, ROWS, 1), ..EMBED };
const GATHER: Args = Args { set: RowSet::Sampled, out: given(F32, 2, WIDTH), ..ARGS };
const PRODUCT: Args = Args { weight: given(F16, 7, WIDTH), out: given(F32, ROWS, 7), ..ARGS };
const QK: Args = Args { x: given(F32, ROWS, 8), delta: given(F32, ROWS, 8), weight: given(F32, 1, 2), ..ARGS };

fn check(operation: fn(Args) -> Outcome, change: Args, expected: loam_kernels::Error, says: &str) {
    refused(operation(change), expected, says);
}

/// Into the step's own tokens, of which an embedding tells.
fn take_tokens(args: Args) -> Outcome {
    let (cpu, tokens, table) = (cpu(), Held::new(&cpu(), args.x), Held::new(&cpu(), args.weight));
    let (step, mut known, mut out) = (step(&cpu), Held::new(&cpu, args.residual), Held::new(&cpu, args.out));
    let result = cpu.take_tokens(&step, TakeTokens { tokens: tokens.rows(), known: known.rows_mut() });
    let embedded = result.is_ok().then(|| cpu.embed(&step, Embed { table: &table.memory, out: out.rows_mut() }));
    Outcome::of(&cpu, result.and(embedded.unwrap_or(Ok(()))), &[&known, &out])
}

fn embed(args: Args) -> Outcome {
    let (cpu, table) = (cpu(), Held::new(&cpu(), args.weight));
    let mut out = Held::new(&cpu, args.out);
    let result = cpu.embed(&step(&cpu), Embed { table: &table.memory, out: out.rows_mut() });
    Outcome::of(&cpu, result, &[&out])
}

fn rms_norm(args: Args) -> Outcome {
    let cpu = cpu();
    let [x, weight, mut out, mut inverse] =
        [args.x, args.weight, args.out, args.inverse].map(|given| Held::new(&cpu, given));
    let result = cpu.rms_norm(RmsNorm {
        x: x.rows(),
        weight: &weight.memory,
        epsilon: args.epsilon,
        out: out.rows_mut(),
        inverse: Some(inverse.rows_mut()),
    });
    Outcome::of(&cpu, result, &[&out, &inverse])
}

fn add_rms_norm(args: Args) -> Outcome {
    let cpu = cpu();
    let [x, delta, weight] = [args.x, args.delta, args.weight].map(|given| Held::new(&cpu, given));
    let [mut residual, mut out, mut inverse] =
        [args.residual, args.out, args.inverse].map(|given| Held::new(&cpu, given));
    let op = AddRmsNorm {
        residual: residual.rows_mut(),
        x: x.rows(),
        delta: Some(delta.rows()),
        set: args.set,
        weight: &weight.memory,
        epsilon: args.epsilon,
        out: out.rows_mut(),
        inverse: Some(inverse.rows_mut()),
    };
    let result = cpu.add_rms_norm(&step(&cpu), op);
    Outcome::of(&cpu, result, &[&residual, &out, &inverse])
}

fn qk_norm(args: Args) -> Outcome {
    let cpu = cpu();
    let [mut qkv, delta, weight] = [args.x, args.delta, args.weight].map(|given| Held::new(&cpu, given));
    let (heads, epsilon, weight) = (args.heads, args.epsilon, &weight.memory);
    let (x, delta) = (qkv.rows_mut(), Some(delta.rows()));
    let op = QkNorm { qkv: x, delta, heads, q_weight: weight, k_weight: weight, epsilon };
    let result = cpu.qk_norm(&step(&cpu), op);
    Outcome::of(&cpu, result, &[&qkv])
}

fn linear(args: Args) -> Outcome {
    let cpu = cpu();
    let [x, weight, mut out] = [args.x, args.weight, args.out].map(|given| Held::new(&cpu, given));
    let weights = Linear::dense(args.weight.width, Split::Column, Arc::new(weight.memory), None).unwrap();
    let result = cpu.linear(ApplyLinear { x: x.rows(), weights: &weights, out: out.rows_mut() });
    Outcome::of(&cpu, result, &[&out])
}

/// `weight` is the second operand, given transposed.
fn product(args: Args) -> Outcome {
    let cpu = cpu();
    let [a, b, mut out] = [args.x, args.weight, args.out].map(|given| Held::new(&cpu, given));
    let op = Product { a: a.rows(), a_transposed: false, b: b.rows(), b_transposed: true, out: out.rows_mut() };
    let result = cpu.product(op);
    Outcome::of(&cpu, result, &[&out])
}

fn gate(args: Args) -> Outcome {
    let cpu = cpu();
    let [gate_up, delta, mut out] = [args.x, args.delta, args.out].map(|given| Held::new(&cpu, given));
    let (gate_up, delta) = (gate_up.rows(), Some(delta.rows()));
    let op = Gate { activation: Activation::Silu, gate_up, delta, out: out.rows_mut() };
    let result = cpu.gate(&step(&cpu), op);
    Outcome::of(&cpu, result, &[&out])
}

fn add(args: Args) -> Outcome {
    let cpu = cpu();
    let [mut x, delta] = [args.residual, args.delta].map(|given| Held::new(&cpu, given));
    let result = cpu.add(&step(&cpu), Add { x: x.rows_mut(), delta: delta.rows(), set: args.set });
    Outcome::of(&cpu, result, &[&x])
}

fn gather_rows(args: Args) -> Outcome {
    let cpu = cpu();
    let [x, mut out] = [args.x, args.out].map(|given| Held::new(&cpu, given));
    let result = cpu.gather_rows(&step(&cpu), GatherRows { x: x.rows(), set: args.set, out: out.rows_mut() });
    Outcome::of(&cpu, result, &[&out])
}

#[test]
fn all_are_done_as_they_should_be() {
    done(take_tokens(TAKE));
    done(embed(EMBED));
    done(rms_norm(ARGS));
    done(add_rms_norm(ARGS));
    done(qk_norm(QK));
    done(linear(LINEAR));
    done(product(PRODUCT));
    done(gate(GATE));
    done(add(ARGS));
    done(gather_rows(GATHER));
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
const ANY_FLOAT: &str = "f32, bf16 or f16";
const FEW: usize = ROWS - 1;

refuses! {
    tokens_to_take_in_f32: take_tokens(TAKE, x: given(F32, 3, 1))
        => holds("tokens to take", F32, "u32"), "tokens to take holds f32";
    tokens_to_take_side_by_side: take_tokens(TAKE, x: given(U32, 3, 2))
        => shape("tokens to take", 1, 2), "tokens to take has 2 where 1 belong";
    tokens_to_take_too_few: take_tokens(TAKE, x: given(U32, 2, 1))
        => limit("a place of a token to take", 2, 2), "a place of a token to take 2 is not below 2";
    known_tokens_in_f32: take_tokens(TAKE, residual: given(F32, ROWS, 1))
        => holds("known tokens", F32, "u32"), "known tokens holds f32";
    known_tokens_too_few: take_tokens(TAKE, residual: given(U32, FEW, 1))
        => shape("known tokens", ROWS, FEW), "known tokens has";
    known_tokens_mapped: take_tokens(TAKE, residual: TAKE.residual.mapped())
        => mapped_output(), "an output is a mapped file";
    embed_table_of_tokens: embed(EMBED, weight: given(U32, VOCABULARY, WIDTH))
        => holds("the embedding's table", U32, ANY_FLOAT), "the embedding's table holds u32";
    embed_table_too_short: embed(EMBED, weight: given(F16, VOCABULARY - 1, WIDTH))
        => shape("the embedding's table", VOCABULARY * WIDTH, (VOCABULARY - 1) * WIDTH),
        "the embedding's table has 234";
    embed_table_too_long: embed(EMBED, weight: given(F16, VOCABULARY + 1, WIDTH))
        => shape("the embedding's table", VOCABULARY * WIDTH, (VOCABULARY + 1) * WIDTH),
        "the embedding's table has 246";
    embed_output_of_other_rows: embed(EMBED, out: given(Bf16, FEW, WIDTH))
        => shape("the embedding's output", ROWS, FEW), "the embedding's output has 3 where 4 belong";
    embed_output_of_f16: embed(EMBED, out: given(F16, ROWS, WIDTH))
        => holds("the embedding's output", F16, F32_OR_BF16), "the embedding's output holds f16";
    embed_output_mapped: embed(EMBED, out: ARGS.out.mapped()) => mapped_output(), "an output is a mapped file";

    norm_of_f16: rms_norm(ARGS, x: given(F16, ROWS, WIDTH))
        => holds("a norm's input", F16, F32_OR_BF16), "a norm's input holds f16; it can hold f32 or bf16";
    norm_weight_of_other_length: rms_norm(ARGS, weight: given(Bf16, 1, WIDTH + 1))
        => shape("a norm's weight", WIDTH, WIDTH + 1), "a norm's weight has 7 where 6 belong";
    norm_weight_of_tokens: rms_norm(ARGS, weight: given(U32, 1, WIDTH))
        => holds("a norm's weight", U32, ANY_FLOAT), "a norm's weight holds u32";
    norm_epsilon_not_a_number: rms_norm(ARGS, epsilon: f32::NAN)
        => unsupported("epsilon", "NaN", "0 or more"), "epsilon is NaN";
    norm_epsilon_negative: rms_norm(ARGS, epsilon: -1.0)
        => unsupported("epsilon", "-1", "0 or more"), "epsilon is -1";
    norm_epsilon_infinite: rms_norm(ARGS, epsilon: f32::INFINITY)
        => unsupported("epsilon", "inf", "0 or more"), "epsilon is inf";
    norm_output_of_other_rows: rms_norm(ARGS, out: given(Bf16, FEW, WIDTH))
        => shape("a norm's output", ROWS, FEW), "a norm's output has 3";
    norm_output_of_other_width: rms_norm(ARGS, out: given(Bf16, ROWS, WIDTH - 1))
        => shape("a norm's output", WIDTH, WIDTH - 1), "a norm's output has 5";
    norm_inverse_of_bf16: rms_norm(ARGS, inverse: given(Bf16, ROWS, 1))
        => holds("a norm's inverse", Bf16, "f32"), "a norm's inverse holds bf16";
    norm_inverse_of_other_rows: rms_norm(ARGS, inverse: given(F32, FEW, 1))
        => shape("a norm's inverse", ROWS, FEW), "a norm's inverse has 3";
    norm_output_mapped: rms_norm(ARGS, out: ARGS.out.mapped()) => mapped_output(), "an output is a mapped file";
    norm_inverse_mapped: rms_norm(ARGS, inverse: ARGS.inverse.mapped())
        => mapped_output(), "an output is a mapped file";

    residual_of_other_rows: add_rms_norm(ARGS, residual: given(F32, FEW, WIDTH))
        => shape("the residual stream", ROWS, FEW), "the residual stream has 3 where 4 belong";
    residual_of_f16: add_rms_norm(ARGS, residual: given(F16, ROWS, WIDTH))
        => holds("the residual stream", F16, F32_OR_BF16), "the residual stream holds f16";
    residual_mapped: add_rms_norm(ARGS, residual: ARGS.residual.mapped())
        => mapped_output(), "an output is a mapped file";
    rows_of_another_set: add_rms_norm(ARGS, set: RowSet::Sampled)
        => shape("the residual stream", 2, ROWS), "the residual stream has 4 where 2 belong";
    added_of_other_width: add_rms_norm(ARGS, x: given(Bf16, ROWS, WIDTH + 1))
        => shape("what is added to the residual stream", WIDTH, WIDTH + 1),
        "what is added to the residual stream has 7";
    added_of_f16: add_rms_norm(ARGS, x: given(F16, ROWS, WIDTH))
        => holds("what is added to the residual stream", F16, F32_OR_BF16),
        "what is added to the residual stream holds f16";
    delta_of_bf16: add_rms_norm(ARGS, delta: given(Bf16, ROWS, WIDTH))
        => holds("a delta", Bf16, "f32"), "a delta holds bf16; it can hold f32";
    delta_of_other_width: add_rms_norm(ARGS, delta: given(F32, ROWS, WIDTH - 1))
        => shape("a delta", WIDTH, WIDTH - 1), "a delta has 5";
    sum_norm_weight_of_other_length: add_rms_norm(ARGS, weight: given(F32, 1, 1))
        => shape("a norm's weight", WIDTH, 1), "a norm's weight has 1";
    sum_norm_output_mapped: add_rms_norm(ARGS, out: ARGS.out.mapped()) => mapped_output(), "an output is a mapped file";

    heads_of_other_width: qk_norm(QK, x: given(F32, ROWS, 7))
        => shape("queries, keys and values", 8, 7), "queries, keys and values has 7 where 8 belong";
    heads_of_f16: qk_norm(QK, x: given(F16, ROWS, 8))
        => holds("queries, keys and values", F16, F32_OR_BF16), "queries, keys and values holds f16";
    heads_shared_unevenly: qk_norm(QK, heads: HeadShape { q_heads: 3, kv_heads: 2, head_dim: 2 })
        => unsupported("the number of query heads", "3 over 2", "a multiple of the heads of keys"),
        "query heads is 3 over 2";
    heads_of_none: qk_norm(QK, heads: HeadShape { q_heads: 0, kv_heads: 1, head_dim: 2 })
        => unsupported("the number of query heads", "0 over 1", "a multiple of the heads of keys"),
        "query heads is 0 over 1";
    head_weight_of_other_length: qk_norm(QK, weight: given(F32, 1, 3))
        => shape("the query norm's weight", 2, 3), "the query norm's weight has 3";
    head_epsilon_negative: qk_norm(QK, epsilon: -0.5)
        => unsupported("epsilon", "-0.5", "0 or more"), "epsilon is -0.5";
    head_delta_of_other_rows: qk_norm(QK, delta: given(F32, FEW, 8)) => shape("a delta", ROWS, FEW), "a delta has 3";
    heads_mapped: qk_norm(QK, x: QK.x.mapped()) => mapped_output(), "an output is a mapped file";

    linear_of_f16: linear(LINEAR, x: given(F16, ROWS, WIDTH))
        => holds("a linear layer's input", F16, F32_OR_BF16), "a linear layer's input holds f16";
    linear_of_other_width: linear(LINEAR, x: given(F32, ROWS, WIDTH + 1))
        => shape("a linear layer's input", WIDTH, WIDTH + 1), "a linear layer's input has 7";
    linear_output_of_other_width: linear(LINEAR, out: given(F32, ROWS, 6))
        => shape("a linear layer's output", 5, 6), "a linear layer's output has 6";
    linear_output_of_other_rows: linear(LINEAR, out: given(F32, FEW, 5))
        => shape("a linear layer's output", ROWS, FEW), "a linear layer's output has 3";
    linear_output_of_tokens: linear(LINEAR, out: given(U32, ROWS, 5))
        => holds("a linear layer's output", U32, F32_OR_BF16), "a linear layer's output holds u32";
    linear_output_mapped: linear(LINEAR, out: LINEAR.out.mapped()) => mapped_output(), "an output is a mapped file";

    product_of_tokens: product(PRODUCT, x: given(U32, ROWS, WIDTH))
        => holds("a product's first operand", U32, ANY_FLOAT), "a product's first operand holds u32";
    product_with_tokens: product(PRODUCT, weight: given(U32, 7, WIDTH))
        => holds("a product's second operand", U32, ANY_FLOAT), "a product's second operand holds u32";
    product_of_other_lengths: product(PRODUCT, weight: given(F32, 7, WIDTH + 1))
        => shape("a product's inner dimension", WIDTH, WIDTH + 1), "a product's inner dimension has 7";
    product_output_of_other_width: product(PRODUCT, out: given(F32, ROWS, 6))
        => shape("a product's output", 7, 6), "a product's output has 6";
    product_output_of_f16: product(PRODUCT, out: given(F16, ROWS, 7))
        => holds("a product's output", F16, F32_OR_BF16), "a product's output holds f16";
    product_output_mapped: product(PRODUCT, out: PRODUCT.out.mapped()) => mapped_output(), "an output is a mapped file";

    gates_without_ups: gate(GATE, x: given(Bf16, ROWS, 2 * WIDTH - 1))
        => shape("gates and ups", 12, 11), "gates and ups has 11 where 12 belong";
    gates_of_f16: gate(GATE, x: given(F16, ROWS, 2 * WIDTH))
        => holds("gates and ups", F16, F32_OR_BF16), "gates and ups holds f16";
    gate_delta_of_other_width: gate(GATE, delta: given(F32, ROWS, WIDTH))
        => shape("a delta", 12, WIDTH), "a delta has 6";
    gate_output_of_other_rows: gate(GATE, out: given(Bf16, FEW, WIDTH))
        => shape("a gated layer's output", ROWS, FEW), "a gated layer's output has 3";
    gate_output_mapped: gate(GATE, out: ARGS.out.mapped()) => mapped_output(), "an output is a mapped file";

    add_to_f16: add(ARGS, residual: given(F16, ROWS, WIDTH))
        => holds("what a delta is added to", F16, F32_OR_BF16), "what a delta is added to holds f16";
    add_to_rows_of_another_set: add(ARGS, set: RowSet::Scored)
        => shape("what a delta is added to", 2, ROWS), "what a delta is added to has 4";
    add_of_bf16: add(ARGS, delta: given(Bf16, ROWS, WIDTH)) => holds("a delta", Bf16, "f32"), "a delta holds bf16";
    add_to_mapped: add(ARGS, residual: ARGS.residual.mapped()) => mapped_output(), "an output is a mapped file";

    gather_from_too_few: gather_rows(GATHER, x: given(Bf16, FEW, WIDTH))
        => shape("rows to choose from", ROWS, FEW), "rows to choose from has 3";
    gather_to_too_many: gather_rows(GATHER, out: given(F32, ROWS, WIDTH))
        => shape("chosen rows", 2, ROWS), "chosen rows has 4";
    gather_of_f16: gather_rows(GATHER, x: given(F16, ROWS, WIDTH))
        => holds("rows to choose from", F16, F32_OR_BF16), "rows to choose from holds f16";
    gather_to_mapped: gather_rows(GATHER, out: GATHER.out.mapped()) => mapped_output(), "an output is a mapped file";
}

/// A linear layer's own parts, refused when it is made.
#[test]
fn linear_layers_that_are_none() {
    let cpu = cpu();
    let held = |dtype, len| Arc::new(Held::new(&cpu, given(dtype, 1, len)).memory);
    let layer = |weight, bias| Linear::new(WIDTH, Split::Row, vec![Part { weight: Stored::Dense(weight), bias }]);
    let (of_tokens, rest) = (layer(held(U32, 12), None), layer(held(F32, 13), None));
    error(of_tokens, holds("a linear layer's weight", U32, ANY_FLOAT), "a linear layer's weight holds u32");
    error(rest, shape("a linear layer's last row of weights", 0, 1), "a linear layer's last row of weights has 1");
    let bias = layer(held(F32, 12), Some(held(F32, 3)));
    error(bias, shape("a linear layer's bias", 2, 3), "a linear layer's bias has 3 where 2 belong");
    let bias = layer(held(F32, 12), Some(held(U32, 2)));
    error(bias, holds("a linear layer's bias", U32, ANY_FLOAT), "a linear layer's bias holds u32");
    let none = Linear::<loam_kernels::cpu::CpuMemory>::new(WIDTH, Split::Row, Vec::new());
    error(none, shape("a linear layer's input", 1, 0), "a linear layer's input");
}

/// Parts of matrices, refused when they are made: no operation sees them.
#[test]
fn matrices_beyond_their_memory() {
    let cpu = cpu();
    let held = Held::new(&cpu, given(F32, 3, 4));
    let beyond = |what, from, to, len| loam_kernels::Error::OutOfBounds { what, from, to, len };
    let whole = || Rows::new(&held.memory, 3, 4).unwrap();
    error(Rows::new(&held.memory, 4, 4), beyond("a matrix", 0, 16, 12), "a matrix needs values 0 to 16");
    error(Rows::new(&held.memory, usize::MAX, 2), beyond("a matrix", 0, usize::MAX, 12), "a matrix needs");
    error(whole().columns(2, 3), beyond("a range of columns", 2, 5, 4), "a range of columns needs values 2 to 5");
    error(whole().columns(2, usize::MAX), beyond("a range of columns", 2, usize::MAX, 4), "a range of columns");
    error(whole().range(3, 1), beyond("a range of rows", 3, 4, 3), "a range of rows needs values 3 to 4");
    error(whole().range(1, usize::MAX), beyond("a range of rows", 1, usize::MAX, 3), "a range of rows");
    assert_eq!(whole().range(3, 0).unwrap().rows(), 0, "an empty range at the end is inside");
}
