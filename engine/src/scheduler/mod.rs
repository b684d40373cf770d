//! Chooses what each step computes: whose rows, in which pages, with which adapters in which slots.
//!
//! Pure: times come in, plans go out, and the same calls give the same plans. The caller's loop is
//! [`Scheduler::schedule`], run the plan, [`Scheduler::computed`] (or [`Scheduler::failed`]), then
//! [`Scheduler::push_token`] or [`Scheduler::finish`] for each chunk that drew; [`Scheduler::actions`] at any time.
//! While a plan is run, [`Scheduler::schedule_ahead`] may lay the step after it.
//!
//! * Who draws comes first, one row each; what is left of a step is shared among the prompts being read, equally among
//!   tenants, so that a long prompt leaves a share for others.
//! * Who begins is said by [`fairness`](crate::fairness). Whoever is first and finds no pages stops those behind it;
//!   who waits for an adapter, for its leader's prompt, or for a prefix that somebody is just computing, does not.
//! * A sequence gets pages for all its known tokens when it begins, and one at a time after. When there are none left,
//!   somebody gives way: of the tenant that was given most, the lowest priority, of those the last that began. It keeps
//!   its tokens and its place in line, and computes again what is no longer cached; that is not counted twice. Whenever
//!   somebody gives way to another, that one draws a token, and nobody begins without pages for all its tokens: so
//!   every sequence ends.
//! * A tenant of whom nothing runs, and which was given less than those who hold the seats or pages that it lacks,
//!   begins within `share_wait_ms_max`, or the time in which they come to their first draw, plus `turn_ms_min` and one
//!   step; if no other tenant in the same position is before it, and its adapters are there. No flood changes that.
//! * Adapters are fetched on arrival. Who lacks only slots and is first of those who do gets them within
//!   `adapter_wait_ms_max`, or the time to a first draw as above, plus `turn_ms_min`, an upload and two steps: nobody
//!   begins any more with the adapter whose turn began first, and its sequences give way. Whoever is second waits its
//!   turn after.

mod admission;
mod ahead;
mod options;
mod plan;
mod sequence;
mod shares;
mod steps;
mod turns;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use loam_kernels::layout::ADAPTERS_PER_ROW_MAX;
use loam_ledger_core::Hash;

use crate::adapter::AdapterId;
use crate::adapter::pool::{AdapterPool, PoolAction, PoolOptions, Residency};
use crate::fairness::Queue;
use crate::kv_pages::KvPages;

pub use crate::adapter::pool::Install;
pub use options::{Refused, SchedulerOptions};
pub use plan::{Admitted, Chunk, Ended, Plan, Why};
pub use sequence::{Sequence, SequenceId, TenantId};

use sequence::{Live, State};
use turns::Claim;

/// All sequences between submission and end.
#[derive(Debug)]
pub struct Scheduler {
    options: SchedulerOptions,
    pages: KvPages,
    pool: AdapterPool,
    queue: Queue,
    live: BTreeMap<SequenceId, Live>,
    /// In order of admission.
    running: BTreeMap<u64, SequenceId>,
    /// Who waits for whom.
    parked: BTreeMap<SequenceId, BTreeSet<SequenceId>>,
    deadlines: BTreeSet<(u64, SequenceId)>,
    /// Full pages that a running sequence is about to compute. Only ever asked for one key.
    coming: HashMap<Hash, SequenceId>,
    claim: Option<Claim>,
    /// Adapters that must make room: nobody begins with them.
    draining: BTreeSet<AdapterId>,
    ended: Vec<Ended>,
    /// Who began with a copied page in the plan that is being run.
    copied: Vec<SequenceId>,
    arrivals: u64,
    admissions: u64,
    /// Plans that are being run: one, or two where one was laid ahead.
    in_flight: u32,
    /// Whether somebody who waits could begin, for all that was seen at the last plan or has happened since.
    may_begin: bool,
    wake_ms: Option<u64>,
    counts: Counts,
}

/// Numbers for people who watch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Sequences that wait.
    pub waiting: usize,
    /// Sequences that run.
    pub running: usize,
    /// Pages that hold nothing.
    pub pages_free: u32,
    /// Pages that nobody holds and whose content is known.
    pub pages_cached: u32,
    /// Pages that sequences hold.
    pub pages_used: u32,
    /// Rows that pages of others could have stood for, since the beginning.
    pub prefix_rows_looked_up: u64,
    /// Rows that they did stand for.
    pub prefix_rows_found: u64,
    /// Times that somebody gave way.
    pub preemptions: u64,
}

