//! The engine's loop: drain the inbox, choose a step, run it, hand on what it said. One thread, its own pace.
//!
//! ```text
//! inbox -> scheduler.schedule -> batch -> executor.launch -> executor.collect -> answers -> record -> deliver
//! ```
//!
//! Where a device runs apart, the next step is launched before a step's tokens are collected, if nothing is to be decided
//! first.
//!
//! * [`inbox`]: what other threads tell the loop;
//! * [`requests`]: what runs, and how it ends;
//! * [`step`]: one step, top to bottom;
//! * [`flight`]: a step between its launch and its outputs;
//! * [`adapters`]: loads and uploads, and requests that wait for them.

mod adapters;
mod flight;
mod inbox;
mod masks;
mod requests;
mod step;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use loam_ledger_core::Hash;
use loam_ledger_core::row::Tokens;

use crate::adapter::pool::Tier;
use crate::adapter::{AdapterId, Catalog, HostAdapter, Job, Loader};
use crate::delivery::{Ahead, DeliveryMode, Messages};
use crate::error::Error;
use crate::event::Failure;
use crate::executor::{Executor, Uploaded};
use crate::metrics::{Board, Metrics};
use crate::recorder::{RecordFailed, Recorder, RowRecord};
use crate::scheduler::{Scheduler, SequenceId};

use flight::Flight;
pub use inbox::RequestId;
pub(crate) use inbox::{Admitted, Inbox, Message, Mixed, Place};
use masks::Masks;
use requests::Running;

/// What the loop waits at most before it looks at the time again.
const IDLE_MS_MAX: u64 = 1_000;

/// How often a busy loop says where adapters are.
const ADAPTERS_POST_MS: u64 = 100;

/// Everything the loop owns.
pub(crate) struct Worker {
    pub(crate) executor: Box<dyn Executor>,
    pub(crate) scheduler: Scheduler,
    pub(crate) recorder: Box<dyn Recorder>,
    pub(crate) inbox: Receiver<Message>,
    pub(crate) loader: Loader,
    pub(crate) catalog: Catalog,
    pub(crate) masks: Masks,
    pub(crate) ahead: Arc<Ahead>,
    pub(crate) delivery: DeliveryMode,
    pub(crate) board: Board,
    /// Base model, types and mode: what keys and values depend on beside adapters and tokens.
    pub(crate) identity: Hash,
    /// Which sequence the next entry will have.
    sequence: u64,
    /// What the step that runs counted so far.
    step_tokens: Tokens,
    /// Answers with tokens that no row counts yet.
    open: BTreeSet<SequenceId>,
    /// The step that was launched and is collected next, or the one after it.
    flight: Option<Flight>,
    /// Why the device answers nothing any more.
    lost: Option<Arc<Error>>,
    state: State,
}

/// What changes as requests come and go.
struct State {
    began: Instant,
    metrics: Metrics,
    requests: BTreeMap<RequestId, Running>,
    /// Which answer a sequence is.
    choices: BTreeMap<SequenceId, (RequestId, u32)>,
    next_sequence: u64,
    /// Requests whose adapters were never read, so that nobody knows yet what they are.
    unread: BTreeMap<RequestId, Box<Admitted>>,
    /// Adapters being read.
    reading: BTreeSet<AdapterId>,
    /// Of those, what the loader was not told of yet.
    reads: VecDeque<AdapterId>,
    /// What the loader had no room for yet.
    uploads: VecDeque<Job>,
    /// What the pool keeps resident because the catalog asked.
    pinned: BTreeSet<AdapterId>,
    host: BTreeMap<AdapterId, Arc<HostAdapter>>,
    /// Of those, what was read before the pool asked for it, and is in no budget of its yet.
    ahead_of_pool: BTreeSet<AdapterId>,
    uploaded: BTreeMap<AdapterId, Uploaded>,
    /// Rows and messages that wait for the next entry.
    rows: Vec<RowRecord>,
    messages: Messages,
    /// When to stop at the latest, once asked to.
    stop_at: Option<Instant>,
    /// When the board last heard where adapters are.
    adapters_posted_ms: u64,
}

/// Whether there is something to do at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    Busy,
    Idle,
}

/// The parts that a loop is made of.
pub(crate) struct Parts {
    pub(crate) executor: Box<dyn Executor>,
    pub(crate) scheduler: Scheduler,
    pub(crate) recorder: Box<dyn Recorder>,
    pub(crate) inbox: (Inbox, Receiver<Message>),
    pub(crate) loader: Loader,
    pub(crate) catalog: Catalog,
    pub(crate) ahead: Arc<Ahead>,
    pub(crate) delivery: DeliveryMode,
    pub(crate) board: Board,
    pub(crate) identity: Hash,
}

