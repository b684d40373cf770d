//! From submission to end: refusals, deadlines, gates, failures.

use loam_engine::scheduler::{Plan, Refused, Scheduler, SchedulerOptions, Sequence, TenantId, Why};

use super::{asks, id, load_all, options, prompt, rows, step, submit, with};

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
#[should_panic(expected = "a plan is computed, or has failed, before the next is made")]
fn a_plan_is_answered_before_the_next() {
    let mut scheduler = Scheduler::new(options());
    submit(&mut scheduler, asks(1, 4));
    scheduler.schedule(0);
    scheduler.schedule(1);
}
