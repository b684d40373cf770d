//! The same request has the same tokens and the same bits: alone, in a crowd, chunked, from the cache, preempted.

use loam_engine::request::Generate;
use loam_engine::{DType, OpenOptions};

use crate::ask::{ADAPTERS, Open, Said, all, open, options, prompt, request};

/// Requests of many lengths, with none, one and two adapters at odd weights.
fn mixed(count: usize) -> Vec<Generate> {
    let request = |index: usize| {
        let (first, second) = (ADAPTERS[index % 5], ADAPTERS[(index / 5 + index + 1) % 5]);
        let adapters: &[(&str, f64)] = match index % 4 {
            0 => &[],
            1 => &[(first, 1.0)],
            2 if first != second => &[(first, 0.75), (second, -0.5)],
            _ => &[(second, 1.25)],
        };
        request(&prompt(index as u64, 3 + index * 7 % 120), adapters, 12)
    };
    (0..count).map(request).collect()
}

fn alone(open: Open, options: &OpenOptions, requests: &[Generate]) -> Vec<Said> {
    let mut options = options.clone();
    // Nobody finds anything of anybody else's.
    options.running_max = 1;
    let engine = open(&options);
    requests.iter().flat_map(|request| all(&engine, vec![request.clone()])).collect()
}

#[track_caller]
fn same(found: &[Said], expected: &[Said], how: &str) {
    assert_eq!(found.len(), expected.len());
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!(found.failure.is_none(), "request {index} {how}: {:?}", found.failure);
        assert!(found.invariant() == expected.invariant(), "request {index} has other bits {how}");
    }
}

pub(crate) fn check_crowd(open: Open, model: &str, dtype: DType, requests: usize) {
    let mut options = options(model);
    options.dtype = dtype;
    let requests = mixed(requests);
    let expected = alone(open, &options, &requests);
    same(&all(&open(&options), requests.clone()), &expected, "in a crowd");

    let mut chunked = options.clone();
    chunked.step_tokens_max = 17;
    chunked.running_max = 16;
    // Adapters take turns in the slots, while others are in use.
    chunked.slots = 3;
    same(&all(&open(&chunked), requests), &expected, "in chunks");
}

#[test]
fn in_a_crowd_and_in_chunks_f32() {
    check_crowd(open, "llama-gqa", DType::F32, 64);
}

#[test]
fn in_a_crowd_and_in_chunks_bf16() {
    check_crowd(open, "llama-gqa", DType::Bf16, 64);
}

#[test]
fn in_a_crowd_and_in_chunks_with_a_window() {
    check_crowd(open, "mistral-window", DType::F32, 64);
}

#[test]
fn in_a_crowd_and_in_chunks_with_qk_norm() {
    check_crowd(open, "qwen3-qknorm", DType::Bf16, 64);
}

#[test]
fn from_the_cache() {
    check_cache(open);
}

pub(crate) fn check_cache(open: Open) {
    let options = options("llama-gqa");
    let engine = open(&options);
    let request = request(&prompt(7, 100), &[("all-r16", 1.0)], 12);
    let first = all(&engine, vec![request.clone()]).remove(0);
    let again = all(&engine, vec![request.clone()]).remove(0);
    assert_eq!(first.one().reused, 0);
    assert_eq!(again.one().reused, 96, "three pages of 32 are whole");
    same(&[again], std::slice::from_ref(&first), "from the cache");

    // Another weight, another adapter, another tenant: nothing is shared.
    for other in [
        Generate { adapters: vec![], ..request.clone() },
        {
            let mut other = request.clone();
            other.adapters[0].weight = 1.000_001;
            other
        },
        Generate { tenant: "another".to_owned(), ..request },
    ] {
        assert_eq!(all(&engine, vec![other]).remove(0).one().reused, 0);
    }
}

#[test]
fn several_turns_reuse_what_was_said() {
    let engine = open(&options("qwen2-bias"));
    let first = prompt(3, 40);
    let answer = all(&engine, vec![request(&first, &[], 40)]).remove(0);
    let turn: Vec<u32> = first.iter().chain(&answer.one().tokens).copied().chain(prompt(4, 9)).collect();
    let said = all(&engine, vec![request(&turn, &[], 8)]).remove(0);
    assert_eq!(said.one().reused, 64, "two pages of prompt and answer");
    let fresh = alone(open, &options("qwen2-bias"), &[request(&turn, &[], 8)]);
    same(&[said], &fresh, "after another turn");
}

#[test]
fn preempted_and_resumed() {
    check_preempted(open, 8);
}

pub(crate) fn check_preempted(open: Open, requests: usize) {
    let mut few = options("llama-gqa");
    // 14 pages of 32: several requests of up to 160 tokens cannot all stay.
    let page_bytes = 2 * 2 * 32 * 64 * 4;
    few.kv_bytes = Some(14 * page_bytes);
    let requests: Vec<Generate> =
        (0..requests).map(|at| request(&prompt(50 + at as u64, 60), &[(ADAPTERS[at % 5], 1.0)], 90)).collect();
    let engine = open(&few);
    let found = all(&engine, requests.clone());
    assert!(engine.metrics().preempted > 0, "nobody was preempted: this test tries nothing");
    same(&found, &alone(open, &options("llama-gqa"), &requests), "after preemptions");
}

#[test]
fn several_samples_of_one_prompt() {
    let engine = open(&options("llama-gqa"));
    let mut several = request(&prompt(11, 70), &[("qv-r8", 1.0)], 16);
    several.n = 5;
    several.sampling.temperature = Some(1.5);
    several.sampling.seed = Some(77);
    let said = all(&engine, vec![several.clone()]).remove(0);
    assert_eq!(said.answers.len(), 5);
    let reused: Vec<u64> = (1..5).map(|choice| said.answers[&choice].reused).collect();
    assert_eq!(reused, [69; 4], "all of the prompt but its last row is shared");
    let distinct: std::collections::BTreeSet<_> = said.answers.values().map(|answer| &answer.tokens).collect();
    assert!(distinct.len() > 1, "seeds of choices differ");

    several.n = 1;
    let one = all(&engine, vec![several]).remove(0);
    assert_eq!(one.one().tokens, said.answers[&0].tokens, "the first choice has the request's own seed");
}

#[test]
fn seeds_give_the_same_tokens_whatever_the_batch() {
    let options = options("llama-gqa");
    let sampled = |index: u64| {
        let mut request = request(&prompt(index, 10 + index as usize), &[], 24);
        request.sampling.temperature = Some(1.1);
        request.sampling.top_p = Some(0.95);
        request.sampling.repetition_penalty = Some(1.2);
        request.sampling.seed = Some(index);
        request
    };
    let requests: Vec<Generate> = (0..24).map(sampled).collect();
    let expected = alone(open, &options, &requests);
    same(&all(&open(&options), requests), &expected, "sampled in a crowd");
}

#[test]
fn threads_do_not_matter() {
    let requests = mixed(12);
    let with = |threads| {
        let mut options = options("llama3-scaled-tied");
        options.threads = std::num::NonZero::new(threads);
        all(&open(&options), requests.clone())
    };
    same(&with(3), &with(1), "on three threads");
}
