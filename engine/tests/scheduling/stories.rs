//! Small stories, one for each rule.

use std::sync::Arc;

use loam_engine::adapter::AdapterId;
use loam_engine::adapter::pool::{Install, PoolAction};
use loam_engine::scheduler::{Chunk, Plan, Refused, Scheduler, SchedulerOptions, Sequence, SequenceId, TenantId, Why};
use loam_ledger_core::Hash;

fn options() -> SchedulerOptions {
    SchedulerOptions { pages: 32, slots: 2, step_tokens_max: 64, running_max: 8, ..SchedulerOptions::default() }
}

fn id(number: u64) -> SequenceId {
    SequenceId(number)
}

/// Of tenant 0, base only, with a prompt of its own.
fn asks(number: u64, tokens: u32) -> Sequence {
    Sequence {
        id: id(number),
        tenant: TenantId(0),
        leader: None,
        prompt: prompt(number as u32, tokens),
        output_tokens_max: 8,
        prefix_root: Hash::ZERO,
        reuse: true,
        adapters: Vec::new(),
        priority: 0,
        deadline_ms: None,
        arrived_ms: 0,
        gated: false,
    }
}

fn prompt(first: u32, tokens: u32) -> Arc<[u32]> {
    (0..tokens).map(|token| 1000 * first + token).collect()
}

fn with(number: u64, tokens: u32, adapters: &[u32]) -> Sequence {
    Sequence { adapters: adapters.iter().copied().map(AdapterId).collect(), ..asks(number, tokens) }
}

fn submit(scheduler: &mut Scheduler, sequence: Sequence) {
    scheduler.submit(sequence, 0).expect("it is taken");
}

/// Plans and computes a step; whoever drew got token 7.
fn step(scheduler: &mut Scheduler, now_ms: u64) -> Plan {
    let plan = scheduler.schedule(now_ms);
    scheduler.computed(&plan);
    for chunk in plan.chunks.iter().filter(|chunk| chunk.samples) {
        scheduler.push_token(chunk.id, 7);
    }
    plan
}

/// Each chunk as: whose, from where, how many rows.
fn rows(plan: &Plan) -> Vec<(u64, u32, usize)> {
    plan.chunks.iter().map(|chunk| (chunk.id.0, chunk.first_position, chunk.tokens.len())).collect()
}

fn reused(plan: &Plan) -> Vec<(u64, u32)> {
    plan.admitted.iter().map(|admitted| (admitted.id.0, admitted.reused_tokens)).collect()
}

/// Does what loaders do, at once: loads and uploads all, ten bytes each.
fn load_all(scheduler: &mut Scheduler) {
    loop {
        let actions = scheduler.actions();
        if actions.is_empty() {
            return;
        }
        for action in actions {
            match action {
                PoolAction::Load(adapter) => scheduler.adapter_loaded(adapter, 10),
                PoolAction::Upload { adapter, .. } => scheduler.adapter_uploaded(adapter),
                PoolAction::DropHost(_) => {}
            }
        }
    }
}

#[test]
fn a_prompt_is_read_and_then_each_step_draws_one() {
    let mut scheduler = Scheduler::new(SchedulerOptions { step_tokens_max: 24, ..options() });
    submit(&mut scheduler, asks(1, 40));
    let plans: Vec<Plan> = (0..4).map(|now_ms| step(&mut scheduler, now_ms)).collect();
    assert_eq!(plans.iter().flat_map(rows).collect::<Vec<_>>(), [(1, 0, 24), (1, 24, 16), (1, 40, 1), (1, 41, 1)]);
    let draws: Vec<bool> = plans.iter().map(|plan| plan.chunks[0].samples).collect();
    assert_eq!(draws, [false, true, true, true]);
    assert_eq!(plans[2].chunks[0].tokens, [7], "what was drawn is the next input");
}

