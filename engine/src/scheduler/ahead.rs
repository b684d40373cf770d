//! The step after the one that runs, laid before anybody knows what that one draws.
//!
//! Only who goes on is in it, with one row each, whose token is the one that the step before draws. Nothing is decided:
//! where somebody could begin, reads a prompt, or would have to give way, where an adapter has come or a time has, nothing
//! is laid, and [`Scheduler::schedule`] decides when the step before is known. Nobody can begin where all seats are taken,
//! but one whose tenant has nothing running, who could have others give way; so a full house goes on. So all that is
//! promised of who begins, who gives way and when holds as if there were no such steps, but that a seat which somebody
//! leaves unforeseen, with a stop word, is taken one step later. Slots change, and pages are copied, only where no step is
//! in flight.
//!
//! Who turns out to have ended has a row in vain. It writes to a page that was its own when the step was laid. What it held
//! is given back at once all the same: whoever is given the page writes it in a later step, and devices keep order.

use std::collections::BTreeMap;

use super::sequence::Live;
use super::{Chunk, Plan, Scheduler, SequenceId};

/// What becomes of somebody who draws in the step before.
enum Next {
    /// It has a row.
    GoesOn,
    /// It has none, for it waits at its gate.
    Pauses,
    /// It has none any more.
    Ends,
    /// It reads more of its prompt.
    Waits,
}

impl Scheduler {
    /// The step after `before`, which is being run; or none. It is computed, or fails, after that one. Of `before`, nothing
    /// else may have been laid ahead.
    pub fn schedule_ahead(&mut self, before: &Plan, now_ms: u64) -> Option<Plan> {
        assert_eq!(self.in_flight, 1, "a step is laid ahead of one that is being run");
        if !self.options.ahead || self.has_to_decide(before, now_ms) {
            return None;
        }
        let going = self.going(before)?;
        let page_tokens = self.options.page_tokens;
        // With the token to come, of which it has the row.
        let lacks_page = |live: &Live| (live.len() + 1).div_ceil(page_tokens) > live.pages.len() as u32;
        let lacking = going.iter().filter(|id| lacks_page(&self.live[*id])).count() as u32;
        if going.is_empty() || lacking > self.pages.available() {
            return None;
        }
        let mut plan = Plan::default();
        for id in going {
            let live = self.live.get_mut(&id).expect("who goes on lives");
            if lacks_page(live) {
                live.pages.push(self.pages.take().expect("there are as many pages as are lacking"));
            }
            plan.chunks.push(live.chunk_ahead());
        }
        self.in_flight += 1;
        Some(plan)
    }

    /// Whether somebody could begin, or something is to be done beside what `before` does, that only a plan of its own says.
    fn has_to_decide(&self, before: &Plan, now_ms: u64) -> bool {
        let reads = before.chunks.iter().any(|chunk| chunk.tokens.len() > 1);
        let could_begin = self.anybody_waits() && (self.may_begin || reads || self.queue.anybody_has_nothing());
        let is_due = self.next_wake_ms().is_some_and(|at_ms| at_ms <= now_ms);
        let installs = self.pool.installs().iter().any(|install| !before.installs.contains(install));
        let slots_change = self.claim.is_some() || !self.draining.is_empty() || installs;
        could_begin || is_due || slots_change || !self.ended.is_empty()
    }

    fn anybody_waits(&self) -> bool {
        self.live.len() > self.running.len()
    }

    /// Who has a row in the step after `before`, in order of admission; none where a row would be missing that a plan of
    /// its own would have.
    fn going(&self, before: &Plan) -> Option<Vec<SequenceId>> {
        let drawing: BTreeMap<SequenceId, &Chunk> = before.chunks.iter().map(|chunk| (chunk.id, chunk)).collect();
        let mut going = Vec::new();
        for id in self.running.values() {
            let live = &self.live[id];
            match drawing.get(id).map(|chunk| live.next_after(chunk)) {
                Some(Next::GoesOn) => going.push(*id),
                Some(Next::Pauses) => {}
                Some(Next::Ends) if !self.anybody_waits() => {}
                None if live.due_now() == 0 => {}
                Some(Next::Ends | Next::Waits) | None => return None,
            }
        }
        Some(going)
    }
}

impl Live {
    fn next_after(&self, chunk: &Chunk) -> Next {
        let last = u64::from(self.asked.output_tokens_max) <= self.output.len() as u64 + 1;
        match chunk.samples {
            true if last => Next::Ends,
            true if self.asked.gated => Next::Pauses,
            true => Next::GoesOn,
            false => Next::Waits,
        }
    }

    /// One row, of the token that is being drawn.
    fn chunk_ahead(&self) -> Chunk {
        Chunk {
            id: self.asked.id,
            first_position: self.len(),
            tokens: vec![0],
            follows: true,
            pages: self.pages.clone(),
            slots: self.slots.clone(),
            samples: true,
            recomputed_rows: 0,
        }
    }
}
