//! A server's life: settings, ledger, engine, port; and, when it is told to end, the same backwards.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
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
use super::{grpc, guard, http, log_lines, net};
use crate::access::Keys;
use crate::generate::Progress;
use crate::ledger::random_name;
use crate::recorder;
use crate::settings::Settings;

/// How often the server asks itself how it is.
const HEALTH_EVERY: Duration = Duration::from_millis(250);

/// How long connections may take to say what was left to say after the engine has stopped: receipts are signed then.
const CLOSING_PATIENCE: Duration = Duration::from_secs(10);

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
    log_lines::start(&settings);
    for warning in settings.warnings() {
        warn!("{warning}");
    }
    let keys = Keys::from_settings(&settings)?;
    let tls = settings.tls().map(net::acceptor).transpose()?;
    // The port is taken before minutes go into a model; it answers nothing until the model is there.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("loam-net")
        .worker_threads(settings.network_threads())
        .build()?;
    let address = settings.address();
    let listener = runtime.block_on(TcpListener::bind(address)).with_context(|| format!("listening on {address}"))?;
    let node = Arc::new(open(settings, keys)?);
    let end = runtime.block_on(serve(&node, listener, tls))?;
    runtime.shutdown_timeout(CLOSING_PATIENCE);
    close(node)?;
    Ok(if end == End::Asked { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The ledger, then the engine that records in it.
fn open(settings: Settings, keys: Keys) -> anyhow::Result<Node> {
    let ledger = settings.ledger().map(|ledger| open_ledger(&ledger.data, ledger.floor.as_deref(), &settings)).transpose()?;
    let mut progress = Progress::new("reading the model");
    let record = |base| -> Result<Box<dyn Recorder>, _> {
        match &ledger {
            Some(ledger) => recorder::boot(ledger, base, "loam serve"),
            None => Ok(Box::new(MemoryRecorder::default())),
        }
    };
    let engine = Engine::open_recorded(&settings.to_open_options(), record, &mut |read| progress.tell(read))?;
    progress.end();
    for (name, path) in settings.lora_modules() {
        let source = loam_engine::adapter::Source::parse(path)?;
        let loaded = engine.load_adapter(name, &source, loam_engine::adapter::Expected::Nothing);
        let loaded = loaded.with_context(|| format!("--lora-modules {name}={path}"))?;
        info!(adapter = name, generation = %loaded.adapter.generation, "loaded");
    }
    for name in settings.pinned() {
        engine.pin_adapter(name, true).with_context(|| format!("--pin {name}"))?;
    }
    Ok(Node::new(engine, ledger, settings, keys))
}

fn open_ledger(data: &std::path::Path, floor: Option<&std::path::Path>, settings: &Settings) -> anyhow::Result<Arc<Ledger>> {
    let home = Folder::new(data, floor);
    let place = || data.display().to_string();
    let options = Options {
        publish_interval: settings.publish_interval(),
        reserve_bytes: settings.reserve_bytes(),
        ..Options::default()
    };
    let ledger = if home.holds_ledger() {
        Ledger::open(&home, options).with_context(place)?
    } else {
        let name = settings.ledger_origin().map_or_else(random_name, |name| Ok(name.to_owned()))?;
        Ledger::create(&home, &name, options).with_context(place)?
    };
    if let Some(why) = ledger.read_only() {
        bail!("{} is open for reading only: {why}", data.display());
    }
    let shard = ledger.newest_shard();
    info!(data = %data.display(), name = ledger.name(), entries = ledger.size(shard)?, key = %ledger.verifier(shard)?, "ledger");
    Ok(Arc::new(ledger))
}

/// Everything between the port's first answer and its last.
async fn serve(
    node: &Arc<Node>,
    listener: TcpListener,
    tls: Option<tokio_rustls::TlsAcceptor>,
) -> anyhow::Result<End> {
    let mut signals = [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?];
    let (services, health) = grpc::router(node)?;
    let guarded = axum::middleware::from_fn_with_state(Arc::clone(node), guard::guard);
    let router = http::router(node).merge(services.reset_fallback()).layer(guarded);
    let bounds = net::Bounds {
        connections: node.settings.connections_max(),
        streams_per_connection: node.settings.streams_per_connection_max(),
    };
    let address = listener.local_addr()?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    let (stop_taking, stopping) = watch::channel(false);
    let taking = tokio::spawn(async move { net::serve(listener, tls, router, &bounds, stopping).await });
    tell_health(&health, ServingStatus::Serving).await;
    ready(node, &format!("{scheme}://{address}"))?;
    let end = wait_for_the_end(node, &mut signals).await;
    // Routers look at health: it says so before the first refusal does.
    tell_health(&health, ServingStatus::NotServing).await;
    node.drain();
    finish(node, &mut signals, end).await;
    let _ = stop_taking.send(true);
    if tokio::time::timeout(CLOSING_PATIENCE, taking).await.is_err() {
        warn!("some connections were cut off: they did not end in time");
    }
    Ok(end)
}

/// Says where the server is, on standard output: the one line that programs wait for.
#[expect(clippy::print_stdout, reason = "a program speaks to whoever runs it")]
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

async fn signalled(signals: &mut [Signal; 2]) {
    let [terminate, interrupt] = signals;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

async fn wait_for_the_end(node: &Arc<Node>, signals: &mut [Signal; 2]) -> End {
    let mut look = tokio::time::interval(HEALTH_EVERY);
    loop {
        tokio::select! {
            () = signalled(signals) => return End::Asked,
            () = node.drain_asked.notified() => return End::Asked,
            _ = look.tick() => {
                if let Err(problem) = node.ready()
                    && !node.is_draining()
                {
                    error!("{}", problem.message);
                    return End::Failed;
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
            node.engine.cancel_all();
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
