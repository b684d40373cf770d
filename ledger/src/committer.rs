//! The committer: one thread that gives every entry its index and makes it durable.
//!
//! It takes what waits, makes one batch of it, and while that is synced the next ones gather: group commit at its
//! own pace, without a timer. [`Committer::make_durable`] is the whole order of effects; whatever is committed goes
//! through it.

use std::collections::BTreeMap;
use std::sync::Arc;

use loam_ledger_core::Hash;
use loam_ledger_core::entry::{Entry, Id16, Redaction, ShardHead, ShardOpened};
use loam_ledger_core::hash::leaf_hash;
use loam_ledger_core::origin::{LogId, LogName};
use loam_ledger_core::tile::{TILE_WIDTH, push_to_bundle};
use loam_ledger_core::tree::Edge;

use crate::engines::{Admission, Engines};
use crate::error::Error;
use crate::floor::{Floor, FloorHead};
use crate::growing::{Filling, Growing};
use crate::keys::Keys;
use crate::layout::{self, CompletionRecord, ErasedAccount, Head, LogPlace, RequestRecord, log_number, log_of};
use crate::publisher::Publisher;
use crate::queue::Queue;
use crate::secrets::Secrets;
use crate::store::{Batch, Space, Store};
use crate::submission::{Acknowledge, Committed, Level, Prepared};
use crate::view::{LogView, Shared};

/// Entries that one commit takes at most: beyond this only waiting grows.
pub(crate) const GROUP_ENTRIES_MAX: usize = 16_384;

/// Bytes that one commit takes at most, unless a single entry has more.
pub(crate) const GROUP_BYTES_MAX: usize = 16 << 20;

/// What the committer can be asked.
pub(crate) enum Command {
    /// Append an entry to the newest usage shard.
    Append(Box<Prepared>, Level, Option<Acknowledge>),
    /// An engine stopped in order.
    StopEngine(Id16, Done),
    /// Freeze the newest usage shard and open the next.
    Freeze(Done),
    /// Record where the newest usage shard stands, if that is not recorded yet.
    RecordHead(Done),
    /// Announce rows that are about to be erased, account for them, and erase.
    Erase(Box<Erasure>, Done),
}

/// Called when a command is done.
pub(crate) type Done = Box<dyn FnOnce(Result<(), Error>) + Send>;

/// Sees each group when it is durable, before anything of it is acknowledged one by one.
pub type Observe = Box<dyn FnMut(&[Committed]) + Send>;

/// A request's rows, as they were found, about to be erased.
pub(crate) struct Erasure {
    pub(crate) request: Hash,
    pub(crate) slot: u64,
    /// One for each shard that has rows of the request; the time is set at the commit.
    pub(crate) redactions: Vec<Redaction>,
    /// What the erased completions came to, by key of [`Space::Erased`].
    pub(crate) accounts: Vec<(Vec<u8>, ErasedAccount)>,
}

pub(crate) struct Committer {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) floor: Floor,
    pub(crate) secrets: Arc<Secrets>,
    pub(crate) keys: Arc<dyn Keys>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) queue: Arc<Queue<Command>>,
    pub(crate) ledger_name: String,
    pub(crate) clock: Arc<dyn Fn() -> u64 + Send + Sync>,
    pub(crate) observe: Option<Observe>,
    pub(crate) logs: BTreeMap<u32, Growing>,
    pub(crate) engines: Engines,
    pub(crate) slots_used: u64,
}

/// A commit in the making.
#[derive(Default)]
struct Draft {
    batch: Batch,
    /// The bundle that entries are gathering for, and where it goes when it is full or the draft ends.
    segment: Option<(LogPlace, Vec<u8>)>,
    /// Logs that grew or changed.
    touched: Vec<u32>,
    /// The first slot that no row of the draft uses.
    slots_below: u64,
}

impl Committer {
    /// Commits until the queue is closed, or something fails.
    pub(crate) fn run(mut self) {
        loop {
            let commands = self.queue.take(GROUP_ENTRIES_MAX, GROUP_BYTES_MAX);
            if commands.is_empty() {
                return;
            }
            let mut appends = Vec::with_capacity(commands.len());
            for command in commands {
                if let Command::Append(prepared, level, acknowledge) = command {
                    appends.push((prepared, level, acknowledge));
                } else {
                    // Appends stay before what was asked after them.
                    self.append(std::mem::take(&mut appends));
                    self.control(command);
                }
            }
            self.append(appends);
        }
    }

