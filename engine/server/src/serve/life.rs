//! A server's life: settings, ledger, engine, port; and, when it is told to end, the same backwards.

use std::io::ErrorKind;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use loam_engine::adapter::Expected;
use loam_engine::model::ModelConfig;
use loam_engine::recorder::Recorder;
use loam_engine::{Engine, MemoryRecorder};
use loam_ledger::{Folder, Ledger, Options};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tracing::{error, info, warn};

use super::node::Node;
use super::{grpc, guard, http, log_lines, net, published};
use crate::access::Keys;
use crate::flags::of_flags;
use crate::kept;
use crate::metrics::{Meters, Timed};
use crate::progress::Bar;
use crate::settings::{self, LoraModule, Settings};

/// How often the server asks itself how it is.
const HEALTH_EVERY: Duration = Duration::from_millis(250);

/// How long connections may take to say what was left to say after the engine has stopped: receipts are signed then.
const CLOSING_PATIENCE: Duration = Duration::from_secs(10);

/// Threads that speak to clients. They translate and wait; the engine has its own.
const NETWORK_THREADS: usize = 2;

/// Why a server ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It was told to.
    Asked,
    /// Nothing can be recorded any more, or the loop broke off: another process must take over.
    Failed,
}

/// Serves until the end.
pub(crate) fn run(settings: Settings) -> anyhow::Result<ExitCode> {
    log_lines::start(&settings.log);
    for warning in &settings.warnings {
        warn!("{warning}");
    }
    let keys = keys(&settings)?;
    let tls = settings.network.tls.as_ref().map(net::acceptor).transpose()?;
    // The port is taken before minutes go into a model; it answers nothing until the model is there.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("loam-net")
        .worker_threads(NETWORK_THREADS)
        .build()?;
    let (host, port) = (settings.network.host.clone(), settings.network.port);
    let listener = runtime.block_on(TcpListener::bind((host.as_str(), port)));
    let listener = listener.map_err(|error| match error.kind() {
        ErrorKind::AddrInUse => {
            anyhow!("port {port} of {host} is in use: say another with --port, or 0 for a free one")
        }
        _ => anyhow!(error).context(format!("listening on {host}, port {port} (--host and --port say where)")),
    })?;
    let early = Early::listen(&runtime)?;
    let node = Arc::new(open(settings, keys)?);
    let end = runtime.block_on(serve(&node, listener, tls, early))?;
    runtime.shutdown_timeout(CLOSING_PATIENCE);
    close(node)?;
    Ok(if end == End::Asked { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Who may ask: keys of the command line, and of a file.
fn keys(settings: &Settings) -> anyhow::Result<Keys> {
    let plain: Vec<&str> = settings.access.api_keys.iter().map(|key| key.reveal()).collect();
    let file = settings.access.keys_file.as_deref();
    let place = file.map(|path| path.display().to_string()).unwrap_or_default();
    let text = file.map(|path| std::fs::read_to_string(path).with_context(|| place.clone())).transpose()?;
    let file = text.as_deref().map(|text| (place.as_str(), text));
    Ok(Keys::new(&plain, file, settings.limits.requests_per_key)?)
}

/// The ledger, then the engine that records in it.
fn open(settings: Settings, keys: Keys) -> anyhow::Result<Node> {
    // Before a ledger is made for what is not there, or cannot be served.
    ModelConfig::read(&settings.model)?;
    let ledger = settings.ledger.as_ref().map(open_ledger).transpose()?;
    let mut bar = Bar::new("reading the model");
    let meters = Arc::new(Meters::default());
    let record = |base| -> Result<Box<dyn Recorder>, _> {
        match &ledger {
            Some(ledger) => kept::record(ledger, base, settings.digest)
                .map(|recorder| Box::new(Timed::new(recorder, Arc::clone(&meters))) as Box<dyn Recorder>),
            None => Ok(Box::new(MemoryRecorder::default())),
        }
    };
    let mut options = settings.to_open_options();
    let why_no_gpu;
    (options.device, why_no_gpu) = options.device.settle();
    if let Some(reason) = why_no_gpu {
        info!(reason, "serving on the processor");
    }
    let engine = Engine::open_recorded(&options, record, &mut |read| bar.show(read)).map_err(of_flags)?;
    bar.end();
    for module in &settings.adapters.modules {
        let LoraModule { name, source } = module;
        let loaded = engine.load_adapter(name, &module.real_source(), Expected::Nothing);
        let loaded = loaded.with_context(|| format!("--lora-modules {name}={source}"))?;
        info!(adapter = name, generation = %loaded.adapter.generation, "loaded");
    }
    // No request came before: who may be asked for is said once all are known by name.
    if let (true, Some(ledger)) = (settings.adapters.require_published, &ledger) {
        engine.catalog().permit(published::permit(ledger, engine.base())?);
        check_modules(&engine, ledger, &settings.adapters.modules)?;
    }
    for name in &settings.adapters.pinned {
        engine.pin_adapter(name, true).with_context(|| format!("--pin {name}"))?;
    }
    Ok(Node::new(engine, ledger, settings, keys, meters))
}

/// Whether the adapters of the command line may be used. What the records never had is a mistake of whoever starts the
/// server. What their authors have taken out of use is refused to those who ask for it, as it is where that happens while
/// the server runs: nobody's word about one adapter keeps the base and the others from being served.
fn check_modules(engine: &Engine, ledger: &Ledger, modules: &[LoraModule]) -> anyhow::Result<()> {
    for LoraModule { name, source } in modules {
        let generation = engine.catalog().find(name)?.generation;
        let refused = generation.and_then(|it| Some((it, engine.catalog().refuses(&it)?)));
        let Some((generation, reason)) = refused else { continue };
        if !published::is_known(ledger, &generation, &engine.base())? {
            let error = loam_engine::Error::AdapterForbidden { name: name.clone(), generation, reason };
            return Err(error).with_context(|| format!("--lora-modules {name}={source}"));
        }
        warn!(adapter = name, %generation, reason, "requests for this adapter are refused until that changes");
    }
    Ok(())
}

fn open_ledger(settings: &settings::Ledger) -> anyhow::Result<Arc<Ledger>> {
    let settings::Ledger { folder, floor, origin, reserve_bytes, publish_interval } = settings;
    let options = Options { publish_interval: *publish_interval, reserve_bytes: *reserve_bytes, ..Options::default() };
    let ledger = kept::open(&Folder::new(folder, floor.as_deref()), folder, origin.as_deref(), options)?;
    let free = ledger.free_bytes()?;
    if free < *reserve_bytes {
        let (free, reserve) = (free >> 20, reserve_bytes >> 20);
        bail!(
            "{free} MiB are free at {}, and {reserve} are held in reserve: make room, or lower --ledger-reserve-mib",
            folder.display()
        );
    }
    let shard = ledger.newest_shard();
    info!(folder = %folder.display(), name = ledger.name(), entries = ledger.size(shard)?, key = %ledger.verifier(shard)?, "ledger");
    Ok(ledger)
}

/// Everything between the port's first answer and its last.
async fn serve(
    node: &Arc<Node>,
    listener: TcpListener,
    tls: Option<tokio_rustls::TlsAcceptor>,
    early: Early,
) -> anyhow::Result<End> {
    let mut signals = self::signals()?;
    let was_told = early.stop();
    let (services, health) = grpc::router(node)?;
    let guarded = axum::middleware::from_fn_with_state(Arc::clone(node), guard::guard);
    let router = http::router(node).merge(services.reset_fallback()).layer(guarded);
    let bounds = net::Bounds {
        connections: node.settings.limits.connections,
        streams_per_connection: node.settings.limits.streams_per_connection,
    };
    let address = listener.local_addr()?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    let (stop_taking, stopping) = watch::channel(false);
    let taking = tokio::spawn(async move { net::serve(listener, tls, router, &bounds, stopping).await });
    tell_health(&health, ServingStatus::Serving).await;
    ready(node, &format!("{scheme}://{address}"))?;
    let end = if was_told { End::Asked } else { wait_for_the_end(node, &health, &mut signals).await };
    // Routers look at health: it says so before the first refusal does.
    tell_health(&health, ServingStatus::NotServing).await;
    node.drain();
    finish(node, &mut signals, end).await;
    let _ = stop_taking.send(true);
    // Whoever watches health would otherwise hold its connection to the last.
    for service in grpc::SERVICES {
        health.clone().clear_service_status(service).await;
    }
    tokio::select! {
        closed = tokio::time::timeout(CLOSING_PATIENCE, taking) => if closed.is_err() {
            warn!("some connections were cut off: they did not end in time");
        },
        () = signalled(&mut signals) => warn!("a second signal: connections are cut off"),
    }
    Ok(end)
}

/// Says where the server is, on standard output: the one line that programs wait for.
fn ready(node: &Node, url: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    let receipts = if node.ledger.is_some() { "with receipts" } else { "without receipts: --ledger off" };
    println!("loam: serving {} at {url}, {receipts}", node.names.join(", "));
    std::io::stdout().flush()?;
    info!(url, models = node.names.join(","), device = node.engine.describe(), delivery = node.delivery(), "serving");
    Ok(())
}

async fn tell_health(health: &HealthReporter, status: ServingStatus) {
    for service in grpc::SERVICES {
        health.set_service_status(service, status).await;
    }
}

/// Signals that come while the model is read. The first is remembered, so that the ledger is closed in order; a second
/// ends the process, as any would without this.
struct Early {
    listening: tokio::task::JoinHandle<()>,
    told: Arc<AtomicBool>,
}

impl Early {
    fn listen(runtime: &tokio::runtime::Runtime) -> anyhow::Result<Self> {
        let told = Arc::new(AtomicBool::new(false));
        let mut signals = runtime.block_on(async { signals() })?;
        let told_here = Arc::clone(&told);
        let listening = runtime.spawn(async move {
            signalled(&mut signals).await;
            told_here.store(true, Ordering::Release);
            warn!("told to end: as soon as the model is read; a second signal ends it at once");
            signalled(&mut signals).await;
            std::process::exit(1);
        });
        Ok(Self { listening, told })
    }

    /// From here on others listen; whether a signal came before.
    fn stop(self) -> bool {
        self.listening.abort();
        self.told.load(Ordering::Acquire)
    }
}

fn signals() -> std::io::Result<[Signal; 2]> {
    Ok([signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?])
}

async fn signalled(signals: &mut [Signal; 2]) {
    let [terminate, interrupt] = signals;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// Meanwhile health says whether requests are taken: not where space is short, and again when there is room.
async fn wait_for_the_end(node: &Arc<Node>, health: &HealthReporter, signals: &mut [Signal; 2]) -> End {
    let mut look = tokio::time::interval(HEALTH_EVERY);
    let mut takes_requests = true;
    loop {
        tokio::select! {
            () = signalled(signals) => return End::Asked,
            () = node.drain_asked.notified() => return End::Asked,
            _ = look.tick() => {
                if let Err(problem) = node.ready()
                    && !node.is_draining()
                {
                    // Clients are told less.
                    match (node.engine.health(), node.ledger.as_ref().map(|ledger| ledger.health())) {
                        (Err(why), _) => error!("{why}"),
                        (_, Some(Err(why))) => error!("{why}"),
                        _ => error!("{}", problem.message),
                    }
                    return End::Failed;
                }
                let outcome = node.takes_requests();
                if outcome.is_ok() != takes_requests {
                    takes_requests = outcome.is_ok();
                    match outcome {
                        Ok(()) => info!("requests are taken again"),
                        Err(problem) => warn!("no requests are taken: {}", problem.message),
                    }
                    let status = if takes_requests { ServingStatus::Serving } else { ServingStatus::NotServing };
                    tell_health(health, status).await;
                }
            }
        }
    }
}

/// Lets what runs finish within its time; a second signal ends it at once.
async fn finish(node: &Arc<Node>, signals: &mut [Signal; 2], end: End) {
    let patience = match end {
        End::Asked => node.shutdown_timeout(),
        End::Failed => Duration::ZERO,
    };
    info!(seconds = patience.as_secs(), "ending: what runs may finish");
    let stopping = {
        let node = Arc::clone(node);
        tokio::task::spawn_blocking(move || node.engine.stop_within(patience))
    };
    tokio::pin!(stopping);
    let stopped = tokio::select! {
        stopped = &mut stopping => Some(stopped),
        () = signalled(signals) => None,
    };
    let stopped = match stopped {
        Some(stopped) => stopped,
        None => {
            warn!("a second signal: what runs is cancelled");
            node.engine.stop_now();
            stopping.await
        }
    };
    match stopped {
        Ok(Ok(())) => info!("the engine has stopped"),
        Ok(Err(why)) => error!("{why}"),
        Err(why) => error!("the engine's end broke off: {why}"),
    }
}

/// Signs a last checkpoint over everything.
fn close(node: Arc<Node>) -> anyhow::Result<()> {
    let Some(node) = Arc::into_inner(node) else {
        bail!("connections outlived their server: the ledger is left as if the process had been killed");
    };
    let Node { engine, ledger, .. } = node;
    drop(engine);
    let Some(ledger) = ledger else { return Ok(()) };
    match Arc::into_inner(ledger) {
        Some(ledger) => ledger.close().context("the last checkpoint"),
        None => bail!("the ledger is still in use: it is left as if the process had been killed"),
    }
}
