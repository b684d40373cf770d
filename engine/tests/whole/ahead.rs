//! Steps launched before the tokens of the one before are known: the same answers to the bit, and the same record but for
//! what was computed in vain. On a CPU that says that it runs apart, and on the emulated GPU.

use std::num::NonZero;
use std::sync::{Arc, Mutex};

use loam_engine::constraint::Constraint;
use loam_engine::recorder::{MemoryRecorder, RowRecord, StepRecord};
use loam_engine::request::Generate;
use loam_engine::{DType, DeliveryMode, Engine, Event, OpenOptions};
use loam_kernels::Cpu;
use loam_kernels::cpu::CpuOptions;
use loam_ledger_core::row::{Finish, Tokens};

use crate::ask::{ADAPTERS, Said, all, heard, options, prompt, request, with_adapters};
use crate::audit::audit;
use crate::goldens::{check_bf16, check_f32};
use crate::invariance::{check_cache, check_crowd, check_preempted};
use crate::watched::Watched;

/// How an engine is opened on some device under a recorder.
pub(crate) type OpenRecorded = fn(&OpenOptions, MemoryRecorder) -> Engine;

fn open_recorded(options: &OpenOptions, recorder: MemoryRecorder) -> Engine {
    let cpu = Cpu::new(CpuOptions { threads: NonZero::new(2), level: None }).unwrap();
    let record = |_| Ok(Box::new(recorder) as _);
    let engine = Engine::open_on(Arc::new(Watched::new(cpu, true)), options, record, &mut |_| {}).unwrap();
    with_adapters(options, engine)
}

fn open(options: &OpenOptions) -> Engine {
    open_recorded(options, MemoryRecorder::default())
}

#[test]
fn goldens_f32() {
    check_f32("llama-gqa", open, 1);
}

#[test]
fn goldens_bf16() {
    check_bf16("qwen3-qknorm", open, 1);
}

#[test]
fn in_a_crowd_and_in_chunks() {
    check_crowd(open, "llama-gqa", DType::F32, 64);
}

#[test]
fn from_the_cache() {
    check_cache(open);
}

#[test]
fn preempted_and_resumed() {
    check_preempted(open, 8);
}

/// Requests of every kind: some end at a token or a text that nobody foresees, some have several choices, a form, or
/// penalties, some are drawn by chance.
fn kinds(count: usize, text_of: impl Fn(&Generate) -> String) -> Vec<Generate> {
    let kind = |index: usize| {
        let mut it = request(&prompt(index as u64, 5 + index * 3 % 40), &[(ADAPTERS[index % 5], 1.0)], 24);
        it.sampling.temperature = Some(1.0);
        it.sampling.seed = Some(index as u64);
        match index % 6 {
            0 => it.adapters.clear(),
            1 => it.ignore_eos = false,
            2 => {
                // Some letters of its own answer end it, when others are done: then a step is ahead for sure.
                it.max_tokens = Some(60);
                it.stop = vec![letters_of_later(&text_of(&it))];
            }
            3 => it.n = 3,
            4 => {
                // What a step that is laid ahead draws depends on a token that only the device knows.
                it.sampling.frequency_penalty = Some(1.5);
                it.sampling.repetition_penalty = Some(1.2);
                it.max_tokens = Some(6);
            }
            _ => {
                it.constraint = Some(Constraint::Regex("[0-9]{3}-[a-f]{2,4}".to_owned()));
                it.ignore_eos = false;
            }
        }
        // Tokens that would end it cannot come before.
        it.min_tokens = if index % 12 == 1 { 7 } else { 0 };
        it
    };
    (0..count).map(kind).collect()
}

/// Two letters that come for the first time in a text's second half.
fn letters_of_later(text: &str) -> String {
    let letters: Vec<char> = text.chars().collect();
    let pairs: Vec<&[char]> = letters.windows(2).collect();
    let is_new = |at: &usize| !pairs[..*at].contains(&pairs[*at]);
    let at = (pairs.len() / 2..pairs.len()).find(is_new).expect("a text by chance has new letters");
    pairs[at].iter().collect()
}

type Kept = Arc<Mutex<Vec<StepRecord>>>;

/// What is said, in order of requests, and what is recorded.
fn run(open: OpenRecorded, options: &OpenOptions, requests: &[Generate]) -> (Vec<Said>, Kept, [u64; 2]) {
    let (recorder, kept) = MemoryRecorder::keeping();
    let engine = open(options, recorder);
    let said = all(&engine, requests.to_vec());
    engine.stop().unwrap();
    let metrics = engine.metrics();
    (said, kept, [metrics.steps_ahead, metrics.tokens.discarded])
}

/// What all answers used.
fn used(kept: &Kept) -> Tokens {
    let steps = kept.lock().unwrap();
    let completions = steps.iter().flat_map(|step| &step.rows).filter_map(|row| match row {
        RowRecord::Completion(completion) => Some(completion.tokens),
        RowRecord::Usage(_) => None,
    });
    completions.fold(Tokens::default(), |sum, tokens| sum.checked_add(&tokens).unwrap())
}

