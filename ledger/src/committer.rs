//! The committer: one thread that gives every entry its index and makes it durable.
//!
//! It takes what waits, makes one batch of it, and while that is synced the next ones gather: group commit at its
//! own pace, without a timer. [`Committer::make_durable`] is the whole order of effects; whatever is committed goes
//! through it.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use loam_ledger_core::Hash;
use loam_ledger_core::entry::{Boot, Entry, Id16, Redaction, ShardHead, ShardOpened};
use loam_ledger_core::hash::leaf_hash;
use loam_ledger_core::origin::{LogId, LogName};
use loam_ledger_core::tile::{TILE_WIDTH, push_to_bundle};
use loam_ledger_core::tree::Edge;

use crate::engines::{Admission, Engines};
use crate::error::Error;
use crate::floor::{Floor, FloorHead};
use crate::growing::{Filling, Growing};
use crate::keys::Keys;
use crate::layout::{self, AnswerRecord, ErasedAccount, Head, LogPlace, RequestRecord, log_number, log_of};
use crate::offers::{Appended, Appending};
use crate::publisher::Publisher;
use crate::queue::Queue;
use crate::recorded::Recorded;
use crate::slots::Secrets;
use crate::store::{Batch, Space, Store};
use crate::submission::{Acknowledge, Committed, Level, Prepared};
use crate::view::{LogView, PanicGuard, Shared};

/// Entries that one commit takes at most: beyond this only waiting grows.
pub(crate) const GROUP_ENTRIES_MAX: usize = 16_384;

/// Bytes that one commit takes at most, unless a single entry has more.
pub(crate) const GROUP_BYTES_MAX: usize = 16 << 20;

/// What the committer can be asked.
pub(crate) enum Command {
    /// Append an entry to the newest usage shard.
    Append(Box<Prepared>, Level, Option<Acknowledge>),
    /// Nothing, but after all that was asked for before.
    Reach(Done),
    /// A boot of an engine stopped in order.
    StopEngine { engine: Id16, boot: Id16, done: Done },
    /// Freeze the newest usage shard and open the next.
    Freeze(Done),
    /// Record where the newest usage shard stands, if that is not recorded yet.
    RecordHead(Done),
    /// Record where the newest usage shard stands, for an epoch that covers it so far.
    RecordClose(Box<dyn FnOnce(Result<ShardHead, Error>) + Send>),
    /// Append a record that was checked as far as it can be without its place.
    Record(Box<Appending>),
    /// Store what entries that come later lead to, under secrets below this slot.
    Put(Batch, u64, Done),
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
    /// What is kept of those that were settled before, by key of the same.
    pub(crate) settled: Vec<(Vec<u8>, Vec<u8>)>,
}

