//! The step after the one that runs.

use super::*;

/// Plans a step, and the one after it before it is computed.
fn two(scheduler: &mut Scheduler, now_ms: u64) -> (Plan, Option<Plan>) {
    let plan = scheduler.schedule(now_ms);
    let ahead = scheduler.schedule_ahead(&plan, now_ms);
    (plan, ahead)
}

/// Whoever drew got token 7, but for those who ended.
fn known(scheduler: &mut Scheduler, plan: &Plan) {
    scheduler.computed(plan);
    for chunk in plan.chunks.iter().filter(|chunk| chunk.samples) {
        scheduler.push_token(chunk.id, 7);
    }
}

#[test]
fn who_goes_on_has_a_row_of_the_token_to_come() {
    let mut scheduler = Scheduler::new(options());
    submit(&mut scheduler, asks(1, 15));
    submit(&mut scheduler, asks(2, 4));
    let (plan, ahead) = two(&mut scheduler, 0);
    let ahead = ahead.expect("both go on");
    assert_eq!((rows(&plan), rows(&ahead)), (vec![(1, 0, 15), (2, 0, 4)], vec![(1, 15, 1), (2, 4, 1)]));
    assert!(ahead.chunks.iter().all(|chunk| chunk.follows && chunk.samples));
    known(&mut scheduler, &plan);
    let next = scheduler.schedule_ahead(&ahead, 1).expect("they go on");
    assert_eq!(rows(&next), [(1, 16, 1), (2, 5, 1)]);
    assert_eq!(next.chunks[0].pages.len(), 2, "a page more");
    known(&mut scheduler, &ahead);
    known(&mut scheduler, &next);
    let plan = scheduler.schedule(2);
    assert_eq!(rows(&plan), [(1, 17, 1), (2, 6, 1)]);
    assert!(plan.chunks.iter().all(|chunk| !chunk.follows && chunk.tokens == [7]), "now they are known");
}

#[test]
fn who_draws_its_last_token_or_waits_at_a_gate_is_not_in_it() {
    let mut scheduler = Scheduler::new(options());
    submit(&mut scheduler, Sequence { output_tokens_max: 1, ..asks(1, 4) });
    submit(&mut scheduler, Sequence { gated: true, ..asks(2, 4) });
    submit(&mut scheduler, asks(3, 4));
    scheduler.open_gate(id(2));
    let (plan, ahead) = two(&mut scheduler, 0);
    assert_eq!((plan.chunks.len(), rows(&ahead.expect("one goes on"))), (3, vec![(3, 4, 1)]));
}

#[track_caller]
fn nothing(options: SchedulerOptions, sequences: Vec<Sequence>) {
    let mut scheduler = Scheduler::new(options);
    sequences.into_iter().for_each(|sequence| submit(&mut scheduler, sequence));
    let (plan, ahead) = two(&mut scheduler, 0);
    assert!(!plan.chunks.is_empty());
    assert_eq!(ahead, None);
}

#[test]
fn where_it_is_not_wanted_there_is_none() {
    nothing(SchedulerOptions { ahead: false, ..options() }, vec![asks(1, 4)]);
}

#[test]
fn a_prompt_that_is_read_is_read_on_first() {
    nothing(SchedulerOptions { step_tokens_max: 8, ..options() }, vec![asks(1, 4), asks(2, 40)]);
}

#[test]
fn whoever_could_begin_is_looked_at_first() {
    let full = SchedulerOptions { running_max: 1, ..options() };
    // A prompt that is read may be what somebody waits for.
    nothing(full.clone(), vec![asks(1, 4), asks(2, 4)]);
    // Whose tenant has nothing could have others give way.
    nothing(full.clone(), vec![asks(1, 1), Sequence { tenant: TenantId(1), ..asks(2, 1) }]);
    // Who lacks pages stands before others, who may lack none.
    nothing(SchedulerOptions { pages: 3, ..options() }, vec![asks(1, 1), asks(2, 40)]);
    // One seat is free in the step after.
    nothing(full.clone(), vec![Sequence { output_tokens_max: 1, ..asks(1, 1) }, asks(2, 1)]);
    let mut scheduler = Scheduler::new(full);
    submit(&mut scheduler, asks(1, 1));
    let plan = scheduler.schedule(0);
    submit(&mut scheduler, asks(2, 1));
    assert_eq!(scheduler.schedule_ahead(&plan, 0), None, "nobody has looked at it yet");
}

