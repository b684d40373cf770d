//! The engine's handle: requests go in from any thread, adapters are loaded and unloaded, and it is stopped in order.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::thread::{JoinHandle, ThreadId};
use std::time::{Duration, Instant};

use loam_ledger_core::Hash;
use loam_ledger_core::hash::digest;

use crate::adapter::{Catalog, Expected, Loaded, Loader, LoaderOptions, Resolved, Source};
use crate::constraint::CompiledForm;
use crate::delivery::{Ahead, DeliveryMode, Outlet, is_in_sink};
use crate::detokenizer::Detokenizer;
use crate::error::Error;
use crate::event::{Event, Sink};
use crate::executor::{Executor, ExecutorLimits};
use crate::metrics::{Board, Metrics};
use crate::recorder::{Recorder, RequestFacts};
use crate::request::{Generate, weight_millionths};
use crate::sampler::random_seed;
use crate::sampling_text::sampling_text;
use crate::scheduler::{AdapterCounts, Scheduler, SchedulerOptions, TenantId};
use crate::stops::Stops;
use crate::text::Text;
use crate::worker::{Admitted, Inbox, Message, Mixed, Parts, Worker};

pub use crate::worker::RequestId;

/// Reads and copies of adapters that wait for a thread; more wait in the loop.
const LOADS_WAITING_MAX: usize = 256;

/// How long [`Engine::stop`] lets requests run on.
pub const STOP_SECONDS: u64 = 600;

/// Tenants that one engine can tell apart.
const TENANTS_MAX: usize = 1 << 20;

/// Requests in, tokens out. Dropping it stops it at once; [`Engine::stop`] lets what runs finish.
pub struct Engine {
    inbox: Inbox,
    catalog: Catalog,
    text: Arc<Text>,
    limits: ExecutorLimits,
    board: Board,
    ahead: Arc<Ahead>,
    describe: String,
    base: Hash,
    mode: Mode,
    next_request: AtomicU64,
    tenants: Mutex<BTreeMap<String, TenantId>>,
    /// None once somebody waits for its end.
    thread: Mutex<Option<JoinHandle<Result<(), Error>>>>,
    thread_id: ThreadId,
    ended: Ended,
}

/// How the loop ended, for all who wait for it beside the first: an error is its text.
#[derive(Default)]
struct Ended {
    outcome: Mutex<Option<Result<(), String>>>,
    known: Condvar,
}

impl Ended {
    fn tell(&self, outcome: &Result<(), Error>) {
        let text = |error: &Error| match error {
            Error::Stopped { reason } => reason.clone(),
            other => other.to_string(),
        };
        *self.outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome.as_ref().copied().map_err(text));
        self.known.notify_all();
    }

    fn wait(&self) -> Result<(), Error> {
        let mut outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(known) = outcome.as_ref() {
                return known.clone().map_err(|reason| Error::Stopped { reason });
            }
            outcome = self.known.wait(outcome).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// How numbers are kept: recorded with every answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode {
    /// What activations, keys and values are kept as.
    pub dtype: loam_kernels::layout::DType,
    /// Whether an answer's bits never depend on what else was computed beside it.
    pub is_deterministic: bool,
}

impl Mode {
    /// How it computes, as what is committed to says it.
    pub(crate) const fn arithmetic(self) -> &'static str {
        if self.is_deterministic { "deterministic" } else { "fast" }
    }
}

/// What an engine is made of.
pub struct EngineParts {
    /// What computes.
    pub executor: Box<dyn Executor>,
    /// What keeps the record.
    pub recorder: Box<dyn Recorder>,
    /// Adapters by name.
    pub catalog: Catalog,
    /// Tokenizer, template, defaults of the model's files.
    pub text: Text,
    /// The base model's digest.
    pub base: Hash,
    /// How numbers are kept.
    pub mode: Mode,
    /// Queues, budgets, costs.
    pub scheduling: SchedulerOptions,
    /// Requests taken on at once, waiting and running.
    pub requests_max: usize,
    /// When tokens leave.
    pub delivery: DeliveryMode,
    /// Threads that read and copy adapters.
    pub loader_threads: usize,
}

/// A request on its way.
#[derive(Clone)]
pub struct Handle {
    id: RequestId,
    /// Not kept alive by it: a loop that breaks off drops its outlets, and each then tells its client.
    outlet: Weak<Outlet>,
    inbox: Inbox,
}

