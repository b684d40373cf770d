//! Adapters that come and go.

use loam_engine::adapter::AdapterId;
use loam_engine::adapter::pool::{Install, PoolAction};
use loam_engine::scheduler::{Refused, Scheduler, SchedulerOptions, Sequence, TenantId, Why};

use super::{asks, id, load_all, options, reused, rows, step, submit, with};

#[test]
fn a_claim_that_finds_no_pages_lets_go_of_its_slot() {
    let times =
        SchedulerOptions { adapter_wait_ms_max: 100, turn_ms_min: 50, share_wait_ms_max: 1_000_000, ..options() };
    let mut scheduler = Scheduler::new(SchedulerOptions { pages: 16, slots: 1, step_tokens_max: 512, ..times });
    // The base runs on and on. A request that wants all pages claims a busy slot and gets it, but no pages.
    submit(&mut scheduler, Sequence { output_tokens_max: 100, ..asks(1, 4) });
    submit(&mut scheduler, with(9, 4, &[9]));
    load_all(&mut scheduler);
    step(&mut scheduler, 0);
    submit(&mut scheduler, Sequence { output_tokens_max: 1, ..with(2, 16 * 16, &[1]) });
    load_all(&mut scheduler);
    step(&mut scheduler, 1);
    scheduler.finish(id(9));
    // Another tenant's, which was given less from now on, could begin if it had the slot.
    scheduler.submit(Sequence { tenant: TenantId(1), arrived_ms: 10, ..with(3, 4, &[2]) }, 10).expect("it is taken");
    let begun = (1..60).find(|time| {
        load_all(&mut scheduler);
        step(&mut scheduler, 10 * time).admitted.iter().any(|admitted| admitted.id == id(3))
    });
    // For a claim of 100 that came to nothing, and then its own wait, which has begun.
    assert!(begun.is_some_and(|time| (100..=300).contains(&(10 * time))), "{begun:?}");
}

#[test]
fn adapters_are_fetched_on_arrival_while_others_run() {
    let mut scheduler = Scheduler::new(options());
    submit(&mut scheduler, asks(1, 4));
    submit(&mut scheduler, with(2, 4, &[3]));
    assert_eq!(scheduler.actions(), [PoolAction::Load(AdapterId(3))]);
    assert_eq!(rows(&step(&mut scheduler, 0)), [(1, 0, 4)]);
    scheduler.adapter_loaded(AdapterId(3), 10);
    assert_eq!(scheduler.actions(), [PoolAction::Upload { adapter: AdapterId(3), slot: 0 }]);
    assert_eq!(rows(&step(&mut scheduler, 1)), [(1, 4, 1)]);
    scheduler.adapter_uploaded(AdapterId(3));
    let plan = step(&mut scheduler, 2);
    assert_eq!(plan.installs, [Install { slot: 0, adapter: Some(AdapterId(3)) }]);
    let slots: Vec<(u64, &[u32])> = plan.chunks.iter().map(|chunk| (chunk.id.0, chunk.slots.as_slice())).collect();
    assert_eq!(slots, [(1, [].as_slice()), (2, &[0])]);
    assert_eq!(step(&mut scheduler, 3).installs, []);
}

#[test]
fn slots_of_a_chunk_are_in_order_of_its_own_adapters() {
    let mut scheduler = Scheduler::new(options());
    submit(&mut scheduler, with(1, 4, &[8]));
    load_all(&mut scheduler);
    submit(&mut scheduler, with(2, 4, &[5, 8]));
    load_all(&mut scheduler);
    let plan = step(&mut scheduler, 0);
    let slots: Vec<&[u32]> = plan.chunks.iter().map(|chunk| chunk.slots.as_slice()).collect();
    assert_eq!(slots, [[0].as_slice(), &[1, 0]]);
}

