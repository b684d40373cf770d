//! Sampling and scoring: numbers that mean nothing, tokens that are none, masks that allow nothing.

use std::sync::Arc;

use loam_kernels::Error;
use loam_kernels::backend::{Device, Sample, SampleOutputs, Sampler, Score};
use loam_kernels::layout::DType::{Bf16, F16, F32, U32};
use loam_kernels::layout::{Linear, Sampling, Seen, Split};

use crate::given::{
    Given, Held, LIMITS, Outcome, ROWS, VOCABULARY, cpu, done, given, holds, inputs, limit, mapped_output,
};
use crate::given::{refused, shape, unsupported};

#[derive(Clone, Copy)]
struct Args {
    logits: Given,
    own: Given,
    tokens: Given,
    log_probabilities: Given,
    ranks: Given,
    top_tokens: Given,
    top_log_probabilities: Given,
    best_tokens: Given,
    best_log_probabilities: Given,
    /// How many of two rows say how to sample.
    rows: usize,
    x: Given,
    head: Given,
}

const ARGS: Args = Args {
    logits: given(F32, 2, VOCABULARY),
    own: given(U32, ROWS, 1),
    tokens: given(U32, 2, 1),
    log_probabilities: given(F32, 2, 1),
    ranks: given(U32, 2, 1),
    top_tokens: given(U32, 2, 3),
    top_log_probabilities: given(F32, 2, 3),
    best_tokens: given(U32, 2, 1),
    best_log_probabilities: given(F32, 2, 1),
    rows: 2,
    x: given(Bf16, 2, 6),
    head: given(F16, VOCABULARY, 6),
};

fn sample_by(args: Args, sampling: &Sampling) -> Outcome {
    let cpu = cpu();
    let logits = Held::new(&cpu, args.logits);
    let outputs = [args.tokens, args.log_probabilities, args.ranks, args.top_tokens, args.top_log_probabilities];
    let mut outputs = outputs.map(|given| Held::new(&cpu, given));
    let [tokens, log_probabilities, ranks, top_tokens, top_log_probabilities] =
        outputs.each_mut().map(|output| output.rows_mut());
    let out = SampleOutputs { tokens, log_probabilities, ranks, top_tokens, top_log_probabilities };
    // The last row is the changed one: those before it must not have been answered either.
    let rows = [Sampling::default(), Sampling::default(), sampling.clone()];
    let own = Held::new(&cpu, args.own);
    let op = Sample { logits: logits.rows(), own: Some(own.rows()), rows: &rows[rows.len() - args.rows..], out };
    let result = cpu.sample(&cpu.step(inputs(), LIMITS).unwrap(), op);
    Outcome::of(&cpu, result, &outputs.each_ref())
}

fn sample(args: Args) -> Outcome {
    sample_by(args, &Sampling { top_log_probabilities: 3, counts_own: true, ..Sampling::default() })
}

fn score(args: Args) -> Outcome {
    let cpu = cpu();
    let [x, head] = [args.x, args.head].map(|given| Held::new(&cpu, given));
    let outputs = [args.log_probabilities, args.ranks, args.best_tokens, args.best_log_probabilities];
    let mut outputs = outputs.map(|given| Held::new(&cpu, given));
    let [log_probabilities, ranks, best_tokens, best_log_probabilities] =
        outputs.each_mut().map(|output| output.rows_mut());
    let head = Linear::dense(args.head.width, Split::Column, Arc::new(head.memory), None).unwrap();
    let op =
        Score { x: x.rows(), head: &head, delta: None, log_probabilities, ranks, best_tokens, best_log_probabilities };
    let result = cpu.log_probability_of(&cpu.step(inputs(), LIMITS).unwrap(), op);
    Outcome::of(&cpu, result, &outputs.each_ref())
}

fn check(operation: fn(Args) -> Outcome, change: Args, expected: Error, says: &str) {
    refused(operation(change), expected, says);
}

/// A row's wish that cannot be met.
#[track_caller]
fn check_wish(change: impl FnOnce(&mut Sampling), expected: Error, says: &str) {
    let mut sampling = Sampling { temperature: 1.0, ..Sampling::default() };
    change(&mut sampling);
    refused(sample_by(ARGS, &sampling), expected, says);
}

#[test]
fn all_are_done_as_they_should_be() {
    done(sample(ARGS));
    done(score(ARGS));
}

/// Tests that change one argument of an operation.
macro_rules! refuses {
    ($($name:ident: $operation:ident($($field:ident: $change:expr),+) => $expected:expr, $says:literal;)+) => {
        $(
            #[test]
            fn $name() {
                check($operation, Args { $($field: $change,)+ ..ARGS }, $expected, $says);
            }
        )+
    };
}

