//! An engine's writer: turns steps into entries, each naming the one before it, with rows sealed on the way.
//!
//! Sealing rows is most of the work and needs only the step's number, so many threads may do it at once; a step then
//! waits for its turn, is chained, and goes to the queue in its order.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use loam_ledger_core::Hash;
use loam_ledger_core::entry::{Batch, Boot, Entry, Id16, Place, ROWS_MAX, STEP_TOKENS_MAX};
use loam_ledger_core::fee::fee_nano;
use loam_ledger_core::record::PolicyChanged;
use loam_ledger_core::row::{Completion, Row, Step};
use loam_ledger_core::tree::root_of_leaves;

use crate::committer::Command;
use crate::engines::Rowed;
use crate::error::Error;
use crate::inlet::Inlet;
use crate::recorded::policy_at;
use crate::request::{Answers, Change, Request};
use crate::sealed::{SealedRow, encode_sealed};
use crate::submission::{Acknowledge, AnswerMark, Begun, Level, Prepared};

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
    numbers: Mutex<Numbers>,
    chain: Mutex<Chain>,
    turned: Condvar,
    /// Why the committer refused an entry, the first time: none can follow it.
    refused: Arc<OnceLock<Error>>,
}

/// A policy, with its digest.
type Policy = (Hash, PolicyChanged);

/// Numbers of steps, with the times that their entries will have: so a row knows, before it is sealed, which policy is in
/// force at its answer's first step, be it this one.
struct Numbers {
    /// The next sequence that nobody has.
    next: u64,
    /// The time of the last that was taken.
    time_ms: u64,
    /// From which sequence on which policy is in force, and by it priced.
    priced: Vec<(u64, Option<Arc<Policy>>)>,
}

struct Chain {
    /// The sequence whose turn it is.
    turn: u64,
    previous: Hash,
    /// Tokens that entries count and rows do not yet.
    unrowed: Rowed,
    /// A step was dropped before its turn came, so none can follow.
    broken: bool,
}

/// A step's number, taken before its rows are sealed. Steps that took theirs later wait for it, and cannot go on where
/// it is dropped. The rows of one request go through one ticket after the other.
#[must_use = "steps that follow wait for this one"]
pub struct Ticket<'a> {
    writer: &'a Writer,
    sequence: u64,
    time_ms: u64,
    used: bool,
}

impl Writer {
    /// Starts a boot: its first entry goes to the queue, and `acknowledge` hears of it.
    pub(crate) fn boot(inlet: Arc<Inlet>, info: BootInfo, boot: Boot, acknowledge: Acknowledge) -> Result<Self, Error> {
        let (id, time_ms) = (boot.boot, boot.time_ms);
        let prepared = Prepared::new(Entry::Boot(boot));
        let previous = prepared.leaf;
        inlet.push(Command::Append(Box::new(prepared), Level::Durable, Some(acknowledge)), true)?;
        let chain = Chain { turn: 1, previous, unrowed: Rowed::default(), broken: false };
        let numbers = Mutex::new(Numbers { next: 1, time_ms, priced: Vec::new() });
        Ok(Self {
            inlet,
            info,
            boot: id,
            numbers,
            chain: Mutex::new(chain),
            turned: Condvar::new(),
            refused: Arc::default(),
        })
    }

    /// The boot's id.
    pub fn boot_id(&self) -> Id16 {
        self.boot
    }

    /// The step that this sequence is, as completion rows name it.
    pub fn step(&self, sequence: u64) -> Step {
        Step { boot: self.boot, sequence }
    }