#[test]
fn an_adapter_that_fails_ends_those_that_asked_and_is_tried_again_for_others() {
    let mut scheduler = Scheduler::new(options());
    submit(&mut scheduler, with(1, 4, &[3]));
    submit(&mut scheduler, with(2, 4, &[3, 4]));
    submit(&mut scheduler, with(3, 4, &[4]));
    scheduler.actions();
    assert_eq!(scheduler.adapter_failed(AdapterId(3)), [id(1), id(2)]);
    assert_eq!((scheduler.actions(), scheduler.counts().waiting), (vec![], 1));
    submit(&mut scheduler, with(4, 4, &[3]));
    assert_eq!(scheduler.actions(), [PoolAction::Load(AdapterId(3))]);
    load_all(&mut scheduler);
    scheduler.adapter_loaded(AdapterId(3), 10);
    load_all(&mut scheduler);
    assert_eq!(reused(&step(&mut scheduler, 0)), [(4, 0)]);
}

#[test]
fn who_needs_no_adapter_waits_for_no_slot() {
    let mut scheduler = Scheduler::new(SchedulerOptions { slots: 1, ..options() });
    submit(&mut scheduler, with(1, 4, &[3]));
    load_all(&mut scheduler);
    step(&mut scheduler, 0);
    submit(&mut scheduler, with(2, 4, &[4]));
    submit(&mut scheduler, asks(3, 4));
    load_all(&mut scheduler);
    assert_eq!(reused(&step(&mut scheduler, 1)), [(3, 0)]);
}

#[test]
fn a_slot_is_emptied_by_a_step_before_another_adapter_gets_it() {
    let mut scheduler = Scheduler::new(SchedulerOptions { slots: 1, ..options() });
    submit(&mut scheduler, with(1, 4, &[3]));
    load_all(&mut scheduler);
    step(&mut scheduler, 0);
    scheduler.finish(id(1));
    submit(&mut scheduler, with(2, 4, &[4]));
    load_all(&mut scheduler);
    let plan = step(&mut scheduler, 1);
    assert_eq!((plan.installs.as_slice(), plan.rows()), ([Install { slot: 0, adapter: None }].as_slice(), 0));
    assert_eq!(scheduler.actions(), [PoolAction::Upload { adapter: AdapterId(4), slot: 0 }]);
}

#[test]
fn a_busy_slot_changes_hands_after_its_turn() {
    let times = SchedulerOptions { adapter_wait_ms_max: 300, turn_ms_min: 100, ..options() };
    let mut scheduler = Scheduler::new(SchedulerOptions { slots: 1, ..times });
    submit(&mut scheduler, Sequence { output_tokens_max: 400, ..with(1, 4, &[3]) });
    load_all(&mut scheduler);
    step(&mut scheduler, 0);
    scheduler.submit(Sequence { arrived_ms: 10, ..with(2, 4, &[4]) }, 10).expect("it is taken");
    let mut begun_ms = None;
    for now_ms in (10..1000).step_by(10) {
        load_all(&mut scheduler);
        // New ones for the busy adapter do not put off the other's turn.
        if now_ms < 320 {
            let sequence = Sequence { output_tokens_max: 400, arrived_ms: now_ms, ..with(100 + now_ms, 4, &[3]) };
            scheduler.submit(sequence, now_ms).expect("it is taken");
        }
        let plan = step(&mut scheduler, now_ms);
        if plan.admitted.iter().any(|admitted| admitted.id == id(2)) {
            begun_ms = Some(now_ms);
            break;
        }
    }
    let begun_ms = begun_ms.expect("it gets its turn");
    assert!((310..=450).contains(&begun_ms), "at {begun_ms} ms: waited 300, and at most a turn of 100 and some steps");
}

#[test]
fn a_pinned_adapter_keeps_its_slot_and_one_slot_is_left_to_the_others() {
    let mut scheduler = Scheduler::new(options());
    assert!(scheduler.pin(AdapterId(1), true));
    assert!(!scheduler.pin(AdapterId(2), true), "of two slots one can be pinned");
    load_all(&mut scheduler);
    step(&mut scheduler, 0);
    for number in 3..9 {
        submit(&mut scheduler, with(number, 4, &[number as u32]));
        load_all(&mut scheduler);
        step(&mut scheduler, number);
        load_all(&mut scheduler);
        step(&mut scheduler, number);
        assert!(scheduler.cancel(id(number)));
    }
    let pinned = scheduler.adapters().into_iter().find(|it| it.adapter == AdapterId(1)).expect("it is known");
    assert_eq!(pinned.residency.slot, Some(0));
    let refused = scheduler.submit(with(20, 4, &[5, 6]), 0);
    assert_eq!(refused, Err(Refused::AdaptersTooMany { found: 2, max: 1 }));
    assert_eq!(scheduler.submit(with(20, 4, &[1, 6]), 0), Ok(()));
}

