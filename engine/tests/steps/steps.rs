//! Single steps: which operations they ask for, and what comes back.

use loam_engine::executor::{Batch, Executor as _, Outputs};
use loam_engine::model::Sites;
use loam_kernels::layout::Sampling;

use crate::machine::{PAGE_TOKENS, POSITIONS, Part, ROWS_MAX, SLOTS, adapter, batch, model, uploaded, watched};
use crate::watched::Call;

/// Sites where adapters were asked, in order, each by both halves.
fn sites(calls: &[Call], name: &str) -> Vec<usize> {
    calls.iter().filter(|call| call.name == name).map(|call| call.site.unwrap()).collect()
}

#[test]
fn a_step_without_adapters_runs_the_base_alone() {
    let (watched, mut runner) = watched();
    // Some are resident; nobody here uses one.
    let mut step = batch(&[Part::new(0, &[1, 2, 3]).scored(), Part::new(1, &[4])]);
    step.installs = vec![(0, Some(uploaded(&runner, 1)))];
    watched.take();
    runner.execute(&step).unwrap();
    let calls = watched.take();
    assert!(calls.iter().all(|call| call.site.is_none() && !call.delta && call.name != "add"), "{calls:?}");
    assert!(calls.iter().all(|call| call.name != "allocate"), "memory is taken beforehand");
    assert_eq!(calls.iter().filter(|call| call.name == "linear").count(), 2 * 4 + 1);
}

#[test]
fn adapters_are_asked_only_where_they_do_something() {
    let (watched, mut runner) = watched();
    let all = Sites::new(&model().shape);
    for chosen in [vec![0], vec![5], vec![2, 7], vec![all.head()], vec![all.embedding()], vec![]] {
        let adapter = adapter(all.shapes(), 1, |site| chosen.contains(&site));
        let mut step = batch(&[Part::new(0, &[1, 2, 3]).with(&[(0, 1.0)]), Part::new(1, &[4])]);
        step.installs = vec![(0, Some(runner.uploader().upload(&adapter).unwrap()))];
        watched.take();
        runner.execute(&step).unwrap();
        let calls = watched.take();
        for half in ["lora_shrink", "lora_expand"] {
            assert_eq!(sites(&calls, half), chosen, "{half}");
        }
        // Expanding counts as well.
        let deltas = calls.iter().filter(|call| call.delta).count();
        assert_eq!(deltas, 2 * chosen.len(), "{chosen:?}: each delta is made once and added once");
    }
}