#[test]
fn a_prefix_is_computed_once() {
    let mut scheduler = Scheduler::new(options());
    submit(&mut scheduler, asks(1, 40));
    step(&mut scheduler, 0);
    scheduler.finish(id(1));
    let longer: Arc<[u32]> = prompt(1, 40).iter().copied().chain([5, 6]).collect();
    submit(&mut scheduler, Sequence { prompt: longer, ..asks(2, 1) });
    let plan = step(&mut scheduler, 1);
    assert_eq!((reused(&plan), rows(&plan)), (vec![(2, 32)], vec![(2, 32, 10)]), "two full pages of 16");
    assert_eq!(scheduler.counts().prefix_rows_found, 32);
}

#[test]
fn another_root_has_no_prefix_in_common() {
    let mut scheduler = Scheduler::new(options());
    submit(&mut scheduler, asks(1, 40));
    step(&mut scheduler, 0);
    submit(&mut scheduler, Sequence { prompt: prompt(1, 40), prefix_root: Hash([1; 32]), ..asks(2, 1) });
    assert_eq!(reused(&step(&mut scheduler, 1)), [(2, 0)]);
}

#[test]
fn the_last_token_of_a_prompt_is_always_computed() {
    let mut scheduler = Scheduler::new(options());
    submit(&mut scheduler, asks(1, 32));
    step(&mut scheduler, 0);
    submit(&mut scheduler, Sequence { prompt: prompt(1, 32), ..asks(2, 1) });
    assert_eq!(reused(&step(&mut scheduler, 1)), [(2, 16)], "not the page that holds the last row");
}

#[test]
fn the_next_turn_of_a_talk_finds_what_was_answered() {
    let mut scheduler = Scheduler::new(options());
    submit(&mut scheduler, asks(1, 30));
    (0..4).for_each(|now_ms| drop(step(&mut scheduler, now_ms)));
    scheduler.finish(id(1));
    let talk: Arc<[u32]> = prompt(1, 30).iter().copied().chain([7, 7, 7, 7, 50, 51]).collect();
    submit(&mut scheduler, Sequence { prompt: talk, ..asks(2, 1) });
    assert_eq!(reused(&step(&mut scheduler, 9)), [(2, 32)], "30 of the prompt and two of the answer");
}

#[test]
fn equal_prompts_that_come_together_are_read_once() {
    let mut scheduler = Scheduler::new(SchedulerOptions { step_tokens_max: 24, ..options() });
    submit(&mut scheduler, asks(1, 40));
    submit(&mut scheduler, Sequence { prompt: prompt(1, 40), ..asks(2, 1) });
    submit(&mut scheduler, asks(3, 4));
    let plan = step(&mut scheduler, 0);
    assert_eq!(rows(&plan), [(1, 0, 20), (3, 0, 4)], "2 waits, and 3 does not wait behind it");
    let plan = step(&mut scheduler, 1);
    assert_eq!(rows(&plan), [(3, 4, 1), (1, 20, 20)]);
    let plan = step(&mut scheduler, 2);
    assert_eq!(reused(&plan), [(2, 32)]);
}

#[test]
fn who_waited_for_a_prefix_goes_on_alone_when_its_reader_ends() {
    let mut scheduler = Scheduler::new(SchedulerOptions { step_tokens_max: 24, ..options() });
    submit(&mut scheduler, asks(1, 40));
    submit(&mut scheduler, Sequence { prompt: prompt(1, 40), ..asks(2, 1) });
    step(&mut scheduler, 0);
    assert!(scheduler.cancel(id(1)));
    assert_eq!(reused(&step(&mut scheduler, 1)), [(2, 16)], "what was read is used all the same");
}

