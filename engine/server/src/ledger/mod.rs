//! `loam ledger`: the commands that keep a ledger on disk.

mod bench;
mod commands;
mod completions;
mod requests;
mod whereabouts;

pub(crate) use requests::random_name;
pub(crate) use whereabouts::{At, Whereabouts};

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use loam_ledger::{Folder, Ledger, Options, RESERVE_BYTES, RowScope};
use loam_ledger_core::Hash;
use loam_ledger_core::origin::LogId;

use crate::clients;

/// What `loam ledger` takes.
#[derive(Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// Where a ledger lies.
#[derive(Args)]
pub(crate) struct Place {
    /// The ledger's folder.
    #[arg(long, value_name = "DIR", env = "LOAM_DATA")]
    data: PathBuf,
    /// The floor file, where it lies on another device than the ledger's folder.
    #[arg(long, value_name = "FILE", env = "LOAM_FLOOR")]
    floor: Option<PathBuf>,
    /// Free bytes below which nothing more is taken.
    #[arg(long, value_name = "BYTES", env = "LOAM_RESERVE_BYTES", default_value_t = RESERVE_BYTES)]
    reserve_bytes: u64,
}

#[derive(Subcommand)]
enum Command {
    /// Make a ledger, with its first usage shard open and signed.
    Init {
        #[command(flatten)]
        place: Place,
        /// The ledger's name, which begins the origins of its logs.
        #[arg(long, value_name = "NAME")]
        origin: Option<String>,
    },
    /// Write the logs of a running server as static files, for an auditor.
    Fetch(clients::FetchArguments),
    /// Append synthetic entries, to see how fast and how safe this disk is.
    Bench(bench::Arguments),
    /// Write a log as static files that other tools can read and verify.
    Export {
        #[command(flatten)]
        place: Place,
        /// The folder to write, which must be new or empty.
        #[arg(long, value_name = "OUT")]
        out: PathBuf,
        /// records, usage/SHARD or all; the newest usage shard where it is absent.
        #[arg(long, value_name = "LOG")]
        log: Option<String>,
        /// Whose rows to show: public (nobody's), settlement (all) or request:ID.
        #[arg(long, default_value = "public")]
        scope: RowScope,
    },
    /// Write a proof that an entry is in its log (a C2SP tlog-proof).
    Prove(commands::EntryArguments),
    /// Write an entry's bytes.
    Entry(commands::EntryArguments),
    /// Write the receipt of a request.
    Receipt {
        #[command(flatten)]
        place: Place,
        /// The request, as its client knows it.
        #[arg(value_parser = parse_hash)]
        request: Hash,
        /// Which of its answers.
        #[arg(long, default_value_t = 0)]
        choice: u32,
        /// The file to write.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Examine a store. Exit 0: whole; 1: something acknowledged is missing or moved, or the store is below its
    /// floor; 2: it could not be read.
    Fsck {
        #[command(flatten)]
        place: Place,
        /// Lines `index leafhash-hex` of what was acknowledged.
        #[arg(long, value_name = "FILE")]
        acks: Option<PathBuf>,
    },
    /// Erase a request: its rows stay proven, and can never be opened again. A server is asked with a key that may write
    /// records, for an answer to one of its own tenant's; or with one for `admin`, for anybody's.
    Erase {
        #[command(flatten)]
        whereabouts: Whereabouts,
        /// The request, as its client knows it.
        #[arg(value_parser = parse_hash)]
        request: Hash,
        /// Why: 1 the person asked, 2 retention ended, 3 an authority ordered, 255 none of these.
        #[arg(long, default_value = "1", value_parser = parse_reason)]
        reason: u8,
    },
    /// Freeze the newest usage shard for ever and open the next.
    Freeze {
        #[command(flatten)]
        place: Place,
    },
    /// Write a copy of the store (without secrets, keys and floor) into a new folder. To restore, put it in the place of
    /// DIR/store.
    Snapshot {
        #[command(flatten)]
        place: Place,
        /// The folder to make.
        #[arg(long, value_name = "OUT")]
        out: PathBuf,
    },
    /// The logs' keys.
    Key {
        #[command(subcommand)]
        command: KeyCommand,
    },
    /// Say where the ledger stands.
    Status {
        #[command(flatten)]
        place: Place,
        /// Say it as one JSON object.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Subcommand)]
enum KeyCommand {
    /// Print the verifier key of a log, and nothing else.
    Show {
        #[command(flatten)]
        place: Place,
        /// records or usage/SHARD; the newest usage shard where it is absent.
        #[arg(long, value_name = "LOG")]
        log: Option<LogId>,
    },
}

/// Runs one command.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    match &arguments.command {
        Command::Init { place, origin } => commands::init(place, origin.as_deref()),
        Command::Fetch(arguments) => return clients::fetch(arguments),
        Command::Bench(arguments) => bench::run(arguments),
        Command::Export { place, out, log, scope } => commands::export(place, out, log.as_deref(), scope),
        Command::Prove(arguments) => commands::prove(arguments),
        Command::Entry(arguments) => commands::entry(arguments),
        Command::Receipt { place, request, choice, out } => commands::receipt(place, request, *choice, out),
        Command::Fsck { place, acks } => return Ok(commands::fsck(place, acks.as_deref())),
        Command::Erase { whereabouts, request, reason } => match whereabouts.find()? {
            At::Here(place) => commands::erase(&place, request, *reason),
            At::There(server) => clients::erase(&server, request, *reason).map(|()| commands::say_erased()),
        },
        Command::Freeze { place } => commands::freeze(place),
        Command::Snapshot { place, out } => commands::snapshot(place, out),
        Command::Key { command: KeyCommand::Show { place, log } } => commands::key(place, *log),
        Command::Status { place, json } => commands::status(place, *json),
    }?;
    Ok(ExitCode::SUCCESS)
}

impl Place {
    /// Somewhere that was named in another way.
    pub(crate) fn new(data: PathBuf, floor: Option<PathBuf>, reserve_bytes: u64) -> Self {
        Self { data, floor, reserve_bytes }
    }

    pub(crate) fn home(&self) -> Folder {
        Folder::new(&self.data, self.floor.as_deref())
    }

    fn options(&self) -> Options {
        Options { reserve_bytes: self.reserve_bytes, ..Options::default() }
    }

    /// Opens the ledger; where it can only be read, says why, and goes on.
    pub(crate) fn open(&self) -> anyhow::Result<Ledger> {
        let ledger = Ledger::open(&self.home(), self.options())?;
        if let Some(why) = ledger.read_only() {
            eprintln!("loam: {} is open for reading only: {why}", self.data.display());
        }
        Ok(ledger)
    }

    /// Makes a ledger of this name, or of a name that nobody else will draw.
    fn create(&self, origin: Option<&str>, options: Options) -> anyhow::Result<Ledger> {
        let name = match origin {
            Some(name) => name.to_owned(),
            None => requests::random_name()?,
        };
        Ledger::create(&self.home(), &name, options).with_context(|| format!("making a ledger named {name}"))
    }
}

fn parse_reason(text: &str) -> Result<u8, String> {
    text.parse()
        .ok()
        .filter(|code| [1, 2, 3, 255].contains(code))
        .ok_or_else(|| "a reason is 1, 2, 3 or 255".to_owned())
}

fn parse_hash(text: &str) -> Result<Hash, String> {
    Hash::from_hex(text).map_err(|_| "a request is named by 64 hexadecimal digits".to_owned())
}
