//! Whole worlds, each made from a number.

use std::collections::BTreeMap;
use std::env;
use std::sync::Arc;

use loam_engine::adapter::AdapterId;
use loam_engine::scheduler::{SchedulerOptions, Sequence, SequenceId, TenantId};
use loam_ledger_core::hash;

use crate::random::Random;
use crate::world::{Event, Pace, World};

/// So many in the fast tier, twenty times as many in the long one.
fn seeds(fast: u64) -> std::ops::Range<u64> {
    let long = env::var("LOAM_TEST_TIER").is_ok_and(|tier| tier == "long");
    0..if long { 20 * fast } else { fast }
}

fn options(random: &mut Random) -> SchedulerOptions {
    let step_tokens_max = random.within(1, 64) as u32;
    SchedulerOptions {
        pages: random.within(4, 40) as u32,
        page_tokens: random.one_of(&[1, 2, 4, 16]),
        slots: random.within(1, 5) as u32,
        step_tokens_max,
        prefill_tokens_max: random.within(1, 64) as u32,
        prefills_per_tenant_max: random.within(1, 4) as u32,
        running_max: random.within(1, 12) as u32,
        waiting_max: random.one_of(&[10, 1000]),
        waiting_per_tenant_max: random.one_of(&[5, 1000]),
        adapter_wait_ms_max: random.one_of(&[0, 50, 500]),
        share_wait_ms_max: random.one_of(&[0, 50, 500]),
        turn_ms_min: random.one_of(&[0, 20, 200]),
        loads_max: random.within(1, 4) as usize,
        host_bytes_max: random.within(10, 60) as usize,
        device_bytes_max: random.within(10, 60) as usize,
        ahead: random.percent(50),
        input_cost: 1,
        output_cost: 2,
    }
}

fn pace(random: &mut Random) -> Pace {
    let rough = random.percent(50);
    Pace {
        step_ms: (1, random.within(1, 30)),
        load_ms: (0, random.within(0, 200)),
        upload_ms: (0, random.within(0, 50)),
        gate_ms: (0, random.within(0, 40)),
        load_fails_percent: if rough { random.below(30) } else { 0 },
        upload_fails_percent: if rough { random.below(10) } else { 0 },
        step_fails_percent: if rough { random.below(20) } else { 0 },
    }
}

/// Texts that prompts begin with, so that they have prefixes in common.
fn prompt(random: &mut Random, length_max: u64) -> Arc<[u32]> {
    let text = random.below(3);
    let shared = random.below(length_max);
    let own = random.within(1, 1 + length_max / 4);
    let token = |at: u64| ((text + at / (1 + text)) % 4) as u32;
    let own: Vec<u32> = (0..own).map(|_| random.below(4) as u32).collect();
    (0..shared).map(token).chain(own).collect()
}

fn requests(world: &mut World, count: u64) {
    let adapters: Vec<AdapterId> = world.devices.sizes.keys().copied().collect();
    let (tenants, spread_ms) = (world.random.within(1, 4), world.random.one_of(&[1, 500, 5000]));
    let (length_max, output_max) = (world.random.one_of(&[8, 60, 200]), world.random.one_of(&[1, 10, 60]));
    let mut id = 0;
    for _ in 0..count {
        let random = &mut world.random;
        let at_ms = random.below(spread_ms);
        let tenant = TenantId(random.below(tenants) as u32);
        let mut set: Vec<AdapterId> = Vec::new();
        for _ in 0..random.one_of(&[0, 0, 1, 1, 1, 2, 3]) {
            set.push(random.one_of(&adapters));
        }
        set.sort_unstable();
        set.dedup();
        let root = format!("{:?} {set:?}", random.percent(50).then_some(tenant));
        let first = SequenceId(id);
        let asked = Sequence {
            id: first,
            tenant,
            leader: None,
            prompt: prompt(random, length_max),
            output_tokens_max: random.below(output_max + 1) as u32,
            prefix_root: hash::digest(root.as_bytes()),
            reuse: !random.percent(10),
            adapters: set,
            priority: random.within(0, 2) as i32 - 1,
            deadline_ms: random.percent(10).then(|| at_ms + random.below(2000)),
            arrived_ms: at_ms,
            gated: random.percent(20),
        };
        let samples = if random.percent(20) { random.within(2, 4) } else { 1 };
        for sample in 0..samples {
            let leader = (sample > 0).then_some(first);
            let (id, late_ms) = (SequenceId(id + sample), world.random.below(3) / 2);
            world.at(at_ms + late_ms, Event::Submit(Sequence { id, leader, ..asked.clone() }));
            if world.random.percent(8) {
                let cancel_ms = at_ms + world.random.below(1500);
                world.at(cancel_ms.max(at_ms + 2), Event::Cancel(id));
            }
        }
        id += samples;
    }
    for adapter in adapters {
        for pinned in [true, false, true, false] {
            let (at_ms, pins) = (world.random.below(4000), world.random.percent(60));
            if world.random.percent(10) {
                world.at(at_ms, if pins { Event::Pin(adapter, pinned) } else { Event::Forget(adapter) });
            }
        }
    }
}

fn world(seed: u64) -> World {
    let mut random = Random::new(seed);
    let options = options(&mut random);
    let pace = pace(&mut random);
    let sizes: BTreeMap<AdapterId, usize> =
        (0..random.within(1, 9)).map(|adapter| (AdapterId(adapter as u32), random.within(1, 14) as usize)).collect();
    let count = random.within(5, 60);
    let mut world = World::new(random.next(), options, pace, sizes);
    requests(&mut world, count);
    world
}

#[test]
fn every_world_keeps_every_promise_and_ends() {
    let (mut done, mut rows, mut reused, mut recomputed, mut preempted, mut refused, mut ahead) = (0, 0, 0, 0, 0, 0, 0);
    for seed in seeds(1000) {
        let mut world = world(seed);
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.run()));
        if let Err(panic) = caught {
            eprintln!("in world {seed} at {} ms, after {} steps: {:?}", world.now_ms, world.steps, world.options);
            std::panic::resume_unwind(panic);
        }
        for story in world.stories.values() {
            done += u32::from(story.done);
            rows += story.rows;
            reused += story.reused;
            recomputed += story.recomputed;
            preempted += story.preempted;
        }
        refused += world.refused;
        ahead += world.steps_ahead;
    }
    // Worlds in which nothing happens prove nothing.
    let seen = format!(
        "{done} done, {rows} rows, {reused} reused, {recomputed} again, {preempted} gave way, {refused} refused, {ahead} steps ahead"
    );
    eprintln!("{seen}");
    assert!(
        done > 2000
            && rows > 50_000
            && reused > 5000
            && recomputed > 2000
            && preempted > 500
            && refused > 100
            && ahead > 1000,
        "{seen}"
    );
}

#[test]
fn the_same_world_has_the_same_plans() {
    for seed in seeds(20) {
        let digests = [(); 2].map(|()| {
            let mut world = world(seed);
            world.run();
            world.digest
        });
        assert_eq!(digests[0], digests[1], "world {seed}");
    }
}