/// An adapter's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdapterCounts {
    /// Which.
    pub adapter: AdapterId,
    /// Sequences that wait.
    pub waiting: u32,
    /// Sequences that run.
    pub running: u32,
    /// Where it is.
    pub residency: Residency,
}

impl Scheduler {
    /// An idle one. A step has a row for each that runs: `running_max` is at most `step_tokens_max`.
    pub fn new(options: SchedulerOptions) -> Self {
        let options = SchedulerOptions {
            running_max: options.running_max.clamp(1, options.step_tokens_max.max(1)),
            prefill_tokens_max: options.prefill_tokens_max.max(1),
            prefills_per_tenant_max: options.prefills_per_tenant_max.max(1),
            page_tokens: options.page_tokens.max(1),
            loads_max: options.loads_max.max(1),
            ..options
        };
        let SchedulerOptions { slots, loads_max, host_bytes_max, device_bytes_max, .. } = options;
        Self {
            pages: KvPages::new(options.pages),
            pool: AdapterPool::new(PoolOptions { slots, loads_max, host_bytes_max, device_bytes_max }),
            queue: Queue::default(),
            live: BTreeMap::new(),
            running: BTreeMap::new(),
            parked: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            coming: HashMap::new(),
            claim: None,
            draining: BTreeSet::new(),
            ended: Vec::new(),
            copied: Vec::new(),
            arrivals: 0,
            admissions: 0,
            in_flight: 0,
            may_begin: false,
            wake_ms: None,
            counts: Counts::default(),
            options,
        }
    }

    /// Takes a sequence, or says why not. Its adapters are fetched from now on.
    pub fn submit(&mut self, sequence: Sequence, now_ms: u64) -> Result<(), Refused> {
        self.check(&sequence)?;
        let id = sequence.id;
        self.may_begin = true;
        self.arrivals += 1;
        let live = Live::new(sequence, self.arrivals, self.options.page_tokens, now_ms);
        self.queue.enter(live.asked.tenant, &live.line);
        self.pool.want(&live.line);
        self.deadlines.extend(live.asked.deadline_ms.map(|deadline| (deadline, id)));
        self.queue.push(live.asked.tenant, &live.line, live.place());
        let leader = live.asked.leader.filter(|leader| self.reads_prompt(*leader));
        self.live.insert(id, live);
        if let Some(leader) = leader {
            self.park(id, leader);
        }
        Ok(())
    }

    /// Ends a sequence wherever it is; its pages are free at once. `false`: it had ended before.
    pub fn cancel(&mut self, id: SequenceId) -> bool {
        self.remove(id)
    }

    /// A sequence ended: its pages are free, what they hold may be used again. One that has ended already is no error.
    pub fn finish(&mut self, id: SequenceId) {
        self.remove(id);
    }

    /// Lets a gated sequence draw once.
    pub fn open_gate(&mut self, id: SequenceId) {
        if let Some(live) = self.live.get_mut(&id) {
            live.gate_open = true;
        }
    }

    /// The token that a chunk drew, kept. One that has ended already is no error.
    pub fn push_token(&mut self, id: SequenceId, token: u32) {
        let Some(live) = self.live.get_mut(&id) else { return };
        live.push(token, self.options.page_tokens);
        if let State::Running { drawn, .. } = &mut live.state {
            *drawn += 1;
        }
    }

    /// A [`PoolAction::Load`] is done.
    pub fn adapter_loaded(&mut self, adapter: AdapterId, bytes: usize) {
        self.may_begin = true;
        self.pool.loaded(adapter, bytes);
        if self.pool.might_never_fit(adapter) {
            // One that was pinned before anybody knew its size takes its room from all others now.
            let is_pinned = self.pool.residency(adapter).pinned;
            self.end_impossible(|live| is_pinned || live.line.contains(&adapter));
        }
    }

    /// A [`PoolAction::Upload`] is done; the next plan installs it.
    pub fn adapter_uploaded(&mut self, adapter: AdapterId) {
        self.may_begin = true;
        self.pool.uploaded(adapter);
    }

    /// A [`PoolAction::Load`] or [`PoolAction::Upload`] failed: those that asked for it end, and are named here.
    /// Whoever asks later has it tried again.
    pub fn adapter_failed(&mut self, adapter: AdapterId) -> Vec<SequenceId> {
        self.may_begin = true;
        self.pool.failed(adapter);
        let asked = self.live.iter().filter(|(_, live)| live.line.contains(&adapter));
        let asked: Vec<SequenceId> = asked.map(|(id, _)| *id).collect();
        for id in &asked {
            self.remove(*id);
        }
        asked
    }

