//! From steps to streams: what a step said reaches its clients when the step is recorded.
//!
//! Delivery waits, computing does not: the next steps run while earlier ones are made durable, up to a named number.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::event::{Event, Failure, Sink};
use crate::recorder::{Acknowledge, RecordFailed, Recorded};

/// Steps that may run ahead of the record.
pub const STEPS_AHEAD_MAX: usize = 64;

/// How long the loop waits for the record before it listens again.
const ROOM_WAIT: Duration = Duration::from_millis(20);

/// When tokens leave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeliveryMode {
    /// When their step's entry is durable.
    #[default]
    Recorded,
    /// At once, at most [`STEPS_AHEAD_MAX`] steps ahead of the record. The last message still waits for its row.
    Eager,
}

thread_local! {
    static IN_SINK: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is calling a sink, for which an engine's end waits.
pub(crate) fn is_in_sink() -> bool {
    IN_SINK.get()
}

/// One request's way out.
pub(crate) struct Outlet {
    state: Mutex<State>,
    gone: AtomicBool,
}

struct State {
    /// None once the stream ended.
    sink: Option<Sink>,
    /// Choices of which no more tokens go out.
    closed: BTreeSet<u32>,
    delivered: BTreeMap<u32, Delivered>,
}

/// What of an answer reached its client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Delivered {
    pub(crate) tokens: usize,
    pub(crate) text_bytes: usize,
}

impl Outlet {
    pub(crate) fn new(sink: Sink) -> Arc<Self> {
        let state = State { sink: Some(sink), closed: BTreeSet::new(), delivered: BTreeMap::new() };
        Arc::new(Self { state: Mutex::new(state), gone: AtomicBool::new(false) })
    }

    /// Sends one message, unless the stream ended. A client that went away is remembered, not waited for.
    pub(crate) fn send(&self, event: Event) {
        let mut state = self.state();
        if matches!(&event, Event::Tokens(tokens) if state.closed.contains(&tokens.choice)) {
            return;
        }
        let Some(sink) = &mut state.sink else { return };
        let ends = matches!(&event, Event::Failed(_)) || matches!(&event, Event::Finished(finished) if finished.last);
        let told = match &event {
            Event::Tokens(tokens) => Some((tokens.choice, tokens.tokens.len(), tokens.text.len())),
            _ => None,
        };
        // A sink is others' code on a thread that many depend on: one that panics hears no more.
        let outer = IN_SINK.replace(true);
        let heard = catch_unwind(AssertUnwindSafe(|| sink(event))).unwrap_or(false);
        IN_SINK.set(outer);
        if let (true, Some((choice, tokens, text_bytes))) = (heard, told) {
            let delivered = state.delivered.entry(choice).or_default();
            delivered.tokens += tokens;
            delivered.text_bytes += text_bytes;
        }
        if !heard {
            self.gone.store(true, Ordering::Relaxed);
        }
        if !heard || ends {
            state.sink = None;
        }
    }

    /// Whether the client went away.
    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    /// Marks the client as gone: it said so.
    pub(crate) fn leave(&self) {
        self.gone.store(true, Ordering::Relaxed);
    }

    /// Lets no more tokens of these choices through, and says what of each answer went before. What is recorded of an
    /// answer that was cut short is then what was released to its client, exactly.
    pub(crate) fn close(&self, choices: &[u32]) -> BTreeMap<u32, Delivered> {
        let mut state = self.state();
        state.closed.extend(choices);
        state.delivered.clone()
    }