#[test]
fn samples_of_one_prompt_read_it_once_and_part_at_its_last_page() {
    let mut scheduler = Scheduler::new(options());
    let sample = |number| Sequence { leader: Some(id(1)), prompt: prompt(1, 40), ..asks(number, 1) };
    submit(&mut scheduler, asks(1, 40));
    submit(&mut scheduler, sample(2));
    submit(&mut scheduler, sample(3));
    assert_eq!(rows(&step(&mut scheduler, 0)), [(1, 0, 40)]);
    let plan = step(&mut scheduler, 1);
    assert_eq!(reused(&plan), [(2, 39), (3, 39)], "all but the last row");
    let tables: Vec<&Vec<u32>> = plan.chunks.iter().map(|chunk| &chunk.pages).collect();
    assert!(tables.iter().all(|table| table[..2] == tables[0][..2]), "full pages are the same");
    let lasts: Vec<u32> = tables.iter().map(|table| table[2]).collect();
    assert_eq!(plan.copies, [(lasts[0], lasts[1]), (lasts[0], lasts[2])], "the last one is everybody's own");
    assert!(lasts[1] != lasts[2]);
}

#[test]
fn a_sample_whose_leader_ended_reads_the_prompt_itself() {
    let mut scheduler = Scheduler::new(options());
    submit(&mut scheduler, asks(1, 40));
    submit(&mut scheduler, Sequence { leader: Some(id(1)), prompt: prompt(1, 40), ..asks(2, 1) });
    assert!(scheduler.cancel(id(1)));
    assert_eq!(rows(&step(&mut scheduler, 0)), [(2, 0, 40)]);
}

#[test]
fn a_long_prompt_leaves_a_share_to_other_tenants_and_to_its_own() {
    let mut scheduler = Scheduler::new(options());
    submit(&mut scheduler, asks(1, 300));
    assert_eq!(rows(&step(&mut scheduler, 0)), [(1, 0, 64)]);
    submit(&mut scheduler, asks(2, 40));
    submit(&mut scheduler, Sequence { tenant: TenantId(1), ..asks(3, 40) });
    let mut plan = rows(&step(&mut scheduler, 1));
    plan.sort_unstable();
    assert_eq!(plan, [(1, 64, 16), (2, 0, 16), (3, 0, 32)], "half for each tenant, and half of that for each prompt");
}

#[test]
fn who_draws_is_never_held_up_by_prompts() {
    let mut scheduler = Scheduler::new(SchedulerOptions { step_tokens_max: 8, ..options() });
    submit(&mut scheduler, asks(1, 8));
    step(&mut scheduler, 0);
    submit(&mut scheduler, asks(2, 200));
    for now_ms in 1..8 {
        let plan = step(&mut scheduler, now_ms);
        assert_eq!((plan.chunks[0].id, plan.chunks[0].samples, plan.rows()), (id(1), true, 8));
    }
}

#[test]
fn who_gives_way_keeps_its_tokens_and_goes_on() {
    let mut scheduler = Scheduler::new(SchedulerOptions { pages: 4, ..options() });
    submit(&mut scheduler, Sequence { output_tokens_max: 40, ..asks(1, 16) });
    submit(&mut scheduler, Sequence { output_tokens_max: 40, ..asks(2, 16) });
    let preempted = (0..40).find_map(|now_ms| {
        let plan = step(&mut scheduler, now_ms);
        (!plan.preempted.is_empty()).then_some((now_ms, plan))
    });
    let (now_ms, plan) = preempted.expect("two of them cannot grow to three pages each");
    assert_eq!(plan.preempted, [id(2)], "the last that began");
    assert!(rows(&plan).iter().all(|(number, ..)| *number == 1));
    scheduler.finish(id(1));
    let plan = step(&mut scheduler, now_ms + 1);
    // 16 of the prompt and 16 drawn, of which the last was nobody's input yet: two pages are full, the last row of them
    // was computed, and is computed again because the next token comes from it.
    let chunk = &plan.chunks[0];
    assert_eq!((chunk.id, chunk.first_position, chunk.samples), (id(2), 16, true));
    assert_eq!(chunk.tokens.len() as u32, chunk.recomputed_rows + 1);
    assert!(chunk.tokens.iter().all(|token| *token == 7), "what it drew is what it goes on from");
    assert!(plan.admitted[0].resumed);
}