    /// Appends a group, durably, and acknowledges it.
    fn append(&mut self, group: Vec<(Box<Prepared>, Level, Option<Acknowledge>)>) {
        if group.is_empty() {
            return;
        }
        let mut draft = Draft { slots_below: self.slots_used, ..Draft::default() };
        let mut outcomes = Vec::with_capacity(group.len());
        let mut committed = Vec::with_capacity(group.len());
        let failed = self.shared.view().check();
        for (prepared, level, acknowledge) in group {
            let outcome = failed.clone().and_then(|()| self.draft_append(&prepared, &mut draft, &mut committed));
            outcomes.push((outcome, level, acknowledge));
        }
        let durable = if committed.is_empty() { Ok(()) } else { self.make_durable(draft) };
        if let (Ok(()), Some(observe)) = (&durable, &mut self.observe) {
            observe(&committed);
        }
        for (outcome, level, acknowledge) in outcomes {
            let outcome = durable.clone().and(outcome);
            match (acknowledge, outcome, level) {
                (None, _, _) => {}
                (Some(acknowledge), Ok(committed), Level::Published) => {
                    self.publisher.when_published(committed, acknowledge)
                }
                (Some(acknowledge), outcome, _) => acknowledge(outcome),
            }
        }
    }

    /// Admits one entry and adds it to the draft: its index, its rows, and where its requests' rows lie.
    fn draft_append(
        &mut self,
        prepared: &Prepared,
        draft: &mut Draft,
        committed: &mut Vec<Committed>,
    ) -> Result<Committed, Error> {
        let admission = self.engines.admit(&prepared.entry, prepared.leaf, prepared.rowed)?;
        let position = match admission {
            Admission::Next(position) => position,
            Admission::Again(LogPlace { log, index }) => {
                return Ok(Committed { log: log_of(log), index, leaf: prepared.leaf });
            }
        };
        let (&shard, _) = self.logs.last_key_value().expect("a ledger has a usage shard");
        let place = self.grow(shard, &prepared.bytes, prepared.leaf, prepared.entry.time_ms(), draft)?;
        if !prepared.rows.is_empty() {
            draft.batch.put(Space::Rows, layout::place_key(place.log, place.index), prepared.rows.clone());
        }
        for begun in &prepared.begun {
            let record = RequestRecord { slot: begun.slot, first: place, masked_nonce: begun.masked_nonce };
            draft.batch.put(Space::Request, begun.request.0, record.encode());
        }
        for completed in &prepared.completed {
            let record = CompletionRecord { place, row: completed.row };
            let key = layout::completion_key(&completed.request, completed.choice);
            draft.batch.put(Space::Request, key, record.encode());
        }
        draft.slots_below = draft.slots_below.max(prepared.slots_below);
        let engine = prepared.entry.place().expect("an admitted entry is an engine's").engine;
        self.engines.advance(engine, position, place);
        draft.batch.put(Space::Engine, engine, position.encode());
        let entry = Committed { log: log_of(shard), index: place.index, leaf: prepared.leaf };
        committed.push(entry);
        Ok(entry)
    }

    /// Grows a log by one entry, and gathers the entry into the value that it is stored in.
    fn grow(
        &mut self,
        number: u32,
        bytes: &[u8],
        leaf: Hash,
        time_ms: u64,
        draft: &mut Draft,
    ) -> Result<LogPlace, Error> {
        let log = self.logs.get_mut(&number).ok_or(Error::UnknownLog { log: log_of(number) })?;
        let place = LogPlace { log: number, index: log.size() };
        match &mut draft.segment {
            Some((first, _)) if first.log == number && !place.index.is_multiple_of(TILE_WIDTH) => {}
            _ => draft.begin_segment(place),
        }
        let (_, segment) = draft.segment.as_mut().expect("a segment was begun");
        push_to_bundle(segment, bytes)?;
        log.append(leaf, &mut draft.batch);
        log.head.time_ms = time_ms;
        draft.touch(number);
        Ok(place)
    }

