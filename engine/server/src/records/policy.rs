//! `loam policy`: prices, and the lanes that fees are split to.
//!
//! ```json
//! {"lanes": {"host": 3000, "base": 1000, "adapter": 2000, "data": 3000, "upkeep": 400, "bond": 300, "reserve": 300},
//!  "prices": [{"prefilled_nano": 10, "reused_nano": 1, "delivered_nano": 100}],
//!  "effective_in_s": 60, "notice_s": 0, "gate_required": false, "evaluators": []}
//! ```

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail, ensure};
use clap::Subcommand;
use loam_engine::request::{ANSWER_TOKENS_MAX, PROMPT_TOKENS_MAX};
use loam_ledger::Appended;
use loam_ledger_core::Hash;
use loam_ledger_core::fee::{PRICE_NANO_MAX, lane_word};
use loam_ledger_core::record::{Act, Body, ContributorId, Lane, PerLane, PolicyChanged, Price};
use serde_json::{Map, Value, json};

use super::CoSigning;
use super::book::{Book, BookArguments, Taken};
use super::datanet::calendar;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Record prices and lanes, in force from a time on.
    Set {
        #[command(flatten)]
        signing: CoSigning,
        /// What it says, as JSON: lanes in basis points, prices in nano-units a token.
        file: PathBuf,
        /// Say it as one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Print all policies, the last one last.
    Show {
        #[command(flatten)]
        book: BookArguments,
        /// Say it as one JSON array.
        #[arg(long)]
        json: bool,
    },
}

