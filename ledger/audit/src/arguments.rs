//! What can be asked, and the words in which it is asked.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use loam_ledger_core::Hash;
use loam_ledger_core::origin::LogId;
use loam_ledger_core::text::hex_decode;

const STATUS: &str = "Exit status: 0 all holds; 1 something is wrong, the first reason on standard error; \
    2 something could not be read, or the command makes no sense.";

const LOG_KEYS: &str = "With --json, one object: command, verdict (valid, invalid, unreadable), reason (unless valid), \
    fault {class, place, why} (where an audit found it), \
    logs [{log, origin, size, root, checkpoints, recorded_heads, tiles, manifest_files, engines, boots, crashes, \
    prefilled_tokens, emitted_tokens, scope, rows, rows_open, rows_erased, rows_announced_erased, completions, \
    records, records_void, void_records, shards_absent, unchecked}].";

const RECEIPT_KEYS: &str = "With --json, one object: command, verdict (valid, invalid, unreadable), reason (unless valid), \
    bound (whether anything of yours was compared), lines [{subject, verdict (holds, refused, not held), text}], \
    says {checkpoint, entry, row} (what a receipt that is in its log says), log (as in `log`, where --log was given).";

const REWARDS_KEYS: &str = "With --json, one object: command, verdict (valid, invalid, unreadable), reason (unless valid), \
    logs (as in `log`), found [text], \
    epochs [{epoch, index, record, time_ms, rows, rows_erased_mixes, rows_erased_since, rows_hidden, fees_nano, erased_nano, \
    opening_nano, subsidies_nano, paid_nano, payees, waiting_nano {revisions, generations, lanes, subsidies}, \
    waiting [{account, what, lines}], lanes_nano {host, base, adapter, data, upkeep, bond, reserve}, settled_again, found}], \
    unsettled {rows, fees_nano}, \
    payee {contributor, registered, epochs [{epoch, settled_again, paid_nano, lines, may_come [{account, what, lines}], \
    proven}]}, statements [{file, verdict (holds, refused), why, payee, epoch, amount_nano, lines}], \
    where lines are [{reason, code, subject, amount_nano, why}]. Amounts of money are strings of decimal digits.";

const TRACE_KEYS: &str = "With --json, one object: command, verdict (valid, invalid, unreadable), reason (unless valid), \
    logs (as in `log`), found [text], unchecked [text], answer {shard, index, row, leaf, fee_nano, lanes_nano, completion}, \
    epoch {epoch, index, record, included, proof (rows, file, erased, refused, none)}, \
    adapters [{generation, weight_millionths, record, index, included}], \
    links [{from, to {what, id, index, included, acts}, share_millionths, agreed}], \
    payees [{contributor, public_key, paid_nano, lines, proven, index, included}]. \
    Amounts of money are strings of decimal digits.";

const CONSISTENCY_KEYS: &str = "With --json, one object: command, verdict (valid, invalid, unreadable), \
    reason (unless valid), old {size, root, signed}, new {size, root, signed}, proof [base64].";

const SHOW_KEYS: &str = "With --json, one object: command, verdict (shown, invalid, unreadable), reason (unless shown), \
    verified (always false), \
    kind (receipt, proof, checkpoint, note, key, policy, entry, row, log, ledger), \
    and what the file says under that kind's name.";

/// Checks what a Loam ledger says: offline, and trusting nobody but the keys that you give.
#[derive(Parser)]
#[command(name = "loam-audit", version, after_help = STATUS, arg_required_else_help = true)]
pub(crate) struct Arguments {
    /// Print one JSON object instead of text.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Audit an export: of one log, or of all logs of a ledger.
    #[command(after_help = STATUS, after_long_help = format!("{LOG_KEYS}\n\n{STATUS}"))]
    Log(Log),
    /// Check a receipt, line by line, against what you hold.
    #[command(after_help = STATUS, after_long_help = format!("{RECEIPT_KEYS}\n\n{STATUS}"))]
    Receipt(Receipt),
    /// Settle every closed epoch again, from rows and records, and compare; or check a payee's statement.
    #[command(after_help = STATUS, after_long_help = format!("{REWARDS_KEYS}\n\n{STATUS}"))]
    Rewards(Rewards),
    /// Follow one answer, from its receipt to the epoch that settled it and to whoever was paid.
    #[command(after_help = STATUS, after_long_help = format!("{TRACE_KEYS}\n\n{STATUS}"))]
    Trace(Trace),
    /// Show that a log only grew from one size or checkpoint to another.
    #[command(after_help = STATUS, after_long_help = format!("{CONSISTENCY_KEYS}\n\n{STATUS}"))]
    Consistency(Consistency),
    /// Say what a file or an export says, without checking whether it is true.
    #[command(after_help = STATUS, after_long_help = format!("{SHOW_KEYS}\n\n{STATUS}"))]
    Show(Show),
    /// Say what must be trusted, and why.
    Trust,
}