impl Handle {
    /// The request's number.
    pub fn id(&self) -> RequestId {
        self.id
    }

    /// Ends the request; its pages are free for others at once.
    pub fn cancel(&self) {
        if let Some(outlet) = self.outlet.upgrade() {
            outlet.leave();
        }
        self.inbox.tell(Message::Cancel(self.id));
    }
}

/// A request's messages, one after the other, for whoever can wait for them. Dropping it cancels the request.
pub struct Stream {
    events: Receiver<Event>,
    handle: Handle,
}

impl Stream {
    /// The request's handle.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Iterator for Stream {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        self.events.recv().ok()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.handle.cancel();
    }
}

impl Engine {
    /// Starts the loop and its helpers' threads.
    pub fn new(parts: EngineParts) -> Result<Self, Error> {
        let EngineParts { executor, recorder, catalog, text, base, mode, scheduling, requests_max, .. } = parts;
        let (limits, describe) = (executor.limits(), executor.describe());
        let (inbox, receiver) = Inbox::new(requests_max);
        let (board, ahead) = (Board::default(), Arc::new(Ahead::default()));
        let told = inbox.clone();
        let loader = Loader::start(
            LoaderOptions { threads: parts.loader_threads, waiting_max: LOADS_WAITING_MAX },
            {
                let catalog = catalog.clone();
                Box::new(move |adapter| catalog.read(adapter))
            },
            Box::new(move |event| {
                // A loop that ended needs no adapters.
                let _ = told.tell(Message::Loader(event));
            }),
        )?;
        let kept = format!("{} {}", mode.dtype, mode.arithmetic());
        let identity = digest(&[b"loam/identity/v1\0".as_slice(), &base.0, kept.as_bytes()].concat());
        let worker = Worker::new(Parts {
            executor,
            scheduler: Scheduler::new(scheduling),
            recorder,
            inbox: (inbox.clone(), receiver),
            loader,
            catalog: catalog.clone(),
            ahead: Arc::clone(&ahead),
            delivery: parts.delivery,
            board: board.clone(),
            identity,
        })?;
        let thread = std::thread::Builder::new().name("loam-engine".to_owned()).spawn(move || worker.run());
        let thread = thread.map_err(|error| Error::Stopped { reason: format!("no thread: {error}") })?;
        Ok(Self {
            inbox,
            catalog,
            text: Arc::new(text),
            limits,
            board,
            ahead,
            describe,
            base,
            mode,
            next_request: AtomicU64::new(0),
            tenants: Mutex::default(),
            thread_id: thread.thread().id(),
            thread: Mutex::new(Some(thread)),
            ended: Ended::default(),
        })
    }

    /// Asks for an answer and returns its messages.
    pub fn generate(&self, request: Generate) -> Result<Stream, Error> {
        self.generate_recorded(request, RequestFacts::default())
    }

    /// As [`Engine::generate`], with what the record says of the request beside its tenant.
    pub fn generate_recorded(&self, request: Generate, facts: RequestFacts) -> Result<Stream, Error> {
        let (sender, events) = mpsc::channel();
        let sink = Box::new(move |event| sender.send(event).is_ok());
        let handle = self.submit_recorded(request, facts, &mut CompiledForm::default(), sink)?;
        Ok(Stream { events, handle })
    }

    /// Asks for an answer; `sink` hears of it. What can be refused is refused here, before anything is queued.
    pub fn submit(&self, request: Generate, sink: Sink) -> Result<Handle, Error> {
        self.submit_recorded(request, RequestFacts::default(), &mut CompiledForm::default(), sink)
    }

    /// As [`Engine::submit`], with what the record says of the request beside its tenant. Where several are asked of the
    /// same form, `form` keeps what was worked out for the first of them.
    pub fn submit_recorded(
        &self,
        request: Generate,
        facts: RequestFacts,
        form: &mut CompiledForm,
        sink: Sink,
    ) -> Result<Handle, Error> {
        if let Some(reason) = self.ahead.broken() {
            return Err(Error::Stopped { reason });
        }
        let place = self.inbox.place()?;
        let admitted = self.admit(&request, facts, form, (sink, place))?;
        let handle = Handle { id: admitted.id, outlet: Arc::downgrade(&admitted.outlet), inbox: self.inbox.clone() };
        if self.inbox.tell(Message::Submit(Box::new(admitted))) {
            Ok(handle)
        } else {
            Err(Error::Stopped { reason: "it was told to".to_owned() })
        }
    }

