//! Adapters: slots, sites, ranks, and the two halves of what they add.

use std::sync::Arc;

use loam_kernels::backend::{Device, Expand, Lora, Shrink};
use loam_kernels::cpu::{CpuAdapters, CpuMemory};
use loam_kernels::layout::DType::{Bf16, F16, F32, U32};
use loam_kernels::layout::{Adapter, AdapterLayout, DType, RowSet, SiteKind, SiteShape};
use loam_kernels::{Cpu, Error};

use crate::given::{Given, Held, LIMITS, Outcome, ROWS, VOCABULARY, cpu, done, error, given, holds, inputs, limit};
use crate::given::{mapped_output, refused, shape, unsupported};

const WIDTH: usize = 6;
const PAIRS: usize = 3;
const RANK: usize = 5;

fn sites(vocabulary: usize) -> Vec<SiteShape> {
    vec![
        SiteShape { kind: SiteKind::Linear, in_features: WIDTH, modules: vec![7, 3] },
        SiteShape { kind: SiteKind::Embedding, in_features: vocabulary, modules: vec![9] },
    ]
}

fn layout(dtype: DType, vocabulary: usize) -> AdapterLayout {
    AdapterLayout::new(dtype, &sites(vocabulary), &[vec![(2, 1.0), (3, 2.0)], vec![(5, 0.5)]]).unwrap()
}

fn adapter(cpu: &Cpu, vocabulary: usize) -> Arc<Adapter<CpuMemory>> {
    let layout = layout(Bf16, vocabulary);
    let slab = Held::new(cpu, given(Bf16, 1, layout.len())).memory;
    Arc::new(Adapter::new(slab, layout).unwrap())
}

#[derive(Clone, Copy)]
struct Args {
    site: usize,
    set: RowSet,
    x: Option<Given>,
    h: Given,
    delta: Given,
    /// Columns of the embedding's `A`.
    vocabulary: usize,
    /// The slot that the adapter is in, and how many there are; pairs use slot 1.
    slot: u32,
    slots: usize,
}

const ARGS: Args = Args {
    site: 0,
    set: RowSet::Batch,
    x: Some(given(Bf16, ROWS, WIDTH)),
    h: given(F32, PAIRS, RANK),
    delta: given(F32, ROWS, 10),
    vocabulary: VOCABULARY,
    slot: 1,
    slots: 3,
};
const TOKENS: Args = Args { site: 1, x: None, delta: given(F32, ROWS, 9), ..ARGS };

fn adapters(cpu: &Cpu, args: &Args) -> CpuAdapters {
    let mut adapters = cpu.adapters(&sites(args.vocabulary), args.slots).unwrap();
    let before = cpu.install(&mut adapters, args.slot, Some(adapter(cpu, args.vocabulary))).unwrap();
    assert!(before.is_none(), "slots begin empty");
    adapters
}

fn lora_shrink(args: Args) -> Outcome {
    let cpu = cpu();
    let (x, mut h) = (args.x.map(|given| Held::new(&cpu, given)), Held::new(&cpu, args.h));
    let op = Shrink {
        adapters: &adapters(&cpu, &args),
        site: args.site,
        set: args.set,
        x: x.as_ref().map(Held::rows),
        h: h.rows_mut(),
    };
    let result = cpu.lora_shrink(&cpu.step(inputs(), LIMITS).unwrap(), op);
    Outcome::of(&cpu, result, &[&h])
}

fn lora_expand(args: Args) -> Outcome {
    let cpu = cpu();
    let [h, mut delta] = [args.h, args.delta].map(|given| Held::new(&cpu, given));
    let adapters = &adapters(&cpu, &args);
    let op = Expand { adapters, site: args.site, set: args.set, h: h.rows(), delta: delta.rows_mut() };
    let result = cpu.lora_expand(&cpu.step(inputs(), LIMITS).unwrap(), op);
    Outcome::of(&cpu, result, &[&delta])
}

fn check(operation: fn(Args) -> Outcome, change: Args, expected: Error, says: &str) {
    refused(operation(change), expected, says);
}