#[test]
fn of_whom_most_was_given_the_lowest_priority_gives_way_and_of_those_the_last() {
    let mut scheduler = Scheduler::new(SchedulerOptions { pages: 8, step_tokens_max: 256, ..options() });
    let asks = |number, tenant, priority| Sequence {
        tenant: TenantId(tenant),
        priority,
        output_tokens_max: 60,
        ..asks(number, if tenant == 0 { 16 } else { 31 })
    };
    // Tenant 1 is given 31 rows twice and then some, tenant 0 much less.
    submit(&mut scheduler, asks(1, 1, 0));
    submit(&mut scheduler, asks(2, 1, -1));
    submit(&mut scheduler, asks(3, 0, -9));
    let gone: Vec<SequenceId> = (0..40).flat_map(|now_ms| step(&mut scheduler, now_ms).preempted).collect();
    assert_eq!(gone.first(), Some(&id(2)), "not 3, though its priority is lower: its tenant was given less");
}

#[test]
fn priorities_order_a_tenants_requests_and_no_others() {
    let mut scheduler = Scheduler::new(SchedulerOptions { running_max: 1, ..options() });
    submit(&mut scheduler, asks(1, 4));
    step(&mut scheduler, 0);
    submit(&mut scheduler, asks(2, 4));
    submit(&mut scheduler, Sequence { priority: 5, ..asks(3, 4) });
    submit(&mut scheduler, Sequence { tenant: TenantId(1), ..asks(4, 4) });
    submit(&mut scheduler, Sequence { priority: 9, ..asks(5, 4) });
    let mut order = Vec::new();
    for now_ms in 1..8 {
        let running = if let Some(last) = order.last() { id(*last) } else { id(1) };
        scheduler.finish(running);
        order.extend(step(&mut scheduler, now_ms).admitted.iter().map(|admitted| admitted.id.0));
    }
    assert_eq!(order, [4, 5, 3, 2], "among equals who came first, whatever the other claims; then by priority");
}

/// Lets one run at a time, each for one token, and says in which order they began.
fn order_of(scheduler: &mut Scheduler, count: usize) -> Vec<u64> {
    let mut order: Vec<u64> = Vec::new();
    for now_ms in 0.. {
        let plan = step(scheduler, now_ms);
        order.extend(plan.admitted.iter().map(|admitted| admitted.id.0));
        plan.chunks.iter().for_each(|chunk| scheduler.finish(chunk.id));
        if order.len() == count {
            break;
        }
    }
    order
}

#[test]
fn who_was_away_has_saved_nothing_up() {
    let mut scheduler = Scheduler::new(SchedulerOptions { running_max: 1, ..options() });
    (0..5).for_each(|number| submit(&mut scheduler, asks(number, 20)));
    order_of(&mut scheduler, 5);
    for number in [10, 12, 14] {
        submit(&mut scheduler, asks(number, 20));
        submit(&mut scheduler, Sequence { tenant: TenantId(1), ..asks(number + 1, 20) });
    }
    assert_eq!(order_of(&mut scheduler, 6), [10, 11, 12, 13, 14, 15], "in turns from now on");
}

#[test]
fn adapters_of_one_tenant_take_turns_whatever_crowd_one_has() {
    let mut scheduler = Scheduler::new(SchedulerOptions { running_max: 1, ..options() });
    (0..4).for_each(|number| submit(&mut scheduler, with(number, 20, &[1])));
    submit(&mut scheduler, with(10, 20, &[2]));
    submit(&mut scheduler, with(11, 20, &[2]));
    load_all(&mut scheduler);
    assert_eq!(order_of(&mut scheduler, 6), [0, 10, 1, 11, 2, 3]);
}

