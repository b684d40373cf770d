//! The settings of `loam serve`: said by flag, environment or file, read once, and constant from then on.
//!
//! ```text
//! table -> command (clap), file (TOML) -> gathered (values with origins) -> Settings (typed, held against each other)
//!                                                   \-> show (`loam config show`)
//! ```

mod command;
mod environment;
mod error;
mod file;
mod gathered;
mod rules;
mod show;
mod table;
#[cfg(test)]
mod tests;
mod value;

use std::fmt;
use std::net::IpAddr;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ArgMatches;
use loam_engine::adapter::Source;
use loam_engine::model::Residence;
use loam_engine::{Arithmetic, DType, DeliveryMode, DeviceChoice, LoadFormat, OpenOptions};
use loam_ledger_core::Hash;

pub(crate) use command::{Given, ignored};
pub(crate) use environment::check_environment;
pub(crate) use error::SettingsError;
pub(crate) use gathered::{Environment, Gathered, ReadFile};
pub(crate) use show::show;

/// What the server does. It is read once and passed by reference; nothing in it changes.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The base model's folder.
    pub(crate) model: PathBuf,
    /// Names of the base model; at least one, and the first is its own.
    pub(crate) served_names: Vec<String>,
    /// Where clients find the server.
    pub(crate) network: Network,
    /// How the engine computes.
    pub(crate) engine: Engine,
    /// Which adapters there are.
    pub(crate) adapters: Adapters,
    /// Where the record is kept; none where it is off.
    pub(crate) ledger: Option<Ledger>,
    /// Who may ask.
    pub(crate) access: Access,
    /// How much may be asked at once.
    pub(crate) limits: Limits,
    /// What is logged.
    pub(crate) log: Log,
    /// What is allowed and yet probably not meant. To be logged at the start.
    pub(crate) warnings: Vec<String>,
    /// The SHA-256 of what holds, as `loam config show` prints it, without origins and secrets.
    pub(crate) digest: Hash,
}

/// Where clients find the server.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    /// An address, or a name for one, without brackets.
    pub(crate) host: String,
    /// 0 for a free one.
    pub(crate) port: u16,
    /// None where connections are in the clear.
    pub(crate) tls: Option<Tls>,
}

/// The files that TLS needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tls {
    /// The server's chain.
    pub(crate) cert: PathBuf,
    /// Its private key.
    pub(crate) key: PathBuf,
    /// Who vouches for clients, where they must show certificates.
    pub(crate) client_ca: Option<PathBuf>,
}

/// How the engine computes.
#[derive(Clone, Debug)]
pub(crate) struct Engine {
    device: DeviceChoice,
    arithmetic: Arithmetic,
    dtype: DType,
    load_format: LoadFormat,
    residence: Residence,
    threads: Option<NonZero<usize>>,
    positions_max: Option<usize>,
    step_tokens_max: usize,
    running_max: usize,
    requests_max: usize,
    kv_bytes: Option<usize>,
    page_tokens: usize,
    delivery: DeliveryMode,
    digest_cache: Option<PathBuf>,
}

/// Which adapters there are, and how much of them.
#[derive(Clone, Debug)]
pub(crate) struct Adapters {
    /// To be loaded at the start, in this order.
    pub(crate) modules: Vec<LoraModule>,
    /// Names of those that are pinned.
    pub(crate) pinned: Vec<String>,
    /// Where adapters may come from while the server runs; where there is none, none can be loaded then.
    pub(crate) roots: Vec<PathBuf>,
    /// Whether only those are used that the records have as published.
    pub(crate) require_published: bool,
    /// Adapters that one step can use.
    pub(crate) slots: usize,
    /// The highest rank that is taken.
    pub(crate) rank_max: Option<usize>,
    host_bytes: usize,
    device_bytes: usize,
}

/// An adapter to load at the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LoraModule {
    /// Its name.
    pub(crate) name: String,
    /// Where it comes from.
    pub(crate) source: Source,
}

/// Where the record is kept, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ledger {
    /// The ledger's folder.
    pub(crate) folder: PathBuf,
    /// Its floor, where that lies elsewhere.
    pub(crate) floor: Option<PathBuf>,
    /// Its name where it is made; one that nobody else draws where absent.
    pub(crate) origin: Option<String>,
    /// Free bytes below which nothing new is taken.
    pub(crate) reserve_bytes: u64,
    /// How long what is durable may stay unsigned.
    pub(crate) publish_interval: Duration,
}

/// Who may ask.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    /// Keys of the tenant `default`.
    pub(crate) api_keys: Vec<Secret>,
    /// A file of keys.
    pub(crate) keys_file: Option<PathBuf>,
    /// Whether metrics need no key.
    pub(crate) metrics_open: bool,
    /// Whether the log's public parts need no key.
    pub(crate) log_open: bool,
    /// Whose pages in a browser may ask, as browsers say it.
    pub(crate) origins: Vec<String>,
}

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(String);

/// How much may be asked at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Bytes of one request.
    pub(crate) body_bytes: usize,
    /// Connections at once.
    pub(crate) connections: usize,
    /// Requests at once on one connection.
    pub(crate) streams_per_connection: u32,
    /// Requests at once under one key.
    pub(crate) requests_per_key: usize,
    /// How long running requests have once the server is told to end.
    pub(crate) shutdown_timeout: Duration,
}

