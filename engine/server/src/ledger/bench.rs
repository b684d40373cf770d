//! `loam ledger bench`: appends synthetic entries as fast as this disk and these processors take them.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use clap::Args;
use loam_ledger::{BootInfo, Ledger, Level, Observe, Options, StepRecord, Writer};
use loam_ledger_core::Hash;
use loam_ledger_core::entry::ROWS_MAX;
use loam_ledger_core::hash::digest;
use loam_ledger_core::row::Tokens;

use super::Place;
use super::completions::{self, GivenCompletion};
use super::requests::Synthetic;

/// Steps that a synthetic request runs, the one that completes it included.
const STEPS_PER_REQUEST: u64 = 8;

/// Given completions that go into one entry, each with its usage row beside it.
const GIVEN_PER_ENTRY: usize = 512;

/// What `loam ledger bench` takes.
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: Place,
    /// Entries to append, the boot entry included.
    #[arg(long, value_name = "N")]
    entries: u64,
    /// Rows of each entry.
    #[arg(long, value_name = "R", value_parser = clap::value_parser!(u32).range(..=i64::from(ROWS_MAX)))]
    rows: u32,
    /// Threads that append.
    #[arg(long, value_name = "W", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=256))]
    writers: u16,
    /// Where to write `index leafhash-hex` of what is acknowledged.
    #[arg(long, value_name = "FILE")]
    acks: Option<PathBuf>,
    /// Completion rows to append as well, one JSON object a line: {"generations": [64 hex digits, ...], "weights":
    /// [whole millionths, ...], "fee": nano-units, "tenant": "name", "tokens": delivered, 1 where absent}.
    #[arg(long, value_name = "FILE")]
    completions: Option<PathBuf>,
    /// The ledger's name, where DIR does not hold one yet and it is made.
    #[arg(long, value_name = "NAME")]
    origin: Option<String>,
}

