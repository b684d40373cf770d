//! Who begins.

use std::collections::{BTreeMap, BTreeSet};

use super::sequence::State;
use super::{Admitted, Plan, Scheduler, SequenceId, TenantId};
use crate::adapter::AdapterId;

/// What came of trying to let one begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Admission {
    /// It begins, and has so many rows to compute.
    Begins(u32),
    /// It waits for what another computes.
    Parked,
    /// All seats are taken, or it lacks so many pages.
    NoRoom(Lack),
}

/// What somebody lacks to begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lack {
    pub(super) seats: u32,
    pub(super) pages: u32,
}

/// What of a sequence is in pages already.
struct Found {
    /// Pages that hold its first rows.
    pages: Vec<u32>,
    /// A page that holds its next rows, and how many: to be copied, because others write on in it.
    tail: Option<(u32, u32)>,
}

/// A tenant's prompts that are being read.
#[derive(Clone, Copy, Default)]
struct Prompts {
    count: u32,
    rows: u64,
}

impl Scheduler {
    /// Lets begin who can, in fair order. Whether nobody else could until something happens: all seats are taken, or nobody
    /// is left. Whoever lacks pages alone stands before others who may lack none, and before whom they come changes with
    /// every row.
    pub(super) fn admit_all(&mut self, now_ms: u64, plan: &mut Plan) -> bool {
        let mut prompts = self.prompts_read();
        if let Some((id, tenant)) = self.claim_ready() {
            // It stops nobody: the claim was for slots, and has an end.
            let may_go = self.may_read(tenant, &prompts) && !plan.preempted.contains(&id);
            if let Some(Admission::Begins(rows)) = may_go.then(|| self.admit(id, now_ms, plan)) {
                prompts.entry(tenant).or_default().add(rows);
            }
        }
        let ready: BTreeSet<AdapterId> =
            self.pool.all_ready().filter(|adapter| !self.draining.contains(adapter)).collect();
        while let Some(candidate) = self.queue.next(&ready, |tenant| self.may_read(tenant, &prompts)) {
            let id = candidate.place.id;
            if plan.preempted.contains(&id) {
                return false;
            }
            let mut admission = self.admit(id, now_ms, plan);
            if let Admission::NoRoom(lack) = admission
                && self.make_room(id, lack, now_ms, plan)
            {
                admission = self.admit(id, now_ms, plan);
            }
            match admission {
                Admission::Begins(rows) => prompts.entry(candidate.tenant).or_default().add(rows),
                Admission::Parked => {}
                Admission::NoRoom(lack) => return lack.seats > 0,
            }
        }
        true
    }

    fn prompts_read(&self) -> BTreeMap<TenantId, Prompts> {
        let mut prompts: BTreeMap<TenantId, Prompts> = BTreeMap::new();
        for id in self.running.values() {
            let live = &self.live[id];
            prompts.entry(live.asked.tenant).or_default().add(live.due_now());
        }
        prompts
    }

    /// Short prompts follow each other freely; of long ones, that one step cannot read, only some are begun.
    fn may_read(&self, tenant: TenantId, prompts: &BTreeMap<TenantId, Prompts>) -> bool {
        let read = prompts.get(&tenant).copied().unwrap_or_default();
        read.count < self.options.prefills_per_tenant_max || read.rows < u64::from(self.options.prefill_tokens_max)
    }

