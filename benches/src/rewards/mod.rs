//! Rewards: a ledger of many answers by prices in force, its epoch drafted, closed and exported, and settled again by
//! `loam-audit` with no part of the ledger. Beside each time stands what reading the export once takes.

mod answers;
mod people;
mod taken;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use loam_ledger::{BootInfo, Folder, Ledger, Options, RowScope};
use loam_ledger_core::Hash;
use loam_ledger_core::hash::digest;
use loam_ledger_core::origin::LogId;
use loam_ledger_core::record::Act;
use loam_ledger_core::registry::commitment;
use loam_ledger_core::sum_tree::Kind;
use serde_json::Value;

use crate::results::Figure;
use people::People;
use taken::Taken;

/// What `loam-bench rewards` takes.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Where the ledger and its export lie while they are measured: about a kilobyte and a half for each row.
    #[arg(long, value_name = "DIR", default_value = ".")]
    at: PathBuf,
    /// Completion rows to settle.
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    rows: u64,
}

/// The run: where it lies, how large it is, and what it found so far.
struct Bench {
    top: tempfile::TempDir,
    audit: PathBuf,
    rows: u64,
    figures: Vec<Figure>,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<Vec<Figure>> {
    let audit = running::folder_of(&["loam-audit"])?.join("loam-audit");
    let top = tempfile::Builder::new().prefix("loam-bench-").tempdir_in(&arguments.at)?;
    let mut bench = Bench { top, audit, rows: arguments.rows, figures: Vec::new() };
    bench.busy("before")?;
    let home = Folder::new(&bench.top.path().join("ledger"), None);
    let ledger = Ledger::create(&home, "bench.example/rewards", Options::default())?;
    let mut people = People::of(&ledger)?;
    let receipt = bench.append(&ledger, &people)?;
    let close = bench.close(&ledger, &mut people)?;
    bench.statement(&ledger, &people, close)?;
    let out = bench.export(&ledger)?;
    let key = ledger.verifier(LogId::Records)?.to_string();
    drop(people);
    ledger.close()?;
    let roof = bench.read_once(&out)?;
    bench.settled_again(&out, &key, roof)?;
    bench.traced(&receipt, &out, &key, roof)?;
    bench.busy("after")?;
    Ok(bench.figures)
}

impl Bench {
    fn add(&mut self, figure: &str, value: f64, unit: &'static str, roof: Option<f64>, note: impl Into<String>) {
        self.figures.push(Figure::new(figure, value, unit, roof, note));
    }

    /// A time, and what it comes to for a row.
    fn took(&mut self, figure: &str, taken: &Taken, roof: Option<f64>, note: &str) {
        let seconds = taken.time.as_secs_f64();
        let rate = per_second(self.rows, taken.time);
        let (rows, processors) = (self.rows, taken.processor_seconds);
        let note = format!("{note}; {rows} completion rows, {rate:.0} a second; processors' time {processors:.1} s");
        self.add(figure, seconds, "s", roof, note);
    }

    fn more_memory(&mut self, figure: &str, taken: &Taken) {
        let note = format!("the most that was resident, over the {:.0} MiB before", taken.mib_before);
        self.add(figure, taken.mib, "MiB", None, note);
    }

    /// What else runs on the machine, in the kernel's own measure.
    fn busy(&mut self, when: &str) -> anyhow::Result<()> {
        let load = fs::read_to_string("/proc/loadavg")?;
        let load = load.split(' ').next().context("a load")?.parse()?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let note = format!("threads that wanted to run, over the last minute; {cores} cores");
        self.add(&format!("load average {when}"), load, "threads", None, note);
        Ok(())
    }

    /// Answers under the prices in force, and the receipt of one.
    fn append(&mut self, ledger: &Ledger, people: &People<'_>) -> anyhow::Result<PathBuf> {
        std::thread::sleep(Duration::from_millis(people::NOTICE_MS + 100));
        let info = BootInfo {
            engine: ledger.engine_id(),
            base: people::base(),
            build: digest(b"build"),
            config: digest(b"config"),
        };
        let writer = ledger.boot(info)?;
        let (rows, adapters) = (self.rows, &people.adapters);
        let (last, taken) = taken::here(|| answers::append(ledger, &writer, adapters, rows))?;
        let note = format!(
            "durable and integrated; {rows}, each with a usage row, {} of both an entry; processors' time {:.1} s",
            2 * answers::PER_ENTRY,
            taken.processor_seconds
        );
        self.add("rewards: completion rows appended", per_second(rows, taken.time), "rows/s", None, note);
        writer.stop()?;
        ledger.publish()?;
        let path = self.top.path().join("receipt");
        fs::write(&path, ledger.receipt(&last, 0)?.to_bytes())?;
        Ok(path)
    }