    /// From what was asked to what is queued: after this nothing is "maybe valid".
    fn admit(
        &self,
        request: &Generate,
        facts: RequestFacts,
        form: &mut CompiledForm,
        (sink, place): (Sink, crate::worker::Place),
    ) -> Result<Admitted, Error> {
        request.check()?;
        let vocabulary = self.limits.step.vocabulary;
        let prompt = self.text.prompt_within(&request.prompt, self.limits.step.positions)?;
        let output_tokens_max = self.room(request, &prompt)?;
        let parameters = request.sampling.resolve(self.text.sampling_defaults());
        // A number outside the vocabulary would else be found in the midst of a step, with others in it.
        let biased = parameters.logit_bias.iter().map(|(token, _)| *token);
        within_vocabulary("prompt_tokens", prompt.iter().copied(), vocabulary)?;
        within_vocabulary("stop_token_ids", request.stop_token_ids.iter().copied(), vocabulary)?;
        within_vocabulary("logit_bias", biased, vocabulary)?;
        let seed = request.sampling.seed.unwrap_or_else(random_seed);
        let adapters = request.adapters.iter().map(|used| {
            let weight_millionths = weight_millionths(used.weight)?;
            let Resolved { id, generation, reference } = self.catalog.resolve(&used.name)?;
            Ok(Mixed { id, generation, weight_millionths, reference })
        });
        let adapters = adapters.collect::<Result<Vec<_>, Error>>()?;
        // Worked out once; further answers begin with a copy.
        let form = request.constraint.as_ref().map(|asked| form.begin(asked, &self.text)).transpose()?;
        let detokenizer = self.text.tokenizer().map(|it| Detokenizer::new(Arc::clone(it), request.skip_special_tokens));
        if detokenizer.is_none() && !request.stop.is_empty() {
            let allowed = "left out: this model has no tokenizer, so no text to look in".to_owned();
            return Err(Error::Request { field: "stop", found: "given".to_owned(), allowed });
        }
        let arrived = Instant::now();
        Ok(Admitted {
            id: RequestId(self.next_request.fetch_add(1, Ordering::Relaxed)),
            outlet: Outlet::new(sink),
            tenant: self.tenant(&request.tenant)?,
            facts: RequestFacts { tenant: request.tenant.clone(), ..facts },
            prompt: prompt.into(),
            adapters,
            sampling: sampling_text(request, &parameters, seed, self.mode),
            seed,
            parameters,
            vocabulary,
            logprobs: request.logprobs,
            stops: Stops::new(request, self.text.eos(), output_tokens_max),
            detokenizer,
            form,
            output_tokens_max,
            choices: request.n,
            gated: request.constraint.is_some(),
            prompt_logprobs: request.prompt_logprobs,
            logits: request.logits,
            // The scheduler's greater number goes first.
            priority: request.priority.saturating_neg(),
            arrived,
            deadline: request.deadline_ms.and_then(|ms| arrived.checked_add(Duration::from_millis(ms))),
            place: Some(place),
        })
    }

    /// How many tokens an answer can have behind this prompt.
    fn room(&self, request: &Generate, prompt: &[u32]) -> Result<u32, Error> {
        let positions = self.limits.step.positions;
        let full = |field, found: usize, allowed| {
            Err(Error::ContextFull { field, found: found.to_string(), allowed, positions })
        };
        if prompt.is_empty() {
            let allowed = "one token or more".to_owned();
            return Err(Error::Request { field: "prompt", found: "0 tokens".to_owned(), allowed });
        }
        if prompt.len() >= positions {
            return full("prompt", prompt.len(), (positions - 1).to_string());
        }
        let room = u32::try_from(positions - prompt.len()).unwrap_or(u32::MAX);
        match request.max_tokens {
            Some(wanted) if wanted > room => {
                full("max_tokens", wanted as usize, format!("{room} behind a prompt of {} tokens", prompt.len()))
            }
            Some(wanted) => Ok(wanted),
            None => Ok(request.usual_tokens.map_or(room, |usual| usual.min(room))),
        }
    }

