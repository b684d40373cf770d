//! Steps that cannot be run: an error each, and the next step is right.

use std::sync::Arc;

use loam_engine::executor::{Batch, Executor as _, Uploaded};
use loam_engine::model::Sites;
use loam_kernels::layout::Scored;

use crate::machine::{Part, ROWS_MAX, SLOTS, adapter, batch, model, uploaded, watched};

/// Whichever operation of a step fails: slots are as they were before, and the same step run again is what it would
/// have been.
#[test]
fn any_operation_may_fail_and_the_step_be_run_again() {
    let (watched, mut runner) = watched();
    runner.execute(&batch(&[Part::new(0, &[1, 2, 3, 4, 5, 6, 7, 8, 9])])).unwrap();
    let probe = batch(&[Part::new(3, &[7, 8]).with(&[(0, 1.0), (1, 1.0)])]);
    let old = [(0, Some(uploaded(&runner, 3))), (1, Some(uploaded(&runner, 4)))];
    runner.execute(&Batch { installs: old.to_vec(), ..Batch::default() }).unwrap();
    let of_old = runner.execute(&probe).unwrap();
    let mut step =
        batch(&[Part::new(1, &[1, 2, 3]).with(&[(0, 1.0)]).scored(), Part::new(2, &[10]).at(9).with(&[(1, 0.5)])]);
    step.copies = vec![(0, 8)];
    step.installs = vec![(0, Some(uploaded(&runner, 1))), (2, None), (1, Some(uploaded(&runner, 2)))];
    watched.take();
    let expected = runner.execute(&step).unwrap();
    let calls = watched.take();
    assert!(calls.len() > 50, "{} calls", calls.len());
    for (failing, call) in calls.iter().enumerate() {
        runner.execute(&Batch { installs: old.to_vec(), ..Batch::default() }).unwrap();
        watched.fail_after(failing);
        let error = runner.execute(&step).expect_err("it was made to fail").to_string();
        assert!(error.contains(&format!("{} was made to fail", call.name)), "{error}");
        assert_eq!(runner.execute(&probe).unwrap(), of_old, "slots after call {failing}, {}", call.name);
        assert_eq!(runner.execute(&step).unwrap(), expected, "the step after call {failing}, {}", call.name);
    }
}

#[track_caller]
fn refused(change: impl FnOnce(&mut Batch), words: &str) {
    let (watched, mut runner) = watched();
    let good = batch(&[Part::new(0, &[1, 2, 3]), Part::new(1, &[4])]);
    let expected = runner.execute(&good).unwrap();
    let mut step = batch(&[Part::new(0, &[1, 2, 3]), Part::new(1, &[4])]);
    change(&mut step);
    watched.take();
    let error = runner.execute(&step).expect_err("this is refused").to_string();
    assert!(error.contains(words), "{error}");
    let computed = |name| ["embed", "linear", "rope_store", "sample"].contains(&name);
    assert!(!watched.take().iter().any(|call| computed(call.name)), "nothing was computed");
    assert_eq!(runner.execute(&good).unwrap(), expected);
}

#[test]
fn more_rows_than_there_is_room_for() {
    let tokens = vec![1; ROWS_MAX + 1];
    refused(|step| *step = batch(&[Part::new(0, &tokens)]), "`rows of a step`");
}

#[test]
fn more_sampled_rows_than_there_is_room_for() {
    refused(
        |step| {
            step.inputs.sampled = vec![0; ROWS_MAX + 1];
            step.sampling = vec![Default::default(); ROWS_MAX + 1];
        },
        "`sampled rows of a step`",
    );
}

#[test]
fn more_scored_rows_than_there_is_room_for() {
    refused(|step| step.inputs.scored = vec![Scored { row: 0, token: 1 }; ROWS_MAX + 1], "`scored rows of a step`");
}

#[test]
fn fewer_ways_to_sample_than_rows() {
    refused(|step| drop(step.sampling.pop()), "`sampling of a step`");
}

#[test]
fn logits_of_a_row_that_is_not_sampled() {
    refused(|step| step.logits.push(2), "`logits of a step`");
}

#[test]
fn tokens_outside_the_vocabulary() {
    refused(|step| step.inputs.tokens[0] = 96, "a token");
}

#[test]
fn positions_beyond_the_table_of_angles() {
    refused(|step| step.inputs.segments[1].first_position = 64, "a position");
}

#[test]
fn a_slot_that_is_empty() {
    refused(|step| *step = batch(&[Part::new(0, &[1]).with(&[(2, 1.0)])]), "slot 2 holds no adapter");
}

#[test]
fn a_slot_that_is_not_there() {
    let (_, runner) = watched();
    let adapter = uploaded(&runner, 1);
    refused(|step| step.installs = vec![(SLOTS as u32, Some(adapter))], "a slot");
}

/// A row must never be answered by another adapter than its own.
#[test]
fn an_adapter_of_another_executor() {
    let (_, mut runner) = watched();
    let using = |slot| batch(&[Part::new(0, &[1, 2]).with(&[(slot, 1.0)])]);
    let mut first = using(0);
    first.installs = vec![(0, Some(uploaded(&runner, 1))), (1, Some(uploaded(&runner, 2)))];
    let of_first = runner.execute(&first).unwrap();
    let of_second = runner.execute(&using(1)).unwrap();
    assert!(of_first.logits != of_second.logits);

    let mut step = using(0);
    let foreign = Uploaded(Arc::new("what another executor calls an adapter"));
    step.installs = vec![(1, Some(uploaded(&runner, 3))), (0, Some(foreign))];
    let error = runner.execute(&step).expect_err("it is another executor's").to_string();
    assert!(error.contains("of another executor"), "{error}");
    assert_eq!(runner.execute(&using(0)).unwrap(), of_first);
    assert_eq!(runner.execute(&using(1)).unwrap(), of_second);
}

#[test]
fn adapters_that_cannot_be_uploaded() {
    let (_, runner) = watched();
    let sites = Sites::new(&model().shape);
    let mut short = adapter(sites.shapes(), 1, |_| true);
    short.slab.pop();
    let mut other = model().shape;
    other.layers += 1;
    let foreign = adapter(Sites::new(&other).shapes(), 1, |_| true);
    for (adapter, words) in [(short, "slab"), (foreign, "another model")] {
        let error = runner.uploader().upload(&adapter).err().expect("this is refused").to_string();
        assert!(error.contains(words), "{error}");
    }
}