    fn close(&mut self, ledger: &Ledger, people: &mut People<'_>) -> anyhow::Result<u128> {
        let (draft, taken) = taken::here(|| Ok(ledger.draft_epoch(Hash::ZERO, commitment(&digest(b"next seed")))?))?;
        let (act, found) = (draft.act.clone(), draft.settled.findings.count);
        ensure!(act.usage.count == self.rows, "{} of {} rows were settled", act.usage.count, self.rows);
        ensure!(found == 0, "{found} rows have a fee that no policy explains");
        ensure!(act.totals.paid > 0 && act.totals.paid < act.totals.fees, "nobody was paid: {:?}", act.totals);
        self.took("rewards: epoch drafted", &taken, None, "aim 60 s for 10,000,000; rows opened, checked, divided");
        self.more_memory("rewards: draft, memory", &taken);
        let paid = act.totals.paid;
        drop(draft);
        let (_, taken) = taken::here(|| people.operator_says(Act::EpochClosed(act)))?;
        self.add("rewards: epoch closed", taken.time.as_secs_f64(), "s", None, "signed, recorded, statements kept");
        Ok(paid)
    }

    fn statement(&mut self, ledger: &Ledger, people: &People<'_>, paid: u128) -> anyhow::Result<()> {
        let payee = people.payee();
        let began = Instant::now();
        let (_, act, statement) = ledger.statement(1, &payee)?;
        let time = began.elapsed();
        let proof = statement.proof.context("a payee has a proof")?;
        proof.check_member(Kind::Payouts, &act.payouts).map_err(|why| anyhow::anyhow!("{why}"))?;
        let sum = statement.paid.sum_nano();
        ensure!(sum == proof.amount && (1..=paid).contains(&sum), "{sum} of {paid} were paid");
        let note = "of one payee, with its proof, which holds";
        self.add("rewards: statement", time.as_secs_f64() * 1e3, "ms", None, note);
        Ok(())
    }

    fn export(&mut self, ledger: &Ledger) -> anyhow::Result<PathBuf> {
        let out = self.top.path().join("exported");
        let (_, taken) = taken::here(|| Ok(ledger.export_all(&RowScope::Settlement, &out)?))?;
        self.took("rewards: exported for settlement", &taken, None, "all logs, rows opened");
        self.more_memory("rewards: export, memory", &taken);
        Ok(out)
    }

    /// What one core needs to read all that an auditor reads, and to hash it once.
    fn read_once(&mut self, out: &Path) -> anyhow::Result<f64> {
        let began = Instant::now();
        let bytes = hash_files(out)?;
        let seconds = began.elapsed().as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a size")]
        let mib = bytes as f64 / f64::from(1 << 20);
        self.add("rewards: size of the export", mib, "MiB", None, "all logs, rows opened");
        self.add("rewards: export read and hashed once", seconds, "s", None, "SHA-256, one core: the roof below");
        Ok(seconds)
    }

    fn settled_again(&mut self, out: &Path, key: &str, roof: f64) -> anyhow::Result<()> {
        let mut command = Command::new(&self.audit);
        command.arg("rewards").arg(out).args(["--vkey", key, "--json"]);
        let (found, taken) = asked(&mut command)?;
        let epoch = &found["epochs"][0];
        let whole = epoch["settled_again"] == true && epoch["rows"] == self.rows;
        ensure!(whole, "loam-audit settled something else: {epoch}");
        self.took("rewards: loam-audit rewards", &taken, Some(roof), "aim 60 s for 10,000,000; all logs audited, too");
        self.add("rewards: loam-audit rewards, memory", taken.mib, "MiB", None, "the most that was resident");
        Ok(())
    }

    fn traced(&mut self, receipt: &Path, out: &Path, key: &str, roof: f64) -> anyhow::Result<()> {
        let mut command = Command::new(&self.audit);
        command.arg("trace").arg(receipt).arg(out).args(["--vkey", key, "--json"]);
        let (found, taken) = asked(&mut command)?;
        let payees = found["payees"].as_array().map_or(0, Vec::len);
        ensure!(found["epoch"]["proof"] == "rows" && payees > 0, "loam-audit traced nobody: {found}");
        let note = format!("one answer to {payees} payees, all logs audited and settled on the way");
        self.took("rewards: loam-audit trace", &taken, Some(roof), &note);
        self.add("rewards: loam-audit trace, memory", taken.mib, "MiB", None, "the most that was resident");
        Ok(())
    }
}

/// What the auditor says, if it finds that all holds.
fn asked(command: &mut Command) -> anyhow::Result<(Value, Taken)> {
    let (status, text, taken) = taken::child(command)?;
    ensure!(status.success(), "loam-audit ended with {status}: {text}");
    Ok((serde_json::from_str(&text).context("what loam-audit says")?, taken))
}

fn hash_files(folder: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for each in fs::read_dir(folder)? {
        let each = each?;
        if each.file_type()?.is_dir() {
            bytes += hash_files(&each.path())?;
        } else {
            let file = fs::read(each.path())?;
            std::hint::black_box(digest(&file));
            bytes += file.len() as u64;
        }
    }
    Ok(bytes)
}

fn per_second(count: u64, time: Duration) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let count = count as f64;
    count / time.as_secs_f64()
}