    fn admit(&mut self, id: SequenceId, now_ms: u64, plan: &mut Plan) -> Admission {
        let found = self.found(id);
        if let Some(on) = self.to_wait_for(id, &found) {
            self.park(id, on);
            return Admission::Parked;
        }
        let lack = self.lack(id, &found);
        if lack != Lack::default() {
            return Admission::NoRoom(lack);
        }
        let page_tokens = self.options.page_tokens;
        let live = self.live.get_mut(&id).expect("who begins lives");
        self.queue.remove(live.asked.tenant, &live.line, &live.place());
        self.queue.run(live.asked.tenant, 1);
        self.admissions += 1;
        self.running.insert(self.admissions, id);
        live.state = State::Running { number: self.admissions, since_ms: now_ms, drawn: 0 };
        live.slots = self.pool.acquire(&live.line);
        for page in &found.pages {
            self.pages.hold(*page);
        }
        live.computed = found.pages.len() as u32 * page_tokens;
        live.pages = found.pages;
        while (live.pages.len() as u32) < live.len().div_ceil(page_tokens) {
            live.pages.push(self.pages.take().expect("there are as many pages as it lacks"));
        }
        if let Some((page, rows)) = found.tail {
            plan.copies.push((page, live.pages[(live.computed / page_tokens) as usize]));
            self.copied.push(id);
            live.computed += rows;
        }
        // Full pages that it will compute, for others to wait for. One whose last row waits at a gate is not promised.
        let promised = live.computed + live.due_now();
        for key in &live.keys()[(live.computed / page_tokens) as usize..(promised / page_tokens) as usize] {
            self.coming.entry(*key).or_insert(id);
        }
        let admitted = Admitted { id, reused_tokens: live.computed, resumed: live.ran };
        (live.ran, live.held) = (true, live.held.max(live.computed));
        self.counts.prefix_rows_looked_up += u64::from(live.rows_reusable());
        self.counts.prefix_rows_found += u64::from(live.computed);
        plan.admitted.push(admitted);
        let rows = live.due_now();
        self.settle(id);
        Admission::Begins(rows)
    }

    fn found(&self, id: SequenceId) -> Found {
        let (live, page_tokens) = (&self.live[&id], self.options.page_tokens);
        let wanted = (live.rows_reusable() / page_tokens) as usize;
        let pages = self.pages.find(&live.keys()[..wanted]);
        let before_last = live.prompt_len() - 1;
        let leader = live.asked.leader.and_then(|leader| self.live.get(&leader)).filter(|leader| {
            let same = leader.asked.prompt == live.asked.prompt && leader.asked.prefix_root == live.asked.prefix_root;
            same && leader.running().is_some() && leader.computed > before_last
        });
        let rows = before_last % page_tokens;
        let fresh = live.asked.reuse && !live.ran && pages.len() == wanted && rows > 0;
        let tail = leader.filter(|_| fresh).map(|leader| (leader.pages[wanted], rows));
        Found { pages, tail }
    }

    /// Who is about to compute what this one could use: the leader of its samples, or whoever has the same prefix and
    /// is at its next page. Neither waits for it in turn, and one that stops running lets it go.
    fn to_wait_for(&self, id: SequenceId, found: &Found) -> Option<SequenceId> {
        let live = &self.live[&id];
        let leader = live.asked.leader.filter(|leader| self.reads_prompt(*leader));
        let next = || {
            let wanted = (live.rows_reusable() / self.options.page_tokens) as usize;
            let next = live.keys()[..wanted].get(found.pages.len()).filter(|_| live.asked.reuse)?;
            self.coming.get(next).copied().filter(|owner| *owner != id)
        };
        leader.or_else(next)
    }

    /// Pages for all its tokens, while those who run keep a few to grow.
    fn lack(&self, id: SequenceId, found: &Found) -> Lack {
        let running = self.running.len() as u32;
        let seats = (running + 1).saturating_sub(self.options.running_max);
        let fresh = self.live[&id].len().div_ceil(self.options.page_tokens) - found.pages.len() as u32;
        let cached = found.pages.iter().filter(|page| self.pages.holders(**page) == 0).count() as u32;
        let kept = running.min(self.options.pages / 8);
        let pages = (fresh + kept + cached).saturating_sub(self.pages.available());
        Lack { seats, pages }
    }
}

impl Prompts {
    fn add(&mut self, rows: u32) {
        if rows > 1 {
            self.count += 1;
            self.rows += u64::from(rows);
        }
    }
}