    /// Keeps an adapter resident whether used or not, or no longer does. `false`: that would leave no slot to the
    /// others.
    pub fn pin(&mut self, adapter: AdapterId, pinned: bool) -> bool {
        self.may_begin = true;
        let done = self.pool.pin(adapter, pinned);
        self.end_impossible(|_| true);
        done
    }

    /// An adapter was unloaded: it leaves all tiers when no sequence names it.
    pub fn forget(&mut self, adapter: AdapterId) {
        self.may_begin = true;
        self.pool.forget(adapter);
    }

    /// What loaders are to do since the last call.
    pub fn actions(&mut self) -> Vec<PoolAction> {
        self.serve_adapters();
        self.pool.take_actions()
    }

    /// Whether no sequence lives.
    pub fn idle(&self) -> bool {
        self.live.is_empty() && self.ended.is_empty()
    }

    /// When to call [`Scheduler::schedule`] again though nothing happened: a deadline, or somebody's turn. What happens
    /// (a submission, a token, a gate, an adapter) is a reason of its own.
    pub fn next_wake_ms(&self) -> Option<u64> {
        let deadline = self.deadlines.first().map(|(deadline, _)| *deadline);
        deadline.into_iter().chain(self.wake_ms).min()
    }

    /// Numbers as they are now.
    pub fn counts(&self) -> Counts {
        let (free, cached) = (self.pages.free(), self.pages.cached());
        Counts {
            waiting: self.live.len() - self.running.len(),
            running: self.running.len(),
            pages_free: free,
            pages_cached: cached,
            pages_used: self.pages.total() - free - cached,
            ..self.counts
        }
    }

    /// Each adapter's numbers, in order of their ids.
    pub fn adapters(&self) -> Vec<AdapterCounts> {
        let numbers = |(adapter, residency): (AdapterId, Residency)| {
            let running = residency.running;
            AdapterCounts { adapter, waiting: residency.wanted - running, running, residency }
        };
        self.pool.all().map(numbers).collect()
    }

    /// Where an adapter is.
    pub fn residency(&self, adapter: AdapterId) -> Residency {
        self.pool.residency(adapter)
    }

    /// What a tenant was given, and is owed by what runs: a row of a prompt and a token each count what the options say.
    /// Whoever was away has been lifted to the least of the others.
    pub fn level(&self, tenant: TenantId) -> u64 {
        self.queue.level(tenant)
    }

    /// A running sequence's page table; of others there is none.
    pub fn table(&self, id: SequenceId) -> &[u32] {
        self.live.get(&id).map_or(&[], |live| &live.pages)
    }

    /// The pages themselves, to look at.
    pub const fn pages(&self) -> &KvPages {
        &self.pages
    }

    /// Why a sequence would not be taken as things are.
    pub fn check(&self, sequence: &Sequence) -> Result<(), Refused> {
        let SchedulerOptions { pages, page_tokens, waiting_max, waiting_per_tenant_max, .. } = self.options;
        if self.live.contains_key(&sequence.id) {
            return Err(Refused::Repeated(sequence.id.0));
        }
        if sequence.prompt.is_empty() {
            return Err(Refused::PromptEmpty);
        }
        // The last token drawn is nobody's input: it needs no row.
        let rows = sequence.prompt.len() as u64 + u64::from(sequence.output_tokens_max.saturating_sub(1));
        let needed = rows.div_ceil(u64::from(page_tokens));
        if needed > u64::from(pages) || rows > u64::from(u32::MAX) {
            return Err(Refused::PromptTooLong { needed, page_tokens, pages });
        }
        let adapters = &sequence.adapters;
        let max = self.pool.slots_for(adapters).min(ADAPTERS_PER_ROW_MAX);
        if adapters.len() > max {
            return Err(Refused::AdaptersTooMany { found: adapters.len(), max });
        }
        if adapters.iter().collect::<BTreeSet<_>>().len() < adapters.len() {
            return Err(Refused::AdapterRepeated);
        }
        if let Some((bytes, max)) = self.pool.never_fit(adapters) {
            return Err(Refused::AdaptersTooLarge { bytes, max });
        }
        if self.live.len() - self.running.len() >= waiting_max {
            return Err(Refused::Full { limit: waiting_max });
        }
        if self.queue.waiting_of(sequence.tenant) >= waiting_per_tenant_max {
            return Err(Refused::TenantFull { limit: waiting_per_tenant_max });
        }
        Ok(())
    }

