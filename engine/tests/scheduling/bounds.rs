//! How long anybody waits while others flood, and what each is given.

use std::collections::BTreeMap;

use loam_engine::adapter::AdapterId;
use loam_engine::scheduler::{SchedulerOptions, Sequence, SequenceId, TenantId};
use loam_ledger_core::Hash;

use crate::world::{Event, Pace, World};

const STEP_MS: u64 = 10;
const FLOOD: TenantId = TenantId(0);
const QUIET: TenantId = TenantId(1);

fn options() -> SchedulerOptions {
    SchedulerOptions {
        pages: 1024,
        page_tokens: 16,
        slots: 2,
        step_tokens_max: 64,
        prefill_tokens_max: 64,
        running_max: 8,
        waiting_max: 10_000,
        waiting_per_tenant_max: 5000,
        adapter_wait_ms_max: 300,
        share_wait_ms_max: 200,
        turn_ms_min: 250,
        ..SchedulerOptions::default()
    }
}

/// A world in which every step takes ten milliseconds, and every adapter ten bytes.
fn world(seed: u64, options: SchedulerOptions) -> World {
    let sizes: BTreeMap<AdapterId, usize> = (0..64).map(|adapter| (AdapterId(adapter), 10)).collect();
    World::new(seed, options, Pace::steady(STEP_MS), sizes)
}

fn asks(number: u64, tenant: TenantId, prompt: u64, output_tokens_max: u32) -> Sequence {
    Sequence {
        id: SequenceId(number),
        tenant,
        leader: None,
        prompt: (0..prompt).map(|at| (number >> (2 * (at % 8)) & 3) as u32).collect(),
        output_tokens_max,
        prefix_root: Hash::ZERO,
        reuse: false,
        adapters: Vec::new(),
        priority: 0,
        deadline_ms: None,
        arrived_ms: 0,
        gated: false,
    }
}

/// Floods a world with one tenant's requests and lets another ask now and then, nine times; says how long that one
/// waited at most, and for whom: only while the flood lasts.
fn longest_wait(world: &mut World, flood: impl Fn(u64) -> Sequence, quiet: impl Fn(u64) -> Sequence) -> u64 {
    world.pages_run_out = world.options.pages < 1000;
    for number in 0..400 {
        world.at(5 * number, Event::Submit(flood(number)));
    }
    let asked: Vec<SequenceId> = (0..9).map(|time| SequenceId(10_000 + time)).collect();
    for (time, id) in (1..).zip(&asked) {
        world.at(1700 * time, Event::Submit(Sequence { id: *id, ..quiet(id.0) }));
    }
    while world.now_ms < 17_000 {
        assert!(world.go(), "the flood outlasts the test");
    }
    let wait = |id: &SequenceId| {
        let story = &world.stories[id];
        story.admitted_ms.expect("it began").saturating_sub(story.submitted_ms)
    };
    asked.iter().map(wait).max().expect("nine of them")
}

/// `share_wait_ms_max`, or what is left of a turn, and one step. Those who run come to their first draw meanwhile:
/// eight prompts of 32 tokens, at 56 rows a step or more, take less than ten steps.
fn share_bound_ms(options: &SchedulerOptions) -> u64 {
    options.share_wait_ms_max.max(10 * STEP_MS) + options.turn_ms_min + STEP_MS
}

#[test]
fn a_flood_that_holds_every_seat_lets_another_tenant_begin_in_time() {
    for seed in 0..2 {
        let mut world = world(seed, options());
        let wait_ms =
            longest_wait(&mut world, |number| asks(number, FLOOD, 32, 4000), |number| asks(number, QUIET, 20, 5));
        assert!(wait_ms <= share_bound_ms(&options()), "waited {wait_ms} ms");
        assert!(wait_ms >= options().share_wait_ms_max, "seats were never short: the test proves nothing");
    }
}

#[test]
fn a_flood_that_holds_every_page_lets_another_tenant_begin_in_time() {
    for seed in 0..2 {
        let options = SchedulerOptions { pages: 260, running_max: 64, ..options() };
        let mut world = world(seed, options.clone());
        let wait_ms =
            longest_wait(&mut world, |number| asks(number, FLOOD, 32, 3000), |number| asks(number, QUIET, 900, 5));
        // More run, so that their prompts take longer: 64 of 32 tokens, while 64 draw and leave few rows.
        let bound_ms = share_bound_ms(&options) + 64 * 32 / 8 * STEP_MS;
        assert!(wait_ms <= bound_ms, "waited {wait_ms} ms of {bound_ms}");
    }
}

