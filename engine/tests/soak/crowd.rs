//! All that requests can ask for at once, with too few pages: every whole answer is the one that it has alone, every cut
//! one its beginning, and every token is in the record once.

use std::time::Duration;

use loam_engine::constraint::Constraint;
use loam_engine::request::{AdapterUse, Generate};
use loam_engine::{Engine, Event, MemoryRecorder, OpenOptions, Stream};
use loam_ledger_core::row::Finish;

use crate::ask::{ADAPTERS, Answer, Said, all, open_recorded, options, prompt, request, take};
use crate::audit::audit;
use crate::made::{Chance, sized, turn};

/// How a client behaves.
#[derive(Clone, Copy, PartialEq)]
enum Client {
    Listens,
    /// Cancels after so many messages, and listens on.
    Cancels(u64),
    /// Goes away after so many messages.
    Leaves(u64),
}

fn adapters(chance: &mut Chance) -> Vec<AdapterUse> {
    let first = chance.below(5) as usize;
    let count = chance.below(3) as usize;
    let mut used = |index: usize| AdapterUse {
        name: ADAPTERS[(first + index) % 5].to_owned(),
        weight: [1.0, 0.75, -0.5, 1.25][chance.below(4) as usize],
    };
    (0..count).map(&mut used).collect()
}

fn asked(seed: u64, chance: &mut Chance) -> Generate {
    let length = if chance.below(4) == 0 { 1 + chance.below(120) } else { 1 + chance.below(30) };
    // Some begin alike, so that pages are shared.
    let tokens = prompt(if chance.below(3) == 0 { 1 } else { seed }, length as usize);
    let mut asked = request(&tokens, &[], 1 + chance.below(40) as u32);
    asked.adapters = adapters(chance);
    asked.n = if chance.below(5) == 0 { 2 + chance.below(3) as u32 } else { 1 };
    asked.ignore_eos = chance.below(2) == 0;
    asked.priority = chance.below(5) as i32 - 2;
    asked.tenant = format!("tenant-{}", chance.below(4));
    asked.logits = chance.below(4) == 0;
    asked.prompt_logprobs = chance.below(8) == 0;
    asked.sampling.temperature = Some([0.0, 1.0, 1.3][chance.below(3) as usize]);
    asked.sampling.seed = Some(seed);
    if chance.below(4) == 0 {
        asked.sampling.repetition_penalty = Some(1.2);
        asked.sampling.top_k = Some(20);
    }
    match chance.below(6) {
        0 => asked.stop = vec!["e".to_owned(), "th".to_owned()],
        1 => asked.constraint = Some(Constraint::Regex("[0-9]{3}-[a-f]{2,4}".to_owned())),
        2 => asked.stop_token_ids = (20..60).collect(),
        _ => {}
    }
    asked
}

/// What the client hears, as long as it listens.
fn listen(mut stream: Stream, client: Client) -> Said {
    let (mut said, mut heard) = (Said::default(), 0);
    while let Some(event) = stream.next() {
        take(&mut said, event);
        heard += 1;
        match client {
            Client::Cancels(after) if heard == after => stream.handle().cancel(),
            Client::Leaves(after) if heard == after => break,
            _ => {}
        }
    }
    said
}

#[track_caller]
fn check(said: &Said, whole: &Said, client: Client, asked: &Generate) {
    assert_eq!(whole.failure, None, "alone it is answered");
    if let Some(why) = &said.failure {
        let late = asked.deadline_ms.is_some() && why.contains("time ran out");
        let cancelled = client != Client::Listens && why.contains("cancelled");
        assert!(late || cancelled, "{why}");
    }
    let whole_answer = |index| whole.answers.get(index).cloned().unwrap_or_default();
    for (index, answer) in &said.answers {
        let (whole, found) = (whole_answer(index), answer);
        let cut = [None, Some(Finish::CANCELLED), Some(Finish::DEADLINE)].contains(&found.finish);
        if cut {
            assert!(client != Client::Listens || asked.deadline_ms.is_some(), "cut by nobody");
            let Answer { tokens, bits, text, .. } = found;
            assert!(whole.tokens.starts_with(tokens) && whole.bits.starts_with(bits), "a beginning has other bits");
            assert!(whole.text.starts_with(text.as_str()), "{text:?} does not begin {:?}", whole.text);
        } else {
            assert_eq!(found.tokens, whole.tokens);
            assert_eq!((&found.text, found.finish), (&whole.text, whole.finish));
            assert!(found.bits == whole.bits, "an answer has other bits");
        }
    }
    let complete = said.failure.is_none() && client == Client::Listens;
    if complete {
        assert_eq!(said.answers.len() as u32, asked.n);
    }
    if complete && asked.deadline_ms.is_none() {
        assert!(said.logits == whole.logits && said.prompt_logprobs == whole.prompt_logprobs);
    }
}