/// With and without steps ahead.
pub(crate) fn check_kinds(open: OpenRecorded, count: usize) {
    let mut options = options("llama-gqa");
    options.dtype = DType::Bf16;
    let plain = OpenOptions { ahead: false, ..options.clone() };
    let aside = open(&plain, MemoryRecorder::default());
    let requests = kinds(count, |request| all(&aside, vec![request.clone()]).remove(0).one().text.clone());
    let (expected, record, [none, nothing]) = run(open, &plain, &requests);
    assert_eq!((none, nothing), (0, 0), "nothing was to be launched ahead");
    let (found, kept, [ahead, discarded]) = run(open, &options, &requests);
    assert!(ahead > 0 && discarded > 0, "{ahead} steps ahead, {discarded} rows in vain: this tries nothing");
    assert_eq!(found.len(), expected.len());
    for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
        assert!(found.failure.is_none() && found.answers.len() == expected.answers.len(), "request {index}");
        assert!(found.invariant() == expected.invariant(), "request {index} has other bits");
        for (choice, answer) in &found.answers {
            let other = &expected.answers[choice];
            assert!(answer.text == other.text && answer.finish == other.finish, "request {index}");
        }
    }
    assert_eq!(audit(&kept).len(), audit(&record).len());
    let (used, expected) = (used(&kept), used(&record));
    assert_eq!(used.discarded, discarded, "rows and metrics say the same of what was computed in vain");
    assert_eq!(used.emitted, expected.emitted);
    assert_eq!(expected.discarded, 0);
}

#[test]
fn requests_of_every_kind() {
    check_kinds(open_recorded, 36);
}

/// Alone, so that it is known which steps are launched ahead, and what is in vain.
pub(crate) fn check_counts(open: OpenRecorded) {
    let options = options("llama-gqa");
    let long = request(&prompt(2, 20), &[], 30);
    let (said, kept, [ahead, discarded]) = run(open, &options, std::slice::from_ref(&long));
    assert_eq!((ahead, discarded), (29, 0), "all but the prompt's, and its length was known");
    assert_eq!(audit(&kept).into_values().collect::<Vec<_>>(), [(Finish::LENGTH, 30)]);

    // It ends at a token that nobody foresees: one row is in vain.
    let tokens = &said[0].one().tokens;
    let last = (5..30).find(|at| !tokens[..*at].contains(&tokens[*at])).expect("some token is new");
    let stops = Generate { stop_token_ids: vec![tokens[last]], ..long.clone() };
    let (said, kept, [_, discarded]) = run(open, &options, &[stops]);
    assert_eq!((said[0].one().tokens.as_slice(), discarded), (&tokens[..=last], 1));
    assert_eq!(said[0].one().finish, Some(Finish::STOP_SEQUENCE));
    let used = used(&kept);
    assert_eq!((used.prefilled, used.emitted, used.discarded), (20, last as u64 + 1, 1));
    audit(&kept);

    // Its own tokens cannot come again, so each draw says whether the one before it was counted.
    let mut penalized = long;
    penalized.sampling.repetition_penalty = Some(1e6);
    penalized.sampling.presence_penalty = Some(2.0);
    let plain = OpenOptions { ahead: false, ..options.clone() };
    let (expected, ..) = run(open, &plain, std::slice::from_ref(&penalized));
    let (said, kept, [ahead, discarded]) = run(open, &options, &[penalized]);
    assert_eq!((ahead, discarded), (29, 0), "penalties hold nobody up");
    assert_eq!(said[0].one().tokens, expected[0].one().tokens);
    audit(&kept);
}

#[test]
fn what_is_launched_ahead_is_counted() {
    check_counts(open_recorded);
}

/// Whoever leaves has at most one row in vain, and its record agrees with what it was given.
pub(crate) fn check_leaving(open: OpenRecorded, requests: u64) {
    for delivery in [DeliveryMode::Recorded, DeliveryMode::Eager] {
        let options = OpenOptions { delivery, ..options("llama-gqa") };
        let (recorder, kept) = MemoryRecorder::keeping();
        let engine = open(&options, recorder);
        let stays = engine.generate(request(&prompt(77, 20), &[("all-r16", 1.0)], 60)).unwrap();
        let mut given = 0;
        for seed in 0..requests {
            let mut stream =
                engine.generate(request(&prompt(seed, 12), &[(ADAPTERS[seed as usize % 5], 1.0)], 400)).unwrap();
            let mut tokens = 0;
            while tokens < 2 + seed {
                if let Some(Event::Tokens(event)) = stream.next() {
                    tokens += event.tokens.len() as u64;
                }
            }
            stream.handle().cancel();
            given += tokens
                + stream
                    .map(|event| if let Event::Tokens(it) = event { it.tokens.len() as u64 } else { 0 })
                    .sum::<u64>();
        }
        assert_eq!(heard(stays).one().tokens.len(), 60);
        engine.stop().unwrap();
        let ends = audit(&kept);
        let cancelled = ends.values().filter(|(finish, _)| *finish == Finish::CANCELLED);
        let delivered: Vec<u64> = cancelled.map(|(_, delivered)| *delivered).collect();
        assert_eq!((delivered.len() as u64, delivered.iter().sum::<u64>()), (requests, given));
        assert!(used(&kept).discarded <= requests, "one row each at most");
    }
}

#[test]
fn whoever_leaves_is_given_what_is_recorded() {
    check_leaving(open_recorded, 6);
}