pub(crate) struct Committer {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) floor: Floor,
    pub(crate) secrets: Arc<Secrets>,
    pub(crate) keys: Arc<dyn Keys>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) recorded: Arc<OnceLock<Recorded>>,
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
        let queue = Arc::clone(&self.queue);
        let _guard = PanicGuard { shared: Arc::clone(&self.shared), then: Box::new(move || queue.abandon()) };
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
        let (mut outcomes, mut committed) = (Vec::with_capacity(group.len()), Vec::with_capacity(group.len()));
        // Held until the rows are durable, and so held against erasing: whoever erases finds all rows in the store.
        let mut requests = Vec::new();
        let failed = self.shared.view().check();
        for (mut prepared, level, acknowledge) in group {
            let ours = prepared.requests.iter().all(|request| request.is_of(&self.secrets));
            requests.append(&mut prepared.requests);
            let outcome = failed.clone().and_then(|()| self.draft_append(*prepared, ours, &mut draft, &mut committed));
            outcomes.push((outcome, level, acknowledge));
        }
        let durable = if committed.is_empty() { Ok(()) } else { self.make_durable(draft) };
        drop(requests);
        if let (Ok(()), Some(observe)) = (&durable, &mut self.observe) {
            observe(&committed);
        }
        for (outcome, level, acknowledge) in outcomes {
            let Some(acknowledge) = acknowledge else { continue };
            match (durable.clone().and(outcome), level) {
                (Ok(committed), Level::Published) => self.publisher.when_published(committed, acknowledge),
                (outcome, _) => acknowledge(outcome),
            }
        }
    }

    /// Admits one entry and adds it to the draft: its index, its rows, and where its requests' rows lie.
    fn draft_append(
        &mut self,
        prepared: Prepared,
        ours: bool,
        draft: &mut Draft,
        committed: &mut Vec<Committed>,
    ) -> Result<Committed, Error> {
        let Prepared { entry, bytes, leaf, rows, rowed, slots_below, begun, answers, .. } = prepared;
        let position = match self.engines.admit(&entry, leaf, rowed)? {
            Admission::Next(_) if !ours => return Err(Error::ForeignRequest),
            Admission::Next(position) => position,
            Admission::Again(LogPlace { log, index }) => return Ok(Committed { log: log_of(log), index, leaf }),
        };
        let engine = entry.place().expect("an admitted entry is an engine's").engine;
        let shard = self.newest_shard();
        let place = self.grow(shard, &bytes, leaf, entry.time_ms(), draft);
        if !rows.is_empty() {
            draft.batch.put(Space::Rows, place.encode(), rows);
        }
        for begun in begun {
            let record = RequestRecord { slot: begun.slot, first: place, masked_nonce: begun.masked_nonce };
            draft.batch.put(Space::Request, begun.request.0, record.encode());
        }
        for mark in answers {
            let record = AnswerRecord { place, completed: mark.completed };
            draft.batch.put(Space::Request, layout::answer_key(&mark.request, mark.choice), record.encode());
        }
        draft.slots_below = draft.slots_below.max(slots_below);
        if let Entry::Boot(Boot { previous: Some(previous), .. }) = &entry {
            draft.batch.put(Space::Boot, layout::boot_key(&engine, &previous.boot), place.encode());
        }
        draft.batch.put(Space::Engine, engine, position.encode());
        self.engines.advance(engine, position, place);
        let entry = Committed { log: log_of(shard), index: place.index, leaf };
        committed.push(entry);
        Ok(entry)
    }

    fn newest_shard(&self) -> u32 {
        *self.logs.last_key_value().expect("a ledger has a usage shard").0
    }

    /// Grows a log by one entry, and gathers the entry into the value that it is stored in. From here on memory is
    /// ahead of the store, so whoever calls this goes on to [`Self::make_durable`], whatever comes.
    fn grow(&mut self, number: u32, bytes: &[u8], leaf: Hash, time_ms: u64, draft: &mut Draft) -> LogPlace {
        let log = self.logs.get_mut(&number).expect("only logs that are there grow");
        let place = LogPlace { log: number, index: log.size() };
        match &mut draft.segment {
            Some((first, _)) if first.log == number && !place.index.is_multiple_of(TILE_WIDTH) => {}
            _ => draft.begin_segment(place),
        }
        let (_, segment) = draft.segment.as_mut().expect("a segment was begun");
        push_to_bundle(segment, bytes).expect("an entry was held against the most bytes that one can have");
        log.append(leaf, &mut draft.batch);
        log.head.time_ms = time_ms;
        draft.touch(number);
        place
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
        // 1. The secrets of these rows; most were synced with those of an earlier group.
        //    Stop here: slots that no row uses. They are never used again.
        if !self.secrets.synced_below(slots_below) {
            self.secrets.sync()?;
        }
        // 2. The batch. Stop here: all of it is there or none of it, and every row in it can be opened.
        self.store.commit(batch)?;
        // 3. The floor, and not before the store: a store below its floor is never written again.
        //    Stop here: a restart finds all of it, at or above the floor, and nobody misses an acknowledgement.
        self.floor.raise(&floor_heads(&self.logs))
    }

    fn control(&mut self, command: Command) {
        let sound = self.shared.view().check();
        match command {
            Command::Append(..) => unreachable!("appends are gathered apart"),
            Command::Reach(done) => done(sound),
            Command::StopEngine { engine, boot, done } => done(sound.and_then(|()| self.stop_engine(&engine, &boot))),
            Command::Freeze(done) => done(sound.and_then(|()| self.freeze())),
            Command::RecordHead(done) => done(sound.and_then(|()| self.record_head())),
            Command::RecordClose(done) => done(sound.and_then(|()| self.record_close())),
            Command::Record(appending) => self.record(*appending, sound),
            Command::Put(batch, slots_below, done) => {
                let draft = Draft { batch, slots_below, ..Draft::default() };
                done(sound.and_then(|()| self.make_durable(draft)));
            }
            Command::Erase(erasure, done) => done(sound.and_then(|()| self.erase(*erasure))),
        }
    }

    fn stop_engine(&mut self, engine: &Id16, boot: &Id16) -> Result<(), Error> {
        let position = self.engines.stop(engine, boot)?;
        let mut draft = Draft::default();
        draft.batch.put(Space::Engine, *engine, position.encode());
        self.make_durable(draft)
    }

    /// The time for a new entry of the records log, which never turns back.
    fn records_time(&self) -> u64 {
        (self.clock)().max(self.logs.get(&0).map_or(0, |records| records.head.time_ms))
    }

    fn grow_records(&mut self, entry: &Entry, draft: &mut Draft) {
        let bytes = entry.encode();
        self.recorded().follow(entry);
        self.grow(log_number(LogId::Records), &bytes, leaf_hash(&bytes), entry.time_ms(), draft);
    }

    fn recorded(&self) -> &Recorded {
        self.recorded.get().expect("a ledger is not written before its records are known")
    }

    /// Appends a record, with what lies beside it. One that is refused changes nothing.
    fn record(&mut self, appending: Appending, sound: Result<(), Error>) {
        let Appending { mut record, beside, erase, done } = appending;
        let appended = sound.and_then(|()| {
            let recorded = Arc::clone(&self.recorded);
            let recorded = recorded.get().expect("a ledger is not written before its records are known");
            let id = recorded.admit(&mut record, || self.records_time())?;
            let mut draft = Draft { batch: beside, ..Draft::default() };
            let time_ms = record.time_ms;
            let bytes = Entry::Record(Box::new(record)).encode();
            let place = self.grow(log_number(LogId::Records), &bytes, leaf_hash(&bytes), time_ms, &mut draft);
            self.make_durable(draft)?;
            // The marks are durable. Stop here: a restart finds them and erases.
            let erased = erase.iter().try_for_each(|slot| self.secrets.erase(*slot));
            if let Err(why) = &erased {
                self.shared.fail(why);
            }
            erased.map(|()| Appended { id, index: place.index })
        });
        done(appended);
    }

    /// Where the newest shard stands, as the records log will say.
    fn shard_head(&mut self) -> ShardHead {
        let (time_ms, shard) = (self.records_time(), self.newest_shard());
        let log = self.logs.get_mut(&shard).expect("it is the newest");
        log.head.recorded_size = log.size();
        ShardHead { time_ms, shard, size: log.size(), root: log.head.edge.root() }
    }

    fn record_head(&mut self) -> Result<(), Error> {
        let newest = &self.logs[&self.newest_shard()];
        if newest.head.recorded_size == newest.size() {
            return Ok(());
        }
        let mut draft = Draft::default();
        let head = self.shard_head();
        draft.touch(head.shard);
        self.grow_records(&Entry::ShardStopped(head), &mut draft);
        self.make_durable(draft)
    }

    fn record_close(&mut self) -> Result<ShardHead, Error> {
        let (shard, recorded) = (self.newest_shard(), self.logs[&self.newest_shard()].head.recorded_size);
        let head = self.shard_head();
        // A head that the log holds needs no second entry; of nothing, none is needed at all.
        if recorded != self.logs[&shard].size() {
            let mut draft = Draft::default();
            draft.touch(shard);
            self.grow_records(&Entry::ShardClosed(head.clone()), &mut draft);
            self.make_durable(draft)?;
        }
        Ok(head)
    }

    fn freeze(&mut self) -> Result<(), Error> {
        let next = self.newest_shard().checked_add(1).ok_or(Error::UnknownLog { log: LogId::Usage(u32::MAX) })?;
        // The key before anything grows: drawing it can fail.
        let public_key = self.draw_key(LogId::Usage(next))?;
        let mut draft = Draft::default();
        let head = self.shard_head();
        self.logs.get_mut(&head.shard).expect("it is the newest").head.frozen = true;
        draft.touch(head.shard);
        self.grow_records(&Entry::ShardFrozen(head), &mut draft);
        self.open_shard(next, public_key, &mut draft);
        self.make_durable(draft)
    }

    fn draw_key(&self, log: LogId) -> Result<[u8; 32], Error> {
        Ok(*self.keys.draw(&LogName::new(&self.ledger_name, log)?)?.verifier().public())
    }

    fn open_shard(&mut self, shard: u32, public_key: [u8; 32], draft: &mut Draft) {
        let time_ms = self.records_time();
        self.grow_records(&Entry::ShardOpened(ShardOpened { time_ms, shard, public_key }), draft);
        self.logs.insert(shard, Growing::new(shard, empty_head(public_key), Filling::new()));
        draft.touch(shard);
    }

    /// Makes a new ledger's first commit: the records log, with the entry that opens shard 1.
    pub(crate) fn first_commit(&mut self, identity: &[u8]) -> Result<(), Error> {
        let (records, shard) = (self.draw_key(LogId::Records)?, self.draw_key(LogId::Usage(1))?);
        self.logs.insert(0, Growing::new(0, empty_head(records), Filling::new()));
        let mut draft = Draft::default();
        draft.batch.put(Space::Meta, layout::IDENTITY, identity);
        self.open_shard(1, shard, &mut draft);
        self.make_durable(draft)
    }

    fn erase(&mut self, erasure: Erasure) -> Result<(), Error> {
        let key = layout::erasing_key(&erasure.request);
        if self.store.value(Space::Meta, &key)?.is_none() {
            // Announced and accounted for first. Stop here: a restart finds the mark and erases.
            let mut draft = Draft::default();
            for (key, account) in erasure.accounts {
                let before = self.store.value(Space::Erased, &key)?;
                let before = before.map(|bytes| ErasedAccount::decode(&bytes)).transpose()?.unwrap_or_default();
                draft.batch.put(Space::Erased, key, before.plus(&account)?.encode());
            }
            for (key, left) in erasure.settled {
                draft.batch.put(Space::Erased, key, left);
            }
            draft.batch.put(Space::Meta, key, erasure.slot.to_be_bytes());
            for mut redaction in erasure.redactions {
                redaction.time_ms = self.records_time();
                self.grow_records(&Entry::Redaction(redaction), &mut draft);
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
