//! Steps that fail end the requests that were in them. Everybody else's answers are as if nothing had happened.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use loam_engine::MemoryRecorder;
use loam_engine::adapter::{Expected, Source};
use loam_engine::request::Generate;

use crate::ask::{ADAPTERS, Said, all, golden, prompt, request};
use crate::audit::audit;
use crate::made::{Chance, sized, turn};
use crate::parts::{Weather, open};

fn mixed(count: u64, seed: u64) -> Vec<Generate> {
    let mut chance = Chance::new(seed);
    let request = |index| {
        let name = ADAPTERS[chance.below(5) as usize];
        request(&prompt(seed + index, 3 + chance.below(60) as usize), &[(name, 1.0)], 1 + chance.below(8) as u32)
    };
    (0..count).map(request).collect()
}

/// With fewer slots than adapters most steps fill one, also those that fail and are followed by another.
#[test]
fn failing_steps_fail_their_own() {
    check(Weather::default(), 3);
}

/// With slots for all there are steps ahead of most others, and some of those cannot be launched.
#[test]
fn steps_ahead_that_fail_fail_their_own() {
    check(Weather { runs_apart: true.into(), ..Weather::default() }, 6);
}

/// What fails is known when the step after it is in flight, which then came to nothing.
#[test]
fn steps_that_fail_late_fail_their_own() {
    check(Weather { runs_apart: true.into(), fails_late: true.into(), ..Weather::default() }, 6);
}

/// All who run or wait are told, their rows are recorded, and nobody is taken any more: the process must begin anew.
#[test]
fn a_lost_device_ends_everything_by_name() {
    for is_late in [false, true] {
        let _turn = turn();
        let weather = Weather { fails_each: 5.into(), loses_device: true.into(), ..Weather::default() };
        let weather = Weather { runs_apart: is_late.into(), fails_late: is_late.into(), ..weather };
        let (recorder, kept) = MemoryRecorder::keeping();
        let engine = open(&Arc::new(weather), Box::new(recorder), 3);
        let requests = (0..8).map(|seed| request(&prompt(seed, 20), &[], 32)).collect();
        for said in all(&engine, requests) {
            let why = said.failure.expect("no answer comes of a lost device");
            assert!(why.starts_with("DEVICE_LOST") && why.contains("was struck"), "{why}");
        }
        for refused in [engine.health().unwrap_err(), engine.generate(request(&[1], &[], 1)).err().unwrap()] {
            assert!(refused.to_string().contains("must be started again"), "{refused}");
        }
        let stopped = engine.stop().unwrap_err();
        assert!(stopped.to_string().contains("must be started again"), "{stopped}");
        audit(&kept);
    }
}

fn check(weather: Weather, slots: u32) {
    let _turn = turn();
    let (weather, (recorder, kept)) = (Arc::new(weather), MemoryRecorder::keeping());
    let is_apart = weather.runs_apart.load(Ordering::Relaxed);
    let engine = open(&weather, Box::new(recorder), slots);
    for name in ADAPTERS {
        let folder = golden().join("llama-gqa/adapters").join(name);
        engine.load_adapter(name, &Source::Folder(folder), Expected::Nothing).unwrap();
    }
    let (mut failed, mut answered) = (0, 0);
    for round in 0..sized(6, 200) {
        let requests = mixed(12, 1000 * round);
        weather.fails_each.store(0, Ordering::Relaxed);
        let expected: Vec<Said> = requests.iter().flat_map(|request| all(&engine, vec![request.clone()])).collect();
        weather.fails_each.store([7, 3, 2][round as usize % 3], Ordering::Relaxed);
        for (said, expected) in all(&engine, requests).iter().zip(&expected) {
            match &said.failure {
                Some(why) => {
                    assert!(why.contains("was struck"), "{why}");
                    failed += 1;
                }
                None => {
                    assert!(said.invariant() == expected.invariant(), "an answer has other bits beside failing steps");
                    answered += 1;
                }
            }
        }
    }
    eprintln!("{failed} requests failed with their steps, {answered} were answered beside them");
    assert!(failed > 0 && answered > 0);
    assert_eq!(engine.metrics().steps_ahead > 0, is_apart, "steps ahead where they are wanted");
    weather.fails_each.store(0, Ordering::Relaxed);
    engine.stop().unwrap();
    audit(&kept);
}
