//! Who begins, who gets how many rows, and who gives way.

use loam_engine::scheduler::{Chunk, Scheduler, SchedulerOptions, Sequence, SequenceId, TenantId};

use super::{asks, id, load_all, options, reused, rows, step, submit, with};

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
