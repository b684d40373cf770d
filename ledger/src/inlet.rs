//! The inlet: what every append passes on its way to the queue.

use std::sync::{Arc, Mutex, OnceLock, Weak, mpsc};
use std::time::{Duration, Instant};

use crate::committer::{Command, Done};
use crate::error::Error;
use crate::queue::{Queue, Refused};
use crate::recorded::Recorded;
use crate::slots::Secrets;
use crate::store::Store;
use crate::view::Shared;

/// How long a reading of the free space is believed.
const SPACE_BELIEVED: Duration = Duration::from_millis(20);

/// The way in. Appends are refused here, by name, before a write could fail.
pub(crate) struct Inlet {
    pub(crate) queue: Arc<Queue<Command>>,
    pub(crate) shared: Arc<Shared>,
    /// Which prices are in force.
    pub(crate) recorded: Arc<OnceLock<Recorded>>,
    /// For a look at the free space; a writer that outlives its ledger does not keep the store open.
    pub(crate) store: Weak<dyn Store>,
    /// The ledger's secrets: rows of other ledgers' requests are refused.
    pub(crate) secrets: Arc<Secrets>,
    pub(crate) clock: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// Free bytes below which nothing more is taken.
    pub(crate) reserve_bytes: u64,
    /// The last reading of the free space, and when it was taken.
    pub(crate) space: Mutex<Option<(Instant, u64)>>,
}

impl Inlet {
    pub(crate) fn now_ms(&self) -> u64 {
        (self.clock)()
    }

    /// Refuses when the ledger failed, or when the space that is left is the reserve. The latter lifts by itself.
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.check_health()?;
        let mut reading = self.space.lock().expect("nobody panics while the space is read");
        let free = match *reading {
            Some((when, free)) if when.elapsed() < SPACE_BELIEVED => free,
            _ => {
                let free = self.store.upgrade().ok_or_else(|| self.ended())?.free_bytes()?;
                *reading = Some((Instant::now(), free));
                free
            }
        };
        if free < self.reserve_bytes { Err(Error::LowSpace { free, reserve: self.reserve_bytes }) } else { Ok(()) }
    }

    /// Refuses when the ledger failed.
    pub(crate) fn check_health(&self) -> Result<(), Error> {
        self.shared.view().check()
    }

    /// Why nothing is taken any more.
    pub(crate) fn ended(&self) -> Error {
        self.shared.view().check().err().unwrap_or(Error::Closed)
    }

    /// Hands a command to the committer.
    pub(crate) fn push(&self, command: Command, wait: bool) -> Result<(), Error> {
        let bytes = match &command {
            Command::Append(prepared, _, _) => prepared.weight(),
            Command::Put(batch, ..) => batch.puts.iter().map(|(_, key, value)| key.len() + value.len()).sum(),
            _ => 0,
        };
        self.queue.push(command, bytes, wait).map_err(|refused| match refused {
            Refused::Full => Error::Busy,
            Refused::Closed => self.ended(),
        })
    }

    /// Hands a command to the committer and waits until it is done.
    pub(crate) fn ask(&self, command: impl FnOnce(Done) -> Command) -> Result<(), Error> {
        let (done, outcome) = mpsc::sync_channel(1);
        self.push(command(Box::new(move |result| drop(done.send(result)))), true)?;
        outcome.recv().unwrap_or_else(|_| Err(self.ended()))
    }
}