/// What is logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Log {
    /// One JSON object a line, instead of text.
    pub(crate) json: bool,
    /// error, warn, info, debug or trace.
    pub(crate) level: String,
    /// Whether people's texts are logged.
    pub(crate) prompts: bool,
}

impl Settings {
    /// Reads what was said, by whomever. It touches neither the process's environment nor its files but through what it
    /// is given.
    pub(crate) fn resolve(
        matches: &ArgMatches,
        environment: Environment<'_>,
        read_file: ReadFile<'_>,
    ) -> Result<Self, SettingsError> {
        Self::of(&Gathered::gather(matches, environment, read_file)?)
    }

    /// Types what was gathered, and holds it against itself.
    pub(crate) fn of(gathered: &Gathered) -> Result<Self, SettingsError> {
        let mut warnings = Vec::new();
        let (model, served_names) = rules::model(gathered)?;
        let adapters = rules::adapters(gathered)?;
        let access = rules::access(gathered, &mut warnings)?;
        let network = rules::network(gathered, &access, &mut warnings)?;
        let ledger = rules::ledger(gathered)?;
        rules::names(&served_names, &adapters)?;
        rules::published(gathered, &adapters, ledger.as_ref())?;
        Ok(Self {
            model,
            served_names,
            network,
            engine: rules::engine(gathered)?,
            adapters,
            ledger,
            access,
            limits: limits(gathered),
            log: Log {
                json: gathered.word("log-format") == "json",
                level: gathered.word("log-level").to_owned(),
                prompts: gathered.is_on("log-prompts"),
            },
            warnings,
            digest: show::digest_of(gathered),
        })
    }

    /// Answers that run side by side.
    pub(crate) fn answers_running_max(&self) -> usize {
        self.engine.running_max
    }

    /// When tokens leave.
    pub(crate) fn delivery(&self) -> DeliveryMode {
        self.engine.delivery
    }

    /// What the engine is opened with. Where folders are named that adapters may come from, those of the start are such
    /// folders too: the engine has one rule for both.
    pub(crate) fn to_open_options(&self) -> OpenOptions {
        let Engine { digest_cache, .. } = &self.engine;
        let mut roots = self.adapters.roots.clone();
        if !roots.is_empty() {
            roots.extend(self.adapters.modules.iter().filter_map(|module| match module.real_source() {
                Source::Folder(folder) => Some(folder),
                Source::Dummy(_) => None,
            }));
        }
        OpenOptions {
            device: self.engine.device,
            arithmetic: self.engine.arithmetic,
            dtype: self.engine.dtype,
            load_format: self.engine.load_format,
            residence: self.engine.residence,
            threads: self.engine.threads,
            positions_max: self.engine.positions_max,
            kv_bytes: self.engine.kv_bytes,
            page_tokens: self.engine.page_tokens,
            slots: self.adapters.slots,
            step_tokens_max: self.engine.step_tokens_max,
            running_max: self.engine.running_max,
            requests_max: self.engine.requests_max,
            rank_max: self.adapters.rank_max.map(|rank| u32::try_from(rank).unwrap_or(u32::MAX)),
            adapter_host_bytes: self.adapters.host_bytes,
            adapter_device_bytes: self.adapters.device_bytes,
            adapter_roots: roots,
            warm_up: true,
            delivery: self.engine.delivery,
            digest_cache: digest_cache.clone(),
            ..OpenOptions::new(&self.model)
        }
    }
}

impl Network {
    /// Whether this machine alone can reach it.
    pub(crate) fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
    }
}

impl Adapters {
    /// Whether adapters may be loaded while the server runs; where not, the words to refuse it with.
    pub(crate) fn run_time_loading(&self) -> Result<(), &'static str> {
        if self.roots.is_empty() {
            Err("adapters are loaded at the start only; start the server with --adapter-root DIR to allow more")
        } else {
            Ok(())
        }
    }
}

impl LoraModule {
    /// Where it comes from, whatever the process calls its own folder and wherever links lead: beside roots the engine
    /// takes no path that leaves them, not even to come back.
    pub(crate) fn real_source(&self) -> Source {
        match &self.source {
            // What is not there is said by whoever reads it, under the name that was given.
            Source::Folder(folder) => Source::Folder(folder.canonicalize().unwrap_or_else(|_| folder.clone())),
            dummy => dummy.clone(),
        }
    }
}

impl Secret {
    /// The text itself.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

fn limits(gathered: &Gathered) -> Limits {
    let seconds = u64::try_from(gathered.count("shutdown-timeout")).unwrap_or(u64::MAX);
    Limits {
        body_bytes: gathered.count("max-body-mib") << 20,
        connections: gathered.count("max-connections"),
        streams_per_connection: u32::try_from(gathered.count("max-streams-per-connection")).unwrap_or(u32::MAX),
        requests_per_key: gathered.count("max-requests-per-key"),
        shutdown_timeout: Duration::from_secs(seconds),
    }
}

fn path(gathered: &Gathered, name: &str) -> Option<PathBuf> {
    gathered.text(name).map(|text| Path::new(text).to_owned())
}
