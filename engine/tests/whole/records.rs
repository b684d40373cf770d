//! What was computed is what is recorded, once: for answers that finish, are cancelled, fail, and are preempted.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use loam_engine::recorder::{MemoryRecorder, RowRecord, StepRecord};
use loam_engine::request::Generate;
use loam_engine::{Engine, Event, OpenOptions};
use loam_ledger_core::row::{Finish, Tokens};

use crate::ask::{ADAPTERS, all, open_recorded, options, prompt, request};
use crate::audit::audit;

fn recorded(options: &OpenOptions) -> (Engine, Arc<Mutex<Vec<StepRecord>>>) {
    let (recorder, kept) = MemoryRecorder::keeping();
    (open_recorded(options, Box::new(recorder)), kept)
}

#[test]
fn answers_that_finish() {
    let (engine, kept) = recorded(&options("llama-gqa"));
    let requests = (0..12).map(|index| request(&prompt(index, 40), &[(ADAPTERS[index as usize % 5], 1.0)], 100));
    let said = all(&engine, requests.collect());
    engine.stop().unwrap();
    let ends = audit(&kept);
    assert_eq!(ends.len(), 12);
    assert!(ends.values().all(|end| *end == (Finish::LENGTH, 100)));
    assert!(said.iter().all(|said| said.one().tokens.len() == 100));
    let rows: usize = kept.lock().unwrap().iter().map(|step| step.rows.len()).sum();
    assert!(rows >= 12 * 3, "a prompt's row, one for 64 tokens, the last ones', the completion: {rows} rows");
}

#[test]
fn what_is_reused_is_told_apart() {
    let (engine, kept) = recorded(&options("llama-gqa"));
    let request = request(&prompt(1, 100), &[], 4);
    all(&engine, vec![request.clone()]);
    all(&engine, vec![request]);
    engine.stop().unwrap();
    audit(&kept);
    let steps = kept.lock().unwrap();
    let completions = steps.iter().flat_map(|step| &step.rows).filter_map(|row| match row {
        RowRecord::Completion(completion) => Some(completion.tokens),
        RowRecord::Usage(_) => None,
    });
    let tokens: Vec<Tokens> = completions.collect();
    assert_eq!((tokens[0].prefilled, tokens[0].reused), (100, 0));
    assert_eq!((tokens[1].prefilled, tokens[1].reused), (4, 96));
}

#[test]
fn preempted_work_is_recorded_once_and_recomputed_work_apart() {
    let mut few = options("llama-gqa");
    few.kv_bytes = Some(14 * 2 * 2 * 32 * 64 * 4);
    let (engine, kept) = recorded(&few);
    let requests: Vec<Generate> = (0..8).map(|index| request(&prompt(90 + index, 60), &[], 90)).collect();
    let said = all(&engine, requests);
    assert!(engine.metrics().preempted > 0, "nobody was preempted: this test tries nothing");
    engine.stop().unwrap();
    assert_eq!(audit(&kept).len(), 8);
    let steps = kept.lock().unwrap();
    assert_eq!(steps.iter().map(|step| step.prefilled_tokens).sum::<u64>(), 8 * 60, "first times only");
    assert_eq!(steps.iter().map(|step| step.emitted_tokens).sum::<u64>(), 8 * 90);
    assert_eq!(said.len(), 8);
}

#[test]
fn cancelled_answers_have_what_was_delivered() {
    let (engine, kept) = recorded(&options("llama-gqa"));
    let mut stream = engine.generate(request(&prompt(1, 30), &[("qv-r8", 1.0)], 400)).unwrap();
    let mut tokens = 0;
    while tokens < 3 {
        if let Some(Event::Tokens(event)) = stream.next() {
            tokens += event.tokens.len() as u64;
        }
    }
    stream.handle().cancel();
    for event in stream.by_ref() {
        if let Event::Tokens(event) = event {
            tokens += event.tokens.len() as u64;
        }
    }
    engine.stop().unwrap();
    let ends = audit(&kept);
    assert_eq!(ends.into_values().collect::<Vec<_>>(), [(Finish::CANCELLED, tokens)]);
}

#[test]
fn a_client_that_goes_away_is_cancelled() {
    let (engine, kept) = recorded(&options("llama-gqa"));
    let mut stream = engine.generate(request(&prompt(1, 30), &[], 400)).unwrap();
    while !matches!(stream.next(), Some(Event::Tokens(_))) {}
    drop(stream);
    let waited = std::time::Instant::now();
    while engine.metrics().now.running > 0 && waited.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(5));
    }
    engine.stop().unwrap();
    let ends = audit(&kept);
    let (finish, delivered) = ends.into_values().next().unwrap();
    assert_eq!(finish, Finish::CANCELLED);
    assert!(delivered < 400);
}

#[test]
fn late_answers_end_by_their_deadline() {
    let (engine, kept) = recorded(&options("llama-gqa"));
    let late = Generate { deadline_ms: Some(8), ..request(&prompt(1, 30), &[], 470) };
    let said = all(&engine, vec![late]).remove(0);
    engine.stop().unwrap();
    let ends = audit(&kept);
    match said.failure {
        None => {
            assert_eq!(said.answers[&0].finish, Some(Finish::DEADLINE));
            assert_eq!(ends.into_values().next().unwrap().0, Finish::DEADLINE);
        }
        // A machine that was busy elsewhere did not even begin it.
        Some(why) => assert!(why.contains("time ran out"), "{why}"),
    }
}

#[test]
fn stopping_at_once_records_what_ran() {
    let (engine, kept) = recorded(&options("llama-gqa"));
    let streams: Vec<_> = (0..4).map(|index| engine.generate(request(&prompt(index, 30), &[], 450)).unwrap()).collect();
    std::thread::sleep(Duration::from_millis(50));
    engine.stop_within(Duration::ZERO).unwrap();
    let ends = audit(&kept);
    assert!(ends.values().all(|(finish, _)| [Finish::FAILED, Finish::LENGTH].contains(finish)));
    for stream in streams {
        let last = stream.last();
        assert!(matches!(last, Some(Event::Failed(_) | Event::Finished(_))), "{last:?}");
    }
}

/// What the scheduler refuses never began: nothing is recorded of it, its place is free, and nobody waits for it.
#[test]
fn what_the_scheduler_refuses_leaves_nothing_behind() {
    let mut narrow = options("llama-gqa");
    narrow.slots = 2;
    narrow.requests_max = 1;
    let (engine, kept) = recorded(&narrow);
    let three = [("qv-r8", 1.0), ("all-r16", 1.0), ("patterns", 1.0)];
    for _ in 0..3 {
        let refused = Generate { n: 2, ..request(&prompt(1, 10), &three, 4) };
        let failure = all(&engine, vec![refused]).remove(0).failure.expect("three adapters have no room");
        assert!(failure.contains("3 adapters"), "{failure}");
        // Its place is free a moment after it has said so.
        let start = std::time::Instant::now();
        while engine.generate(request(&[1], &[], 0)).is_err_and(|error| error.to_string().contains("full")) {
            assert!(start.elapsed() < Duration::from_secs(10), "its place is never free");
        }
    }
    assert_eq!(all(&engine, vec![request(&prompt(1, 10), &three[..2], 4)]).remove(0).one().tokens.len(), 4);
    engine.stop().unwrap();
    assert_eq!(audit(&kept).into_values().collect::<Vec<_>>(), [(Finish::LENGTH, 4)]);
}