impl Command {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Log(_) => "log",
            Self::Receipt(_) => "receipt",
            Self::Rewards(_) => "rewards",
            Self::Trace(_) => "trace",
            Self::Consistency(_) => "consistency",
            Self::Show(_) => "show",
            Self::Trust => "trust",
        }
    }
}

#[derive(Args)]
pub(crate) struct Log {
    /// The export: a folder with `checkpoint` (one log), or with `records/checkpoint` (all logs).
    pub(crate) dir: PathBuf,
    /// The log's key, or the records log's for all logs: a vkey, or a file that holds one.
    #[arg(long, value_name = "KEY")]
    pub(crate) vkey: String,
    /// A tlog-policy: which witnesses must have cosigned the newest checkpoint.
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,
    /// Do not fail where more than one row in a hundred is erased.
    #[arg(long)]
    pub(crate) allow_erased: bool,
    /// Check signatures and tree alone, for a log whose entries are not Loam's.
    #[arg(long)]
    pub(crate) opaque: bool,
    #[arg(from_global)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct Receipt {
    /// The receipt.
    pub(crate) file: PathBuf,
    /// The key of the receipt's log: a vkey, or a file that holds one.
    #[arg(long, value_name = "KEY")]
    pub(crate) vkey: String,
    /// A tlog-policy: which witnesses must have cosigned the receipt's checkpoint.
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,
    /// The nonce that you sent, 64 hexadecimal digits.
    #[arg(long, value_name = "HEX", value_parser = hex32)]
    pub(crate) nonce: Option<Hash>,
    /// The request as you sent it.
    #[arg(long, value_name = "FILE")]
    pub(crate) request: Option<PathBuf>,
    /// The text that came back.
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// An adapter generation that should have taken part, 64 hexadecimal digits.
    #[arg(long, value_name = "GEN", value_parser = hex32)]
    pub(crate) adapter: Option<Hash>,
    /// How many tokens came back.
    #[arg(long, value_name = "N")]
    pub(crate) tokens: Option<u64>,
    /// An export of the receipt's log (or of all logs): the receipt must be of that very log.
    #[arg(long, value_name = "DIR")]
    pub(crate) log: Option<PathBuf>,
    #[arg(from_global)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct Rewards {
    /// The export of all logs: `loam ledger export --log all --scope settlement`; without rows, what can be checked is.
    pub(crate) dir: PathBuf,
    /// The records log's key: a vkey, or a file that holds one.
    #[arg(long, value_name = "KEY")]
    pub(crate) vkey: String,
    /// A tlog-policy: which witnesses must have cosigned the newest checkpoint.
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,
    /// Do not fail where more than one row in a hundred is erased.
    #[arg(long)]
    pub(crate) allow_erased: bool,
    /// Say what this contributor is paid, why, and what may come; 64 hexadecimal digits.
    #[arg(long, value_name = "ID", value_parser = hex32)]
    pub(crate) payee: Option<Hash>,
    /// Check a payee's statement file; may be given more than once, and needs no rows.
    #[arg(long = "statement", value_name = "FILE")]
    pub(crate) statements: Vec<PathBuf>,
    #[arg(from_global)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct Trace {
    /// The receipt of the answer.
    pub(crate) receipt: PathBuf,
    /// The export of all logs: `loam ledger export --log all --scope settlement`; without rows, what can be checked is.
    pub(crate) dir: PathBuf,
    /// The records log's key: a vkey, or a file that holds one. The receipt's log has its key from there.
    #[arg(long, value_name = "KEY")]
    pub(crate) vkey: String,
    /// A tlog-policy: which witnesses must have cosigned the newest checkpoint.
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,
    /// A proof that the answer was settled, for an export without rows.
    #[arg(long, value_name = "FILE")]
    pub(crate) usage: Option<PathBuf>,
    #[arg(from_global)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct Consistency {
    /// The older checkpoint: a file, or a size of the log.
    pub(crate) old: String,
    /// The newer checkpoint: a file, or a size of the log.
    pub(crate) new: String,
    /// An export of the log, whose tiles give the proof.
    #[arg(long, value_name = "DIR")]
    pub(crate) log: PathBuf,
    /// The log's key, for the checkpoints' signatures: a vkey, or a file that holds one.
    #[arg(long, value_name = "KEY")]
    pub(crate) vkey: Option<String>,
}

#[derive(Args)]
pub(crate) struct Show {
    /// A receipt, proof, checkpoint, vkey, policy, entry or row; or the folder of an export.
    pub(crate) path: PathBuf,
    /// Say what this entry of an export says, and its rows where they are there.
    #[arg(long, value_name = "I")]
    pub(crate) index: Option<u64>,
    /// Which log of an export of all logs: records, or usage/N.
    #[arg(long, value_name = "LOG", requires = "index", value_parser = |text: &str| text.parse::<LogId>())]
    pub(crate) log: Option<LogId>,
}

fn hex32(text: &str) -> Result<Hash, String> {
    hex_decode(&text.to_ascii_lowercase())
        .and_then(|bytes| Hash::from_slice(&bytes).ok())
        .ok_or_else(|| "64 hexadecimal digits are expected".to_owned())
}