impl Worker {
    pub(crate) fn new(parts: Parts) -> Result<Self, crate::Error> {
        let Parts {
            executor,
            scheduler,
            mut recorder,
            inbox: (sender, inbox),
            loader,
            catalog,
            ahead,
            delivery,
            board,
            identity,
        } = parts;
        let masks = Masks::start(sender)?;
        let state = State {
            began: Instant::now(),
            metrics: Metrics::default(),
            requests: BTreeMap::new(),
            choices: BTreeMap::new(),
            next_sequence: 0,
            unread: BTreeMap::new(),
            reading: BTreeSet::new(),
            reads: VecDeque::new(),
            uploads: VecDeque::new(),
            pinned: BTreeSet::new(),
            host: BTreeMap::new(),
            ahead_of_pool: BTreeSet::new(),
            uploaded: BTreeMap::new(),
            rows: Vec::new(),
            messages: Messages::default(),
            stop_at: None,
            adapters_posted_ms: 0,
        };
        let sequence = recorder.sequence().map_err(|failed| crate::Error::Stopped { reason: failed.to_string() })?;
        let step_tokens = Tokens::default();
        Ok(Self {
            executor,
            scheduler,
            recorder,
            inbox,
            loader,
            catalog,
            masks,
            ahead,
            delivery,
            board,
            identity,
            sequence,
            step_tokens,
            open: BTreeSet::new(),
            flight: None,
            lost: None,
            state,
        })
    }

    /// Runs until it is told to stop and everything has ended, or until the record fails or the device is lost.
    pub(crate) fn run(mut self) -> Result<(), Error> {
        let outcome = self.turns();
        if let Err(failed) = &outcome {
            self.ahead.fail(failed.clone());
            self.end_all(&Failure::Ledger(failed.clone()));
        }
        outcome.and_then(|()| {
            self.ahead.wait_for_all()?;
            self.recorder.stop()
        })?;
        match self.lost {
            None => Ok(()),
            Some(lost) => Err(Error::Stopped { reason: lost.to_string() }),
        }
    }

    fn turns(&mut self) -> Result<(), RecordFailed> {
        loop {
            while let Ok(message) = self.inbox.try_recv() {
                self.hear(message)?;
            }
            self.forget_the_gone();
            self.follow_the_catalog();
            if self.state.stop_at.is_some_and(|at| Instant::now() >= at) {
                self.cancel_all();
            }
            if !self.ahead.wait_for_room()? {
                continue;
            }
            let pace = self.step()?;
            self.post(pace);
            if self.lost.is_some() {
                // All that ran has ended, and is recorded.
                return Ok(());
            }
            if pace == Pace::Idle {
                if self.state.stop_at.is_some() && self.state.requests.is_empty() && self.state.unread.is_empty() {
                    return Ok(());
                }
                self.wait()?;
            }
        }
    }

    /// Waits for a message, or for the next deadline.
    fn wait(&mut self) -> Result<(), RecordFailed> {
        let now_ms = self.now_ms();
        let wake_ms = self.scheduler.next_wake_ms().into_iter().chain(self.next_deadline_ms()).min();
        let until_stop = self.state.stop_at.map(|at| at.saturating_duration_since(Instant::now()));
        let patience = wake_ms.map_or(IDLE_MS_MAX, |wake| wake.saturating_sub(now_ms).clamp(1, IDLE_MS_MAX));
        let patience =
            until_stop.map_or(Duration::from_millis(patience), |left| left.min(Duration::from_millis(patience)));
        match self.inbox.recv_timeout(patience) {
            Ok(message) => self.hear(message),
            Err(RecvTimeoutError::Timeout) => Ok(()),
            // Whoever could ask for anything is gone: what runs is finished, and that is all.
            Err(RecvTimeoutError::Disconnected) => {
                self.state.stop_at.get_or_insert_with(Instant::now);
                Ok(())
            }
        }
    }

    fn hear(&mut self, message: Message) -> Result<(), RecordFailed> {
        match message {
            Message::Submit(admitted) => self.take_in(admitted)?,
            Message::Cancel(request) => self.cancel(request),
            Message::Loader(event) => self.adapter_moved(event)?,
            Message::Mask(sequence, gate) => self.open_gate(sequence, gate),
            // The turn that was just begun looks at the catalog.
            Message::CatalogChanged => {}
            Message::Stop(at) => {
                // Whoever has less patience is heard, whoever speaks last.
                self.state.stop_at = Some(self.state.stop_at.map_or(at, |known| known.min(at)));
            }
        }
        Ok(())
    }

    fn post(&mut self, pace: Pace) {
        self.state.metrics.now = self.scheduler.counts();
        self.board.post(&self.state.metrics);
        // There can be thousands: a busy loop tells of them only so often.
        let now_ms = self.now_ms();
        if pace == Pace::Idle || now_ms >= self.state.adapters_posted_ms + ADAPTERS_POST_MS {
            self.state.adapters_posted_ms = now_ms;
            let mut adapters = self.scheduler.adapters();
            adapters.retain(|it| {
                it.waiting > 0 || it.residency.host != Tier::Absent || it.residency.device != Tier::Absent
            });
            self.board.post_adapters(adapters);
        }
    }

    /// Milliseconds since the loop began: the scheduler's time.
    fn now_ms(&self) -> u64 {
        u64::try_from(self.state.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
