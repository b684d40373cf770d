//! Small stories, one for each rule.

mod adapters;
mod ahead;
mod limits;
mod prefixes;
mod shares;

use std::sync::Arc;

use loam_engine::adapter::AdapterId;
use loam_engine::adapter::pool::PoolAction;
use loam_engine::scheduler::{Plan, Scheduler, SchedulerOptions, Sequence, SequenceId, TenantId};
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
