//! A world with a scheduler in it: clients, loaders, a device that computes digests. Every step is checked.

use std::collections::{BTreeMap, BTreeSet};

use loam_engine::adapter::pool::PoolAction;
use loam_engine::adapter::{AdapterId, Generation};
use loam_engine::scheduler::{AdapterCounts, Plan, Scheduler, SchedulerOptions, Sequence, SequenceId, TenantId, Why};
use loam_ledger_core::Hash;

use crate::devices::Devices;
use crate::memory::{Memory, prefixes};
use crate::random::{Random, mix};

/// What happens from outside.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Submit(Sequence),
    Cancel(SequenceId),
    OpenGate(SequenceId),
    Loaded(AdapterId, bool),
    Uploaded(AdapterId, bool),
    Pin(AdapterId, bool),
    Forget(AdapterId),
}

/// How long things take, and how often they fail.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    pub(crate) step_ms: (u64, u64),
    pub(crate) load_ms: (u64, u64),
    pub(crate) upload_ms: (u64, u64),
    pub(crate) gate_ms: (u64, u64),
    pub(crate) load_fails_percent: u64,
    pub(crate) upload_fails_percent: u64,
    pub(crate) step_fails_percent: u64,
}

impl Pace {
    /// Every step takes as long as the last, and nothing fails.
    pub(crate) const fn steady(step_ms: u64) -> Self {
        Self {
            step_ms: (step_ms, step_ms),
            load_ms: (20, 20),
            upload_ms: (5, 5),
            gate_ms: (1, 1),
            load_fails_percent: 0,
            upload_fails_percent: 0,
            step_fails_percent: 0,
        }
    }
}

/// What the world knows of a sequence that lives.
pub(crate) struct Known {
    pub(crate) asked: Sequence,
    pub(crate) weights: Vec<(Generation, f32)>,
    pub(crate) tokens: Vec<u32>,
    pub(crate) digests: Vec<u64>,
    /// Draws after which it says that it is done.
    pub(crate) stop: u32,
    pub(crate) running: bool,
    since_ms: u64,
    pub(crate) ran: bool,
    pub(crate) computed: u32,
    pub(crate) held: u32,
    pub(crate) gate_open: bool,
    /// Whether its adapters once had no room beside what was pinned, be it for a moment between two plans.
    had_no_room: bool,
}

impl Known {
    pub(crate) fn drawn(&self) -> u32 {
        (self.tokens.len() - self.asked.prompt.len()) as u32
    }

    fn push(&mut self, token: u32) {
        self.tokens.push(token);
        self.digests.push(mix(self.digests[self.digests.len() - 1], u64::from(token)));
    }
}

/// What became of a sequence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Story {
    pub(crate) submitted_ms: u64,
    pub(crate) admitted_ms: Option<u64>,
    pub(crate) ended_ms: u64,
    pub(crate) output: Vec<u32>,
    pub(crate) done: bool,
    pub(crate) rows: u32,
    pub(crate) reused: u32,
    pub(crate) recomputed: u32,
    pub(crate) preempted: u32,
}

pub(crate) struct World {
    pub(crate) random: Random,
    pub(crate) options: SchedulerOptions,
    pub(crate) pace: Pace,
    pub(crate) scheduler: Scheduler,
    pub(crate) now_ms: u64,
    pub(crate) steps: u64,
    pub(crate) live: BTreeMap<SequenceId, Known>,
    pub(crate) stories: BTreeMap<SequenceId, Story>,
    pub(crate) refused: usize,
    pub(crate) devices: Devices,
    pub(crate) memory: Memory,
    /// What was laid ahead of the last step, and is written.
    ahead: Option<Plan>,
    pub(crate) steps_ahead: u64,
    events: BTreeMap<(u64, u64), Event>,
    event: u64,
    /// Whether anybody may give way for want of pages, and so at any time.
    pub(crate) pages_run_out: bool,
    /// Rows of prompts and, twice, tokens drawn; what was computed again is not counted.
    pub(crate) given: BTreeMap<TenantId, u64>,
    /// Follows from all plans.
    pub(crate) digest: u64,
}

pub(crate) const VOCABULARY: u64 = 4;

impl World {
    pub(crate) fn new(seed: u64, options: SchedulerOptions, pace: Pace, sizes: BTreeMap<AdapterId, usize>) -> Self {
        Self {
            random: Random::new(seed),
            pace,
            scheduler: Scheduler::new(options.clone()),
            now_ms: 0,
            steps: 0,
            live: BTreeMap::new(),
            stories: BTreeMap::new(),
            refused: 0,
            devices: Devices::new(&options, sizes),
            memory: Memory::new(options.pages, options.page_tokens),
            ahead: None,
            steps_ahead: 0,
            events: BTreeMap::new(),
            event: 0,
            pages_run_out: true,
            given: BTreeMap::new(),
            digest: seed,
            options,
        }
    }

