//! `loam epoch`: money is divided once, at the close, and everybody is told why they have what they have.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Subcommand;
use loam_ledger::Ledger;
use loam_ledger_core::Hash;
use loam_ledger_core::epoch::{LeafFile, Line, Settled};
use loam_ledger_core::fee::lane_word;
use loam_ledger_core::record::{Act, EpochClosed, Lane};
use serde_json::{Map, Value, json};

use super::{Signing, policy, say, units};
use crate::ledger::Place;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Divide what came in since the last close, and record it. The operator signs.
    Close {
        #[command(flatten)]
        signing: Signing,
        /// Say it as one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Tell a contributor what a closed epoch paid them, and write the proof that `loam-audit rewards` checks.
    Statement {
        #[command(flatten)]
        place: Place,
        /// Which epoch; the last one where it is absent.
        #[arg(long)]
        epoch: Option<u32>,
        /// Whose.
        #[arg(value_parser = parse_contributor)]
        contributor: Hash,
        /// The file to write: the lines, and the way from them to what the epoch was closed over.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Say it as one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// What a closed epoch would have come to by another policy. Nothing is recorded.
    Simulate {
        #[command(flatten)]
        place: Place,
        /// Which epoch; the last one where it is absent.
        #[arg(long)]
        epoch: Option<u32>,
        /// The policy, as `loam policy set` reads it.
        #[arg(long, value_name = "FILE")]
        policy: PathBuf,
        /// Say it as one JSON object.
        #[arg(long)]
        json: bool,
    },
}

/// Runs one command.
pub(crate) fn run(command: &Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Close { signing, json } => close(signing, *json),
        Command::Statement { place, epoch, contributor, out, json } => {
            statement(place, *epoch, contributor, out.as_ref(), *json)
        }
        Command::Simulate { place, epoch, policy, json } => simulate(place, *epoch, policy, *json),
    }?;
    Ok(ExitCode::SUCCESS)
}

fn close(signing: &Signing, json: bool) -> anyhow::Result<()> {
    let (ledger, keys, mut key) = signing.open()?;
    let (origin, epoch) =
        ledger.with_registry(|registry| (registry.origin().to_owned(), registry.money().next_epoch()))?;
    let opened = if epoch == 1 { Hash::ZERO } else { keys.epoch_seed(&origin, epoch) };
    let draft = ledger.draft_epoch(opened, &keys.epoch_seed(&origin, epoch.saturating_add(1)))?;
    let appended = say(&ledger, &mut key, Act::EpochClosed(draft.act.clone()))?;
    ledger.close()?;
    let findings = draft.settled.findings.count;
    if json {
        let mut told = told_json(&draft.act, &draft.settled);
        told.insert("record".to_owned(), appended.id.to_hex().into());
        told.insert("findings".to_owned(), findings.into());
        println!("{}", Value::Object(told));
        return Ok(());
    }
    tell(&draft.act, &draft.settled);
    println!("closed by record {}, entry {}", appended.id, appended.index);
    if findings > 0 {
        println!("{findings} rows have fees that no policy in force explains; they wait in the reserve:");
        draft.settled.findings.first.iter().take(10).for_each(|finding| println!("  {finding}"));
    }
    Ok(())
}

fn statement(
    place: &Place,
    epoch: Option<u32>,
    contributor: &Hash,
    out: Option<&PathBuf>,
    json: bool,
) -> anyhow::Result<()> {
    let ledger = Ledger::open_read_only(&place.home())?;
    let epoch = epoch.map_or_else(|| last(&ledger), Ok)?;
    let (close, _, statement) = ledger.statement(epoch, contributor)?;
    if let Some(out) = out {
        let file = LeafFile::payout(close, contributor, &statement.paid, statement.proof.clone());
        std::fs::write(out, file.encode()).with_context(|| out.display().to_string())?;
    }
    let line = |line: Line| json!({"reason": line.reason.word(), "subject": line.subject.to_hex(), "nano": line.amount_nano.to_string()});
    if json {
        let waiting: Vec<Value> = statement.waiting.iter().flat_map(|(_, waits)| waits.lines()).map(line).collect();
        println!(
            "{}",
            json!({
                "epoch": epoch, "contributor": contributor.to_hex(), "close": close.to_hex(),
                "paid_nano": statement.paid.sum_nano().to_string(),
                "lines": statement.paid.lines().map(line).collect::<Vec<_>>(), "waiting": waiting,
            })
        );
        return Ok(());
    }
    println!("epoch {epoch} paid {contributor} {}", units(statement.paid.sum_nano()));
    for line in statement.paid.lines() {
        println!("  {:>24}  {}", units(line.amount_nano), why(&line));
    }
    for (_, waits) in &statement.waiting {
        for line in waits.lines() {
            println!("  {:>24}  waits for evidence that concerns them: {}", units(line.amount_nano), why(&line));
        }
    }
    Ok(())
}