/// Runs one command.
pub(crate) fn run(command: &Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Set { signing, file, json } => {
            let mut pen = signing.open(*json)?;
            let policy = read(file, &*pen.book, pen.file.contributor())?;
            let (number, effective_ms) = (policy.number, policy.effective_ms);
            let taken = pen.say_together(Act::PolicyChanged(policy))?;
            let seconds = effective_ms.saturating_sub(now_ms()) / 1_000;
            if let Some(Taken { at: Appended { id, .. }, .. }) = taken {
                if *json {
                    println!("{}", json!({"policy": id.to_hex(), "number": number, "effective_ms": effective_ms}));
                } else {
                    println!("policy {number} is {id}, in force in {seconds} s ({})", calendar::second(effective_ms));
                }
            }
            pen.book.close()?;
        }
        Command::Show { book, json } => {
            let book = book.read()?;
            let policies = book.registry().money().policies();
            if *json {
                println!("{}", Value::Array(policies.iter().map(|(id, policy)| shown(id, policy)).collect()));
            } else if policies.is_empty() {
                println!("no policy is recorded: tokens cost nothing");
            } else {
                policies.iter().for_each(|(id, policy)| println!("{:#}", shown(id, policy)));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn shown(id: &Hash, policy: &PolicyChanged) -> Value {
    let lanes: Map<String, Value> =
        Lane::ALL.iter().map(|lane| (lane_word(*lane).to_owned(), policy.lanes.of(*lane).into())).collect();
    let price = |price: &Price| {
        json!({
            "base": price.base.map(|base| base.to_hex()), "prefilled_nano": price.prefilled_nano,
            "reused_nano": price.reused_nano, "delivered_nano": price.delivered_nano,
        })
    };
    json!({
        "policy": id.to_hex(), "number": policy.number, "effective_ms": policy.effective_ms,
        "notice_ms": policy.notice_ms, "lanes": lanes, "prices": policy.prices.iter().map(price).collect::<Vec<_>>(),
        "host": policy.host.to_hex(), "base": policy.base.map(|base| base.to_hex()),
        "evaluators": policy.evaluators.iter().map(Hash::to_hex).collect::<Vec<_>>(),
        "gate_required": policy.gate_required,
    })
}

/// Reads a policy that would be this ledger's next. Who says nothing of a host is the host.
pub(super) fn read(path: &Path, book: &dyn Book, host: ContributorId) -> anyhow::Result<PolicyChanged> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let policies = book.registry().money().policies().len();
    let number = u32::try_from(policies + 1).context("there are too many policies")?;
    parse(&text, number, now_ms(), host).with_context(|| path.display().to_string())
}

/// Milliseconds since 1970.
pub(super) fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

fn parse(text: &str, number: u32, now_ms: u64, host: ContributorId) -> anyhow::Result<PolicyChanged> {
    let value: Value = serde_json::from_str(text)?;
    let policy = fields(
        &value,
        "a policy",
        &["lanes", "prices", "effective_in_s", "notice_s", "gate_required", "evaluators", "host", "base"],
    )?;
    let lanes = fields(policy.get("lanes").context("lanes: they are missing")?, "lanes", &LANE_WORDS)?;
    let mut split = PerLane([0; 7]);
    for lane in Lane::ALL {
        let points = number_of(lanes, lane_word(*lane), 0)?;
        *split.of_mut(*lane) = u32::try_from(points).with_context(|| format!("lanes: {}", lane_word(*lane)))?;
    }
    let sum: u64 = split.0.iter().map(|points| u64::from(*points)).sum();
    ensure!(sum == 10_000, "lanes: they sum to {sum} basis points; make it 10000");
    let prices = policy.get("prices").and_then(Value::as_array).context("prices: a list")?;
    let mut prices = prices.iter().map(price).collect::<anyhow::Result<Vec<_>>>()?;
    prices.sort_by_key(|price| price.base);
    let mut evaluators = match policy.get("evaluators") {
        None => Vec::new(),
        Some(list) => {
            let list = list.as_array().context("evaluators: a list of contributors")?;
            list.iter().map(|one| hash(one, "evaluators")).collect::<anyhow::Result<Vec<_>>>()?
        }
    };
    evaluators.sort_unstable();
    let seconds =
        |name: &str, absent: u64| number_of(policy, name, absent).map(|seconds| seconds.saturating_mul(1_000));
    let ahead_ms = seconds("effective_in_s", 60)?;
    ensure!(ahead_ms > 0, "effective_in_s: at least 1, since a policy is in force after its own entry and not before");
    let policy = PolicyChanged {
        number,
        effective_ms: now_ms.saturating_add(ahead_ms),
        notice_ms: seconds("notice_s", 0)?,
        lanes: split,
        prices,
        host: policy.get("host").map_or(Ok(host), |host| hash(host, "host"))?,
        base: policy.get("base").filter(|base| !base.is_null()).map(|base| hash(base, "base")).transpose()?,
        evaluators,
        gate_required: match policy.get("gate_required") {
            None => false,
            Some(flag) => flag.as_bool().context("gate_required: true or false")?,
        },
    };
    let body = Body::by(host, Act::PolicyChanged(policy.clone()));
    if !body.act.is_well_formed() {
        bail!(
            "prices: one without a base for all models that are not listed, and one for each that is; evaluators: each once"
        );
    }
    Ok(policy)
}

/// By the largest price every answer that an engine gives has a fee.
const _: () = {
    let tokens = PROMPT_TOKENS_MAX as u64 + ANSWER_TOKENS_MAX as u64;
    assert!(tokens.checked_mul(PRICE_NANO_MAX).is_some(), "the fee of the longest answer fits 64 bits");
};

const LANE_WORDS: [&str; 7] = ["host", "base", "adapter", "data", "upkeep", "bond", "reserve"];

fn price(value: &Value) -> anyhow::Result<Price> {
    let price = fields(value, "a price", &["base", "prefilled_nano", "reused_nano", "delivered_nano"])?;
    let base = price.get("base").filter(|base| !base.is_null()).map(|base| hash(base, "base")).transpose()?;
    let nano = |name: &str| {
        ensure!(price.contains_key(name), "prices: {name} is missing");
        let nano = number_of(price, name, 0)?;
        ensure!(
            nano <= PRICE_NANO_MAX,
            "prices: {name} is {nano}; a token costs at most {PRICE_NANO_MAX} nano-units, so that every answer's fee fits 64 bits"
        );
        Ok(nano)
    };
    let [prefilled_nano, reused_nano, delivered_nano] =
        [nano("prefilled_nano")?, nano("reused_nano")?, nano("delivered_nano")?];
    Ok(Price { base, prefilled_nano, reused_nano, delivered_nano })
}

/// An object that has no fields but these.
fn fields<'v>(value: &'v Value, what: &str, known: &[&str]) -> anyhow::Result<&'v Map<String, Value>> {
    let object = value.as_object().with_context(|| format!("{what}: a JSON object"))?;
    match object.keys().find(|key| !known.contains(&key.as_str())) {
        Some(unknown) => bail!("{what}: unknown field {unknown}; known are {}", known.join(", ")),
        None => Ok(object),
    }
}

fn number_of(object: &Map<String, Value>, name: &str, absent: u64) -> anyhow::Result<u64> {
    object.get(name).map_or(Ok(absent), |value| value.as_u64().with_context(|| format!("{name}: a whole number")))
}

fn hash(value: &Value, what: &str) -> anyhow::Result<Hash> {
    let hash = value.as_str().and_then(|text| Hash::from_hex(text).ok());
    hash.with_context(|| format!("{what}: 64 hexadecimal digits"))
}