#[test]
fn a_full_house_goes_on() {
    let mut scheduler = Scheduler::new(SchedulerOptions { running_max: 1, ..options() });
    submit(&mut scheduler, asks(1, 1));
    submit(&mut scheduler, asks(2, 1));
    let (plan, ahead) = two(&mut scheduler, 0);
    let ahead = ahead.expect("the other waits for the seat");
    assert_eq!((rows(&plan), rows(&ahead)), (vec![(1, 0, 1)], vec![(1, 1, 1)]));
    known(&mut scheduler, &plan);
    let next = scheduler.schedule_ahead(&ahead, 1).expect("and still does");
    scheduler.computed(&ahead);
    // The first one's token was its last: the seat is free while a step is in flight.
    scheduler.finish(id(1));
    assert_eq!(scheduler.schedule_ahead(&next, 2), None);
    scheduler.computed(&next);
    assert_eq!(rows(&scheduler.schedule(3)), [(2, 0, 1)], "one step later");
}

#[test]
fn nobody_gives_way_to_it() {
    // Each needs another page, and there is one.
    nothing(SchedulerOptions { pages: 3, ..options() }, vec![asks(1, 16), asks(2, 16)]);
}

#[test]
fn a_time_that_has_come_is_seen_to_first() {
    let mut scheduler = Scheduler::new(options());
    submit(&mut scheduler, Sequence { deadline_ms: Some(5), ..asks(1, 4) });
    let plan = scheduler.schedule(4);
    let ahead = scheduler.schedule_ahead(&plan, 4).expect("there is time");
    known(&mut scheduler, &plan);
    assert_eq!(scheduler.schedule_ahead(&ahead, 5), None);
    known(&mut scheduler, &ahead);
    assert_eq!(scheduler.schedule(5).ended.len(), 1);
}

#[test]
fn a_row_in_vain_costs_nobody_anything() {
    let mut scheduler = Scheduler::new(SchedulerOptions { pages: 4, ..options() });
    submit(&mut scheduler, asks(1, 16));
    submit(&mut scheduler, asks(2, 4));
    let (plan, ahead) = two(&mut scheduler, 0);
    let ahead = ahead.expect("both go on");
    let level = scheduler.level(TenantId(0));
    scheduler.computed(&plan);
    scheduler.push_token(id(2), 7);
    // The first one's token was its last, which nobody could know.
    scheduler.finish(id(1));
    assert_eq!(scheduler.counts().pages_used, 1, "what it held is there for others");
    let next = scheduler.schedule_ahead(&ahead, 1).expect("the other goes on");
    assert_eq!(rows(&next), [(2, 5, 1)]);
    known(&mut scheduler, &ahead);
    known(&mut scheduler, &next);
    // Two tokens of a step and two of the next ones, each counting two; nothing for the row in vain.
    assert_eq!(scheduler.level(TenantId(0)) - level, 2 * 2 + 2 + 2);
    assert_eq!(scheduler.counts().pages_used, 1);
}

#[test]
fn a_step_that_failed_comes_again_for_who_lives() {
    let mut scheduler = Scheduler::new(options());
    submit(&mut scheduler, asks(1, 4));
    submit(&mut scheduler, asks(2, 4));
    let (plan, ahead) = two(&mut scheduler, 0);
    let ahead = ahead.expect("both go on");
    known(&mut scheduler, &plan);
    scheduler.finish(id(1));
    scheduler.failed(&ahead);
    assert_eq!(rows(&scheduler.schedule(1)), [(2, 4, 1)]);
}