    /// The number that a tenant is scheduled by.
    fn tenant(&self, name: &str) -> Result<TenantId, Error> {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tenant) = tenants.get(name) {
            return Ok(*tenant);
        }
        if tenants.len() >= TENANTS_MAX {
            return Err(Error::TenantsMany { limit: TENANTS_MAX });
        }
        let tenant = TenantId(u32::try_from(tenants.len()).expect("below the maximum"));
        tenants.insert(name.to_owned(), tenant);
        Ok(tenant)
    }

    /// Reads an adapter whole and lets a name stand for it, so that whatever is wrong with it is known now.
    pub fn load_adapter(&self, name: &str, source: &Source, expected: Expected) -> Result<Loaded, Error> {
        let loaded = self.catalog.load(name, source, expected)?;
        if loaded.changed {
            self.inbox.tell(Message::CatalogChanged);
        }
        Ok(loaded)
    }

    /// Keeps what a name stands for where steps can use it, now and after reloads; or no longer does. A pin beyond the
    /// slots is refused.
    pub fn pin_adapter(&self, name: &str, pinned: bool) -> Result<(), Error> {
        if pinned {
            self.catalog.pin_within(name, self.limits.step.slots)?
        } else {
            self.catalog.unpin(name)?
        }
        self.inbox.tell(Message::CatalogChanged);
        Ok(())
    }

    /// Adapters by name.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Tokenizer and chat template.
    pub fn text(&self) -> &Text {
        &self.text
    }

    /// How things stand.
    pub fn metrics(&self) -> Metrics {
        self.board.read()
    }

    /// Where adapters are, as of a moment ago, in order of their ids; those that are nowhere are left out.
    pub fn adapters(&self) -> Arc<[AdapterCounts]> {
        self.board.adapters()
    }

    /// Steps that ran and are not yet durable.
    pub fn steps_ahead(&self) -> usize {
        self.ahead.steps()
    }

    /// Whether the loop runs: an error says why it takes nothing any more, and stays.
    pub fn health(&self) -> Result<(), Error> {
        if let Some(reason) = self.ahead.broken() {
            return Err(Error::Stopped { reason });
        }
        match self.thread.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            Some(thread) if !thread.is_finished() => Ok(()),
            Some(_) => Err(Error::Stopped { reason: "its loop broke off".to_owned() }),
            None => Err(Error::Stopped { reason: "it was told to".to_owned() }),
        }
    }

    /// How numbers are kept.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// What computes, for people.
    pub fn describe(&self) -> &str {
        &self.describe
    }

    /// The base model's digest.
    pub fn base(&self) -> Hash {
        self.base
    }

    /// What a step can hold.
    pub fn limits(&self) -> ExecutorLimits {
        self.limits
    }

    /// Takes nothing more, lets what runs finish for a while, flushes the record, and ends. Whoever calls it waits for the
    /// end and is told how it ended; it cannot be called in a sink, for which the end itself waits.
    pub fn stop(&self) -> Result<(), Error> {
        self.stop_within(Duration::from_secs(STOP_SECONDS))
    }

    /// Cancels what still runs, where another thread waits in [`Engine::stop_within`].
    pub fn stop_now(&self) {
        self.inbox.tell(Message::Stop(Instant::now()));
    }

    /// As [`Engine::stop`], with another limit; what still runs then is cancelled. The nearest limit of all counts.
    pub fn stop_within(&self, patience: Duration) -> Result<(), Error> {
        if is_in_sink() || std::thread::current().id() == self.thread_id {
            return Err(Error::StopInside);
        }
        // A patience beyond all clocks is none at all.
        let far = Duration::from_secs(u32::MAX.into());
        self.inbox.tell(Message::Stop(Instant::now() + patience.min(far)));
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(thread) = thread else { return self.ended.wait() };
        let broke_off = |_| Err(Error::Stopped { reason: "its loop broke off".to_owned() });
        let outcome = thread.join().unwrap_or_else(broke_off);
        self.ended.tell(&outcome);
        outcome
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Where nobody can wait for it, in a sink, it ends by itself.
        self.stop_now();
        // Whoever cares how it ended calls `stop`.
        let _ = self.stop_within(Duration::ZERO);
    }
}

fn within_vocabulary(
    field: &'static str,
    mut tokens: impl Iterator<Item = u32>,
    vocabulary: usize,
) -> Result<(), Error> {
    match tokens.find(|token| *token as usize >= vocabulary) {
        None => Ok(()),
        Some(token) => {
            let allowed = format!("tokens below {vocabulary}");
            Err(Error::Request { field, found: format!("token {token}"), allowed })
        }
    }
}
