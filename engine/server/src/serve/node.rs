//! What all of a server's connections share: the engine, the ledger, who may do what, and whether it still takes anything.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use loam_engine::adapter::pool::Tier;
use loam_engine::adapter::{AdapterId, Expected, Listed, Source};
use loam_engine::scheduler::AdapterCounts;
use loam_engine::{DeliveryMode, Engine};
use loam_ledger::Ledger;
use loam_ledger_core::Hash;
use loam_ledger_core::origin::LogId;
use loam_proto::v1;
use loam_wire::{Kind, LEDGER_FAILED, Problem};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::guard::Admitted;
use crate::access::{Caller, Keys, Scope};
use crate::metrics::Meters;
use crate::settings::Settings;

/// Threads that read the ledger, sign, tokenise and read adapters at one time, each for one call.
const BLOCKING_CALLS_MAX: usize = 32;

/// Bytes of long bodies at one time whose texts are looked at: tokenising takes a hundred times their memory. Shorter ones
/// wait for no long one.
const LONG_BYTES_MAX: usize = 16 << 20;
const LONG_BYTES: usize = 64 << 10;

/// Exports at one time, each for another tenant.
const EXPORTS_MAX: usize = 4;

/// Erasures at one time, and how long one more waits for its turn: they wait for exports, and nobody else may wait for them.
const ERASURES_MAX: usize = 2;
const ERASURE_PATIENCE: Duration = Duration::from_secs(5);

/// Offers of records at one time that are held until they are whole, each for another tenant.
const OFFERS_MAX: usize = 4;

/// Records at one time that are looked at and appended; others queue, and hold up nobody but each other.
const RECORDINGS_MAX: usize = 4;

/// One server.
pub(crate) struct Node {
    pub(crate) engine: Engine,
    /// None where none is kept: a stated mode, without receipts.
    pub(crate) ledger: Option<Arc<Ledger>>,
    pub(crate) settings: Settings,
    pub(crate) keys: Keys,
    pub(crate) meters: Arc<Meters>,
    /// Names that stand for the base model.
    pub(crate) names: Vec<String>,
    /// Seconds since 1970.
    pub(crate) started_s: u64,
    draining: AtomicBool,
    /// Somebody asked by the network that the server ends.
    pub(crate) drain_asked: Notify,
    /// How long what runs may go on then, where whoever asked said so.
    pub(crate) end_within_s: Mutex<Option<u32>>,
    blocking: Arc<Semaphore>,
    /// A place for each KiB.
    long: Arc<Semaphore>,
    exports: Arc<Semaphore>,
    exporting: Tenants,
    erasures: Arc<Semaphore>,
    offers: Arc<Semaphore>,
    offering: Tenants,
    recordings: Arc<Semaphore>,
}

/// Tenants that have a place of some kind.
type Tenants = Arc<Mutex<BTreeSet<Arc<str>>>>;

/// A place for something long; it is its tenant's only one of the kind.
pub(crate) struct Held {
    tenants: Tenants,
    tenant: Arc<str>,
    _place: OwnedSemaphorePermit,
}

impl Held {
    /// None where the tenant has one already.
    fn take(tenants: &Tenants, caller: &Caller, place: OwnedSemaphorePermit) -> Option<Self> {
        let tenant = Arc::clone(caller.tenant());
        let is_first = tenants.lock().unwrap_or_else(PoisonError::into_inner).insert(Arc::clone(&tenant));
        is_first.then(|| Self { tenants: Arc::clone(tenants), tenant, _place: place })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.tenant);
    }
}

/// An adapter's name and how it stands.
pub(crate) struct Standing {
    pub(crate) listed: Listed,
    pub(crate) counts: Option<AdapterCounts>,
    /// Why requests for it are refused, where they are.
    pub(crate) refused: Option<String>,
}

impl Node {
    pub(crate) fn new(
        engine: Engine,
        ledger: Option<Arc<Ledger>>,
        settings: Settings,
        keys: Keys,
        meters: Arc<Meters>,
    ) -> Self {
        let names = settings.served_names.clone();
        Self {
            engine,
            ledger,
            names,
            settings,
            keys,
            meters,
            started_s: super::now_s(),
            draining: AtomicBool::new(false),
            drain_asked: Notify::new(),
            end_within_s: Mutex::default(),
            blocking: Arc::new(Semaphore::new(BLOCKING_CALLS_MAX)),
            long: Arc::new(Semaphore::new(LONG_BYTES_MAX >> 10)),
            exports: Arc::new(Semaphore::new(EXPORTS_MAX)),
            exporting: Tenants::default(),
            erasures: Arc::new(Semaphore::new(ERASURES_MAX)),
            offers: Arc::new(Semaphore::new(OFFERS_MAX)),
            offering: Tenants::default(),
            recordings: Arc::new(Semaphore::new(RECORDINGS_MAX)),
        }
    }