refuses! {
    logits_of_bf16: sample(logits: given(Bf16, 2, VOCABULARY)) => holds("logits", Bf16, "f32"), "holds bf16";
    logits_of_other_rows: sample(logits: given(F32, 3, VOCABULARY)) => shape("logits", 2, 3), "has 3";
    logits_of_another_vocabulary: sample(logits: given(F32, 2, 39))
        => shape("logits", VOCABULARY, 39), "has 39 where 40 belong";
    own_tokens_of_f32: sample(own: given(F32, ROWS, 1)) => holds("own tokens", F32, "u32"), "own tokens holds f32";
    own_tokens_of_the_sampled_rows: sample(own: given(U32, 2, 1)) => shape("own tokens", ROWS, 2), "own tokens has 2";
    own_tokens_of_two_columns: sample(own: given(U32, ROWS, 2)) => shape("own tokens", 1, 2), "own tokens has 2";
    rows_without_a_wish: sample(rows: 1) => shape("the rows to sample", 2, 1), "the rows to sample has 1";
    wishes_of_no_row: sample(rows: 3) => shape("the rows to sample", 2, 3), "the rows to sample has 3";
    tokens_of_f32: sample(tokens: given(F32, 2, 1)) => holds("chosen tokens", F32, "u32"), "chosen tokens holds f32";
    tokens_of_other_rows: sample(tokens: given(U32, 3, 1)) => shape("chosen tokens", 2, 3), "chosen tokens has 3";
    tokens_of_two_columns: sample(tokens: given(U32, 2, 2)) => shape("chosen tokens", 1, 2), "chosen tokens has 2";
    tokens_mapped: sample(tokens: ARGS.tokens.mapped()) => mapped_output(), "an output is a mapped file";
    log_probabilities_of_bf16: sample(log_probabilities: given(Bf16, 2, 1))
        => holds("log-probabilities", Bf16, "f32"), "log-probabilities holds bf16";
    log_probabilities_mapped: sample(log_probabilities: ARGS.log_probabilities.mapped())
        => mapped_output(), "an output is a mapped file";
    ranks_of_f32: sample(ranks: given(F32, 2, 1)) => holds("ranks", F32, "u32"), "ranks holds f32";
    ranks_mapped: sample(ranks: ARGS.ranks.mapped()) => mapped_output(), "an output is a mapped file";
    top_tokens_of_f32: sample(top_tokens: given(F32, 2, 3)) => holds("top tokens", F32, "u32"), "top tokens holds f32";
    top_tokens_fewer_than_asked: sample(top_tokens: given(U32, 2, 2)) => shape("top tokens", 3, 2), "top tokens has 2";
    top_tokens_of_other_rows: sample(top_tokens: given(U32, 1, 3)) => shape("top tokens", 2, 1), "top tokens has 1";
    top_tokens_mapped: sample(top_tokens: ARGS.top_tokens.mapped()) => mapped_output(), "an output is a mapped file";
    top_log_probabilities_fewer_than_asked: sample(top_log_probabilities: given(F32, 2, 2))
        => shape("top log-probabilities", 3, 2), "top log-probabilities has 2 where 3 belong";
    top_log_probabilities_of_tokens: sample(top_log_probabilities: given(U32, 2, 3))
        => holds("top log-probabilities", U32, "f32"), "top log-probabilities holds u32";
    top_log_probabilities_mapped: sample(top_log_probabilities: ARGS.top_log_probabilities.mapped())
        => mapped_output(), "an output is a mapped file";

    scored_rows_of_f16: score(x: given(F16, 2, 6))
        => holds("rows to score", F16, "f32 or bf16"), "rows to score holds f16";
    scored_rows_of_other_count: score(x: given(F32, 3, 6)) => shape("rows to score", 2, 3), "rows to score has 3";
    scored_rows_of_other_width: score(x: given(F32, 2, 5)) => shape("rows to score", 6, 5), "rows to score has 5";
    head_of_another_vocabulary: score(head: given(F16, 39, 6))
        => shape("the vocabulary", 40, 39), "the vocabulary has 39";
    scores_of_bf16: score(log_probabilities: given(Bf16, 2, 1))
        => holds("log-probabilities", Bf16, "f32"), "log-probabilities holds bf16";
    scores_of_other_rows: score(log_probabilities: given(F32, 1, 1))
        => shape("log-probabilities", 2, 1), "log-probabilities has 1";
    scores_mapped: score(log_probabilities: ARGS.log_probabilities.mapped())
        => mapped_output(), "an output is a mapped file";
    ranks_of_scores_of_f32: score(ranks: given(F32, 2, 1)) => holds("ranks", F32, "u32"), "ranks holds f32";
    ranks_of_scores_mapped: score(ranks: ARGS.ranks.mapped()) => mapped_output(), "an output is a mapped file";
}