/// What the writers share.
struct Work<'a> {
    ledger: &'a Ledger,
    writer: &'a Writer,
    rows: u32,
    /// Batch entries that nobody has begun.
    left: AtomicU64,
    rows_written: AtomicU64,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let given = arguments.completions.as_deref().map(completions::read).transpose()?.unwrap_or_default();
    ensure!(given.is_empty() || arguments.entries >= 2, "--completions needs two entries: a boot's and one for rows");
    let options =
        Options { observe: arguments.acks.as_ref().map(ack_writer).transpose()?, ..arguments.place.options() };
    let home = arguments.place.home();
    let ledger = if home.holds_ledger() {
        let ledger = Ledger::open(&home, options)?;
        if let Some(why) = ledger.read_only() {
            anyhow::bail!("{} is open for reading only: {why}", arguments.place.data.display());
        }
        ledger
    } else {
        arguments.place.create(arguments.origin.as_deref(), options)?
    };
    let began = Instant::now();
    let mut rows = 0;
    if arguments.entries > 0 {
        let info = BootInfo {
            engine: ledger.engine_id(),
            base: digest(b"a synthetic base model"),
            build: digest(env!("CARGO_PKG_VERSION").as_bytes()),
            config: digest(b"loam ledger bench"),
        };
        let writer = ledger.boot(info)?;
        let left = AtomicU64::new(arguments.entries - 1);
        let work = Work { ledger: &ledger, writer: &writer, rows: arguments.rows, left, rows_written: 0.into() };
        let request = work.run(arguments.writers, &given)?;
        rows = work.rows_written.load(Ordering::Relaxed);
        writer.stop()?;
        if let Some(request) = request {
            println!("request {request}");
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    let name = ledger.name().to_owned();
    ledger.close()?;
    let rate = |count: f64| if seconds > 0.0 { count / seconds } else { 0.0 };
    #[expect(clippy::cast_precision_loss, reason = "a rate for people to read")]
    let (entries_rate, rows_rate) = (rate(arguments.entries as f64), rate(rows as f64));
    println!(
        "{name}: {} entries and {rows} rows durable in {seconds:.3} s: {entries_rate:.0} entries/s, {rows_rate:.0} rows/s",
        arguments.entries
    );
    Ok(())
}

impl Work<'_> {
    /// Appends everything, and names one request that is complete.
    fn run(&self, writers: u16, given: &[GivenCompletion]) -> anyhow::Result<Option<Hash>> {
        let of_given = self.append_given(given)?;
        let of_lanes = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..writers).map(|number| scope.spawn(move || self.append_lanes(u64::from(number)))).collect();
            let mut request = None;
            for thread in threads {
                request = thread.join().expect("a writer does not panic")?.or(request);
            }
            Ok::<_, loam_ledger::Error>(request)
        })?;
        Ok(of_given.or(of_lanes))
    }

    /// Takes the right to append one batch entry.
    fn take(&self) -> bool {
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }

    /// The given completions first, many to an entry.
    fn append_given(&self, given: &[GivenCompletion]) -> anyhow::Result<Option<Hash>> {
        let (mut rest, mut request) = (given, None);
        while !rest.is_empty() {
            ensure!(self.take(), "--completions: {} are left over; append more entries", rest.len());
            let (now, later) = rest.split_at(rest.len().min(GIVEN_PER_ENTRY));
            let ticket = self.writer.ticket()?;
            let mut step = StepRecord::default();
            for each in now {
                let mut synthetic = Synthetic::given(self.ledger, each)?;
                let tokens = Tokens { emitted: each.tokens, ..Tokens::default() };
                step.emitted_tokens += each.tokens;
                step.rows.push(synthetic.usage(ticket.sequence(), tokens));
                request = Some(synthetic.name());
                step.rows.push(synthetic.completion(self.writer.boot_id(), ticket.sequence()));
            }
            self.rows_written.fetch_add(step.rows.len() as u64, Ordering::Relaxed);
            ticket.append(step, Level::Durable, None)?;
            rest = later;
        }
        Ok(request)
    }

    /// Runs as many requests side by side as an entry has rows, each with one row in each entry of this thread's.
    fn append_lanes(&self, thread: u64) -> Result<Option<Hash>, loam_ledger::Error> {
        let lanes = usize::try_from(self.rows).expect("at most 65,535 rows");
        let mut running: Vec<Option<Synthetic>> = (0..lanes).map(|_| None).collect();
        let mut completed = None;
        let mut mine = self.take();
        for number in 0.. {
            if !mine {
                break;
            }
            // Known beforehand, so that the last entry of this thread can complete whatever runs.
            let another = self.take();
            let ticket = self.writer.ticket()?;
            let sequence = ticket.sequence();
            let mut step = StepRecord::default();
            for (lane, slot) in (0u64..).zip(&mut running) {
                let mut synthetic = match slot.take() {
                    Some(synthetic) => synthetic,
                    None => Synthetic::begin(self.ledger, thread + lane)?,
                };
                if !another || (number + lane) % STEPS_PER_REQUEST == STEPS_PER_REQUEST - 1 {
                    completed = Some(synthetic.name());
                    step.rows.push(synthetic.completion(self.writer.boot_id(), sequence));
                } else {
                    let tokens = Tokens { prefilled: 16, emitted: 64, ..Tokens::default() };
                    step.prefilled_tokens += tokens.prefilled;
                    step.emitted_tokens += tokens.emitted;
                    step.rows.push(synthetic.usage(sequence, tokens));
                    *slot = Some(synthetic);
                }
            }
            self.rows_written.fetch_add(step.rows.len() as u64, Ordering::Relaxed);
            ticket.append(step, Level::Durable, None)?;
            mine = another;
        }
        Ok(completed)
    }
}

/// Writes each group's acknowledgements in one system call, so that a kill leaves at most one torn line. One that an
/// earlier kill left is cut off first.
fn ack_writer(path: &PathBuf) -> anyhow::Result<Observe> {
    let cut_torn_line = || -> std::io::Result<File> {
        let file = OpenOptions::new().create(true).read(true).append(true).open(path)?;
        let length = file.metadata()?.len();
        let tail = length.min(4096);
        let mut last = vec![0; usize::try_from(tail).expect("at most 4096")];
        file.read_exact_at(&mut last, length - tail)?;
        let torn = last.iter().rev().take_while(|byte| **byte != b'\n').count();
        file.set_len(length - torn as u64)?;
        Ok(file)
    };
    let mut file = cut_torn_line().with_context(|| path.display().to_string())?;
    Ok(Box::new(move |group| {
        use std::fmt::Write as _;
        let mut lines = String::with_capacity(group.len() * 80);
        for committed in group {
            // Writing to a string does not fail.
            let _ = writeln!(lines, "{} {}", committed.index, committed.leaf);
        }
        if let Err(error) = file.write_all(lines.as_bytes()) {
            eprintln!("loam: cannot write acknowledgements: {error}");
            std::process::exit(1);
        }
    }))
}