    /// The ledger, where one is kept.
    pub(crate) fn ledger(&self) -> Result<&Arc<Ledger>, Problem> {
        let off =
            "this server keeps no ledger (it was started with --ledger off), so there are no receipts and no logs";
        self.ledger.as_ref().ok_or_else(|| Problem::new(Kind::Unsupported, off))
    }

    /// Runs what may wait for a disk or count for long where it holds nobody up.
    pub(crate) async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let place = Arc::clone(&self.blocking).acquire_owned().await.map_err(|_| self.ending())?;
        self.placed(place, work).await
    }

    /// The same of what takes memory by so many bytes of a body.
    pub(crate) async fn blocking_long<T: Send + 'static>(
        self: &Arc<Self>,
        bytes: usize,
        work: impl FnOnce(&Self) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let long = if bytes > LONG_BYTES { bytes.min(LONG_BYTES_MAX).div_ceil(1 << 10) } else { 0 };
        let places = u32::try_from(long).expect("a small number");
        let places = Arc::clone(&self.long).acquire_many_owned(places).await.map_err(|_| self.ending())?;
        self.blocking(move |node| {
            let _places = places;
            work(node)
        })
        .await
    }

    /// A place for one more export: each reads for long, and waits for its reader.
    pub(crate) fn exporting(self: &Arc<Self>, caller: &Caller) -> Result<Held, Problem> {
        let full = |_| Problem::new(Kind::Busy, format!("{EXPORTS_MAX} exports are being made; try again later"));
        let place = Arc::clone(&self.exports).try_acquire_owned().map_err(full)?;
        Held::take(&self.exporting, caller, place).ok_or_else(|| {
            Problem::new(Kind::Busy, "an export for your tenant is being made; take that to its end first")
        })
    }

    /// A place for one more offer that is long; it is its tenant's only one.
    pub(crate) fn offering(&self, caller: &Caller) -> Result<Held, Problem> {
        let full = |_| Problem::new(Kind::Busy, format!("{OFFERS_MAX} long offers are coming in; try again later"));
        let place = Arc::clone(&self.offers).try_acquire_owned().map_err(full)?;
        Held::take(&self.offering, caller, place)
            .ok_or_else(|| Problem::new(Kind::Busy, "a long offer of your tenant is coming in; try again after it"))
    }

    /// Runs what appends a record.
    pub(crate) async fn recording<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let place = Arc::clone(&self.recordings).acquire_owned().await.map_err(|_| self.ending())?;
        self.placed(place, work).await
    }

    /// Runs what erases. It may wait for exports, and has places of its own for that.
    pub(crate) async fn erasing<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let busy = || Problem::new(Kind::Busy, "other erasures wait for exports that are being made; try again later");
        let place = tokio::time::timeout(ERASURE_PATIENCE, Arc::clone(&self.erasures).acquire_owned()).await;
        let place = place.map_err(|_| busy())?.map_err(|_| self.ending())?;
        self.placed(place, work).await
    }

    /// Runs what has this place. It goes with the work: a caller who leaves must not free it while the work goes on.
    async fn placed<T: Send + 'static>(
        self: &Arc<Self>,
        place: OwnedSemaphorePermit,
        work: impl FnOnce(&Self) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        self.apart(move |node| {
            let _place = place;
            work(node)
        })
        .await
    }

    /// Runs what has a place of its own where it holds nobody up. Its key's place goes with it too.
    pub(crate) async fn apart<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let (node, admitted) = (Arc::clone(self), Admitted::here());
        let done = tokio::task::spawn_blocking(move || {
            let _admitted = admitted;
            work(&node)
        });
        let done = done.await;
        done.unwrap_or_else(|error| Err(Problem::new(Kind::Internal, format!("the call broke off: {error}"))))
    }

    /// Takes nothing new from here on.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Whether requests are taken now: an error says why not. Unlike [`Node::ready`] it knows of space that is short for
    /// a while.
    pub(crate) fn takes_requests(&self) -> Result<(), Problem> {
        self.ready()?;
        let (Some(ledger), Some(settings)) = (&self.ledger, &self.settings.ledger) else { return Ok(()) };
        let free = ledger.free_bytes().map_err(|error| ledger_problem(&error))?;
        match free < settings.reserve_bytes {
            true => Err(ledger_problem(&loam_ledger::Error::LowSpace { free, reserve: settings.reserve_bytes })),
            false => Ok(()),
        }
    }

    /// Whether the server can go on: an error says why not.
    pub(crate) fn ready(&self) -> Result<(), Problem> {
        if self.is_draining() {
            return Err(self.ending());
        }
        self.engine.health()?;
        match &self.ledger {
            Some(ledger) => ledger.health().map_err(|error| ledger_problem(&error)),
            None => Ok(()),
        }
    }

    fn ending(&self) -> Problem {
        Problem::new(Kind::Unavailable, "the server is ending and takes no new requests; ask another one")
    }

    /// Whether a caller may see what belongs to a request. A foreign one looks like one that nobody ever made.
    pub(crate) fn check_own(&self, caller: &Caller, request: &Hash) -> Result<(), Problem> {
        let ledger = self.ledger()?;
        match ledger.pays(request, caller.tenant()) {
            Ok(true) => Ok(()),
            // Whose an erased one was, nobody can say any more.
            Ok(false) | Err(loam_ledger::Error::UnknownRequest | loam_ledger::Error::Erased) => Err(no_receipt()),
            Err(error) => Err(ledger_problem(&error)),
        }
    }

    /// The receipt of one of a caller's own answers.
    pub(crate) fn receipt(&self, caller: &Caller, request: &Hash, choice: u32) -> Result<Vec<u8>, Problem> {
        caller.need(Scope::AuditSelf)?;
        self.check_own(caller, request)?;
        self.receipt_of(request, choice)
    }

    /// The receipt of an answer that this very call gave.
    pub(crate) fn receipt_of(&self, request: &Hash, choice: u32) -> Result<Vec<u8>, Problem> {
        let receipt = self.ledger()?.receipt(request, choice).map_err(|error| match error {
            loam_ledger::Error::UnknownRequest | loam_ledger::Error::NotCompleted | loam_ledger::Error::Erased => {
                no_receipt()
            }
            error => ledger_problem(&error),
        })?;
        Ok(receipt.to_bytes())
    }

    /// All adapters' names in order, and how they stand.
    pub(crate) fn adapters(&self) -> Vec<Standing> {
        let counts: BTreeMap<AdapterId, AdapterCounts> =
            self.engine.adapters().iter().map(|counts| (counts.adapter, *counts)).collect();
        let standing = |listed: Listed| self.standing(counts.get(&listed.id).copied(), listed);
        self.engine.catalog().list().into_iter().map(standing).collect()
    }

    /// One adapter.
    pub(crate) fn adapter(&self, name: &str) -> Result<Standing, Problem> {
        let listed = self.engine.catalog().find(name).map_err(of_name)?;
        let counts = self.engine.adapters().iter().find(|counts| counts.adapter == listed.id).copied();
        Ok(self.standing(counts, listed))
    }

    fn standing(&self, counts: Option<AdapterCounts>, listed: Listed) -> Standing {
        let refused = listed.generation.and_then(|generation| self.engine.catalog().refuses(&generation));
        Standing { listed, counts, refused }
    }

    /// Reads an adapter from under one of the roots and lets a name stand for it.
    pub(crate) fn load_adapter(
        &self,
        key: &str,
        (name, source): (&str, &str),
        expected: Expected,
    ) -> Result<(), Problem> {
        self.settings.adapters.run_time_loading().map_err(|why| Problem::new(Kind::Forbidden, why))?;
        if self.names.iter().any(|base| base == name) {
            return Err(Problem::field(
                "name",
                format!("`name` is {name:?}, which stands for the base model; choose another"),
            ));
        }
        let source = Source::parse(source)?;
        if let Source::Dummy(_) = source {
            let message =
                format!("`source` is {source}; random adapters are loaded at the start only, by --lora-modules");
            return Err(Problem { kind: Kind::Forbidden, ..Problem::field("source", message) });
        }
        let generation = self.engine.load_adapter(name, &source, expected)?.adapter.generation;
        tracing::info!(adapter = name, %generation, %source, key, "loaded");
        Ok(())
    }

    /// Takes a name away.
    pub(crate) fn unload_adapter(&self, key: &str, name: &str, expected: Expected) -> Result<(), Problem> {
        self.engine.catalog().unload(name, expected).map_err(of_name)?;
        tracing::info!(adapter = name, key, "unloaded");
        Ok(())
    }

    /// Whether tokens wait for the record.
    pub(crate) fn delivery(&self) -> &'static str {
        match self.settings.delivery() {
            _ if self.ledger.is_none() => "unrecorded",
            DeliveryMode::Recorded => "recorded",
            DeliveryMode::Eager => "eager",
        }
    }

    /// Ends the server as if it had been sent a signal.
    pub(crate) fn ask_to_end(&self, within_s: Option<u32>) {
        *self.end_within_s.lock().unwrap_or_else(PoisonError::into_inner) = within_s;
        self.drain();
        self.drain_asked.notify_one();
    }

    /// How long what runs may go on once the server ends.
    pub(crate) fn shutdown_timeout(&self) -> Duration {
        let asked = *self.end_within_s.lock().unwrap_or_else(PoisonError::into_inner);
        asked.map_or(self.settings.limits.shutdown_timeout, |seconds| Duration::from_secs(seconds.into()))
    }

    /// How busy the server is.
    pub(crate) fn load(&self) -> Result<v1::LoadResponse, Problem> {
        let (now, limits) = (self.engine.metrics().now, self.engine.limits().step);
        let counted = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let resident = self.engine.adapters().iter().filter(|it| it.residency.device == Tier::Here).count();
        let (mut unsigned, mut free) = (0, 0);
        if let Some(ledger) = &self.ledger {
            let told = |error| ledger_problem(&error);
            let shard = ledger.newest_shard();
            let signed = ledger.signed_size(shard).map_err(told)?.unwrap_or(0);
            unsigned = ledger.size(shard).map_err(told)?.saturating_sub(signed);
            free = ledger.free_bytes().map_err(told)?;
        }
        Ok(v1::LoadResponse {
            running: counted(now.running),
            waiting: counted(now.waiting),
            kv_pages_used: now.pages_used,
            kv_pages: now.pages_used + now.pages_cached + now.pages_free,
            page_tokens: counted(limits.page_tokens),
            adapters_resident: counted(resident),
            adapters_resident_max: counted(limits.slots),
            draining: self.is_draining(),
            ledger_unsigned: unsigned,
            ledger_free_bytes: free,
            ledger_reserve_bytes: self.settings.ledger.as_ref().map_or(0, |ledger| ledger.reserve_bytes),
        })
    }

    /// A log by its name; the newest shard where it is empty.
    pub(crate) fn log(&self, name: &str) -> Result<LogId, Problem> {
        let ledger = self.ledger()?;
        if name.is_empty() {
            return Ok(ledger.newest_shard());
        }
        let wrong = |_| Problem::field("log", format!("`log` is {name:?}; it can be records or usage/SHARD, or empty"));
        name.parse().map_err(wrong)
    }
}