    /// Makes a draft durable. Every commit of a ledger is this, in this order.
    fn make_durable(&mut self, mut draft: Draft) -> Result<(), Error> {
        self.shared.view().check()?;
        draft.end_segment();
        for number in &draft.touched {
            draft.batch.put(Space::Meta, layout::head_key(*number), self.logs[number].head.encode());
        }
        if draft.slots_below > self.slots_used {
            self.slots_used = draft.slots_below;
            draft.batch.put(Space::Meta, layout::SLOTS_USED, draft.slots_below.to_be_bytes());
        }
        let outcome = self.effects(std::mem::take(&mut draft.batch), draft.slots_below);
        match &outcome {
            // 4. Now it is so: readers may see it, the publisher may sign it, and the caller acknowledge it.
            Ok(()) => self.shared.change(|view| {
                for number in draft.touched {
                    let published = view.logs.get(&number).and_then(|log| log.published);
                    view.logs.insert(number, LogView::of(&self.logs[&number], published));
                }
            }),
            Err(why) => self.shared.fail(why),
        }
        outcome
    }

    /// The effects, each with what holds if the machine stops right after it.
    fn effects(&mut self, batch: Batch, slots_below: u64) -> Result<(), Error> {
        let (store, secrets) = (&self.store, &self.secrets);
        if secrets.synced_below(slots_below) {
            // 1. The secrets of these rows are on disk already.
            // 2. Stop here: all of the batch is there or none of it; nobody was told.
            store.commit(batch)?;
        } else {
            // 1 and 2 at once. Stop here: rows may be there whose secrets are not. They are proven and can never be
            // opened; nobody was told that they could.
            let synced = std::thread::scope(|scope| {
                let syncing = scope.spawn(|| secrets.sync());
                let committed = store.commit(batch);
                let synced = syncing.join().expect("syncing a file does not panic");
                committed.and(synced)
            });
            synced?;
        }
        // 3. The floor, and not before the store: a store below its floor is never written again.
        //    Stop here: a restart finds all of it, at or above the floor, and nobody misses an acknowledgement.
        self.floor.raise(&floor_heads(&self.logs))
    }

    fn control(&mut self, command: Command) {
        let failed = self.shared.view().check();
        match command {
            Command::Append(..) => unreachable!("appends are gathered apart"),
            Command::StopEngine(engine, done) => done(failed.and_then(|()| self.stop_engine(engine))),
            Command::Freeze(done) => done(failed.and_then(|()| self.freeze())),
            Command::RecordHead(done) => done(failed.and_then(|()| self.record_head())),
            Command::Erase(erasure, done) => done(failed.and_then(|()| self.erase(*erasure))),
        }
    }

    fn stop_engine(&mut self, engine: Id16) -> Result<(), Error> {
        let Some(position) = self.engines.stop(&engine) else {
            return Ok(());
        };
        let mut draft = Draft::default();
        draft.batch.put(Space::Engine, engine, position.encode());
        self.make_durable(draft)
    }

    /// The time for a new entry of the records log, which never turns back.
    fn records_time(&self) -> u64 {
        (self.clock)().max(self.logs.get(&0).map_or(0, |records| records.head.time_ms))
    }

    fn grow_records(&mut self, entry: &Entry, draft: &mut Draft) -> Result<(), Error> {
        let bytes = entry.encode();
        self.grow(log_number(LogId::Records), &bytes, leaf_hash(&bytes), entry.time_ms(), draft).map(|_| ())
    }

    /// Where the newest shard stands, as the records log will say, and its number.
    fn shard_head(&mut self) -> (u32, ShardHead) {
        let time_ms = self.records_time();
        let (&shard, log) = self.logs.iter_mut().next_back().expect("a ledger has a usage shard");
        log.head.recorded_size = log.size();
        (shard, ShardHead { time_ms, shard, size: log.size(), root: log.head.edge.root() })
    }

