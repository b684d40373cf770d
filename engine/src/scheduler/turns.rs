//! Who must make room for whom, so that every wait ends.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::admission::Lack;
use super::sequence::State;
use super::{Plan, Scheduler, SequenceId, TenantId};
use crate::adapter::AdapterId;
use crate::fairness::Line;

/// The right to slots: one sequence's adapters are fetched first and kept until it begins.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    id: SequenceId,
    tenant: TenantId,
    line: Line,
    since_ms: u64,
    ready_since_ms: Option<u64>,
}

impl Scheduler {
    /// Who has the claim, if its adapters are there.
    pub(super) fn claim_ready(&self) -> Option<(SequenceId, TenantId)> {
        let claim = self.claim.as_ref().filter(|claim| self.pool.ready(&claim.line))?;
        Some((claim.id, claim.tenant))
    }

    /// Passes the claim on, and has those make room who were longest in the slots that it lacks.
    pub(super) fn turn_slots(&mut self, now_ms: u64, plan: &mut Plan) {
        self.keep_claim(now_ms);
        if self.claim.is_none() {
            self.draining.clear();
            self.choose_claim(now_ms);
        }
        let Some(claim) = self.claim.clone() else { return self.pool.set_claim(&[], false) };
        let due_ms = claim.since_ms.saturating_add(self.options.adapter_wait_ms_max);
        self.pool.set_claim(&claim.line, now_ms >= due_ms);
        if now_ms < due_ms {
            self.wake(due_ms, now_ms);
        } else if self.pool.near(&claim.line) {
            self.drain(&claim.line, now_ms, plan);
        }
    }

    /// A claim ends when its holder begins, or ends, or has had its adapters for as long as it would have waited for
    /// them.
    fn keep_claim(&mut self, now_ms: u64) {
        let Some(claim) = &mut self.claim else { return };
        let waits = self.live.get(&claim.id).is_some_and(|live| live.state == State::Waiting);
        let ready_since_ms = self.pool.ready(&claim.line).then(|| claim.ready_since_ms.unwrap_or(now_ms));
        claim.ready_since_ms = ready_since_ms;
        let held_ms = ready_since_ms.map_or(0, |since_ms| now_ms.saturating_sub(since_ms));
        if !waits || held_ms > self.options.adapter_wait_ms_max {
            self.claim = None;
        }
    }

    /// The first in fair order who lacks only slots; if nobody does and nothing is being loaded, the first who lacks an
    /// adapter: then host memory is full of what others wait with.
    fn choose_claim(&mut self, now_ms: u64) {
        let lacks = |(_, line): &(TenantId, &Line)| !self.pool.ready(line);
        let first = if self.pool.any_near() {
            self.queue.lines().find(|(tenant, line)| lacks(&(*tenant, line)) && self.pool.near(line))
        } else {
            None
        };
        let first = first.or_else(|| if self.pool.is_loading() { None } else { self.queue.lines().find(lacks) });
        self.claim = first.and_then(|(tenant, line)| {
            let id = self.queue.first(tenant, line)?.id;
            let since_ms = self.live[&id].queued_ms.min(now_ms);
            Some(Claim { id, tenant, line: Arc::clone(line), since_ms, ready_since_ms: None })
        });
    }

    /// Makes slots free for a set: nobody begins with the chosen adapters any more, and those who run with them give
    /// way once each has had its turn.
    fn drain(&mut self, line: &Line, now_ms: u64, plan: &mut Plan) {
        let (slots, bytes) = self.pool.shortfall(line);
        if (slots, bytes) == (0, 0) {
            return;
        }
        // Adapters in use, by when the first of those who run with them began.
        let mut users: BTreeMap<AdapterId, Vec<SequenceId>> = BTreeMap::new();
        for id in self.running.values() {
            for adapter in self.live[id].line.iter() {
                users.entry(*adapter).or_default().push(*id);
            }
        }
        let began = |adapter: &AdapterId| self.live[&users[adapter][0]].running();
        let mut chosen: Vec<AdapterId> =
            users.keys().filter(|adapter| self.may_drain(**adapter, line)).copied().collect();
        chosen.sort_by_key(|adapter| (!self.draining.contains(adapter), began(adapter), *adapter));
        let (mut slots_freed, mut bytes_freed) = (0, 0);
        for adapter in chosen {
            if slots_freed >= slots && bytes_freed >= bytes {
                break;
            }
            self.draining.insert(adapter);
            slots_freed += 1;
            bytes_freed += self.pool.residency(adapter).bytes.unwrap_or(0);
        }
        for adapter in self.draining.clone() {
            let Some(users) = users.get(&adapter) else { continue };
            let ends = users.iter().map(|id| self.live[id].turn_ends_ms(self.options.turn_ms_min));
            let Some(end_ms) = ends.collect::<Option<Vec<u64>>>().and_then(|ends| ends.into_iter().max()) else {
                continue;
            };
            if end_ms > now_ms {
                self.wake(end_ms, now_ms);
                continue;
            }
            for id in users {
                // One that runs with two of them gave way before.
                if self.live[id].running().is_some() {
                    self.preempt(*id, now_ms, plan);
                }
            }
        }
    }

    fn may_drain(&self, adapter: AdapterId, line: &Line) -> bool {
        !line.contains(&adapter) && !self.pool.residency(adapter).pinned
    }

    /// Lets others give way to a tenant of whom nothing runs: those of whoever was given more, the most first, once
    /// each has had its turn; and nobody unless it is enough.
    pub(super) fn make_room(&mut self, id: SequenceId, lack: Lack, now_ms: u64, plan: &mut Plan) -> bool {
        let live = &self.live[&id];
        let tenant = live.asked.tenant;
        if self.queue.running_of(tenant) > 0 {
            return false;
        }
        let due_ms = live.queued_ms.saturating_add(self.options.share_wait_ms_max);
        if now_ms < due_ms {
            self.wake(due_ms, now_ms);
            return false;
        }
        let level = self.queue.level(tenant);
        let mut victims = Vec::new();
        let mut held = Vec::new();
        for (_, victim) in self.by_turn().rev().filter(|(other, _)| *other > level) {
            let other = &self.live[&victim];
            let Some(end_ms) = other.turn_ends_ms(self.options.turn_ms_min) else { continue };
            let in_plan = plan.admitted.iter().any(|admitted| admitted.id == victim)
                || plan.copies.iter().any(|(from, _)| other.pages.contains(from));
            if end_ms > now_ms {
                self.wake(end_ms, now_ms);
            } else if !in_plan {
                victims.push(victim);
                held.extend_from_slice(&other.pages);
                if victims.len() as u32 >= lack.seats && self.pages.freed_by(held.iter().copied()) >= lack.pages {
                    victims.into_iter().for_each(|victim| self.preempt(victim, now_ms, plan));
                    return true;
                }
            }
        }
        false
    }
}
