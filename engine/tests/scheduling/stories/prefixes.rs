//! Pages that are used again.

use std::sync::Arc;

use loam_engine::scheduler::{Scheduler, SchedulerOptions, Sequence, TenantId};
use loam_ledger_core::Hash;

use super::{asks, id, options, prompt, reused, rows, step, submit};

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
fn a_prompt_whose_rows_are_all_wanted_uses_nobodys_pages() {
    let mut scheduler = Scheduler::new(options());
    submit(&mut scheduler, asks(1, 40));
    step(&mut scheduler, 0);
    submit(&mut scheduler, Sequence { reuse: false, prompt: prompt(1, 40), ..asks(2, 1) });
    assert_eq!(reused(&step(&mut scheduler, 1)), [(2, 0)]);
}
