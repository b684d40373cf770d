//! The ledger's handle: append, publish, prove, read.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use loam_ledger_core::Hash;
use loam_ledger_core::entry::{Boot, Id16};
use loam_ledger_core::granted::GrantedRow;
use loam_ledger_core::note::VerifierKey;
use loam_ledger_core::origin::{LogId, LogName};
use loam_ledger_core::proof::Proof;

use crate::committer::{Command, Committer, Observe};
use crate::engines::Engines;
use crate::error::Error;
use crate::floor::Floor;
use crate::home::{Access, Home, Plain};
use crate::inlet::Inlet;
use crate::layout::{EnginePosition, Identity, log_number};
use crate::opening::{self, Found};
use crate::payers::Payers;
use crate::publisher::Publisher;
use crate::queue::Queue;
use crate::read_only::WhyReadOnly;
use crate::reader::{Reader, RowScope};
use crate::request::Request;
use crate::slots::Secrets;
use crate::store::{Batch, Space};
use crate::submission::{Acknowledge, Committed, Level, Prepared};
use crate::view::Shared;
use crate::writer::{BootInfo, Writer};

/// The reserve that is kept where nobody says otherwise. It must hold what was taken before it was reached: the queue
/// and one group (80 MiB), the store's own log (256 MiB), what it gathers in memory (256 MiB), and one rearrangement of
/// its tables (256 MiB); and a little more.
pub const RESERVE_BYTES: u64 = 1 << 30;

/// Entries that one call of [`Ledger::tail`] returns at most.
pub const TAIL_ENTRIES_MAX: u64 = 65_536;

/// How a ledger behaves.
pub struct Options {
    /// How long what is durable may stay unsigned while nobody waits for it.
    pub publish_interval: Duration,
    /// Free bytes below which nothing more is taken.
    pub reserve_bytes: u64,
    /// Milliseconds since 1970, for the times in entries.
    pub clock: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// Sees each group of entries when it is durable, before anything of it is acknowledged one by one.
    pub observe: Option<Observe>,
}

impl Default for Options {
    fn default() -> Self {
        let clock = || {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
        };
        Self {
            publish_interval: Duration::from_secs(1),
            reserve_bytes: RESERVE_BYTES,
            clock: Arc::new(clock),
            observe: None,
        }
    }
}

/// A ledger: a records log and usage shards in one store, which this process alone writes.
pub struct Ledger {
    pub(crate) reader: Reader,
    writing: Result<Writing, WhyReadOnly>,
}

