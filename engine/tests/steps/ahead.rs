//! A step that is launched before the tokens of the one before it are known, and takes them on the device.

use loam_engine::executor::{Batch, Executor as _, Ticket, Uploaded};
use loam_engine::runner::Runner;
use loam_kernels::layout::{RANK_MAX, Sampling, Taken};

use crate::machine::{Part, adapter, batch, model, recording, uploaded, watched};
use crate::watched::Watched;

/// Three prompts, each with its adapters; they draw by chance.
fn prompts() -> Vec<Part> {
    vec![
        Part::new(0, &[1, 2, 3]),
        Part::new(1, &[9, 8, 7, 6]).with(&[(0, 1.0)]),
        Part::new(2, &[30, 31]).with(&[(0, -0.75), (1, 0.5)]),
    ]
}

fn drawing(parts: &[Part], draw: u64) -> Batch {
    let mut step = batch(parts);
    let by_chance = |seed| Sampling { temperature: 1.0, seed, draw, top_log_probabilities: 2, ..Sampling::default() };
    step.sampling = (0..parts.len() as u64).map(by_chance).collect();
    step
}

/// One row each after its prompt and some more: in the order of `places`, each of the token that stands there.
fn next(places: &[u32], tokens: &[u32], after: u32) -> Vec<Part> {
    let prompts = prompts();
    let part = |(place, token): (&u32, &u32)| {
        let prompt = &prompts[*place as usize];
        Part { tokens: vec![*token], ..prompt.clone().at(prompt.tokens.len() as u32 + after) }
    };
    places.iter().zip(tokens).map(part).collect()
}

fn taking(mut step: Batch, places: &[u32]) -> Batch {
    step.inputs.taken = (0..).zip(places).map(|(row, place)| Taken { row, place: *place }).collect();
    step
}

fn with_adapters(runner: &mut Runner<Watched>) {
    let installs = vec![(0, Some(uploaded(runner, 1))), (1, Some(uploaded(runner, 2)))];
    runner.execute(&Batch { installs, ..Batch::default() }).unwrap();
}

#[test]
fn tokens_are_taken_where_they_are_drawn() {
    let (mut plain, mut apart) = (watched().1, recording(RANK_MAX).1);
    assert_eq!((plain.steps_ahead(), apart.steps_ahead()), (0, 1));
    with_adapters(&mut plain);
    with_adapters(&mut apart);
    let first = plain.execute(&drawing(&prompts(), 0)).unwrap();
    let drawn = |outputs: &loam_engine::executor::Outputs, place: u32| outputs.sampled[place as usize].chosen.token;
    // The second one has ended, and the others stand the other way round.
    let places = [2, 0];
    let tokens = places.map(|place| drawn(&first, place));
    let second = plain.execute(&drawing(&next(&places, &tokens, 0), 1)).unwrap();
    let third_tokens = [0, 1].map(|place| drawn(&second, place));
    let third = plain.execute(&drawing(&next(&places, &third_tokens, 1), 2)).unwrap();

    let unknown = [95, 0];
    let tickets = [
        drawing(&prompts(), 0),
        taking(drawing(&next(&places, &unknown, 0), 1), &places),
        taking(drawing(&next(&places, &unknown, 1), 2), &[0, 1]),
    ]
    .map(|step| apart.launch(&step).unwrap());
    let found = tickets.map(|ticket| apart.collect(ticket).unwrap());
    assert!(found == [first, second, third]);
}

/// An adapter on the embedding goes by the token too.
#[test]
fn adapters_of_tokens_see_them() {
    let (mut plain, mut apart) = (watched().1, recording(RANK_MAX).1);
    let sites = loam_engine::model::Sites::new(&model().shape);
    for runner in [&mut plain, &mut apart] {
        let embeds = adapter(sites.shapes(), 3, |site| site == sites.embedding());
        let embeds: Uploaded = runner.uploader().upload(&embeds).unwrap();
        runner.execute(&Batch { installs: vec![(0, Some(embeds))], ..Batch::default() }).unwrap();
    }
    let prompt = [Part::new(0, &[1, 2, 3]).with(&[(0, 1.0)])];
    let follows = |token| [Part::new(0, &[token]).at(3).with(&[(0, 1.0)])];
    let first = plain.execute(&batch(&prompt)).unwrap();
    let expected = plain.execute(&batch(&follows(first.sampled[0].chosen.token))).unwrap();
    apart.execute(&batch(&prompt)).unwrap();
    let found = apart.execute(&taking(batch(&follows(0)), &[0])).unwrap();
    assert!(found == expected);
}

#[test]
fn what_nobody_drew_cannot_be_taken() {
    let (watched, mut runner) = recording(RANK_MAX);
    let takes = |place| taking(batch(&[Part::new(0, &[0]).at(3)]), &[place]);
    let mut refused = |place, words: &str| {
        let error = runner.execute(&takes(place)).expect_err("nobody drew it").to_string();
        assert_eq!(error, words);
        runner.execute(&batch(&[Part::new(0, &[1, 2, 3]), Part::new(1, &[4])])).unwrap();
    };
    refused(0, "a place that the step before samples 0 is not below 0");
    refused(2, "a place that the step before samples 2 is not below 2");
    runner.execute(&takes(1)).unwrap();
    // What a step drew that failed is nobody's.
    watched.fail_after(3);
    runner.execute(&takes(0)).expect_err("it was made to fail");
    let error = runner.execute(&takes(0)).expect_err("nobody drew it").to_string();
    assert!(error.contains("0 is not below 0"), "{error}");
}

#[test]
fn steps_are_collected_in_order_and_once() {
    let (_, mut runner) = recording(RANK_MAX);
    let step = batch(&[Part::new(0, &[1, 2, 3])]);
    let (first, second) = (runner.launch(&step).unwrap(), runner.launch(&step).unwrap());
    let words =
        |ticket| format!("`a step to collect` is {ticket}; it can be the first that was launched and not collected");
    assert_eq!(runner.collect(second).expect_err("another is first").to_string(), words(1));
    runner.collect(first).unwrap();
    runner.collect(Ticket(1)).unwrap();
    assert_eq!(runner.collect(Ticket(1)).expect_err("it was collected").to_string(), words(1));
}

/// A device may wait for a whole step before it reads nothing.
#[test]
fn what_nobody_asked_for_is_not_read() {
    let (watched, mut runner) = recording(RANK_MAX);
    let mut reads = |step: &Batch| {
        watched.take();
        runner.execute(step).unwrap();
        watched.take().iter().filter(|call| call.name == "read").count()
    };
    let mut step = batch(&[Part::new(0, &[1, 2, 3])]);
    assert_eq!(reads(&step), 5 + 1, "tokens, probabilities, ranks, the most probable ones twice; the row's logits");
    step.logits.clear();
    step.inputs.sampled.clear();
    step.sampling.clear();
    assert_eq!(reads(&step), 1, "keys and values are kept, and that is all: a word tells when");
    assert_eq!(reads(&Batch::default()), 0);
}
