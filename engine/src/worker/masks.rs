//! Which tokens a form allows next, worked out beside the loop: only the sequences that have a form wait for it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};

use super::inbox::{Inbox, Message};
use crate::constraint::ConstraintState;
use crate::error::Error;
use crate::scheduler::SequenceId;

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
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Masks {
    pub(crate) fn start(inbox: Inbox) -> Result<Self, Error> {
        let (jobs, receiver) = mpsc::channel::<Job>();
        let work = move || {
            for Job { sequence, mut state, token } in receiver {
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
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Asks for a sequence's next mask. At most one is asked for at a time, so the queue is as long as there are sequences.
    pub(crate) fn ask(&self, sequence: SequenceId, state: Box<ConstraintState>, token: Option<u32>) {
        let jobs = self.jobs.as_ref().expect("jobs are taken until the end");
        jobs.send(Job { sequence, state, token }).expect("the thread ends after the loop");
    }
}

impl Drop for Masks {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A panic of its own was reported by the thread itself.
            let _ = thread.join();
        }
    }
}