    pub(crate) fn at(&mut self, at_ms: u64, event: Event) {
        self.event += 1;
        self.events.insert((at_ms, self.event), event);
    }

    fn after(&mut self, (low, high): (u64, u64), event: Event) {
        let at_ms = self.now_ms + self.random.within(low, high);
        self.at(at_ms, event);
    }

    /// Until everybody has ended and nothing is to come. Whoever is stuck is named.
    pub(crate) fn run(&mut self) {
        while self.go() {
            assert!(self.steps < 40_000, "no end in sight");
        }
        self.check_end();
    }

    /// One step, or a leap to the next event. `false`: all is over.
    pub(crate) fn go(&mut self) -> bool {
        self.happen();
        if self.step() {
            return true;
        }
        let event_ms = self.events.keys().next().map(|(at_ms, _)| *at_ms);
        let wake_ms = self.scheduler.next_wake_ms();
        assert!(wake_ms.is_none_or(|wake_ms| wake_ms > self.now_ms), "woken for what is past: a busy loop");
        match event_ms.into_iter().chain(wake_ms).min() {
            Some(next_ms) => self.now_ms = next_ms.max(self.now_ms),
            None if self.live.is_empty() => return false,
            None => panic!("stuck: {:?} live and nothing will happen", self.live.keys().collect::<Vec<_>>()),
        }
        true
    }

    /// All that is due.
    fn happen(&mut self) {
        while let Some(entry) = self.events.first_entry() {
            if entry.key().0 > self.now_ms {
                break;
            }
            let event = entry.remove();
            self.occur(event);
            for known in self.live.values_mut() {
                known.had_no_room |= !self.devices.could_fit(&known.asked.adapters);
            }
            self.act();
        }
    }

    fn act(&mut self) {
        for action in self.scheduler.actions() {
            self.devices.act(action);
            match action {
                PoolAction::Load(adapter) => {
                    let ok = !self.random.percent(self.pace.load_fails_percent);
                    self.after(self.pace.load_ms, Event::Loaded(adapter, ok));
                }
                PoolAction::Upload { adapter, .. } => {
                    let ok = !self.random.percent(self.pace.upload_fails_percent);
                    self.after(self.pace.upload_ms, Event::Uploaded(adapter, ok));
                }
                PoolAction::DropHost(_) => {}
            }
        }
        self.devices.check_host();
    }

    fn occur(&mut self, event: Event) {
        match event {
            Event::Submit(sequence) => self.submit(sequence),
            Event::Cancel(id) => {
                let lived = self.scheduler.cancel(id);
                assert!(self.scheduler.table(id).is_empty(), "a cancelled one holds no pages");
                if lived {
                    self.end(id, false);
                } else if let Some(known) = self.live.get(&id) {
                    assert!(!self.devices.could_fit(&known.asked.adapters), "the next plan says that {id:?} ended");
                }
            }
            Event::OpenGate(id) => {
                self.scheduler.open_gate(id);
                if let Some(known) = self.live.get_mut(&id) {
                    known.gate_open = true;
                }
            }
            Event::Loaded(adapter, ok) => {
                self.devices.loaded(adapter, ok);
                if ok {
                    self.scheduler.adapter_loaded(adapter, self.devices.sizes[&adapter]);
                } else {
                    self.fail(adapter);
                }
            }
            Event::Uploaded(adapter, ok) => {
                self.devices.uploaded(adapter, ok);
                if ok {
                    self.scheduler.adapter_uploaded(adapter);
                } else {
                    self.fail(adapter);
                }
            }
            Event::Pin(adapter, true) => {
                let resident = |it: &AdapterCounts| it.adapter == adapter && it.residency.slot.is_some();
                if self.scheduler.pin(adapter, true) {
                    self.devices.pinned.insert(adapter, self.scheduler.adapters().iter().any(resident));
                }
            }
            Event::Pin(adapter, false) => {
                assert!(self.scheduler.pin(adapter, false));
                self.devices.pinned.remove(&adapter);
            }
            Event::Forget(adapter) => {
                self.scheduler.forget(adapter);
                self.devices.pinned.remove(&adapter);
            }
        }
    }