/// An adapter that is on disk: loaded, then waiting its time, then others' turn, then uploaded; a step for what is
/// under way at each of these, and one to empty the slot.
fn adapter_bound_ms(options: &SchedulerOptions) -> u64 {
    let (load_ms, upload_ms) = (Pace::steady(STEP_MS).load_ms.1, Pace::steady(STEP_MS).upload_ms.1);
    load_ms + options.adapter_wait_ms_max.max(10 * STEP_MS) + options.turn_ms_min + upload_ms + 4 * STEP_MS
}

#[test]
fn a_cold_adapter_gets_a_slot_in_time_from_those_that_are_never_idle() {
    for seed in 0..2 {
        let options = SchedulerOptions { running_max: 32, ..options() };
        let mut world = world(seed, options.clone());
        let adapters = |adapter: u64| vec![AdapterId(adapter as u32)];
        let wait_ms = longest_wait(
            &mut world,
            |number| Sequence { adapters: adapters(number % 2), ..asks(number, FLOOD, 8, 400) },
            |number| Sequence { adapters: adapters(10 + number % 3), ..asks(number, QUIET, 20, 5) },
        );
        let bound_ms = adapter_bound_ms(&options);
        assert!(wait_ms <= bound_ms, "waited {wait_ms} ms of {bound_ms}");
        assert!(wait_ms >= options.adapter_wait_ms_max, "slots were never short: the test proves nothing");
    }
}

#[test]
fn a_cold_adapter_waits_no_longer_behind_a_crowd_of_cold_ones_of_another_tenant() {
    for seed in 0..2 {
        let options = SchedulerOptions { running_max: 32, ..options() };
        let mut world = world(seed, options.clone());
        let adapters = |adapter: u64| vec![AdapterId(adapter as u32)];
        let wait_ms = longest_wait(
            &mut world,
            |number| Sequence { adapters: adapters(number % 40), ..asks(number, FLOOD, 8, 400) },
            |number| Sequence { adapters: adapters(50 + number % 3), ..asks(number, QUIET, 20, 5) },
        );
        // At most one of the crowd has the claim already; and its slot is then somebody's whose turn has just begun.
        let bound_ms = 2 * adapter_bound_ms(&options);
        assert!(wait_ms <= bound_ms, "waited {wait_ms} ms of {bound_ms}");
    }
}

/// Lets two tenants flood for a while and says what each was given: rows and twice the tokens drawn.
fn given(mut world: World, of: impl Fn(u64, TenantId) -> Sequence) -> [u64; 2] {
    for number in 0..1200 {
        for (tenant, id) in [(FLOOD, number), (QUIET, 10_000 + number)] {
            world.at(number / 4, Event::Submit(of(id, tenant)));
        }
    }
    while world.now_ms < 20_000 {
        assert!(world.go(), "both floods outlast the test");
    }
    [FLOOD, QUIET].map(|tenant| world.given.get(&tenant).copied().unwrap_or(0))
}

/// Within what a step's seats can hold at once.
fn check_equal(given: [u64; 2]) {
    let (less, more) = (given[0].min(given[1]), given[0].max(given[1]));
    let seats_hold = u64::from(options().running_max) * (40 + 2 * 40);
    assert!(more - less <= 2 * seats_hold && less > 20 * seats_hold, "given {given:?}");
}

#[test]
fn a_tenant_gains_nothing_by_naming_many_adapters() {
    let options = SchedulerOptions { slots: 16, ..options() };
    check_equal(given(world(1, options), |number, tenant| {
        let adapter = if tenant == FLOOD { number % 12 } else { 20 };
        Sequence { adapters: vec![AdapterId(adapter as u32)], ..asks(number, tenant, 40, 40) }
    }));
}

#[test]
fn a_tenant_gains_nothing_by_claiming_priority() {
    check_equal(given(world(2, options()), |number, tenant| {
        let priority = if tenant == FLOOD { 100 } else { 0 };
        Sequence { priority, ..asks(number, tenant, 40, 40) }
    }));
}

#[test]
fn a_tenant_gains_nothing_by_asking_for_more_at_once() {
    check_equal(given(world(3, options()), |number, tenant| {
        let (prompt, output) = if tenant == FLOOD { (80, 80) } else { (20, 20) };
        asks(number, tenant, prompt, output)
    }));
}