#[test]
fn all_are_done_as_they_should_be() {
    done(lora_shrink(ARGS));
    done(lora_shrink(TOKENS));
    done(lora_expand(ARGS));
    done(lora_expand(TOKENS));
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

const ALLOWED: &str = "linear with input, or an embedding without, over the batch";

refuses! {
    shrink_by_an_empty_slot: lora_shrink(ARGS, slot: 0) => Error::EmptySlot { slot: 1 }, "slot 1 holds no adapter";
    shrink_by_a_slot_that_is_none: lora_shrink(ARGS, slot: 0, slots: 1)
        => Error::EmptySlot { slot: 1 }, "slot 1 holds no adapter";
    shrink_at_a_site_that_is_none: lora_shrink(ARGS, site: 2) => limit("a site", 2, 2), "a site 2 is not below 2";
    shrink_without_input: lora_shrink(ARGS, x: None)
        => unsupported("a site", "Linear without input", ALLOWED), "a site is Linear without input";
    shrink_tokens_with_input: lora_shrink(TOKENS, x: ARGS.x)
        => unsupported("a site", "Embedding with input", ALLOWED), "a site is Embedding with input";
    shrink_tokens_of_sampled_rows: lora_shrink(TOKENS, set: RowSet::Sampled)
        => unsupported("a site", "Embedding without input", ALLOWED), "a site is Embedding";
    shrink_tokens_beyond_the_adapters: lora_shrink(TOKENS, vocabulary: VOCABULARY - 1)
        => limit("the step's vocabulary", VOCABULARY, VOCABULARY), "the step's vocabulary 40 is not below 40";
    shrink_of_other_width: lora_shrink(ARGS, x: Some(given(Bf16, ROWS, WIDTH + 1)))
        => shape("a site's input", WIDTH, WIDTH + 1), "a site's input has 7";
    shrink_of_other_rows: lora_shrink(ARGS, x: Some(given(Bf16, 2, WIDTH)))
        => shape("a site's input", ROWS, 2), "a site's input has 2";
    shrink_of_f16: lora_shrink(ARGS, x: Some(given(F16, ROWS, WIDTH)))
        => holds("a site's input", F16, "f32 or bf16"), "a site's input holds f16";
    shrink_to_bf16: lora_shrink(ARGS, h: given(Bf16, PAIRS, RANK)) => holds("h", Bf16, "f32"), "h holds bf16";
    shrink_to_too_few_pairs: lora_shrink(ARGS, h: given(F32, PAIRS - 1, RANK))
        => shape("h, by pairs,", PAIRS, PAIRS - 1), "h, by pairs, has 2 where 3 belong";
    shrink_to_too_few_ranks: lora_shrink(ARGS, h: given(F32, PAIRS, RANK - 1))
        => shape("h, by rank,", RANK, RANK - 1), "h, by rank, has 4 where 5 belong";
    shrink_to_mapped: lora_shrink(ARGS, h: ARGS.h.mapped()) => mapped_output(), "an output is a mapped file";

    expand_by_an_empty_slot: lora_expand(ARGS, slot: 2) => Error::EmptySlot { slot: 1 }, "slot 1 holds no adapter";
    expand_at_a_site_that_is_none: lora_expand(ARGS, site: 2) => limit("a site", 2, 2), "a site 2 is not below 2";
    expand_of_bf16: lora_expand(ARGS, h: given(Bf16, PAIRS, RANK)) => holds("h", Bf16, "f32"), "h holds bf16";
    expand_of_too_few_pairs: lora_expand(ARGS, h: given(F32, 2, RANK))
        => shape("h, by pairs,", PAIRS, 2), "h, by pairs, has 2";
    expand_of_too_few_ranks: lora_expand(ARGS, h: given(F32, PAIRS, 4))
        => shape("h, by rank,", RANK, 4), "h, by rank, has 4";
    expand_to_bf16: lora_expand(ARGS, delta: given(Bf16, ROWS, 10))
        => holds("a delta", Bf16, "f32"), "a delta holds bf16";
    expand_to_other_width: lora_expand(ARGS, delta: given(F32, ROWS, 9)) => shape("a delta", 10, 9), "a delta has 9";
    expand_to_other_rows: lora_expand(ARGS, set: RowSet::Scored) => shape("a delta", 2, ROWS), "a delta has 4";
    expand_to_mapped: lora_expand(ARGS, delta: ARGS.delta.mapped()) => mapped_output(), "an output is a mapped file";
}

/// Slots and sites, refused when an adapter is put where steps will find it.
#[test]
fn adapters_that_do_not_fit_their_table() {
    let cpu = cpu();
    let mut adapters = cpu.adapters(&sites(VOCABULARY), 3).unwrap();
    let beyond = cpu.install(&mut adapters, 3, Some(adapter(&cpu, VOCABULARY)));
    error(beyond, limit("a slot", 3, 3), "a slot 3 is not below 3");
    let other = cpu.install(&mut adapters, 0, Some(adapter(&cpu, VOCABULARY + 1)));
    error(other, shape("sites of the table's shapes", 2, 1), "sites of the table's shapes has 1 where 2 belong");
    let mut narrow = cpu.adapters(&sites(VOCABULARY)[..1], 3).unwrap();
    let many = cpu.install(&mut narrow, 0, Some(adapter(&cpu, VOCABULARY)));
    error(many, shape("an adapter's sites", 1, 2), "an adapter's sites has 2 where 1 belong");
    assert!(cpu.install(&mut adapters, 0, Some(adapter(&cpu, VOCABULARY))).unwrap().is_none());
    assert!(cpu.install(&mut adapters, 0, None).unwrap().is_some(), "what was there comes back");
    assert!(cpu.install(&mut adapters, 0, None).unwrap().is_none());
}

/// Adapters that are none, refused when they are laid out.
#[test]
fn adapters_that_cannot_be_laid_out() {
    let sites = sites(VOCABULARY);
    let made = |dtype, ranks: &[Vec<(u32, f32)>]| AdapterLayout::new(dtype, &sites, ranks);
    let rank = Error::Rank { site: 0, module: 1, found: 257, max: 256 };
    let says = "the rank of module 1 at site 0 is 257; a rank is at most 256";
    error(made(F32, &[vec![(256, 1.0), (257, 1.0)], vec![(1, 1.0)]]), rank, says);
    for scale in [f32::NAN, f32::INFINITY] {
        let expected = Error::NotFinite { what: "an adapter's scale", value: scale, also: "" };
        error(made(F32, &[vec![(1, 1.0), (1, scale)], vec![(1, 1.0)]]), expected, "an adapter's scale is");
    }
    error(made(U32, &[]), holds("an adapter", U32, "f32, bf16 or f16"), "an adapter holds u32");
    error(made(F32, &[vec![(1, 1.0), (1, 1.0)]]), shape("an adapter's sites", 2, 1), "an adapter's sites has 1");
    let modules = made(F32, &[vec![(1, 1.0)], vec![(1, 1.0)]]);
    error(modules, shape("a site's modules", 2, 1), "a site's modules has 1 where 2 belong");
}

/// Slabs of another size or type than their layout.
#[test]
fn slabs_that_do_not_fit_their_layout() {
    let (cpu, of) = (cpu(), layout(Bf16, VOCABULARY));
    let made = |dtype, len| Adapter::new(Held::new(&cpu, given(dtype, 1, len)).memory, layout(Bf16, VOCABULARY));
    error(made(F32, of.len()), holds("an adapter's slab", F32, "bf16"), "an adapter's slab holds f32");
    let expected = shape("an adapter's slab", of.len(), of.len() - 1);
    error(made(Bf16, of.len() - 1), expected, "an adapter's slab has");
    let mut slab = vec![0; of.len() * 2];
    let short = of.write_a(&mut slab, 0, 0, &[0; 2]);
    error(short, shape("an adapter's matrix in bytes", 2 * WIDTH * 2, 2), "an adapter's matrix in bytes has 2");
    let short = of.write_b(&mut slab, 0, 1, &[0; 2]);
    error(short, shape("an adapter's matrix in bytes", 3 * 3 * 2, 2), "an adapter's matrix in bytes has 2");
    let expected = shape("an adapter's slab in bytes", of.len() * 2, of.len() * 2 - 2);
    error(of.write_a(&mut slab[2..], 0, 0, &[0; 24]), expected, "an adapter's slab in bytes has");
    assert!(slab.iter().all(|byte| *byte == 0), "nothing was written");
}
