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

/// A copy that sleeps for a quarter of a second holds up who waits for it, and no token of anybody else's.
#[test]
fn a_slow_copy_holds_up_nobody_else() {
    let _turn = turn();
    let weather = Arc::new(Weather::default());
    weather.upload_ms.store(250, Ordering::Relaxed);
    let engine = open(&weather, Box::new(MemoryRecorder::default()), 8);
    let rounds = sized(4, 40);
    for seed in 0..rounds {
        engine
            .catalog()
            .register(&format!("slow-{seed}"), &Source::parse(&format!("dummy:{seed}:4")).unwrap())
            .unwrap();
    }
    let (done, during) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut seed = 0;
            while !done.load(Ordering::Relaxed) {
                during.fetch_add(gaps(&engine, seed, 100).len() as u64, Ordering::Relaxed);
                seed += 1;
            }
        });
        for seed in 0..rounds {
            let (before, start) = (during.load(Ordering::Relaxed), Instant::now());
            let slow = format!("slow-{seed}");
            bits(&heard(engine.generate(request(&prompt(1, 9), &[(&slow, 1.0)], 1)).unwrap()));
            let (waited, answered) = (start.elapsed(), during.load(Ordering::Relaxed) - before);
            assert!(waited >= Duration::from_millis(250), "the copy was slow, and waited for: {waited:?}");
            assert!(answered >= 50, "{answered} tokens of others came in the {waited:?} of a copy");
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(weather.uploads.load(Ordering::Relaxed), rounds);
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