    fn record_head(&mut self) -> Result<(), Error> {
        let (_, newest) = self.logs.last_key_value().expect("a ledger has a usage shard");
        if newest.head.recorded_size == newest.size() {
            return Ok(());
        }
        let mut draft = Draft::default();
        let (shard, head) = self.shard_head();
        self.grow_records(&Entry::ShardStopped(head), &mut draft)?;
        draft.touch(shard);
        self.make_durable(draft)
    }

    fn freeze(&mut self) -> Result<(), Error> {
        let mut draft = Draft::default();
        let (shard, head) = self.shard_head();
        self.logs.get_mut(&shard).expect("it is the newest").head.frozen = true;
        draft.touch(shard);
        self.grow_records(&Entry::ShardFrozen(head), &mut draft)?;
        self.draft_shard(shard + 1, &mut draft)?;
        self.make_durable(draft)
    }

    /// Opens a usage shard under a key of its own.
    fn draft_shard(&mut self, shard: u32, draft: &mut Draft) -> Result<(), Error> {
        let name = LogName::new(&self.ledger_name, LogId::Usage(shard))?;
        let public_key = *self.keys.draw(&name)?.verifier().public();
        let time_ms = self.records_time();
        self.grow_records(&Entry::ShardOpened(ShardOpened { time_ms, shard, public_key }), draft)?;
        self.logs.insert(shard, Growing::new(shard, empty_head(public_key), Filling::new()));
        draft.touch(shard);
        Ok(())
    }

    /// Makes a new ledger's first commit: the records log, with the entry that opens shard 1.
    pub(crate) fn found(&mut self, identity: &[u8]) -> Result<(), Error> {
        let name = LogName::new(&self.ledger_name, LogId::Records)?;
        let public_key = *self.keys.draw(&name)?.verifier().public();
        self.logs.insert(0, Growing::new(0, empty_head(public_key), Filling::new()));
        let mut draft = Draft::default();
        draft.batch.put(Space::Meta, layout::IDENTITY, identity);
        self.draft_shard(1, &mut draft)?;
        self.make_durable(draft)
    }

    fn erase(&mut self, mut erasure: Erasure) -> Result<(), Error> {
        let key = layout::erasing_key(&erasure.request);
        if self.store.value(Space::Meta, &key)?.is_none() {
            // Announced and accounted for first. Stop here: a restart finds the mark and erases.
            let mut draft = Draft::default();
            draft.batch.put(Space::Meta, key, erasure.slot.to_be_bytes());
            for redaction in &mut erasure.redactions {
                redaction.time_ms = self.records_time();
                self.grow_records(&Entry::Redaction(redaction.clone()), &mut draft)?;
            }
            for (key, account) in erasure.accounts {
                let before = self.store.value(Space::Erased, &key)?;
                let before = before.map(|bytes| ErasedAccount::decode(&bytes)).transpose()?.unwrap_or_default();
                draft.batch.put(Space::Erased, key, before.plus(&account).encode());
            }
            self.make_durable(draft)?;
        }
        let erased = self.secrets.erase(erasure.slot);
        if let Err(why) = &erased {
            self.shared.fail(why);
        }
        erased
    }
}

impl Draft {
    fn touch(&mut self, log: u32) {
        if !self.touched.contains(&log) {
            self.touched.push(log);
        }
    }

    fn begin_segment(&mut self, place: LogPlace) {
        self.end_segment();
        self.segment = Some((place, Vec::with_capacity(64 << 10)));
    }

    fn end_segment(&mut self) {
        if let Some((place, entries)) = self.segment.take() {
            self.batch.put(Space::Entry, layout::place_key(place.log, place.index), entries);
        }
    }
}

fn empty_head(public_key: [u8; 32]) -> Head {
    Head { edge: Edge::default(), frozen: false, time_ms: 0, public_key, recorded_size: 0 }
}

/// The heads that the floor holds: a frozen shard's stands in the records log, and needs no floor.
pub(crate) fn floor_heads(logs: &BTreeMap<u32, Growing>) -> Vec<FloorHead> {
    let open = logs.values().filter(|log| !log.head.frozen);
    open.map(|log| FloorHead { log: log.number, size: log.size(), root: log.head.edge.root() }).collect()
}