struct Writing {
    inlet: Arc<Inlet>,
    secrets: Arc<Secrets>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Ledger {
    /// Makes a ledger of this name, with usage shard 1 open and its empty head signed. One that is cut short is never
    /// taken for whole; it can be made again.
    pub fn create(home: &dyn Home, name: &str, options: Options) -> Result<Self, Error> {
        if name.split('/').any(str::is_empty) {
            return Err(Error::LedgerName { name: name.to_owned() });
        }
        LogName::new(name, LogId::Records)?;
        let _claim = home.begin()?;
        let identity = Identity { store: random_id()?, engine: random_id()?, name: name.to_owned() };
        let empty = || Error::damaged("a new file", "it was not made");
        let slots = home.file(Plain::Slots, Access::Create)?.ok_or_else(empty)?;
        let secrets = Arc::new(Secrets::create(slots, &identity.store)?);
        let floor = home.file(Plain::Floor, Access::Create)?.ok_or_else(empty)?;
        let floor = Floor::create(floor, identity.store, &[])?;
        let store = home.store(Access::Create)?;
        let encoded = identity.encode();
        let shared = Arc::new(Shared::new(BTreeMap::new()));
        let (secrets, erasing) = (Some(secrets), Arc::default());
        let reader = Reader::new(store, secrets, erasing, Arc::new(identity), shared);
        let found = Found { reader, logs: BTreeMap::new(), slots_used: 1, writable: Err(WhyReadOnly::Asked) };
        let (clock, none) = (Arc::clone(&options.clock), None);
        let first = Options { clock, observe: none, ..Options::default() };
        let ledger = Self::start(home, found, floor, Engines::default(), first, Some(&encoded))?;
        ledger.publish()?;
        drop(ledger);
        home.finish()?;
        Self::open(home, options)
    }

    /// Opens a ledger for writing; or for reading alone, where [`Ledger::read_only`] says why.
    pub fn open(home: &dyn Home, options: Options) -> Result<Self, Error> {
        let mut found = opening::open(home, true)?;
        match std::mem::replace(&mut found.writable, Err(WhyReadOnly::Asked)) {
            Ok((floor, engines)) => Self::start(home, found, floor, engines, options, None),
            Err(why) => Ok(Self { reader: found.reader, writing: Err(why) }),
        }
    }

    /// Opens a ledger without changing anything. Another process may be writing it.
    pub fn open_read_only(home: &dyn Home) -> Result<Self, Error> {
        let found = opening::open(home, false)?;
        Ok(Self { reader: found.reader, writing: Err(WhyReadOnly::Asked) })
    }

    /// Why a ledger could not be opened for writing, found without changing anything.
    pub fn why_read_only(home: &dyn Home) -> Result<Option<WhyReadOnly>, Error> {
        let floor = opening::read_floor(home)?;
        opening::why_read_only(&opening::open(home, false)?, home, floor.as_ref())
    }

    fn start(
        home: &dyn Home,
        found: Found,
        floor: Floor,
        engines: Engines,
        options: Options,
        identity: Option<&[u8]>,
    ) -> Result<Self, Error> {
        let Found { reader, logs, slots_used, .. } = found;
        let secrets = reader.secrets.clone().expect("a ledger is not written without secrets");
        let (store, shared, keys) = (Arc::clone(&reader.store), Arc::clone(&reader.shared), home.keys());
        let (queue, name) = (Arc::new(Queue::new()), reader.identity.name.clone());
        let publisher = Arc::new(Publisher::new(
            Arc::clone(&store),
            Arc::clone(&shared),
            name.clone(),
            Arc::clone(&keys),
            options.publish_interval,
        ));
        reader.recorded()?;
        let mut committer = Committer {
            store: Arc::clone(&store),
            floor,
            secrets: Arc::clone(&secrets),
            keys,
            shared: Arc::clone(&shared),
            recorded: Arc::clone(&reader.recorded),
            publisher: Arc::clone(&publisher),
            queue: Arc::clone(&queue),
            ledger_name: name,
            clock: Arc::clone(&options.clock),
            observe: options.observe,
            logs,
            engines,
            slots_used,
        };
        if let Some(identity) = identity {
            committer.first_commit(identity)?;
        }
        let threads =
            vec![spawn("loam-committer", move || committer.run())?, spawn("loam-publisher", move || publisher.run())?];
        let (clock, reserve_bytes) = (options.clock, options.reserve_bytes);
        let (store, held) = (Arc::downgrade(&store), Arc::clone(&secrets));
        let (recorded, space) = (Arc::clone(&reader.recorded), Mutex::new(None));
        let inlet = Inlet { queue, shared, recorded, store, secrets: held, clock, reserve_bytes, space };
        Ok(Self { reader, writing: Ok(Writing { inlet: Arc::new(inlet), secrets, threads: Mutex::new(threads) }) })
    }

    /// Why the ledger can only be read, where that is so.
    pub fn read_only(&self) -> Option<&WhyReadOnly> {
        self.writing.as_ref().err()
    }

    /// The error of a ledger that failed. It stays so: nothing more is written, and the process should end.
    pub fn health(&self) -> Result<(), Error> {
        self.reader.shared.view().check()
    }

    /// The ledger's name.
    pub fn name(&self) -> &str {
        &self.reader.identity.name
    }

    /// The engine id of whoever appends through this ledger and brings none of its own.
    pub fn engine_id(&self) -> Id16 {
        self.reader.identity.engine
    }

    /// The ledger's logs: the records log, then the shards.
    pub fn logs(&self) -> Vec<LogId> {
        self.reader.shared.view().logs.keys().map(|number| crate::layout::log_of(*number)).collect()
    }

    /// The newest usage shard, which alone takes entries.
    pub fn newest_shard(&self) -> LogId {
        self.reader.shared.newest_shard()
    }

    /// How many entries of a log are durable.
    pub fn size(&self, log: LogId) -> Result<u64, Error> {
        self.reader.size(log)
    }

    /// The root over a log's first `size` entries.
    pub fn root_at(&self, log: LogId, size: u64) -> Result<Hash, Error> {
        self.reader.root_at(log, size)
    }

    /// Whether a shard is frozen.
    pub fn is_frozen(&self, log: LogId) -> Result<bool, Error> {
        self.reader.shared.view().log(log_number(log)).map(|view| view.frozen)
    }

    /// The newest size at which a log is signed.
    pub fn signed_size(&self, log: LogId) -> Result<Option<u64>, Error> {
        self.reader.shared.view().log(log_number(log)).map(|view| view.published)
    }

    /// Whether the file of secrets is there, without which no row can be opened.
    pub fn has_secrets(&self) -> bool {
        self.reader.secrets.is_some()
    }

    /// How many slots the file of secrets is short of those that rows use: an older copy of it was put back.
    pub fn missing_secrets(&self) -> u64 {
        self.reader.secrets.as_ref().map_or(0, |secrets| secrets.missing())
    }

    /// Requests that were erased.
    pub fn erased_requests(&self) -> Result<u64, Error> {
        let (first, end) = crate::layout::erasing_range();
        let mut count = 0;
        self.reader.store.scan(Space::Meta, &first, &end, &mut |_, _| {
            count += 1;
            Ok(std::ops::ControlFlow::Continue(()))
        })?;
        Ok(count)
    }

    /// Bytes that can still be written where the store lies.
    pub fn free_bytes(&self) -> Result<u64, Error> {
        self.reader.store.free_bytes()
    }

    /// The key that checks a log's checkpoints.
    pub fn verifier(&self, log: LogId) -> Result<VerifierKey, Error> {
        self.reader.key(log)
    }

    /// Starts a boot of an engine, and returns when its first entry is durable.
    pub fn boot(&self, info: BootInfo) -> Result<Writer, Error> {
        let inlet = self.inlet()?;
        inlet.check()?;
        // What another boot of it still has in the queue comes first: this one says where that one ended.
        inlet.ask(Command::Reach)?;
        let position = self.reader.store.value(Space::Engine, &info.engine)?;
        let position = position.map(|bytes| EnginePosition::decode(&bytes)).transpose()?;
        let boot = Boot {
            engine: info.engine,
            boot: random_id()?,
            previous: position.map(|position| position.as_previous()),
            time_ms: inlet.now_ms().max(position.map_or(0, |position| position.time_ms)),
            base: info.base,
            build: info.build,
            config: info.config,
        };
        let (sender, outcome) = mpsc::sync_channel(1);
        let writer = Writer::boot(Arc::clone(inlet), info, boot, Box::new(move |result| drop(sender.send(result))))?;
        outcome.recv().unwrap_or_else(|_| Err(inlet.ended()))?;
        Ok(writer)
    }

    /// Draws a request's secret. The client's nonce, where there is one, makes the request provably its own.
    pub fn begin_request(&self, client_nonce: Option<[u8; 32]>) -> Result<Arc<Request>, Error> {
        self.inlet()?.check()?;
        let writing = self.writing()?;
        Request::begin(self.name(), &writing.secrets, client_nonce).map(Arc::new)
    }

    /// Appends an entry that was prepared before. One that lies here already is acknowledged with its place.
    pub fn append(&self, prepared: &Prepared, level: Level, acknowledge: Option<Acknowledge>) -> Result<(), Error> {
        let inlet = self.inlet()?;
        inlet.check()?;
        inlet.push(Command::Append(Box::new(prepared.clone()), level, acknowledge), true)
    }

    /// The same without waiting: a full queue is an error, now, and the entry can be brought again.
    pub fn try_append(&self, prepared: &Prepared, level: Level, acknowledge: Option<Acknowledge>) -> Result<(), Error> {
        let inlet = self.inlet()?;
        inlet.check()?;
        inlet.push(Command::Append(Box::new(prepared.clone()), level, acknowledge), false)
    }

    /// Appends an entry that was prepared before, and waits until it is durable.
    pub fn append_durable(&self, prepared: &Prepared) -> Result<Committed, Error> {
        let (sender, outcome) = mpsc::sync_channel(1);
        self.append(prepared, Level::Durable, Some(Box::new(move |result| drop(sender.send(result)))))?;
        outcome.recv().unwrap_or_else(|_| Err(self.health().err().unwrap_or(Error::Closed)))
    }

    /// Signs what is durable now in every log, and returns when the checkpoints are on disk.
    pub fn publish(&self) -> Result<(), Error> {
        self.inlet()?;
        let shared = &self.reader.shared;
        let sizes: Vec<(u32, u64)> = shared.view().logs.iter().map(|(number, log)| (*number, log.size)).collect();
        let covered = |view: &crate::view::View| {
            sizes.iter().all(|(log, size)| view.logs[log].published.is_some_and(|published| published >= *size))
        };
        let mut view = shared.view();
        if covered(&view) {
            return view.check();
        }
        drop(view);
        shared.change(|view| view.wanted = true);
        view = shared.view();
        loop {
            view.check()?;
            if covered(&view) {
                return Ok(());
            }
            if view.closing {
                return Err(Error::Closed);
            }
            view = shared.wait(view, None);
        }
    }

    /// The newest signed checkpoint of a log.
    pub fn checkpoint(&self, log: LogId) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.reader.newest_checkpoint(log)?.map(|(_, note)| note))
    }

    /// The checkpoint that was signed at a size, if one was.
    pub fn checkpoint_at(&self, log: LogId, size: u64) -> Result<Option<Vec<u8>>, Error> {
        self.reader.checkpoint(log, size)
    }

    /// The sizes at which a log was signed.
    pub fn checkpoint_sizes(&self, log: LogId) -> Result<Vec<u64>, Error> {
        self.reader.checkpoint_sizes(log)
    }

    /// A proof that an entry is in its log, for which a checkpoint is signed if none covers it yet.
    pub fn prove(&self, log: LogId, index: u64) -> Result<Proof, Error> {
        self.publish_to(log, index)?;
        self.reader.prove(log, index)
    }

    /// The consistency proof between two sizes of a log.
    pub fn consistency(&self, log: LogId, old: u64, new: u64) -> Result<Vec<Hash>, Error> {
        self.reader.consistency(log, old, new)
    }

    /// An entry's bytes.
    pub fn entry(&self, log: LogId, index: u64) -> Result<Vec<u8>, Error> {
        self.reader.entry(log, index)
    }

    /// An entry's rows as far as a scope grants them; nothing where it grants none of them.
    pub fn rows(&self, log: LogId, index: u64, scope: &RowScope) -> Result<Option<Vec<GrantedRow>>, Error> {
        self.reader.granted_rows(log, index, scope, &Payers::default())
    }

    /// Entries from an index on, `count` at the most. Where there are none yet, waits this long for the first.
    pub fn tail(&self, log: LogId, first: u64, count: u64, wait: Duration) -> Result<Vec<Vec<u8>>, Error> {
        let until = Instant::now().checked_add(wait);
        let mut view = self.reader.shared.view();
        let size = loop {
            let (size, now) = (view.log(log_number(log))?.size, Instant::now());
            let over = self.writing.is_err() || view.failed.is_some() || view.closing;
            if size > first || over || until.is_some_and(|until| now >= until) {
                break size;
            }
            view = self.reader.shared.wait(view, until.map(|until| until - now));
        };
        drop(view);
        self.reader.entries(log, first, size.min(first.saturating_add(count.min(TAIL_ENTRIES_MAX))))
    }

    /// Freezes the newest usage shard for ever, and opens the next under a key of its own.
    pub fn freeze_shard(&self) -> Result<LogId, Error> {
        let inlet = self.inlet()?;
        inlet.check()?;
        inlet.ask(Command::Freeze)?;
        Ok(self.newest_shard())
    }

    /// Writes a copy of the store into a folder that does not exist yet. It holds neither secrets, keys nor floor.
    pub fn snapshot(&self, folder: &Path) -> Result<(), Error> {
        self.reader.store.snapshot(folder)
    }

    /// Stops in order: what waits is committed, the newest shard's head is recorded, everything is signed.
    pub fn close(self) -> Result<(), Error> {
        let Ok(writing) = &self.writing else { return Ok(()) };
        writing.inlet.ask(Command::RecordHead)?;
        self.publish()?;
        writing.end();
        self.health()
    }

    /// Sees to it that a checkpoint covers an entry of a log, where this process can sign.
    pub(crate) fn publish_to(&self, log: LogId, index: u64) -> Result<(), Error> {
        let (size, published) = {
            let view = self.reader.shared.view();
            let view = view.log(log_number(log))?;
            (view.size, view.published)
        };
        if index >= size {
            return Err(Error::NotInLog { log, index, size });
        }
        if published.is_some_and(|published| index < published) {
            return Ok(());
        }
        match self.publish() {
            Err(Error::ReadOnly { why }) => Err(Error::NotPublished { log, size: index + 1, why }),
            outcome => outcome,
        }
    }

    /// Stores what an entry that comes later leads to, and returns when it is durable.
    pub(crate) fn put(&self, batch: Batch, slots_below: u64) -> Result<(), Error> {
        self.inlet()?.ask(|done| Command::Put(batch, slots_below, done))
    }

    pub(crate) fn inlet(&self) -> Result<&Arc<Inlet>, Error> {
        self.writing().map(|writing| &writing.inlet)
    }

    fn writing(&self) -> Result<&Writing, Error> {
        self.writing.as_ref().map_err(|why| Error::ReadOnly { why: why.to_string() })
    }
}

impl Writing {
    /// Lets both threads end what they have begun.
    fn end(&self) {
        let mut threads = self.threads.lock().expect("nobody panics while threads are joined");
        let mut threads = threads.drain(..);
        self.inlet.queue.close();
        if let Some(committer) = threads.next() {
            // A panic there has already been printed; the ledger reads as failed or closed from here on.
            let _ = committer.join();
        }
        self.inlet.shared.change(|view| view.closing = true);
        threads.for_each(|publisher| drop(publisher.join()));
    }
}

/// A ledger that is dropped without [`Ledger::close`] ends like one that is killed, but commits what waits.
impl Drop for Ledger {
    fn drop(&mut self) {
        if let Ok(writing) = &self.writing {
            writing.end();
        }
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, Error> {
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(run);
    thread.map_err(|e| Error::Io { path: format!("thread {name}"), why: e.to_string() })
}

fn random_id() -> Result<Id16, Error> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|e| Error::Store(format!("no randomness: {e}")))?;
    Ok(id)
}