    /// How many tokens of an answer reached the client.
    pub(crate) fn delivered_tokens(&self, choice: u32) -> usize {
        self.state().delivered.get(&choice).map_or(0, |delivered| delivered.tokens)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A sink that panicked leaves nothing half done here.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whoever waits is told the end, whatever broke off: a loop that panicked, a message that nobody took any more.
impl Drop for Outlet {
    fn drop(&mut self) {
        self.send(Event::Failed(Failure::Lost));
    }
}

/// What one step has to say, and to whom.
#[derive(Default)]
pub(crate) struct Messages(Vec<(Arc<Outlet>, Event)>);

impl Messages {
    pub(crate) fn push(&mut self, outlet: &Arc<Outlet>, event: Event) {
        self.0.push((Arc::clone(outlet), event));
    }

    /// Sends what need not wait for the record: everything but the end of answers.
    pub(crate) fn send_early(&mut self) {
        let (late, now): (Vec<_>, Vec<_>) = std::mem::take(&mut self.0)
            .into_iter()
            .partition(|(_, event)| matches!(event, Event::Finished(_) | Event::Failed(_)));
        self.0 = late;
        now.into_iter().for_each(|(outlet, event)| outlet.send(event));
    }

    fn send(self, entry: u64) {
        for (outlet, mut event) in self.0 {
            if let Event::Finished(finished) = &mut event {
                finished.entry = Some(entry);
            }
            outlet.send(event);
        }
    }

    fn fail(self, failed: &RecordFailed) {
        self.0.into_iter().for_each(|(outlet, _)| outlet.send(Event::Failed(Failure::Ledger(failed.clone()))));
    }
}

/// Counts the steps that ran and are not yet durable.
#[derive(Default)]
pub(crate) struct Ahead {
    state: Mutex<AheadState>,
    changed: Condvar,
}

#[derive(Default)]
struct AheadState {
    steps: usize,
    failed: Option<RecordFailed>,
    /// What the device said last.
    lost: Option<String>,
}

impl Ahead {
    /// Waits a little until another step may run, and says whether it may. The error is sticky.
    pub(crate) fn wait_for_room(&self) -> Result<bool, RecordFailed> {
        self.wait_until(|steps| steps < STEPS_AHEAD_MAX, Some(ROOM_WAIT))
    }

    /// Waits until everything is durable.
    pub(crate) fn wait_for_all(&self) -> Result<(), RecordFailed> {
        self.wait_until(|steps| steps == 0, None).map(drop)
    }

    /// How many steps ran and are not yet durable.
    pub(crate) fn steps(&self) -> usize {
        self.state().steps
    }

    /// Why nothing is taken any more: the record failed, or the device is lost.
    pub(crate) fn broken(&self) -> Option<String> {
        let state = self.state();
        state.failed.as_ref().map(ToString::to_string).or_else(|| state.lost.clone())
    }

    /// The device answers nothing any more; what was recorded holds.
    pub(crate) fn lose(&self, report: String) {
        self.state().lost.get_or_insert(report);
    }

    /// The record refused a step.
    pub(crate) fn fail(&self, failed: RecordFailed) {
        self.state().failed.get_or_insert(failed);
        self.changed.notify_all();
    }

    /// What to call when a step's fate is known: its messages go out, or say that the record failed. Where it is dropped
    /// uncalled, the record failed as well.
    pub(crate) fn acknowledge(self: &Arc<Self>, messages: Messages) -> Acknowledge {
        self.state().steps += 1;
        let mut pending = Pending { ahead: Arc::clone(self), messages: Some(messages) };
        Box::new(move |fate| pending.settle(fate))
    }

    /// Waits until few enough steps are on their way; with a limit, no longer than that.
    fn wait_until(&self, enough: impl Fn(usize) -> bool, limit: Option<Duration>) -> Result<bool, RecordFailed> {
        let began = Instant::now();
        let mut state = self.state();
        loop {
            if let Some(failed) = &state.failed {
                return Err(failed.clone());
            }
            if enough(state.steps) {
                return Ok(true);
            }
            let left = limit.map(|limit| limit.saturating_sub(began.elapsed()));
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(false);
            }
            let patience = left.unwrap_or(Duration::from_secs(1));
            let waited = self.changed.wait_timeout(state, patience);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn state(&self) -> MutexGuard<'_, AheadState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A step on its way to the record.
struct Pending {
    ahead: Arc<Ahead>,
    /// None once its fate is known.
    messages: Option<Messages>,
}

impl Pending {
    fn settle(&mut self, fate: Result<Recorded, RecordFailed>) {
        let Some(messages) = self.messages.take() else { return };
        match &fate {
            Ok(recorded) => messages.send(recorded.index),
            Err(failed) => messages.fail(failed),
        }
        let mut state = self.ahead.state();
        state.steps -= 1;
        if let Err(failed) = fate {
            state.failed.get_or_insert(failed);
        }
        drop(state);
        self.ahead.changed.notify_all();
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.settle(Err(RecordFailed { reason: "it dropped a step without a word".to_owned() }));
    }
}