#[test]
fn an_adapter_at_every_site_is_asked_at_every_site() {
    let (watched, mut runner) = watched();
    let mut step = batch(&[Part::new(0, &[1, 2, 3]).with(&[(1, 1.0)]).scored()]);
    step.installs = vec![(1, Some(uploaded(&runner, 1)))];
    watched.take();
    runner.execute(&step).unwrap();
    let calls = watched.take();
    // The embedding's first, then the layers', then the head's: for sampled rows, and for scored ones.
    assert_eq!(sites(&calls, "lora_shrink"), [9, 0, 1, 2, 3, 4, 5, 6, 7, 8, 8]);
    assert_eq!(sites(&calls, "lora_expand"), [9, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
    assert!(calls.iter().any(|call| call.name == "log_probability_of" && call.delta));
}

#[test]
fn rows_have_the_same_bits_beside_others() {
    let (_, mut runner) = watched();
    let parts = [
        Part::new(0, &[1, 2, 3, 4, 5, 6, 7]).scored(),
        Part::new(1, &[9, 8, 7, 6]).with(&[(0, 1.0)]).scored(),
        Part::new(2, &[30, 31, 32, 33, 34]).with(&[(0, -0.75), (2, 0.5)]),
        Part::new(3, &[50]).with(&[(2, 1.25)]),
    ];
    let mut crowd = batch(&parts);
    crowd.installs = vec![(0, Some(uploaded(&runner, 1))), (2, Some(uploaded(&runner, 2)))];
    let crowd = runner.execute(&crowd).unwrap();
    let mut scored = crowd.scored.into_iter();
    for (place, part) in parts.iter().enumerate() {
        let alone = runner.execute(&batch(std::slice::from_ref(part))).unwrap();
        assert!(alone.logits[0] == crowd.logits[place] && alone.sampled[0] == crowd.sampled[place], "part {place}");
        assert!(scored.by_ref().take(alone.scored.len()).eq(alone.scored.iter().cloned()), "part {place}");
        let plain = runner.execute(&batch(&[part.clone().with(&[])])).unwrap();
        assert_eq!(plain.logits == alone.logits, part.adapters.is_empty(), "an adapter shows, part {place}");
    }
}

#[test]
fn pages_that_are_copied_go_on_alike() {
    let (_, mut runner) = watched();
    let tokens: Vec<u32> = (0..20).collect();
    runner.execute(&batch(&[Part::new(0, &tokens)])).unwrap();
    let expected = runner.execute(&batch(&[Part::new(0, &[40]).at(20)])).unwrap();
    let mut step = batch(&[Part::new(2, &[40]).at(20)]);
    step.copies = vec![(0, 8), (1, 9)];
    assert_eq!(runner.execute(&step).unwrap(), expected);
}

#[test]
fn a_step_of_installs_and_copies_alone() {
    let (watched, mut runner) = watched();
    let mut step = Batch { copies: vec![(0, 8)], ..Default::default() };
    step.installs = vec![(0, Some(uploaded(&runner, 1)))];
    watched.take();
    assert_eq!(runner.execute(&step).unwrap(), Outputs::default());
    assert!(watched.take().iter().any(|call| call.name == "copy_pages"));
    runner.execute(&batch(&[Part::new(0, &[1]).with(&[(0, 1.0)])])).unwrap();
}

#[test]
fn each_row_is_told_of_as_many_tokens_as_it_asked_for() {
    let (_, mut runner) = watched();
    let mut step = batch(&[Part::new(0, &[1, 2]), Part::new(1, &[3]), Part::new(2, &[4])]);
    for (sampling, asked) in step.sampling.iter_mut().zip([3, 0, 64]) {
        *sampling = Sampling { top_log_probabilities: asked, ..Sampling::default() };
    }
    // Not in the order of their rows, and one of them not at all.
    step.logits = vec![2, 0];
    let outputs = runner.execute(&step).unwrap();
    assert_eq!(outputs.sampled.iter().map(|row| row.top.len()).collect::<Vec<_>>(), [3, 0, 64]);
    for (sampled, logits) in [(&outputs.sampled[2], &outputs.logits[0]), (&outputs.sampled[0], &outputs.logits[1])] {
        let sum = logits.iter().map(|logit| logit.exp()).sum::<f32>().ln();
        let mut ranked: Vec<usize> = (0..logits.len()).collect();
        ranked.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]));
        assert_eq!((sampled.chosen.token, sampled.chosen.rank), (ranked[0] as u32, 0));
        assert!((sampled.chosen.log_probability - (logits[ranked[0]] - sum)).abs() < 1e-5);
        for (&(token, log_probability), expected) in sampled.top.iter().zip(ranked) {
            assert_eq!(token as usize, expected);
            assert!((log_probability - (logits[expected] - sum)).abs() < 1e-5);
        }
    }
}

#[test]
fn one_row_can_be_sampled_many_times() {
    let (_, mut runner) = watched();
    let mut step = batch(&[Part::new(0, &[1, 2])]);
    step.inputs.sampled = vec![1; ROWS_MAX];
    let seeded = |seed| Sampling { temperature: 1.0, seed, ..Sampling::default() };
    step.sampling = (0..ROWS_MAX as u64).map(seeded).collect();
    let outputs = runner.execute(&step).unwrap();
    let first = &outputs.sampled[0];
    assert!(outputs.sampled.iter().any(|row| row.chosen != first.chosen), "every draw is its own");
}

#[test]
fn says_what_it_can_take() {
    let (_, runner) = watched();
    let limits = runner.limits();
    assert_eq!((limits.rows_max, limits.step.slots, limits.step.vocabulary), (ROWS_MAX, SLOTS, 96));
    assert_eq!((limits.step.positions, limits.step.page_tokens, limits.step.pages), (POSITIONS, PAGE_TOKENS, 16));
    assert!(runner.describe().starts_with("cpu, "), "{}", runner.describe());
}