#[test]
fn what_begins_counts_before_it_is_computed() {
    let mut scheduler = Scheduler::new(SchedulerOptions { running_max: 2, step_tokens_max: 100, ..options() });
    let other = |number, tokens| Sequence { tenant: TenantId(1), ..asks(number, tokens) };
    submit(&mut scheduler, asks(1, 40));
    submit(&mut scheduler, other(2, 48));
    step(&mut scheduler, 0);
    assert_eq!([0, 1].map(|tenant| scheduler.level(TenantId(tenant))), [42, 50], "rows, and twice the token drawn");
    scheduler.finish(id(2));
    scheduler.finish(id(1));
    submit(&mut scheduler, asks(3, 41));
    submit(&mut scheduler, asks(4, 41));
    submit(&mut scheduler, other(5, 9));
    let plan = scheduler.schedule(1);
    assert_eq!(
        reused(&plan),
        [(3, 0), (5, 0)],
        "tenant 0 is behind by 8, and owed 41 as soon as one of its two begins"
    );
    assert!(scheduler.cancel(id(3)));
    assert_eq!(scheduler.level(TenantId(0)), 42, "nothing of it was computed");
}

#[test]
fn those_who_run_keep_a_page_to_grow() {
    let mut scheduler = Scheduler::new(SchedulerOptions { pages: 16, step_tokens_max: 512, ..options() });
    submit(&mut scheduler, asks(1, 30));
    submit(&mut scheduler, asks(2, 14 * 16 - 7));
    assert_eq!(reused(&step(&mut scheduler, 0)), [(1, 0)], "two pages and fourteen, and none to grow");
    scheduler.finish(id(1));
    assert_eq!(reused(&step(&mut scheduler, 1)), [(2, 0)]);
}

#[test]
fn who_waits_for_a_prefix_is_not_held_up_by_a_reader_that_gave_way() {
    let mut scheduler = Scheduler::new(SchedulerOptions { pages: 8, step_tokens_max: 4, ..options() });
    submit(&mut scheduler, Sequence { output_tokens_max: 60, ..asks(1, 46) });
    (0..12).for_each(|now_ms| drop(step(&mut scheduler, now_ms)));
    // With four pages there is one left. The first gets that, and needs another before they are read.
    submit(&mut scheduler, asks(2, 64));
    step(&mut scheduler, 12);
    submit(&mut scheduler, Sequence { tenant: TenantId(1), prompt: prompt(2, 64), ..asks(3, 1) });
    let gave_way = (13..34).find(|now_ms| step(&mut scheduler, *now_ms).preempted == [id(2)]).expect("pages run out");
    scheduler.finish(id(1));
    assert_eq!(step(&mut scheduler, gave_way + 1).admitted[0].id, id(3), "its tenant was given less");
}

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
    scheduler.submit(Sequence { tenant: TenantId(1), ..with(3, 4, &[2]) }, 10).expect("it is taken");
    let begun = (1..60).find(|time| {
        load_all(&mut scheduler);
        step(&mut scheduler, 10 * time).admitted.iter().any(|admitted| admitted.id == id(3))
    });
    // For a claim of 100 that came to nothing, and then its own wait, which has begun.
    assert!(begun.is_some_and(|time| (100..=300).contains(&(10 * time))), "{begun:?}");
}