    /// Whether somebody's prompt is still to be read, by it.
    fn reads_prompt(&self, id: SequenceId) -> bool {
        self.live.get(&id).is_some_and(|live| live.held < live.prompt_len())
    }

    /// From its line to those who wait for `on`.
    fn park(&mut self, id: SequenceId, on: SequenceId) {
        let live = self.live.get_mut(&id).expect("who is parked lives");
        self.queue.remove(live.asked.tenant, &live.line, &live.place());
        live.state = State::Parked(on);
        self.parked.entry(on).or_default().insert(id);
    }

    /// All who wait for `on` stand in their lines again.
    fn unpark(&mut self, on: SequenceId) {
        for id in self.parked.remove(&on).unwrap_or_default() {
            self.may_begin = true;
            let live = self.live.get_mut(&id).expect("who is parked lives");
            live.state = State::Waiting;
            self.queue.push(live.asked.tenant, &live.line, live.place());
        }
    }

    fn remove(&mut self, id: SequenceId) -> bool {
        let Some(live) = self.live.get(&id) else { return false };
        self.may_begin = true;
        match live.state {
            State::Waiting => self.queue.remove(live.asked.tenant, &live.line, &live.place()),
            State::Running { .. } => self.stop(id),
            State::Parked(on) => {
                if let Some(parked) = self.parked.get_mut(&on) {
                    parked.remove(&id);
                }
            }
        }
        let live = self.live.remove(&id).expect("it was there");
        self.queue.leave(live.asked.tenant, &live.line);
        self.pool.unwant(&live.line);
        if let Some(deadline) = live.asked.deadline_ms {
            self.deadlines.remove(&(deadline, id));
        }
        self.unpark(id);
        true
    }

    /// Takes back all that a running one holds. The last pages are let go first: of a chain, the beginning is worth
    /// most.
    fn stop(&mut self, id: SequenceId) {
        let live = self.live.get_mut(&id).expect("who stops lives");
        let State::Running { number, .. } = live.state else { return };
        self.running.remove(&number);
        for page in std::mem::take(&mut live.pages).into_iter().rev() {
            self.pages.let_go(page);
        }
        for key in live.keys() {
            if self.coming.get(key) == Some(&id) {
                self.coming.remove(key);
            }
        }
        self.pool.release(&live.line);
        self.queue.run(live.asked.tenant, -1);
        self.queue.owe(live.asked.tenant, &live.line, live.owed, 0);
        (live.owed, live.computed, live.state) = (0, 0, State::Waiting);
        live.slots.clear();
    }

    /// Somebody gives way. Its place in line is the one it had.
    fn preempt(&mut self, id: SequenceId, now_ms: u64, plan: &mut Plan) {
        self.stop(id);
        let live = self.live.get_mut(&id).expect("who gives way lives");
        live.queued_ms = now_ms;
        self.queue.push(live.asked.tenant, &live.line, live.place());
        self.unpark(id);
        self.counts.preemptions += 1;
        plan.preempted.push(id);
    }

    /// What its tenant is counted for rows to come follows how far it is.
    fn settle(&mut self, id: SequenceId) {
        let live = self.live.get_mut(&id).expect("whoever is settled lives");
        let owed = u64::from(live.rows_unpaid()) * self.options.input_cost;
        self.queue.owe(live.asked.tenant, &live.line, live.owed, owed);
        live.owed = owed;
    }

    /// Ends those of some who wait whose adapters turned out to be too large, or have lost their room to pins.
    fn end_impossible(&mut self, among: impl Fn(&Live) -> bool) {
        let impossible = |live: &Live| {
            let line = &live.line;
            let waits = !line.is_empty() && live.running().is_none() && among(live);
            waits && (self.pool.never_fit(line).is_some() || line.len() > self.pool.slots_for(line))
        };
        let ending: Vec<SequenceId> =
            self.live.iter().filter(|(_, live)| impossible(live)).map(|(id, _)| *id).collect();
        for id in ending {
            self.remove(id);
            self.ended.push(Ended { id, why: Why::AdaptersTooLarge });
        }
    }

    /// Has adapters fetched in the order in which those who wait for them would begin.
    fn serve_adapters(&mut self) {
        if self.pool.changed() {
            self.pool.serve(self.queue.lines().flat_map(|(_, line)| line.iter().copied()));
        }
    }

    /// The next plan may come for a reason of time at `at_ms`.
    fn wake(&mut self, at_ms: u64, now_ms: u64) {
        if at_ms > now_ms {
            self.wake_ms = Some(self.wake_ms.map_or(at_ms, |wake_ms| wake_ms.min(at_ms)));
        }
    }
}
