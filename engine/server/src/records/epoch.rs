//! `loam epoch`: money is divided once, at the close, and everybody is told why they have what they have.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, anyhow, bail, ensure};
use clap::Subcommand;
use loam_ledger_core::Hash;
use loam_ledger_core::checkpoint::Checkpoint;
use loam_ledger_core::epoch::{Line, RowPlace, Statement};
use loam_ledger_core::fee::lane_word;
use loam_ledger_core::note::Note;
use loam_ledger_core::origin::{LogId, LogName};
use loam_ledger_core::receipt::Receipt;
use loam_ledger_core::record::{Act, Covered, EpochClosed, Lane};
use loam_ledger_core::registry::commitment;
use serde_json::{Map, Value, json};

use super::book::{BookArguments, Drafted, last_epoch};
use super::key_file::KeyFile;
use super::{Signing, parse_contributor, policy, units, write};

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
        book: BookArguments,
        /// Which epoch; the last one where it is absent.
        #[arg(long)]
        epoch: Option<u32>,
        /// Whose.
        #[arg(value_parser = parse_contributor)]
        contributor: Hash,
        /// Their key: a server tells a statement to whom it is of, or to who may audit everybody.
        #[arg(long, value_name = "FILE", env = "LOAM_ID")]
        id: Option<PathBuf>,
        /// The file to write: the lines, and the way from them to what the epoch was closed over.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Say it as one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Prove to whoever holds an answer's receipt that an epoch was closed over it, for `loam-audit trace --usage`.
    Usage {
        #[command(flatten)]
        book: BookArguments,
        /// The receipt.
        receipt: PathBuf,
        /// The file to write.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// Say it as one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Settle every closed epoch again, from rows and records, and compare: what `loam-audit rewards --allow-erased` does,
    /// in one go. Where more than one row in a hundred is erased, it says so, and that alone is no fault.
    Verify {
        #[command(flatten)]
        book: BookArguments,
        /// A folder to keep the files in that it was checked by, which must be new or empty; else they go to a temporary
        /// one.
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
        /// Say it as one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// What a closed epoch would have come to by another policy. Nothing is recorded.
    Simulate {
        #[command(flatten)]
        book: BookArguments,
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
        Command::Statement { book, epoch, contributor, id, out, json } => {
            statement(book, *epoch, contributor, id.as_deref(), out.as_deref(), *json)
        }
        Command::Usage { book, receipt, out, json } => usage(book, receipt, out, *json),
        Command::Verify { book, out, json } => return verify(book, out.as_deref(), *json),
        Command::Simulate { book, epoch, policy, json } => simulate(book, *epoch, policy, *json),
    }?;
    Ok(ExitCode::SUCCESS)
}

fn close(signing: &Signing, json: bool) -> anyhow::Result<()> {
    let mut pen = signing.open()?;
    let registry = pen.book.registry();
    let (origin, epoch) = (registry.origin(), registry.money().next_epoch());
    let opened = if epoch == 1 { Hash::ZERO } else { pen.file.epoch_seed(origin, epoch) };
    let next_seed = commitment(&pen.file.epoch_seed(origin, epoch.saturating_add(1)));
    let draft = pen.book.draft_epoch(opened, next_seed)?;
    // What is signed is this epoch's close and no other's; its sums are everybody's to check, as `loam epoch verify` does.
    let act = &draft.act;
    let same = (act.epoch, act.seed, act.next_seed) == (epoch, opened, next_seed);
    ensure!(same, "the draft is of epoch {}, and epoch {epoch} was to be closed: run it again", act.epoch);
    let taken = pen.say(Act::EpochClosed(draft.act.clone()));
    let taken = taken.map_err(|why| {
        anyhow!("{why:#}: epoch {epoch} is not closed by this; where somebody else closed it meanwhile, run it again")
    });
    let at = taken?.at;
    pen.book.close()?;
    if json {
        let mut told = told_json(&draft.act);
        told.insert("record".to_owned(), at.id.to_hex().into());
        told.insert("findings".to_owned(), draft.findings.into());
        println!("{}", Value::Object(told));
        return Ok(());
    }
    tell(&draft.act);
    println!("closed by record {}, entry {}", at.id, at.index);
    tell_findings(&draft);
    Ok(())
}

fn tell_findings(draft: &Drafted) {
    if draft.findings > 0 {
        let rows = if draft.findings == 1 { "row has a fee" } else { "rows have fees" };
        println!("{} {rows} that the policy in force at the first step does not make of the tokens:", draft.findings);
        draft.first.iter().for_each(|finding| println!("  {finding}"));
    }
}

fn statement(
    book: &BookArguments,
    epoch: Option<u32>,
    contributor: &Hash,
    id: Option<&Path>,
    out: Option<&Path>,
    json: bool,
) -> anyhow::Result<()> {
    let book = book.read()?;
    let epoch = epoch.map_or_else(|| last_epoch(&*book), Ok)?;
    let file = id.map(KeyFile::read).transpose()?;
    let key = file.map(|file| file.standing(&*book)).transpose()?;
    let told = book.statement(epoch, contributor, key.as_ref())?;
    let proof = told.file.check(&told.close, &told.act).context("the statement that the ledger gave is not proven")?;
    let paid_nano = proof.map_or(0, |proof| proof.amount);
    let lines: Vec<Line> = told.file.statement.iter().flat_map(Statement::lines).collect();
    let waiting: Vec<Line> = told.waiting.iter().flat_map(Statement::lines).collect();
    if let Some(out) = out {
        write(out, told.file.encode())?;
    }
    if json {
        let line = |line: &Line| json!({"reason": line.reason.word(), "subject": line.subject.to_hex(), "nano": line.amount_nano.to_string()});
        let [lines, waiting] = [lines, waiting].map(|lines| lines.iter().map(line).collect::<Vec<_>>());
        println!(
            "{}",
            json!({
                "epoch": epoch, "contributor": contributor.to_hex(), "close": told.close.to_hex(),
                "paid_nano": paid_nano.to_string(), "lines": lines, "waiting": waiting,
            })
        );
        return Ok(());
    }
    println!("epoch {epoch} paid {contributor} {}", units(paid_nano));
    for line in lines {
        println!("  {:>24}  {}", units(line.amount_nano), why(&line));
    }
    for line in waiting {
        println!("  {:>24}  waits for evidence that concerns them: {}", units(line.amount_nano), why(&line));
    }
    Ok(())
}

/// A line's reason, and what it is for where it is for something.
fn why(line: &Line) -> String {
    let subject = if line.subject == Hash::ZERO { String::new() } else { format!(", {}", line.subject) };
    format!("{}{subject}", line.reason.word())
}

fn usage(book: &BookArguments, receipt: &Path, out: &Path, json: bool) -> anyhow::Result<()> {
    let place = place_of(receipt).with_context(|| format!("{} is no receipt of an answer", receipt.display()))?;
    let book = book.read()?;
    let file = book.usage_proof(&place)?;
    let closed = book.registry().money().epochs().iter().find(|(id, _)| *id == file.close);
    let (close, act) = closed.context("the proof leads to an epoch that is not closed")?;
    let proof = file.check(close, act).context("the proof that the ledger gave does not hold")?;
    let within = |part: &Covered| part.shard == place.shard && (part.from..part.to).contains(&place.index);
    ensure!(act.covered.iter().any(within), "the proof is of epoch {}, which does not cover the answer", act.epoch);
    write(out, file.encode())?;
    let Some(proof) = proof else {
        bail!("epoch {} was closed without this answer: {} proves it", act.epoch, out.display())
    };
    if json {
        let fee = proof.amount.to_string();
        println!("{}", json!({"epoch": act.epoch, "close": close.to_hex(), "fee_nano": fee, "row": place.to_string()}));
    } else {
        println!("epoch {} was closed over {place}, fee {}", act.epoch, units(proof.amount));
    }
    Ok(())
}

/// Where a receipt says that its answer lies. Whether that is so, the proof tells.
fn place_of(receipt: &Path) -> anyhow::Result<RowPlace> {
    let bytes = std::fs::read(receipt).with_context(|| receipt.display().to_string())?;
    let Receipt { proof, opening } = Receipt::parse(&bytes)?;
    let origin = Checkpoint::parse(Note::parse(&proof.checkpoint)?.text())?.origin;
    match LogName::parse(&origin)?.log {
        LogId::Usage(shard) => Ok(RowPlace { shard, index: proof.index, row: opening.row_index }),
        LogId::Records => bail!("it is of the records log"),
    }
}

fn verify(book: &BookArguments, out: Option<&Path>, json: bool) -> anyhow::Result<ExitCode> {
    let temporary = tempfile::tempdir()?;
    let folder = out.map_or_else(|| temporary.path().join("export"), Path::to_owned);
    // What could not be had says nothing about the ledger, and has the status of that.
    Ok(match exported(book, &folder) {
        Ok(key) => loam_audit::rewards(&folder, &key, json),
        Err(error) => loam_audit::cannot_check_rewards(error, json),
    })
}

fn exported(book: &BookArguments, folder: &Path) -> anyhow::Result<String> {
    let book = book.read()?;
    let key = book.export(folder)?;
    book.close()?;
    Ok(key)
}

fn simulate(book: &BookArguments, epoch: Option<u32>, file: &Path, json: bool) -> anyhow::Result<()> {
    let book = book.read()?;
    let epoch = epoch.map_or_else(|| last_epoch(&*book), Ok)?;
    let operator = book.registry().people().operator().context("no operator is registered, so no epoch was closed")?;
    let draft = book.simulate_epoch(epoch, &policy::read(file, &*book, operator)?)?;
    if json {
        println!("{}", Value::Object(told_json(&draft.act)));
    } else {
        println!("by the policy of {}, and nothing of it recorded:", file.display());
        tell(&draft.act);
    }
    Ok(())
}

fn tell(act: &EpochClosed) {
    let (totals, count) = (&act.totals, act.usage.count);
    let answers = if count == 1 { "answer" } else { "answers" };
    println!("epoch {}: {count} {answers}, fees {}", act.epoch, units(totals.fees));
    for lane in Lane::ALL {
        println!("  {:>24}  {}", units(act.lanes.of(*lane)), lane_word(*lane));
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

fn told_json(act: &EpochClosed) -> Map<String, Value> {
    let totals = &act.totals;
    let lanes: Map<String, Value> =
        Lane::ALL.iter().map(|lane| (lane_word(*lane).to_owned(), act.lanes.of(*lane).to_string().into())).collect();
    let told = json!({
        "epoch": act.epoch, "answers": act.usage.count, "fees_nano": totals.fees.to_string(), "lanes": lanes,
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