    /// Takes the number of the next step. Refused, before a number is taken, when the ledger failed or space is low, and
    /// once an entry of this writer was refused.
    pub fn ticket(&self) -> Result<Ticket<'_>, Error> {
        self.inlet.check()?;
        self.check_taken()?;
        Ok(self.number())
    }

    /// The same for a step of requests that were begun while there was room: the reserve is what they still need, so that
    /// low space does not refuse it.
    pub fn ticket_within_reserve(&self) -> Result<Ticket<'_>, Error> {
        self.inlet.check_health()?;
        self.check_taken()?;
        Ok(self.number())
    }

    /// Takes the next number, at a time at which no other policy is in force than the one that is noted.
    fn number(&self) -> Ticket<'_> {
        let mut numbers = self.numbers();
        let recorded = self.inlet.recorded.get().expect("a ledger is not written before its records are known");
        let policies = recorded.policies();
        numbers.time_ms = numbers.time_ms.max(self.inlet.now_ms());
        let (sequence, time_ms) = (numbers.next, numbers.time_ms);
        let in_force = policy_at(&policies, time_ms);
        let noted = numbers.priced.last().map(|(_, policy)| policy.as_ref().map(|policy| policy.0));
        if noted != Some(in_force.map(|policy| policy.0)) {
            numbers.priced.push((sequence, in_force.cloned().map(Arc::new)));
        }
        numbers.next += 1;
        Ticket { writer: self, sequence, time_ms, used: false }
    }

    fn numbers(&self) -> MutexGuard<'_, Numbers> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Names in a completion row the policy that is in force at its first step, and what the answer costs by it. A row that
    /// names a policy already keeps it.
    fn price(&self, row: &mut Completion) {
        if row.price_policy != Hash::ZERO || row.first.boot != self.boot {
            return;
        }
        let numbers = self.numbers();
        let after = numbers.priced.partition_point(|(sequence, _)| *sequence <= row.first.sequence);
        let policy = after.checked_sub(1).and_then(|last| numbers.priced[last].1.clone());
        drop(numbers);
        if let Some(policy) = policy {
            row.price_policy = policy.0;
            // `loam policy set` takes no prices by which an answer's fee does not fit 64 bits. By those of another hand it is
            // the largest fee there is, and the audit finds it.
            row.fee_nano = fee_nano(&policy.1, &self.info.base, row).unwrap_or(u64::MAX);
        }
    }

    /// Appends a step with rows that need not know its number, and returns it.
    pub fn append(&self, step: StepRecord, level: Level, acknowledge: Option<Acknowledge>) -> Result<u64, Error> {
        let ticket = self.ticket()?;
        let sequence = ticket.sequence;
        ticket.append(step, level, acknowledge).map(|()| sequence)
    }

    /// Says that the engine stops in order. Call it when no request is open and no ticket is out. Where an entry was refused,
    /// nobody having heard of it, that is said here.
    pub fn stop(self) -> Result<(), Error> {
        let (engine, boot) = (self.info.engine, self.boot);
        let stopped = self.inlet.ask(|done| Command::StopEngine { engine, boot, done });
        stopped.and_then(|()| self.check_taken())
    }

    /// Whether all entries were taken that the committer has come to.
    fn check_taken(&self) -> Result<(), Error> {
        self.refused.get().map_or(Ok(()), |why| Err(why.clone()))
    }

    /// Remembers a refusal, and tells whoever wants to know.
    fn acknowledge(&self, then: Option<Acknowledge>) -> Acknowledge {
        let refused = Arc::clone(&self.refused);
        Box::new(move |outcome| {
            if let Err(why) = &outcome {
                refused.get_or_init(|| why.clone());
            }
            if let Some(then) = then {
                then(outcome);
            }
        })
    }

    fn chain(&self) -> MutexGuard<'_, Chain> {
        self.chain.lock().unwrap_or_else(|poisoned| {
            // A step was cut short in its midst: none can follow.
            let mut chain = poisoned.into_inner();
            chain.broken = true;
            chain
        })
    }
}