/// One engine, one crowd. Returns how often somebody had to give way.
fn round(options: &OpenOptions, alone: &Engine, requests: u64, seed: u64) -> u64 {
    let mut chance = Chance::new(seed);
    let crowd: Vec<(Generate, Client)> = (0..requests)
        .map(|index| {
            let mut request = asked(seed * 1000 + index, &mut chance);
            let client = match chance.below(10) {
                0 => Client::Cancels(1 + chance.below(12)),
                1 => Client::Leaves(1 + chance.below(12)),
                _ => Client::Listens,
            };
            request.deadline_ms = (chance.below(10) == 0).then(|| 1 + chance.below(300));
            (request, client)
        })
        .collect();
    let whole: Vec<Said> = crowd
        .iter()
        .flat_map(|(request, _)| all(alone, vec![Generate { deadline_ms: None, ..request.clone() }]))
        .collect();
    let (recorder, kept) = MemoryRecorder::keeping();
    let engine = open_recorded(options, Box::new(recorder));
    std::thread::scope(|scope| {
        for ((request, client), whole) in crowd.iter().zip(&whole) {
            let engine = &engine;
            let stream = engine.generate(request.clone()).unwrap();
            scope.spawn(move || check(&listen(stream, *client), whole, *client, request));
            if chance.below(8) == 0 {
                std::thread::sleep(Duration::from_millis(chance.below(5)));
            }
        }
    });
    engine.stop().unwrap();
    let metrics = engine.metrics();
    assert_eq!(metrics.failed, 0);
    assert_eq!((metrics.now.running, metrics.now.waiting, metrics.now.pages_used), (0, 0, 0));
    let ends = audit(&kept).len() as u64;
    assert!(ends <= crowd.iter().map(|(request, _)| u64::from(request.n)).sum());
    metrics.preempted
}

#[test]
fn a_crowd_that_never_rests() {
    let _turn = turn();
    let mut alone = options("llama-gqa");
    alone.running_max = 1;
    let alone = open_recorded(&alone, Box::new(MemoryRecorder::default()));
    let mut chance = Chance::new(9);
    let (mut preempted, mut requests) = (0, 0);
    for seed in 0..sized(3, 60) {
        let mut few = options("llama-gqa");
        few.page_tokens = [16, 32][chance.below(2) as usize];
        // Pages for one of the longest, and some more.
        few.kv_bytes = Some((192 + chance.below(200) as usize) * 2 * 2 * 64 * 4);
        few.step_tokens_max = [9, 33, 200][seed as usize % 3];
        few.running_max = 2 + chance.below(30) as usize;
        few.slots = 3 + chance.below(4) as usize;
        let crowd = sized(80, 200);
        requests += crowd;
        preempted += round(&few, &alone, crowd, seed);
    }
    eprintln!("{requests} requests, {preempted} times somebody gave way");
    assert!(preempted > 0, "there were pages for all: this test tries nothing");
}

/// Requests that reach the loop just after their adapter was read are not forgotten in its waiting room.
#[test]
fn first_requests_for_an_adapter_race_its_reading() {
    let _turn = turn();
    let engine = open_recorded(&options("llama-gqa"), Box::new(MemoryRecorder::default()));
    for seed in 0..sized(60, 3000) {
        let name = format!("dummy-{seed}");
        let source = loam_engine::adapter::Source::parse(&format!("dummy:{seed}:1:q_proj")).unwrap();
        engine.catalog().register(&name, &source).unwrap();
        std::thread::scope(|scope| {
            for client in 0..4 {
                let (engine, name) = (&engine, &name);
                scope.spawn(move || {
                    std::thread::sleep(Duration::from_micros(70 * client));
                    let stream = engine.generate(request(&prompt(seed, 3), &[(name, 1.0)], 1)).unwrap();
                    let last = stream.last();
                    assert!(matches!(last, Some(Event::Finished(_))), "{last:?}");
                });
            }
        });
    }
    assert_eq!(engine.metrics().loads.count, sized(60, 3000));
    engine.stop().unwrap();
}