    fn submit(&mut self, mut sequence: Sequence) {
        sequence.arrived_ms = self.now_ms;
        let id = sequence.id;
        if let Err(refused) = self.scheduler.submit(sequence.clone(), self.now_ms) {
            self.refused += 1;
            self.digest = mix(self.digest, refused.to_string().len() as u64);
            return;
        }
        let tokens = sequence.prompt.to_vec();
        let digests = prefixes(&sequence.prefix_root, &tokens);
        let stop = (mix(digests[digests.len() - 1], id.0) % u64::from(sequence.output_tokens_max.max(1))) as u32 + 1;
        if sequence.gated {
            self.after(self.pace.gate_ms, Event::OpenGate(id));
        }
        let generation = |adapter: &AdapterId| Generation(Hash([adapter.0 as u8; 32]));
        let known = Known {
            weights: sequence.adapters.iter().map(|adapter| (generation(adapter), 0.5)).collect(),
            tokens,
            digests,
            stop,
            running: false,
            since_ms: 0,
            ran: false,
            computed: 0,
            held: 0,
            gate_open: false,
            had_no_room: false,
            asked: sequence,
        };
        self.live.insert(id, known);
        self.stories.insert(id, Story { submitted_ms: self.now_ms, ..Story::default() });
    }

    fn fail(&mut self, adapter: AdapterId) {
        let ended = self.scheduler.adapter_failed(adapter);
        let asks = |known: &Known| known.asked.adapters.contains(&adapter);
        assert!(ended.iter().all(|id| asks(&self.live[id])), "nobody ends that did not ask");
        // What the next plan will say of others has happened already.
        let left = self.live.iter().filter(|(id, known)| asks(known) && !ended.contains(id));
        assert!(
            left.into_iter().all(|(_, known)| !self.devices.could_fit(&known.asked.adapters)),
            "all end that asked"
        );
        ended.into_iter().for_each(|id| self.end(id, false));
    }

    fn end(&mut self, id: SequenceId, done: bool) {
        let Some(known) = self.live.remove(&id) else { return };
        let alone = output_alone(&known.asked, known.drawn() as usize);
        assert_eq!(known.tokens[known.asked.prompt.len()..], alone, "{id:?} drew what it draws alone");
        let story = self.stories.get_mut(&id).expect("who lived has a story");
        story.output = known.tokens[known.asked.prompt.len()..].to_vec();
        (story.ended_ms, story.done) = (self.now_ms, done);
    }

    pub(crate) fn in_use(&self) -> BTreeSet<AdapterId> {
        let running = self.live.values().filter(|known| known.running);
        running.flat_map(|known| known.asked.adapters.iter().copied()).collect()
    }

    /// Asks for a plan and runs it, or goes on with what was laid ahead. `false`: there was nothing to do.
    fn step(&mut self) -> bool {
        let slots = self.devices.slots.clone();
        let ahead = self.ahead.take();
        let is_written = ahead.is_some();
        let Some(plan) = ahead.or_else(|| self.plan()) else { return false };
        let fails = self.random.percent(self.pace.step_fails_percent);
        if !fails {
            if !is_written {
                self.compute(&plan);
            }
            self.ahead = self.lay_ahead(&plan);
        }
        self.now_ms += self.random.within(self.pace.step_ms.0, self.pace.step_ms.1);
        if self.random.percent(50) {
            // The world does not wait for the step.
            self.happen();
        }
        if fails {
            self.devices.undo(&plan.installs, slots);
            self.failed(&plan);
        } else {
            self.computed(&plan);
        }
        self.check_tables();
        true
    }

    fn plan(&mut self) -> Option<Plan> {
        let plan = self.scheduler.schedule(self.now_ms);
        self.steps += 1;
        self.digest = format!("{plan:?}").bytes().fold(self.digest, |digest, byte| mix(digest, u64::from(byte)));
        self.decided(&plan);
        let counts = self.scheduler.counts();
        assert_eq!(counts.waiting + counts.running, self.live.len());
        self.check_tables();
        self.act();
        if plan.is_empty() {
            self.scheduler.computed(&plan);
            return None;
        }
        self.check_plan(&plan);
        Some(plan)
    }

