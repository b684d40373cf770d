//! An engine's writer: turns steps into entries, each naming the one before it, with rows sealed on the way.
//!
//! Sealing rows is most of the work and needs only the step's number, so many threads may do it at once; a step then
//! waits for its turn, is chained, and goes to the queue in its order.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use loam_ledger_core::Hash;
use loam_ledger_core::entry::{Batch, Boot, Entry, Id16, Place, ROWS_MAX};
use loam_ledger_core::hash::leaf_hash;
use loam_ledger_core::row::{Row, Step};
use loam_ledger_core::tree::root_of_leaves;

use crate::committer::Command;
use crate::engines::Rowed;
use crate::error::Error;
use crate::inlet::Inlet;
use crate::sealed::{SealedRow, encode_sealed};
use crate::secrets::Request;
use crate::submission::{Acknowledge, Begun, Completed, Level, Prepared};

/// What an engine says when it starts.
#[derive(Clone, Copy, Debug)]
pub struct BootInfo {
    /// Which engine; the same over all its boots.
    pub engine: Id16,
    /// The digest of the base model.
    pub base: Hash,
    /// The digest of the program.
    pub build: Hash,
    /// The digest of the configuration.
    pub config: Hash,
}

/// One token batch, and the rows that are due with it.
#[derive(Default)]
pub struct StepRecord {
    /// Prompt tokens computed for the first time.
    pub prefilled_tokens: u64,
    /// Tokens sampled and kept.
    pub emitted_tokens: u64,
    /// Requests with tokens not yet in a row, after these rows.
    pub open_requests: u64,
    /// Rows, each with the request whose secret hides it.
    pub rows: Vec<(Arc<Request>, Row)>,
}

/// One boot of an engine, appending. Threads may share it.
pub struct Writer {
    inlet: Arc<Inlet>,
    info: BootInfo,
    boot: Id16,
    chain: Mutex<Chain>,
    turned: Condvar,
}

struct Chain {
    /// The next sequence that nobody has.
    next: u64,
    /// The sequence whose turn it is.
    turn: u64,
    previous: Hash,
    time_ms: u64,
    /// A step was dropped before its turn came, so none can follow.
    broken: bool,
}

/// A step's number, taken before its rows are sealed. Steps that took theirs later wait for it, and cannot go on where
/// it is dropped. The rows of one request go through one ticket after the other.
#[must_use = "steps that follow wait for this one"]
pub struct Ticket<'a> {
    writer: &'a Writer,
    sequence: u64,
    used: bool,
}

impl Writer {
    /// Starts a boot: its first entry goes to the queue, and `acknowledge` hears of it.
    pub(crate) fn boot(inlet: Arc<Inlet>, info: BootInfo, boot: Boot, acknowledge: Acknowledge) -> Result<Self, Error> {
        let (id, time_ms) = (boot.boot, boot.time_ms);
        let entry = Entry::Boot(boot);
        let bytes = entry.encode();
        let leaf = leaf_hash(&bytes);
        let prepared = Prepared {
            entry,
            bytes,
            leaf,
            rows: Vec::new(),
            rowed: Rowed::default(),
            slots_below: 0,
            begun: Vec::new(),
            completed: Vec::new(),
        };
        inlet.push(Command::Append(Box::new(prepared), Level::Durable, Some(acknowledge)), true)?;
        let chain = Chain { next: 1, turn: 1, previous: leaf, time_ms, broken: false };
        Ok(Self { inlet, info, boot: id, chain: Mutex::new(chain), turned: Condvar::new() })
    }

    /// The boot's id.
    pub fn boot_id(&self) -> Id16 {
        self.boot
    }

    /// The step that this sequence is, as completion rows name it.
    pub fn step(&self, sequence: u64) -> Step {
        Step { boot: self.boot, sequence }
    }

    /// Takes the number of the next step.
    pub fn ticket(&self) -> Ticket<'_> {
        let mut chain = self.chain();
        chain.next += 1;
        Ticket { writer: self, sequence: chain.next - 1, used: false }
    }

    /// Appends a step with rows that need not know its number, and returns it.
    pub fn append(&self, step: StepRecord, level: Level, acknowledge: Option<Acknowledge>) -> Result<u64, Error> {
        let ticket = self.ticket();
        let sequence = ticket.sequence;
        ticket.append(step, level, acknowledge).map(|()| sequence)
    }

    /// Says that the engine stops in order. Call it when no request is open and no ticket is out.
    pub fn stop(self) -> Result<(), Error> {
        let engine = self.info.engine;
        self.inlet.ask(|done| Command::StopEngine(engine, done))
    }

    fn chain(&self) -> MutexGuard<'_, Chain> {
        self.chain.lock().expect("nobody panics while the chain is held")
    }
}

