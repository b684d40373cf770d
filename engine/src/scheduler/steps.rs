//! One step: planned, then computed or not.

use super::sequence::{Live, State};
use super::shares::{Reading, share_rows};
use super::{Chunk, Ended, Plan, Scheduler, SequenceId, Why};

impl Scheduler {
    /// The next step. An empty plan means that there is nothing to compute now; its lists of who ended and who gave way
    /// may still say something. After any other plan comes [`Scheduler::computed`] or [`Scheduler::failed`], before the
    /// next one is asked for, unless it is [`Scheduler::schedule_ahead`]; sequences may be cancelled in between.
    pub fn schedule(&mut self, now_ms: u64) -> Plan {
        assert_eq!(self.in_flight, 0, "a plan is computed, or has failed, before the next is made");
        let mut plan = Plan::default();
        self.wake_ms = None;
        self.end_overdue(now_ms, &mut plan);
        self.turn_slots(now_ms, &mut plan);
        self.serve_adapters();
        self.extend_tables(now_ms, &mut plan);
        self.may_begin = !self.admit_all(now_ms, &mut plan);
        self.lay_chunks(&mut plan);
        if !plan.preempted.is_empty() {
            // What ran with adapters that have become too large beside new pins could not come back.
            let preempted = std::mem::take(&mut plan.preempted);
            self.end_impossible(|live| preempted.contains(&live.asked.id));
            plan.preempted = preempted;
            plan.preempted.retain(|id| self.live.contains_key(id));
        }
        plan.ended.append(&mut self.ended);
        plan.installs = self.pool.installs();
        self.in_flight = u32::from(!plan.is_empty());
        plan
    }

    /// The step ran, whole: its rows are in pages, and full pages can be found by others. Of two in flight, it is the first.
    pub fn computed(&mut self, plan: &Plan) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.copied.clear();
        self.pool.installed(&plan.installs);
        for chunk in &plan.chunks {
            self.chunk_computed(chunk);
        }
    }

    /// The step did not run: nothing of it holds, and the next plan has its rows again. Those that began have begun.
    pub fn failed(&mut self, plan: &Plan) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.may_begin = true;
        for chunk in plan.chunks.iter().filter(|chunk| chunk.samples) {
            self.open_gate(chunk.id);
        }
        let page_tokens = self.options.page_tokens;
        for id in std::mem::take(&mut self.copied) {
            // The copied rows are computed after all.
            let Some(live) = self.live.get_mut(&id) else { continue };
            live.computed -= live.computed % page_tokens;
            live.held = live.computed;
            self.settle(id);
        }
    }

    fn end_overdue(&mut self, now_ms: u64, plan: &mut Plan) {
        while let Some(&(deadline, id)) = self.deadlines.first() {
            if deadline > now_ms {
                return;
            }
            self.remove(id);
            plan.ended.push(Ended { id, why: Why::DeadlinePassed });
        }
    }

    /// A page for each row that begins one, the longest running first. Where there is none, somebody gives way.
    fn extend_tables(&mut self, now_ms: u64, plan: &mut Plan) {
        let page_tokens = self.options.page_tokens;
        let ids: Vec<SequenceId> = self.running.values().copied().collect();
        let lacks_page = |live: &Live| live.due_now() > 0 && live.len().div_ceil(page_tokens) > live.pages.len() as u32;
        for id in ids {
            while self.live.get(&id).is_some_and(|live| live.running().is_some() && lacks_page(live)) {
                if let Some(page) = self.pages.take() {
                    self.live.get_mut(&id).expect("it lives").pages.push(page);
                } else {
                    let (_, victim) = self.by_turn().next_back().expect("whoever lacks a page runs");
                    self.preempt(victim, now_ms, plan);
                }
            }
        }
    }

    /// All who run, and what decides who of them gives way: the last does first.
    pub(super) fn by_turn(&self) -> impl DoubleEndedIterator<Item = (u64, SequenceId)> + use<> {
        let rank = |(number, id): (&u64, &SequenceId)| {
            let asked = &self.live[id].asked;
            let level = self.queue.level(asked.tenant);
            (level, asked.tenant, std::cmp::Reverse(asked.priority), *number, *id)
        };
        let mut ranked: Vec<_> = self.running.iter().map(rank).collect();
        ranked.sort_unstable();
        ranked.into_iter().map(|(level, _, _, _, id)| (level, id))
    }

    fn lay_chunks(&mut self, plan: &mut Plan) {
        let (mut rows, mut readings) = (Vec::new(), Vec::new());
        for id in self.running.values() {
            let live = &self.live[id];
            match (live.due_now(), live.due()) {
                (0, _) => {}
                (_, 1) => rows.push((*id, 1)),
                (due, _) => {
                    let (tenant, priority) = (live.asked.tenant, live.asked.priority);
                    readings.push(Reading { id: *id, tenant, level: self.queue.level(tenant), priority, rows: due });
                }
            }
        }
        let left = self.options.step_tokens_max.saturating_sub(rows.len() as u32);
        rows.extend(share_rows(&readings, left.min(self.options.prefill_tokens_max)));
        for (id, rows) in rows {
            let live = self.live.get_mut(&id).expect("who runs lives");
            plan.chunks.push(live.chunk(rows));
        }
    }

    fn chunk_computed(&mut self, chunk: &Chunk) {
        // Whoever was cancelled meanwhile has given everything back.
        let Some(live) = self.live.get_mut(&chunk.id) else { return };
        let page_tokens = self.options.page_tokens;
        let before = live.computed;
        live.computed = chunk.first_position + chunk.tokens.len() as u32;
        let paid_from = before.max(live.held);
        let input = u64::from(live.computed.min(live.prompt_len()).saturating_sub(paid_from));
        let output = u64::from(chunk.samples);
        live.held = live.held.max(live.computed);
        for page in before / page_tokens..live.computed / page_tokens {
            let key = live.keys()[page as usize];
            self.pages.publish(live.pages[page as usize], key);
            if self.coming.get(&key) == Some(&chunk.id) {
                self.coming.remove(&key);
            }
        }
        let cost = input.saturating_mul(self.options.input_cost);
        let cost = cost.saturating_add(output.saturating_mul(self.options.output_cost));
        self.queue.charge(live.asked.tenant, &live.line, cost);
        let read = live.computed >= live.prompt_len() || live.due() <= 1;
        self.settle(chunk.id);
        if read {
            self.unpark(chunk.id);
        }
    }
}

impl Live {
    fn chunk(&mut self, rows: u32) -> Chunk {
        let end = self.computed + rows;
        let samples = end == self.len() && self.draws_more();
        self.gate_open &= !samples;
        debug_assert!(matches!(self.state, State::Running { .. }), "rows are computed of who runs");
        Chunk {
            id: self.asked.id,
            first_position: self.computed,
            tokens: (self.computed..end).map(|position| self.token(position)).collect(),
            follows: false,
            pages: self.pages.clone(),
            slots: self.slots.clone(),
            samples,
            recomputed_rows: self.held.clamp(self.computed, end) - self.computed,
        }
    }
}