impl Standing {
    /// `gpu` where steps can use it, `cpu` in host memory, as those who route by it know the words.
    pub(crate) fn level(&self) -> Option<&'static str> {
        let residency = self.counts?.residency;
        match (residency.device, residency.host) {
            (Tier::Here, _) => Some("gpu"),
            (_, Tier::Here) => Some("cpu"),
            _ => None,
        }
    }
}

/// A problem with the adapter that a call is about, and not one that answers.
fn of_name(error: loam_engine::Error) -> Problem {
    Problem::from(error).called("name")
}

/// What nobody made, somebody else made, or was erased: all look the same.
fn no_receipt() -> Problem {
    let message = "no complete answer of this id is known for this key; an answer is complete when its stream has ended, \
                   and one that was erased is nobody's any more";
    Problem { field: Some("receipt_id".to_owned()), ..Problem::new(Kind::NotFound, message) }
}

/// A ledger's error, as a client is told of it.
pub(crate) fn ledger_problem(error: &loam_ledger::Error) -> Problem {
    use loam_ledger::Error;
    if let Error::Failed { .. } = error {
        return Problem::new(Kind::Unavailable, LEDGER_FAILED);
    }
    let kind = match error {
        Error::UnknownRequest
        | Error::NotCompleted
        | Error::UnknownLog { .. }
        | Error::NotInLog { .. }
        | Error::NotThatLarge { .. } => Kind::NotFound,
        Error::Erased
        | Error::StillOpen
        | Error::ErasedFull
        | Error::SecretMissing
        | Error::NotPublished { .. }
        | Error::ErasureUnsigned { .. }
        | Error::NotDrafted { .. } => Kind::Conflict,
        Error::Core(_) | Error::Refused(_) | Error::Offer { .. } | Error::NoList { .. } => Kind::Invalid,
        Error::Busy => Kind::Busy,
        Error::LowSpace { .. } | Error::ReadOnly { .. } | Error::Closed => Kind::Unavailable,
        _ => {
            // Of paths and of what lies there the log knows.
            tracing::error!(%error, "the ledger");
            return Problem::new(Kind::Internal, "the ledger could not be read or written; the server's log says why");
        }
    };
    Problem::new(kind, error.to_string())
}