impl Ticket<'_> {
    /// The step's number.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Appends the step. It waits for the steps before it and for room in the queue, not for the disk.
    pub fn append(self, step: StepRecord, level: Level, acknowledge: Option<Acknowledge>) -> Result<(), Error> {
        let inlet = Arc::clone(&self.writer.inlet);
        self.chained(step, |prepared| inlet.push(Command::Append(Box::new(prepared), level, acknowledge), true))
    }

    /// Makes the step whole without appending it: for whoever carries it to the ledger by other means.
    pub fn prepare(self, step: StepRecord) -> Result<Prepared, Error> {
        self.chained(step, Ok)
    }

    /// Seals the rows, waits for the turn, chains the entry, and hands it on before the next step's turn comes.
    fn chained<T>(mut self, step: StepRecord, hand_on: impl FnOnce(Prepared) -> Result<T, Error>) -> Result<T, Error> {
        let writer = self.writer;
        let sealed = writer.inlet.check().and_then(|()| self.seal(&step.rows))?;
        let mut chain = writer.chain();
        while chain.turn != self.sequence && !chain.broken {
            chain = writer.turned.wait(chain).expect("nobody panics while the chain is held");
        }
        if chain.broken {
            return Err(Error::Chain { engine: writer.info.engine, what: "a step before it was dropped" });
        }
        chain.time_ms = chain.time_ms.max(writer.inlet.now_ms());
        let entry = Entry::Batch(Batch {
            place: Place { engine: writer.info.engine, boot: writer.boot, sequence: self.sequence },
            previous: chain.previous,
            time_ms: chain.time_ms,
            base: writer.info.base,
            build: writer.info.build,
            prefilled_tokens: step.prefilled_tokens,
            emitted_tokens: step.emitted_tokens,
            row_count: sealed.count,
            rows_root: sealed.root,
            open_requests: step.open_requests,
        });
        let bytes = entry.encode();
        let leaf = leaf_hash(&bytes);
        let outcome = hand_on(Prepared {
            entry,
            bytes,
            leaf,
            rows: sealed.rows,
            rowed: sealed.rowed,
            slots_below: sealed.slots_below,
            begun: sealed.begun,
            completed: sealed.completed,
        })?;
        (chain.previous, chain.turn) = (leaf, self.sequence + 1);
        self.used = true;
        drop(chain);
        writer.turned.notify_all();
        Ok(outcome)
    }

    fn seal(&self, rows: &[(Arc<Request>, Row)]) -> Result<Sealed, Error> {
        let too_many = || Error::TooManyRows { rows: rows.len(), max: ROWS_MAX };
        let count = u32::try_from(rows.len()).ok().filter(|count| *count <= ROWS_MAX).ok_or_else(too_many)?;
        let mut sealed = Sealed { count, ..Sealed::default() };
        let mut sealed_rows = Vec::with_capacity(rows.len());
        for (number, (request, row)) in (0u32..).zip(rows) {
            if row.request() != request.commitment() {
                return Err(Error::RowOfAnotherRequest);
            }
            match row {
                Row::Usage(usage) => sealed.count_usage(usage.tokens.prefilled, usage.tokens.emitted)?,
                Row::Completion(completion) => sealed.completed.push(Completed {
                    request: completion.request,
                    choice: completion.choice,
                    row: number,
                }),
            }
            let bytes = row.encode();
            // A row that a strict reader would refuse must not get in.
            Row::decode(&bytes)?;
            sealed_rows.push(SealedRow::seal(request, &self.writer.boot, self.sequence, number, bytes));
            sealed.slots_below = sealed.slots_below.max(request.slot() + 1);
            if !request.begun.swap(true, Ordering::AcqRel) {
                let masked_nonce = request.masked_nonce();
                sealed.begun.push(Begun { request: request.commitment(), slot: request.slot(), masked_nonce });
            }
        }
        sealed.root = root_of_leaves(&sealed_rows.iter().map(|row| row.leaf).collect::<Vec<_>>());
        sealed.rows = encode_sealed(&sealed_rows);
        Ok(sealed)
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        if self.used {
            return;
        }
        // The last number that was taken can be taken again; behind any other, steps wait that cannot go on.
        let mut chain = self.writer.chain();
        if chain.next == self.sequence + 1 {
            chain.next = self.sequence;
        } else {
            chain.broken = true;
        }
        drop(chain);
        self.writer.turned.notify_all();
    }
}

/// A step's rows, sealed, and what the committer must know of them.
struct Sealed {
    count: u32,
    root: Hash,
    rows: Vec<u8>,
    rowed: Rowed,
    slots_below: u64,
    begun: Vec<Begun>,
    completed: Vec<Completed>,
}

impl Default for Sealed {
    fn default() -> Self {
        Self {
            count: 0,
            root: Hash::EMPTY_TREE,
            rows: Vec::new(),
            rowed: Rowed::default(),
            slots_below: 0,
            begun: Vec::new(),
            completed: Vec::new(),
        }
    }
}

impl Sealed {
    fn count_usage(&mut self, prefilled: u64, emitted: u64) -> Result<(), Error> {
        let add = |sum: u64, more| sum.checked_add(more).ok_or(Error::RowsExceedEntries);
        self.rowed.prefilled = add(self.rowed.prefilled, prefilled)?;
        self.rowed.emitted = add(self.rowed.emitted, emitted)?;
        Ok(())
    }
}