/// Tests of one wish, at each of its values that mean nothing.
macro_rules! wishes {
    ($($name:ident: $field:ident of [$($value:expr => $found:literal),+] can be $allowed:literal;)+) => {
        $(
            #[test]
            fn $name() {
                $(
                    let says = format!("{} is {}; it can be {}", stringify!($field), $found, $allowed);
                    let expected = unsupported(stringify!($field), $found, $allowed);
                    check_wish(|it| it.$field = $value, expected, &says);
                )+
            }
        )+
    };
}

wishes! {
    temperature: temperature of [f32::NAN => "NaN", f32::INFINITY => "inf", -0.1 => "-0.1"] can be "0 or more";
    top_p: top_p of [f32::NAN => "NaN", 0.0 => "0", -1.0 => "-1", 1.5 => "1.5"] can be "above 0 and at most 1";
    min_p: min_p of [f32::NAN => "NaN", -0.5 => "-0.5", 1.25 => "1.25"] can be "0 to 1";
    repetition_penalty: repetition_penalty of
        [f32::NAN => "NaN", 0.0 => "0", -2.0 => "-2", f32::INFINITY => "inf"] can be "above 0";
    presence_penalty: presence_penalty of [f32::NAN => "NaN", f32::INFINITY => "inf"] can be "a finite number";
    frequency_penalty: frequency_penalty of [f32::NAN => "NaN", f32::NEG_INFINITY => "-inf"] can be "a finite number";
}

#[test]
fn more_top_log_probabilities_than_there_are() {
    let expected = limit("top_log_probabilities", 65, 65);
    check_wish(|it| it.top_log_probabilities = 65, expected, "top_log_probabilities 65 is not below 65");
}

#[test]
fn seen_token_that_is_none() {
    let seen = Seen { token: 40, in_prompt: true, in_output: 0 };
    check_wish(|it| it.seen.push(seen), limit("a token seen", 40, 40), "a token seen 40 is not below 40");
}

#[test]
fn biased_token_that_is_none() {
    check_wish(|it| it.bias.push((41, 0.0)), limit("a biased token", 41, 40), "a biased token 41 is not below 40");
}

#[test]
fn biases_that_are_no_numbers() {
    for bias in [f32::NAN, f32::INFINITY] {
        let also = " (minus infinity forbids a token)";
        let says = format!("a bias is {bias}, which is not a finite number{also}");
        check_wish(|it| it.bias.push((0, bias)), Error::NotFinite { what: "a bias", value: bias, also }, &says);
    }
    sample_by(ARGS, &Sampling { bias: vec![(0, f32::NEG_INFINITY)], ..Sampling::default() }).result.unwrap();
}

#[test]
fn mask_of_another_vocabulary() {
    check_wish(|it| it.mask = Some(vec![1]), shape("a mask in words", 2, 1), "a mask in words has 1 where 2 belong");
    check_wish(|it| it.mask = Some(vec![1; 3]), shape("a mask in words", 2, 3), "a mask in words has 3");
}

/// Bits beyond the vocabulary allow no token.
#[test]
fn masks_that_allow_nothing() {
    for words in [[0, 0], [0, u32::MAX << 8]] {
        let expected = unsupported("a mask", "empty", "one that allows a token");
        check_wish(|it| it.mask = Some(words.to_vec()), expected, "a mask is empty; it can be one that allows a token");
    }
}

#[test]
fn own_token_that_nobody_tells() {
    let cpu = cpu();
    let [logits, mut tokens, mut log_probabilities, mut ranks, mut top_tokens, mut top_log_probabilities] =
        [ARGS.logits, ARGS.tokens, ARGS.log_probabilities, ARGS.ranks, ARGS.top_tokens, ARGS.top_log_probabilities]
            .map(|given| Held::new(&cpu, given));
    let out = SampleOutputs {
        tokens: tokens.rows_mut(),
        log_probabilities: log_probabilities.rows_mut(),
        ranks: ranks.rows_mut(),
        top_tokens: top_tokens.rows_mut(),
        top_log_probabilities: top_log_probabilities.rows_mut(),
    };
    let rows = [Sampling::default(), Sampling { counts_own: true, ..Sampling::default() }];
    let op = Sample { logits: logits.rows(), own: None, rows: &rows, out };
    let result = cpu.sample(&cpu.step(inputs(), LIMITS).unwrap(), op);
    let expected =
        unsupported("a row that counts its own token", "no tokens of rows", "what the step's tokens are known to be");
    refused(Outcome::of(&cpu, result, &[&tokens, &ranks]), expected, "no tokens of rows");
}
