//! From steps to streams: what a step said reaches its clients when the step is recorded.
//!
//! Delivery waits, computing does not: the next steps run while earlier ones are made durable, up to a named number.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::event::{Event, Failure, Sink};
use crate::recorder::{Acknowledge, RecordFailed};

/// Steps that may run ahead of the record.
pub const STEPS_AHEAD_MAX: usize = 64;

/// When tokens leave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeliveryMode {
    /// When their step's entry is durable.
    #[default]
    Recorded,
    /// At once, at most [`STEPS_AHEAD_MAX`] steps ahead of the record. The last message still waits for its row.
    Eager,
}

/// One request's way out.
pub(crate) struct Outlet {
    state: Mutex<State>,
    gone: AtomicBool,
}

struct State {
    /// None once the stream ended.
    sink: Option<Sink>,
    /// No more tokens go out.
    closed: bool,
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
        let state = State { sink: Some(sink), closed: false, delivered: BTreeMap::new() };
        Arc::new(Self { state: Mutex::new(state), gone: AtomicBool::new(false) })
    }

    /// Sends one message, unless the stream ended. A client that went away is remembered, not waited for.
    pub(crate) fn send(&self, event: Event) {
        let mut state = self.state();
        if state.closed && !matches!(&event, Event::Finished(_) | Event::Failed(_)) {
            return;
        }
        let Some(sink) = &mut state.sink else { return };
        let ends = matches!(&event, Event::Failed(_)) || matches!(&event, Event::Finished(finished) if finished.last);
        let told = match &event {
            Event::Tokens(tokens) => Some((tokens.choice, tokens.tokens.len(), tokens.text.len())),
            _ => None,
        };
        let heard = sink(event);
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

    /// Lets no more tokens through, and says what of each answer went before. What is recorded of an answer
    /// that was cut short is then what reached its client, exactly.
    pub(crate) fn close(&self) -> BTreeMap<u32, Delivered> {
        let mut state = self.state();
        state.closed = true;
        state.delivered.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A sink that panicked leaves nothing half done here.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
        let (late, now): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.0).into_iter().partition(|(_, event)| matches!(event, Event::Finished(_)));
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
}

impl Ahead {
    /// Waits until another step may run. The error is sticky.
    pub(crate) fn wait_for_room(&self) -> Result<(), RecordFailed> {
        self.wait_until(|steps| steps < STEPS_AHEAD_MAX)
    }

    /// Waits until everything is durable.
    pub(crate) fn wait_for_all(&self) -> Result<(), RecordFailed> {
        self.wait_until(|steps| steps == 0)
    }

    /// Whether the record failed.
    pub(crate) fn failed(&self) -> Option<RecordFailed> {
        self.state().failed.clone()
    }

    /// The record refused a step.
    pub(crate) fn fail(&self, failed: RecordFailed) {
        self.state().failed.get_or_insert(failed);
        self.changed.notify_all();
    }

    /// What to call when a step's fate is known: its messages go out, or say that the record failed.
    pub(crate) fn acknowledge(self: &Arc<Self>, messages: Messages) -> Acknowledge {
        self.state().steps += 1;
        let ahead = Arc::clone(self);
        Box::new(move |fate| {
            match &fate {
                Ok(recorded) => messages.send(recorded.index),
                Err(failed) => messages.fail(failed),
            }
            let mut state = ahead.state();
            state.steps -= 1;
            if let Err(failed) = fate {
                state.failed.get_or_insert(failed);
            }
            drop(state);
            ahead.changed.notify_all();
        })
    }

    fn wait_until(&self, enough: impl Fn(usize) -> bool) -> Result<(), RecordFailed> {
        let mut state = self.state();
        loop {
            if let Some(failed) = &state.failed {
                return Err(failed.clone());
            }
            if enough(state.steps) {
                return Ok(());
            }
            // A recorder that forgets to call back would else be waited for without a word; the loop looks again.
            let (next, _) =
                self.changed.wait_timeout(state, Duration::from_secs(1)).unwrap_or_else(PoisonError::into_inner);
            state = next;
        }
    }

    fn state(&self) -> MutexGuard<'_, AheadState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