    fn decided(&mut self, plan: &Plan) {
        for ended in &plan.ended {
            let Known { asked, had_no_room, .. } = &self.live[&ended.id];
            match ended.why {
                Why::DeadlinePassed => assert!(asked.deadline_ms.is_some_and(|at_ms| at_ms <= self.now_ms)),
                Why::AdaptersTooLarge => assert!(had_no_room, "{asked:?} could always fit"),
            }
            self.end(ended.id, false);
        }
        for id in &plan.preempted {
            let known = self.live.get_mut(id).expect("who gives way lives");
            assert!(std::mem::replace(&mut known.running, false), "who gives way ran");
            let ran_ms = self.now_ms - known.since_ms;
            assert!(self.pages_run_out || ran_ms >= self.options.turn_ms_min, "{id:?} had its turn");
            known.computed = 0;
            self.stories.get_mut(id).expect("who lives has a story").preempted += 1;
        }
        for admitted in &plan.admitted {
            let known = self.live.get_mut(&admitted.id).expect("who begins lives");
            assert!(!std::mem::replace(&mut known.running, true), "who begins did not run");
            assert_eq!(std::mem::replace(&mut known.ran, true), admitted.resumed);
            assert!((admitted.reused_tokens as usize) < known.tokens.len(), "the last row is computed");
            assert!(known.asked.reuse || admitted.reused_tokens <= known.held, "only what it computed itself");
            known.since_ms = self.now_ms;
            known.computed = admitted.reused_tokens;
            known.held = known.held.max(known.computed);
            let story = self.stories.get_mut(&admitted.id).expect("who lives has a story");
            story.admitted_ms.get_or_insert(self.now_ms);
            story.reused += if admitted.resumed { 0 } else { admitted.reused_tokens };
        }
        let running = self.live.values().filter(|known| known.running).count();
        assert!(running <= self.options.running_max as usize);
        let overdue =
            self.live.values().find(|known| known.asked.deadline_ms.is_some_and(|at_ms| at_ms <= self.now_ms));
        assert!(overdue.is_none(), "whoever is overdue has ended");
    }

    fn compute(&mut self, plan: &Plan) {
        self.memory.copy(&plan.copies);
        for chunk in &plan.chunks {
            self.memory.write(chunk, &self.live[&chunk.id].digests);
        }
        for chunk in &plan.chunks {
            let end = chunk.first_position as usize + chunk.tokens.len();
            self.memory.expect(&chunk.pages, &self.live[&chunk.id].digests, end, &format!("{:?}", chunk.id));
        }
    }

    fn computed(&mut self, plan: &Plan) {
        self.scheduler.computed(plan);
        for chunk in &plan.chunks {
            let Some(known) = self.live.get_mut(&chunk.id) else { continue };
            let rows = chunk.tokens.len() as u32;
            known.computed += rows;
            known.held = known.held.max(known.computed);
            let story = self.stories.get_mut(&chunk.id).expect("who lives has a story");
            story.rows += rows;
            story.recomputed += chunk.recomputed_rows;
            let of_prompt = (known.asked.prompt.len() as u32).saturating_sub(chunk.first_position).min(rows);
            let new = u64::from(of_prompt.saturating_sub(chunk.recomputed_rows)) + 2 * u64::from(chunk.samples);
            *self.given.entry(known.asked.tenant).or_default() += new;
            if chunk.samples {
                let token = drawn(known.digests[known.digests.len() - 1], chunk.id);
                known.push(token);
                known.gate_open = false;
                self.scheduler.push_token(chunk.id, token);
            }
            let read = known.asked.output_tokens_max == 0 && known.computed as usize == known.asked.prompt.len();
            if read || known.drawn() == known.stop {
                self.scheduler.finish(chunk.id);
                self.end(chunk.id, true);
            } else if chunk.samples && known.asked.gated {
                self.after(self.pace.gate_ms, Event::OpenGate(chunk.id));
            }
        }
    }

    fn failed(&mut self, plan: &Plan) {
        self.scheduler.failed(plan);
        for admitted in &plan.admitted {
            // Copied rows are computed after all.
            let Some(known) = self.live.get_mut(&admitted.id).filter(|_| !admitted.resumed) else { continue };
            let copied = known.computed % self.options.page_tokens;
            known.computed -= copied;
            known.held -= copied;
            self.stories.get_mut(&admitted.id).expect("who lives has a story").reused -= copied;
        }
    }
}

/// The token that follows what a digest stands for.
pub(crate) fn drawn(digest: u64, id: SequenceId) -> u32 {
    (mix(digest, id.0) % VOCABULARY) as u32
}

/// What a sequence draws when it is alone in the world.
pub(crate) fn output_alone(asked: &Sequence, tokens: usize) -> Vec<u32> {
    let mut all = asked.prompt.to_vec();
    for _ in 0..tokens {
        let digests = prefixes(&asked.prefix_root, &all);
        all.push(drawn(digests[digests.len() - 1], asked.id));
    }
    all[asked.prompt.len()..].to_vec()
}