impl Ticket<'_> {
    /// The step's number.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Appends the step. It waits for the steps before it and for room in the queue, not for the disk.
    ///
    /// A step that is refused writes nothing, and gives its number back unless a later one is out already.
    pub fn append(self, step: StepRecord, level: Level, acknowledge: Option<Acknowledge>) -> Result<(), Error> {
        let (inlet, acknowledge) = (Arc::clone(&self.writer.inlet), self.writer.acknowledge(acknowledge));
        self.chained(step, |prepared| inlet.push(Command::Append(Box::new(prepared), level, Some(acknowledge)), true))
    }

    /// Makes the step whole without appending it: for whoever carries it to the ledger by other means.
    pub fn prepare(self, step: StepRecord) -> Result<Prepared, Error> {
        self.chained(step, Ok)
    }

    /// Seals the rows, waits for the turn, chains the entry, and hands it on before the next step's turn comes.
    fn chained<T>(mut self, step: StepRecord, hand_on: impl FnOnce(Prepared) -> Result<T, Error>) -> Result<T, Error> {
        let (writer, mut step) = (self.writer, step);
        for (_, row) in &mut step.rows {
            if let Row::Completion(completion) = row {
                writer.price(completion);
            }
        }
        let sealed = self.seal(&step.rows)?;
        if step.prefilled_tokens.max(step.emitted_tokens) > STEP_TOKENS_MAX {
            return Err(Error::Row { what: "no step has so many tokens" });
        }
        let mut chain = writer.chain();
        while chain.turn != self.sequence && !chain.broken {
            chain = writer.turned.wait(chain).unwrap_or_else(PoisonError::into_inner);
        }
        if chain.broken {
            return Err(Error::Chain { engine: writer.info.engine, what: "a step before it was dropped" });
        }
        // Whatever the committer or an auditor would refuse is refused here, before the chain depends on it.
        let progress = Progress::of(&step.rows, &writer.boot, self.sequence)?;
        let unrowed =
            chain.unrowed.left(step.prefilled_tokens, step.emitted_tokens, sealed.rowed, step.open_requests)?;
        let mut prepared = Prepared::new(Entry::Batch(Batch {
            place: Place { engine: writer.info.engine, boot: writer.boot, sequence: self.sequence },
            previous: chain.previous,
            time_ms: self.time_ms,
            base: writer.info.base,
            build: writer.info.build,
            prefilled_tokens: step.prefilled_tokens,
            emitted_tokens: step.emitted_tokens,
            row_count: sealed.count,
            rows_root: sealed.root,
            open_requests: step.open_requests,
        }));
        prepared.rows = sealed.rows;
        prepared.rowed = sealed.rowed;
        prepared.slots_below = sealed.slots_below;
        prepared.begun = progress.begun();
        prepared.answers.clone_from(&progress.marks);
        prepared.requests = step.rows.iter().map(|(request, _)| Arc::clone(request)).collect();
        let leaf = prepared.leaf;
        let outcome = hand_on(prepared)?;
        progress.settle();
        *chain = Chain { turn: self.sequence + 1, previous: leaf, unrowed, broken: false };
        self.used = true;
        drop(chain);
        writer.turned.notify_all();
        Ok(outcome)
    }

    fn seal(&self, rows: &[(Arc<Request>, Row)]) -> Result<Sealed, Error> {
        let too_many = || Error::TooManyRows { rows: rows.len(), max: ROWS_MAX };
        let count = u32::try_from(rows.len()).ok().filter(|count| *count <= ROWS_MAX).ok_or_else(too_many)?;
        let (mut rowed, mut slots_below) = (Rowed::default(), 0);
        let mut sealed = Vec::with_capacity(rows.len());
        for (number, (request, row)) in (0u32..).zip(rows) {
            if row.request() != request.commitment() {
                return Err(Error::RowOfAnotherRequest);
            }
            if !request.is_of(&self.writer.inlet.secrets) {
                return Err(Error::ForeignRequest);
            }
            if let Row::Usage(usage) = row {
                rowed = rowed.plus(usage.tokens.prefilled, usage.tokens.emitted)?;
            }
            let bytes = row.encode();
            // A row that a strict reader would refuse must not get in.
            Row::decode(&bytes)?;
            sealed.push(SealedRow::seal(request, &self.writer.boot, self.sequence, number, bytes));
            slots_below = slots_below.max(request.slot() + 1);
        }
        let root = root_of_leaves(&sealed.iter().map(|row| row.leaf).collect::<Vec<_>>());
        Ok(Sealed { count, root, rows: encode_sealed(&sealed), rowed, slots_below })
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        if self.used {
            return;
        }
        // The last number that was taken can be taken again; behind any other, steps wait that cannot go on.
        let mut numbers = self.writer.numbers();
        if numbers.next == self.sequence + 1 {
            numbers.next = self.sequence;
            numbers.priced.retain(|(sequence, _)| *sequence < self.sequence);
        } else {
            drop(numbers);
            self.writer.chain().broken = true;
        }
        self.writer.turned.notify_all();
    }
}

/// A step's rows, sealed.
struct Sealed {
    count: u32,
    root: Hash,
    rows: Vec<u8>,
    rowed: Rowed,
    slots_below: u64,
}

/// How far a step brings its requests; nothing of it holds before [`Progress::settle`]. Until then nobody else can
/// bring them further, whatever writer he has.
struct Progress<'a> {
    /// By slot, which is also the order in which they are locked.
    requests: BTreeMap<u64, Moving<'a>>,
    marks: Vec<AnswerMark>,
}

/// One request, held where it is, and where the step brings it.
struct Moving<'a> {
    request: &'a Arc<Request>,
    held: MutexGuard<'a, Answers>,
    moved: Answers,
}

impl<'a> Progress<'a> {
    fn of(rows: &'a [(Arc<Request>, Row)], boot: &Id16, sequence: u64) -> Result<Self, Error> {
        let distinct: BTreeMap<u64, &Arc<Request>> =
            rows.iter().map(|(request, _)| (request.slot(), request)).collect();
        let hold = |(slot, request): (u64, &'a Arc<Request>)| {
            let held = request.answers();
            let moved = held.clone();
            (slot, Moving { request, held, moved })
        };
        let mut progress = Self { requests: distinct.into_iter().map(hold).collect(), marks: Vec::new() };
        for (number, (request, row)) in (0u32..).zip(rows) {
            let moving = progress.requests.get_mut(&request.slot()).expect("every row's request is held");
            let choice = match row {
                Row::Usage(usage) => usage.choice,
                Row::Completion(completion) => completion.choice,
            };
            let completed = match moving.moved.take(row, boot, sequence)? {
                Change::Nothing => continue,
                Change::Begins => None,
                Change::Completes => Some(number),
            };
            progress.marks.push(AnswerMark { request: request.commitment(), choice, completed });
        }
        Ok(progress)
    }

    /// The requests whose first rows these are.
    fn begun(&self) -> Vec<Begun> {
        let new = self.requests.values().filter(|moving| moving.held.untouched());
        let begun = new.map(|Moving { request, .. }| Begun {
            request: request.commitment(),
            slot: request.slot(),
            masked_nonce: request.masked_nonce(),
        });
        begun.collect()
    }

    fn settle(self) {
        for mut moving in self.requests.into_values() {
            *moving.held = moving.moved;
        }
    }
}