#[test]
fn a_cancelled_one_gives_everything_back_at_once_wherever_it_is() {
    let mut scheduler = Scheduler::new(options());
    submit(&mut scheduler, asks(1, 40));
    submit(&mut scheduler, Sequence { leader: Some(id(1)), prompt: prompt(1, 40), ..asks(2, 1) });
    submit(&mut scheduler, with(3, 40, &[0]));
    let plan = scheduler.schedule(0);
    assert_eq!(scheduler.counts().pages_used, 3);
    for number in [1, 2, 3] {
        assert!(scheduler.cancel(id(number)), "running in a step, waiting for its leader, for its adapter");
        assert!(!scheduler.cancel(id(number)));
    }
    assert_eq!((scheduler.counts().pages_used, scheduler.idle()), (0, true));
    scheduler.computed(&plan);
    scheduler.push_token(id(1), 7);
    assert!(scheduler.schedule(1).is_empty());
    assert_eq!(scheduler.counts().pages_free, 32, "what nobody saw computed is not kept");
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
    scheduler.submit(with(2, 4, &[4]), 10).expect("it is taken");
    let mut begun_ms = None;
    for now_ms in (10..1000).step_by(10) {
        load_all(&mut scheduler);
        // New ones for the busy adapter do not put off the other's turn.
        if now_ms < 320 {
            let sequence = Sequence { output_tokens_max: 400, ..with(100 + now_ms, 4, &[3]) };
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
fn what_can_never_run_is_refused_and_says_why() {
    let limits = SchedulerOptions { waiting_max: 3, waiting_per_tenant_max: 2, ..options() };
    let mut scheduler = Scheduler::new(limits);
    let too_long = Refused::PromptTooLong { needed: 33, page_tokens: 16, pages: 32 };
    let mut check = |sequence: Sequence, refused: Refused| assert_eq!(scheduler.submit(sequence, 0), Err(refused));
    check(Sequence { output_tokens_max: 2, ..asks(1, 512) }, too_long);
    check(asks(1, 0), Refused::PromptEmpty);
    check(with(1, 4, &[1, 2, 3]), Refused::AdaptersTooMany { found: 3, max: 2 });
    check(with(1, 4, &[2, 2]), Refused::AdapterRepeated);
    assert_eq!(
        scheduler.submit(Sequence { output_tokens_max: 1, ..asks(1, 512) }, 0),
        Ok(()),
        "the last token needs no row"
    );
    let mut check = |sequence: Sequence, refused: Refused| assert_eq!(scheduler.submit(sequence, 0), Err(refused));
    check(asks(1, 4), Refused::Repeated(1));
    submit(&mut scheduler, asks(2, 4));
    assert_eq!(scheduler.submit(asks(3, 4), 0), Err(Refused::TenantFull { limit: 2 }));
    submit(&mut scheduler, Sequence { tenant: TenantId(1), ..asks(3, 4) });
    let refused = scheduler.submit(Sequence { tenant: TenantId(2), ..asks(4, 4) }, 0);
    assert_eq!(refused, Err(Refused::Full { limit: 3 }));
}

#[test]
fn deadlines_end_who_waits_and_who_runs() {
    let mut scheduler = Scheduler::new(SchedulerOptions { running_max: 1, ..options() });
    submit(&mut scheduler, Sequence { deadline_ms: Some(50), ..asks(1, 4) });
    submit(&mut scheduler, Sequence { deadline_ms: Some(30), ..asks(2, 4) });
    submit(&mut scheduler, asks(3, 4));
    step(&mut scheduler, 0);
    assert_eq!(scheduler.next_wake_ms(), Some(30));
    let ended = |plan: &Plan| plan.ended.iter().map(|ended| (ended.id.0, ended.why)).collect::<Vec<_>>();
    assert_eq!(ended(&step(&mut scheduler, 29)), []);
    assert_eq!(ended(&step(&mut scheduler, 30)), [(2, Why::DeadlinePassed)]);
    let plan = step(&mut scheduler, 50);
    assert_eq!((ended(&plan), rows(&plan)), (vec![(1, Why::DeadlinePassed)], vec![(3, 0, 4)]));
}

#[test]
fn a_gate_holds_up_the_draw_of_one_and_nothing_else() {
    let mut scheduler = Scheduler::new(options());
    submit(&mut scheduler, Sequence { gated: true, ..asks(1, 10) });
    submit(&mut scheduler, asks(2, 4));
    let mut plan = rows(&step(&mut scheduler, 0));
    plan.sort_unstable();
    assert_eq!(plan, [(1, 0, 9), (2, 0, 4)], "all but the row that draws");
    assert_eq!(rows(&step(&mut scheduler, 1)), [(2, 4, 1)]);
    scheduler.open_gate(id(1));
    assert_eq!(rows(&step(&mut scheduler, 2)), [(1, 9, 1), (2, 5, 1)]);
    assert_eq!(rows(&step(&mut scheduler, 3)), [(2, 6, 1)], "one opening, one draw");
    scheduler.finish(id(2));
    assert!(step(&mut scheduler, 4).is_empty());
    scheduler.open_gate(id(1));
    assert_eq!(rows(&step(&mut scheduler, 5)), [(1, 10, 1)]);
}

#[test]
fn a_prompt_that_is_only_read_draws_nothing() {
    let mut scheduler = Scheduler::new(options());
    submit(&mut scheduler, Sequence { output_tokens_max: 0, ..asks(1, 20) });
    let plan = step(&mut scheduler, 0);
    assert_eq!((rows(&plan), plan.chunks[0].samples), (vec![(1, 0, 20)], false));
    assert!(step(&mut scheduler, 1).is_empty());
    scheduler.finish(id(1));
    assert!(scheduler.idle());
}

#[test]
fn a_prompt_whose_rows_are_all_wanted_uses_nobodys_pages() {
    let mut scheduler = Scheduler::new(options());
    submit(&mut scheduler, asks(1, 40));
    step(&mut scheduler, 0);
    submit(&mut scheduler, Sequence { reuse: false, prompt: prompt(1, 40), ..asks(2, 1) });
    assert_eq!(reused(&step(&mut scheduler, 1)), [(2, 0)]);
}

#[test]
fn a_step_that_failed_comes_again() {
    let mut scheduler = Scheduler::new(options());
    submit(&mut scheduler, Sequence { gated: true, ..with(1, 20, &[3]) });
    submit(&mut scheduler, asks(2, 30));
    scheduler.open_gate(id(1));
    load_all(&mut scheduler);
    let plan = scheduler.schedule(0);
    assert_eq!((plan.chunks.len(), plan.installs.len()), (2, 1));
    scheduler.failed(&plan);
    let again = scheduler.schedule(1);
    assert_eq!((&again.chunks, &again.installs), (&plan.chunks, &plan.installs));
    assert_eq!(again.admitted, [], "they have begun");
}

#[test]
fn what_was_computed_twice_is_counted_once() {
    // Two tenants take turns in four pages. Whoever gave way reads its prompt again; were that counted, it would be the
    // next to give way again.
    let mut scheduler = Scheduler::new(SchedulerOptions { pages: 4, ..options() });
    for number in [0, 1] {
        submit(&mut scheduler, Sequence { tenant: TenantId(number as u32), output_tokens_max: 40, ..asks(number, 16) });
    }
    let (mut drawn, mut now_ms) = ([0_u32; 2], 0);
    while drawn.iter().any(|drawn| *drawn < 40) {
        let chunks: Vec<Chunk> = step(&mut scheduler, now_ms).chunks;
        now_ms += 1;
        for chunk in chunks.iter().filter(|chunk| chunk.samples) {
            drawn[chunk.id.0 as usize] += 1;
            if drawn[chunk.id.0 as usize] == 40 {
                scheduler.finish(chunk.id);
            }
        }
        assert!(now_ms < 1000, "both come to their end");
    }
    assert!(scheduler.counts().preemptions > 0);
}

#[test]
#[should_panic(expected = "a plan is computed, or has failed, before the next is made")]
fn a_plan_is_answered_before_the_next() {
    let mut scheduler = Scheduler::new(options());
    submit(&mut scheduler, asks(1, 4));
    scheduler.schedule(0);
    scheduler.schedule(1);
}
