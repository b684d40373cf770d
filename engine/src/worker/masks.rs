//! Which tokens a form allows next, worked out beside the loop: only the sequences that have a form wait for it.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use super::inbox::{Inbox, Message, RequestId};
use crate::constraint::ConstraintState;
use crate::error::Error;
use crate::scheduler::{SequenceId, TenantId};

/// What a sequence waited for, or why there is none.
pub(crate) type Ready = Result<(Box<ConstraintState>, Vec<u32>), Error>;

/// One thing to work out: take a token, if any, then say what may follow.
struct Job {
    sequence: SequenceId,
    state: Box<ConstraintState>,
    token: Option<u32>,
}

/// The thread that works them out, one after the other.
pub(crate) struct Masks {
    line: Arc<Line>,
    thread: Option<JoinHandle<()>>,
}

/// What waits for the thread.
#[derive(Default)]
struct Line {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    jobs: Turns<Job>,
    closed: bool,
}

impl Masks {
    pub(crate) fn start(inbox: Inbox) -> Result<Self, Error> {
        let line = Arc::new(Line::default());
        let its = Arc::clone(&line);
        let work = move || {
            while let Some(Job { sequence, mut state, token }) = its.next() {
                // A grammar that breaks the library ends its own sequence, not everybody's.
                let worked = catch_unwind(AssertUnwindSafe(|| {
                    let mask = token.map_or(Ok(()), |token| state.accept(token)).and_then(|()| state.mask())?;
                    Ok((state, mask))
                }));
                let broken = |_| Err(Error::Constraint { reason: "its grammar could not be worked out".to_owned() });
                if !inbox.tell(Message::Mask(sequence, worked.unwrap_or_else(broken))) {
                    return;
                }
            }
        };
        let thread = thread::Builder::new().name("loam-masks".to_owned()).spawn(work);
        let thread = thread.map_err(|error| Error::Stopped { reason: format!("no thread for masks: {error}") })?;
        Ok(Self { line, thread: Some(thread) })
    }

    /// Asks for a sequence's next mask. At most one is asked for at a time, so the line is as long as there are sequences.
    pub(crate) fn ask(
        &self,
        (tenant, request): (TenantId, RequestId),
        sequence: SequenceId,
        state: Box<ConstraintState>,
        token: Option<u32>,
    ) {
        self.line.waiting().jobs.push(tenant, request, Job { sequence, state, token });
        self.line.changed.notify_one();
    }
}

impl Drop for Masks {
    fn drop(&mut self) {
        self.line.waiting().closed = true;
        self.line.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            // A panic of its own was reported by the thread itself.
            let _ = thread.join();
        }
    }
}

impl Line {
    /// Waits for the next job; none when nobody hears of it any more.
    fn next(&self) -> Option<Job> {
        let mut waiting = self.waiting();
        loop {
            if waiting.closed {
                return None;
            }
            if let Some(job) = waiting.jobs.pop() {
                return Some(job);
            }
            waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who is next: tenants take turns, and among the requests of one tenant these do. So forms that are slow to work out, or
/// many answers of one request, keep nobody else waiting for longer than a turn.
struct Turns<T>(Ring<TenantId, Ring<RequestId, VecDeque<T>>>);

/// Those who have something to do, in order of their turns; whoever had a turn goes to the end.
type Ring<K, T> = VecDeque<(K, T)>;

impl<T> Default for Turns<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T> Turns<T> {
    fn push(&mut self, tenant: TenantId, request: RequestId, job: T) {
        place(place(&mut self.0, tenant), request).push_back(job);
    }

    fn pop(&mut self) -> Option<T> {
        let (tenant, mut requests) = self.0.pop_front()?;
        let (request, mut jobs) = requests.pop_front().expect("whose turn it is has something to do");
        let job = jobs.pop_front().expect("whose turn it is has something to do");
        if !jobs.is_empty() {
            requests.push_back((request, jobs));
        }
        if !requests.is_empty() {
            self.0.push_back((tenant, requests));
        }
        Some(job)
    }
}

/// Somebody's place in a ring; at its end where he has none yet.
fn place<K: PartialEq, T: Default>(ring: &mut Ring<K, T>, key: K) -> &mut T {
    let at = ring.iter().position(|(other, _)| *other == key).unwrap_or_else(|| {
        ring.push_back((key, T::default()));
        ring.len() - 1
    });
    &mut ring[at].1
}

#[cfg(test)]
mod tests {
    use super::{RequestId, TenantId, Turns};

    /// They were worked out in the order in which they came: 128 slow ones of one request were before everybody's next.
    #[test]
    fn tenants_take_turns_and_so_do_their_requests() {
        let mut turns = Turns::default();
        for choice in 0..3 {
            turns.push(TenantId(0), RequestId(0), ("many", choice));
        }
        turns.push(TenantId(0), RequestId(1), ("beside", 0));
        turns.push(TenantId(1), RequestId(2), ("other", 0));
        turns.push(TenantId(1), RequestId(2), ("other", 1));
        let order: Vec<_> = std::iter::from_fn(|| turns.pop()).collect();
        let expected = [("many", 0), ("other", 0), ("beside", 0), ("other", 1), ("many", 1), ("many", 2)];
        assert_eq!(order, expected);
    }
}
