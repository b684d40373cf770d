//! Whoever runs does not wait for others' adapters.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use loam_engine::adapter::Source;
use loam_engine::{Engine, Event, MemoryRecorder};

use crate::ask::{heard, prompt, request};
use crate::made::{bits, sized, turn};
use crate::parts::{Weather, open};

/// When each token of an answer came, from the first on.
fn gaps(engine: &Engine, seed: u64, tokens: u32) -> Vec<Duration> {
    let mut stamps = Vec::new();
    for event in engine.generate(request(&prompt(seed, 20), &[], tokens)).unwrap() {
        match event {
            Event::Tokens(_) => stamps.push(Instant::now()),
            Event::Failed(failure) => panic!("{failure}"),
            _ => {}
        }
    }
    stamps.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

fn percentile(gaps: &mut [Duration], part: usize) -> Duration {
    gaps.sort_unstable();
    gaps[(gaps.len() - 1) * part / 100]
}

/// Counts the tokens of answers, one after the other, until it is told to stop.
fn count_tokens(engine: &Engine, done: &AtomicBool, tokens: &AtomicU64) {
    let mut seed = 0;
    while !done.load(Ordering::Relaxed) {
        seed += 1;
        for event in engine.generate(request(&prompt(seed, 20), &[], 100)).unwrap() {
            tokens.fetch_add(u64::from(matches!(event, Event::Tokens(_))), Ordering::Relaxed);
        }
    }
}

/// Waits for a while; whether it came to be.
fn comes(holds: impl Fn() -> bool) -> bool {
    let start = Instant::now();
    while !holds() && start.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(1));
    }
    holds()
}

/// A copy that does not end before others have had their tokens: were they held up, nothing would ever come.
#[test]
fn a_slow_copy_holds_up_nobody_else() {
    let _turn = turn();
    let weather = Arc::new(Weather::default());
    let engine = open(&weather, Box::new(MemoryRecorder::default()), 8);
    let (done, tokens) = (AtomicBool::new(false), AtomicU64::new(0));
    let rounds = sized(10, 300);
    let outcome = std::thread::scope(|scope| {
        scope.spawn(|| count_tokens(&engine, &done, &tokens));
        let outcome = (0..rounds).try_for_each(|seed| {
            weather.holds_uploads.store(true, Ordering::Relaxed);
            let slow = format!("slow-{seed}");
            engine.catalog().register(&slow, &Source::parse(&format!("dummy:{seed}:4")).unwrap()).unwrap();
            let stream = engine.generate(request(&prompt(1, 9), &[(&slow, 1.0)], 1)).unwrap();
            let began = comes(|| weather.uploads.load(Ordering::Relaxed) == seed + 1);
            let before = tokens.load(Ordering::Relaxed);
            let others = comes(|| tokens.load(Ordering::Relaxed) >= before + 200);
            weather.holds_uploads.store(false, Ordering::Relaxed);
            let said = heard(stream);
            (began && others && said.failure.is_none()).then_some(()).ok_or((seed, began, others, said.failure))
        });
        done.store(true, Ordering::Relaxed);
        outcome
    });
    assert_eq!(outcome, Ok(()));
    engine.stop().unwrap();
}

/// Large adapters that are read and copied all the time cost the running answers processor time, and no more.
#[test]
fn large_loads_do_not_stop_the_running() {
    let _turn = turn();
    let engine = open(&Arc::default(), Box::new(MemoryRecorder::default()), 8);
    let tokens = 300;
    let mut quiet = gaps(&engine, 1, tokens);
    let (done, loads) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut busy = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut seed = 0;
            while !done.load(Ordering::Relaxed) {
                let name = format!("large-{seed}");
                let source = Source::parse(&format!("dummy:{seed}:256:all-linear")).unwrap();
                engine.catalog().register(&name, &source).unwrap();
                bits(&heard(engine.generate(request(&prompt(1, 4), &[(&name, 1.0)], 1)).unwrap()));
                loads.fetch_add(1, Ordering::Relaxed);
                seed += 1;
            }
        });
        let rounds: u64 = sized(2, 20);
        let busy: Vec<Duration> = (0..rounds).flat_map(|round| gaps(&engine, 2 + round, tokens)).collect();
        done.store(true, Ordering::Relaxed);
        busy
    });
    let (quiet_p50, busy_p50) = (percentile(&mut quiet, 50), percentile(&mut busy, 50));
    let metrics = engine.metrics().loads;
    eprintln!(
        "between tokens: alone {quiet_p50:?}, at most {:?}; beside {} loads of large adapters ({} ms at most) \
        {busy_p50:?}, 99 of 100 {:?}, at most {:?}",
        percentile(&mut quiet, 100),
        loads.load(Ordering::Relaxed),
        metrics.ms_max,
        percentile(&mut busy, 99),
        percentile(&mut busy, 100)
    );
    assert!(loads.load(Ordering::Relaxed) > 0, "nothing was loaded meanwhile");
    assert!(busy_p50 <= 20 * quiet_p50 + Duration::from_millis(20), "{busy_p50:?} after {quiet_p50:?}");
    engine.stop().unwrap();
}