/// A line's reason, and what it is for where it is for something.
fn why(line: &Line) -> String {
    let subject = if line.subject == Hash::ZERO { String::new() } else { format!(", {}", line.subject) };
    format!("{}{subject}", line.reason.word())
}

fn simulate(place: &Place, epoch: Option<u32>, file: &Path, json: bool) -> anyhow::Result<()> {
    let ledger = Ledger::open_read_only(&place.home())?;
    let epoch = epoch.map_or_else(|| last(&ledger), Ok)?;
    let operator = ledger.with_registry(|registry| registry.people().operator())?;
    let operator = operator.context("no operator is registered, so no epoch was closed")?;
    let settled = ledger.simulate_epoch(epoch, &policy::read(file, &ledger, operator)?)?;
    let epochs = ledger.with_registry(|registry| registry.money().epochs().to_vec())?;
    let (_, act) = epochs.into_iter().find(|(_, act)| act.epoch == epoch).context("the epoch was found before")?;
    if json {
        println!("{}", Value::Object(told_json(&act, &settled)));
    } else {
        println!("by the policy of {}, and nothing of it recorded:", file.display());
        tell(&act, &settled);
    }
    Ok(())
}

fn last(ledger: &Ledger) -> anyhow::Result<u32> {
    match ledger.with_registry(|registry| registry.money().next_epoch())? {
        1 => bail!("no epoch is closed yet: `loam epoch close` closes one"),
        next => Ok(next - 1),
    }
}

fn tell(act: &EpochClosed, settled: &Settled) {
    let totals = &settled.totals;
    let count = settled.usage.count;
    let answers = if count == 1 { "answer" } else { "answers" };
    println!("epoch {}: {count} {answers}, fees {}", act.epoch, units(totals.fees));
    for lane in Lane::ALL {
        println!("  {:>24}  {}", units(settled.lanes.of(*lane)), lane_word(*lane));
    }
    for (nano, what) in [
        (totals.opening, "waited at the last close"),
        (totals.erased, "came of answers that were erased"),
        (totals.paid, "paid"),
        (totals.awaiting_generations, "awaits evidence about adapters"),
        (totals.awaiting_revisions, "awaits evidence about datasets"),
        (totals.lanes, "waits in lanes that nobody is paid from yet"),
        (totals.subsidies_waiting, "subsidies that wait"),
    ] {
        if nano > 0 {
            println!("  {:>24}  {what}", units(nano));
        }
    }
}

fn told_json(act: &EpochClosed, settled: &Settled) -> Map<String, Value> {
    let totals = &settled.totals;
    let lanes: Map<String, Value> = Lane::ALL
        .iter()
        .map(|lane| (lane_word(*lane).to_owned(), settled.lanes.of(*lane).to_string().into()))
        .collect();
    let told = json!({
        "epoch": act.epoch, "answers": settled.usage.count, "fees_nano": totals.fees.to_string(), "lanes": lanes,
        "opening_nano": totals.opening.to_string(), "erased_nano": totals.erased.to_string(),
        "paid_nano": totals.paid.to_string(), "awaiting_generations_nano": totals.awaiting_generations.to_string(),
        "awaiting_revisions_nano": totals.awaiting_revisions.to_string(), "lanes_waiting_nano": totals.lanes.to_string(),
        "subsidies_waiting_nano": totals.subsidies_waiting.to_string(),
    });
    match told {
        Value::Object(told) => told,
        _ => unreachable!("it was made as an object"),
    }
}

fn parse_contributor(text: &str) -> Result<Hash, String> {
    Hash::from_hex(text)
        .map_err(|_| "a contributor is named by 64 hexadecimal digits: `loam id show` tells them".to_owned())
}
