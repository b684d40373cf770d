//! How tokens are chosen: what is refused, what wins, and what a draw depends on.

use loam_engine::Error;
use loam_engine::sampler::{SamplingOptions, SequenceSampler, choice_seed};
use loam_kernels::layout::{Sampling, Seen};

/// A field that is refused, by name.
fn refused(options: SamplingOptions) -> &'static str {
    match options.check() {
        Err(Error::Request { field, .. }) => field,
        other => panic!("{other:?}"),
    }
}

fn options() -> SamplingOptions {
    SamplingOptions::default()
}

#[test]
fn numbers_that_mean_nothing_are_refused_by_name() {
    assert!(options().check().is_ok());
    for value in [-0.1, f32::NAN, f32::INFINITY] {
        assert_eq!(refused(SamplingOptions { temperature: Some(value), ..options() }), "temperature");
    }
    for value in [0.0, 1.1, f32::NAN] {
        assert_eq!(refused(SamplingOptions { top_p: Some(value), ..options() }), "top_p");
    }
    assert_eq!(refused(SamplingOptions { min_p: Some(-0.5), ..options() }), "min_p");
    assert_eq!(refused(SamplingOptions { repetition_penalty: Some(0.0), ..options() }), "repetition_penalty");
    assert_eq!(refused(SamplingOptions { presence_penalty: Some(2.5), ..options() }), "presence_penalty");
    assert_eq!(refused(SamplingOptions { frequency_penalty: Some(f32::NAN), ..options() }), "frequency_penalty");
    for bias in [vec![(1, 101.0)], vec![(1, f32::NAN)], vec![(1, 0.0), (1, 1.0)], vec![(1, 0.0); 2000]] {
        assert_eq!(refused(SamplingOptions { logit_bias: bias, ..options() }), "logit_bias");
    }
}

#[test]
fn a_request_wins_over_the_files_and_these_over_nothing() {
    let files = SamplingOptions { temperature: Some(0.6), top_k: Some(20), ..options() };
    let request = SamplingOptions { temperature: Some(0.0), logit_bias: vec![(9, 1.0), (3, -1.0)], ..options() };
    let resolved = request.resolve(&files);
    assert_eq!((resolved.temperature, resolved.top_k, resolved.top_p), (0.0, 20, 1.0));
    assert_eq!(resolved.logit_bias, [(3, -1.0), (9, 1.0)]);
    assert_eq!(options().resolve(&options()).temperature, 1.0);
}

fn sampler(options: &SamplingOptions, prompt: &[u32]) -> SequenceSampler {
    let parameters = options.resolve(&SamplingOptions::default());
    SequenceSampler::new(&parameters, 7, Some(3), prompt, 100).unwrap()
}

#[test]
fn a_draw_is_the_position_of_its_token() {
    let mut sampler = sampler(&options(), &[1, 2, 3]);
    let first = sampler.next(&[], None);
    assert_eq!((first.draw, first.seed, first.top_log_probabilities), (3, 7, 3));
    sampler.accept(9);
    assert_eq!(sampler.next(&[], None).draw, 4);
    assert_eq!(sampler.position(), 4);
}

#[test]
fn what_was_seen_is_kept_where_a_penalty_needs_it() {
    let mut without = sampler(&options(), &[1, 2]);
    without.accept(2);
    assert!(without.next(&[], None).seen.is_empty());
    let mut with = sampler(&SamplingOptions { presence_penalty: Some(0.5), ..options() }, &[5, 1, 5]);
    with.accept(1);
    with.accept(8);
    with.accept(8);
    let seen = |token, in_prompt, in_output| Seen { token, in_prompt, in_output };
    assert_eq!(with.next(&[], None).seen, [seen(5, true, 0), seen(1, true, 1), seen(8, false, 2)]);
}

#[test]
fn the_token_after_the_next_counts_the_next() {
    let options = SamplingOptions { frequency_penalty: Some(0.5), logit_bias: vec![(4, 2.0)], ..options() };
    let mut sampler = sampler(&options, &[5, 1]);
    let ahead = sampler.next_but_one(&[6]);
    assert!(ahead.counts_own && ahead.seen.len() == 2);
    sampler.accept(1);
    // What is asked when it is known, but for what is known by then.
    let then = sampler.next(&[6], None);
    assert_eq!(Sampling { counts_own: false, seen: then.seen.clone(), ..ahead }, then);
    assert!(!self::sampler(&SamplingOptions::default(), &[1]).next_but_one(&[]).counts_own, "nothing needs it");
}

#[test]
fn forbidden_tokens_have_no_other_bias() {
    let options = SamplingOptions { logit_bias: vec![(4, 2.0), (6, 1.0)], ..options() };
    let sampling = sampler(&options, &[1]).next(&[6, 2, 500], None);
    assert_eq!(sampling.bias, [(2, f32::NEG_INFINITY), (4, 2.0), (6, f32::NEG_INFINITY)]);
    sampling.check(100).unwrap();
}

#[test]
fn forbidden_tokens_leave_a_mask_unless_it_allows_no_others() {
    let sampler = sampler(&options(), &[1]);
    assert_eq!(sampler.next(&[2], Some(vec![0b1100, 0, 0, 0])).mask, Some(vec![0b1000, 0, 0, 0]));
    assert_eq!(sampler.next(&[2, 3], Some(vec![0b1100, 0, 0, 0])).mask, Some(vec![0b1100, 0, 0, 0]));
    assert!(sampler.next(&[2], Some(vec![0b1100, 0, 0, 0])).bias.is_empty());
}

#[test]
fn a_bias_of_a_token_that_there_is_not_is_refused() {
    let parameters = SamplingOptions { logit_bias: vec![(100, 1.0)], ..options() }.resolve(&options());
    let error = SequenceSampler::new(&parameters, 0, None, &[1], 100).unwrap_err().to_string();
    assert!(error.contains("token 100"), "{error}");
}

#[test]
fn each_choice_has_a_seed_of_its_own() {
    assert_eq!(choice_seed(42, 0), 42);
    let mut seeds: Vec<u64> = (0..100).flat_map(|seed| (0..100).map(move |choice| choice_seed(seed, choice))).collect();
    seeds.sort_unstable();
    seeds.dedup();
    assert_eq!(seeds.len(), 10_000);
    // Recorded answers are drawn again from these.
    assert_eq!(choice_seed(0, 1), 0xe220_a839_7b1d_cdaf);
}