#[test]
fn an_unloaded_adapter_leaves_when_its_last_request_has_ended() {
    let mut scheduler = Scheduler::new(options());
    submit(&mut scheduler, with(1, 4, &[3]));
    load_all(&mut scheduler);
    step(&mut scheduler, 0);
    scheduler.forget(AdapterId(3));
    assert_eq!((scheduler.actions(), rows(&step(&mut scheduler, 1))), (vec![], vec![(1, 4, 1)]));
    scheduler.finish(id(1));
    assert_eq!(scheduler.actions(), [PoolAction::DropHost(AdapterId(3))]);
    assert_eq!(step(&mut scheduler, 2).installs, [Install { slot: 0, adapter: None }]);
    scheduler.actions();
    assert_eq!(scheduler.adapters(), []);
}

#[test]
fn a_set_passes_through_host_memory_that_holds_one_of_it() {
    let mut scheduler = Scheduler::new(SchedulerOptions { host_bytes_max: 15, ..options() });
    submit(&mut scheduler, with(1, 4, &[3, 4]));
    let mut begun = false;
    for now_ms in 0..20 {
        load_all(&mut scheduler);
        begun |= !step(&mut scheduler, 1000 * now_ms).admitted.is_empty();
    }
    assert!(begun);
}

#[test]
fn an_adapter_that_can_never_fit_ends_its_request_by_name() {
    let mut scheduler = Scheduler::new(SchedulerOptions { device_bytes_max: 15, ..options() });
    submit(&mut scheduler, with(1, 4, &[3, 4]));
    load_all(&mut scheduler);
    let plan = scheduler.schedule(0);
    assert_eq!(
        plan.ended.iter().map(|ended| (ended.id, ended.why)).collect::<Vec<_>>(),
        [(id(1), Why::AdaptersTooLarge)]
    );
    let refused = scheduler.submit(with(2, 4, &[3, 4]), 0);
    assert_eq!(refused, Err(Refused::AdaptersTooLarge { bytes: 20, max: 15 }), "now that the sizes are known");
}

#[test]
fn who_waits_at_a_gate_gives_its_slot_up_in_time_though_nothing_happens() {
    let mut scheduler = Scheduler::new(SchedulerOptions { slots: 1, ..options() });
    submit(&mut scheduler, Sequence { gated: true, ..with(1, 4, &[3]) });
    load_all(&mut scheduler);
    step(&mut scheduler, 0);
    submit(&mut scheduler, with(2, 4, &[4]));
    load_all(&mut scheduler);
    let mut now_ms = 1;
    loop {
        let plan = step(&mut scheduler, now_ms);
        load_all(&mut scheduler);
        if plan.admitted.iter().any(|admitted| admitted.id == id(2)) {
            break;
        }
        if plan.is_empty() {
            now_ms = scheduler.next_wake_ms().expect("somebody waits for a time to come");
        }
    }
    assert!(now_ms <= 3000 + 1000, "at {now_ms} ms, by the clock alone");
}

#[test]
fn one_that_was_pinned_before_its_size_was_known_ends_whoever_has_no_room_beside_it() {
    let mut scheduler = Scheduler::new(SchedulerOptions { device_bytes_max: 15, ..options() });
    assert!(scheduler.pin(AdapterId(4), true));
    submit(&mut scheduler, with(1, 4, &[3]));
    submit(&mut scheduler, with(2, 4, &[4]));
    assert_eq!(scheduler.actions(), [PoolAction::Load(AdapterId(3)), PoolAction::Load(AdapterId(4))]);
    scheduler.adapter_loaded(AdapterId(3), 10);
    scheduler.adapter_loaded(AdapterId(4), 10);
    let ended: Vec<_> = scheduler.schedule(0).ended.iter().map(|ended| (ended.id, ended.why)).collect();
    assert_eq!(ended, [(id(1), Why::AdaptersTooLarge)]);
}
