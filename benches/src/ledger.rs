//! The ledger's figures.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use loam_ledger::{BootInfo, ExportFolder, Folder, Ledger, Level, Options, Request, RowScope, StepRecord, Writer};
use loam_ledger_core::Hash;
use loam_ledger_core::audit::{Options as AuditOptions, audit_log};
use loam_ledger_core::commitment::What;
use loam_ledger_core::hash::{digest, leaf_hash, node_hash};
use loam_ledger_core::origin::LogId;
use loam_ledger_core::row::{Completion, Finish, Pair, Row, Step, Tokens, Usage};

use crate::results::Figure;
use crate::samples::Samples;

/// What `loam-bench ledger` takes.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Where the ledgers lie while they are measured; their disk is what is measured.
    #[arg(long, value_name = "DIR", default_value = ".")]
    at: PathBuf,
    /// The share of the full size to run, for a quick look.
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
}

const SHARD: LogId = LogId::Usage(1);

/// Bytes of a batch entry, for the roof that hashing sets.
const ENTRY_BYTES: usize = 230;

/// The run: where it lies, how large it is, and what it found so far.
struct Bench {
    top: tempfile::TempDir,
    scale: f64,
    sync_p50: f64,
    figures: Vec<Figure>,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<Vec<Figure>> {
    let top = tempfile::Builder::new().prefix("loam-bench-").tempdir_in(&arguments.at)?;
    let mut bench = Bench { top, scale: arguments.scale, sync_p50: 0.0, figures: Vec::new() };
    bench.disk()?;
    bench.entries()?;
    bench.rows()?;
    for rate in [60, 600, 20_000] {
        bench.acknowledgements(rate)?;
    }
    bench.receipts()?;
    bench.bytes_per_token()?;
    Ok(bench.figures)
}

impl Bench {
    fn add(&mut self, figure: &str, value: f64, unit: &'static str, roof: Option<f64>, note: impl Into<String>) {
        self.figures.push(Figure::new(figure, value, unit, roof, note));
    }

    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
    fn scaled(&self, count: u64) -> u64 {
        ((count as f64 * self.scale) as u64).max(10)
    }

    fn ledger(&self, name: &str) -> anyhow::Result<(Ledger, Folder)> {
        let home = Folder::new(&self.top.path().join(name), None);
        Ok((Ledger::create(&home, "bench.example/ledger", Options::default())?, home))
    }

    /// The disk's own time to sync, which is the measure of every acknowledgement. A log appends, so that a sync must
    /// also make the file's new length last; the floor is written in place.
    fn disk(&mut self) -> anyhow::Result<()> {
        let file = File::create(self.top.path().join("sync"))?;
        let write = |at: u64| file.write_all_at(&[7; 512], at).and_then(|()| file.sync_data());
        let appending = Samples::of(1000, |number| write(512 * u64::from(number)))?;
        let in_place = Samples::of(1000, |number| write(512 * u64::from(number)))?;
        self.sync_p50 = appending.p50();
        let note = "fdatasync of 512 bytes appended: the unit `syncs` below is its p50";
        self.add("disk sync, appending, p50", appending.p50(), "ms", None, note);
        self.add("disk sync, appending, p99", appending.p99(), "ms", None, note);
        self.add("disk sync, in place, p50", in_place.p50(), "ms", None, "fdatasync of 512 bytes overwritten");
        self.add("disk sync, in place, p99", in_place.p99(), "ms", None, "fdatasync of 512 bytes overwritten");
        Ok(())
    }

    /// As many entries as it takes, from two threads, without rows; then what can be asked of such a log.
    fn entries(&mut self) -> anyhow::Result<()> {
        let (ledger, home) = self.ledger("entries")?;
        let count = self.scaled(2_000_000);
        let writer = ledger.boot(boot_info())?;
        let began = Instant::now();
        std::thread::scope(|scope| {
            let append = || {
                (0..count / 2).try_for_each(|_| writer.append(StepRecord::default(), Level::Durable, None).map(drop))
            };
            let threads = [scope.spawn(append), scope.spawn(append)];
            threads.into_iter().try_for_each(|thread| thread.join().expect("no panic"))
        })?;
        let last = append_and_wait(&writer, StepRecord::default())?;
        let rate = per_second(last.0, began.elapsed());
        let roof = hashing_roof();
        self.add(
            "entries, no rows, durable and integrated",
            rate,
            "entries/s",
            Some(roof),
            "aim 400,000; roof: leaf and node hashes on one core",
        );
        writer.stop()?;
        ledger.publish()?;
        self.proofs(&ledger, last.0)?;
        let out = self.top.path().join("exported");
        ledger.export(SHARD, &RowScope::Public, &out)?;
        let key = ledger.verifier(SHARD)?;
        ledger.close()?;
        let began = Instant::now();
        let report = audit_log(&ExportFolder::new(&out), &key, AuditOptions::default(), &mut |_, _| ());
        let report = report.map_err(|why| anyhow::anyhow!("{why}"))?;
        let rate = per_second(report.size, began.elapsed());
        self.add(
            "audit of an export, one core",
            rate,
            "entries/s",
            Some(roof),
            "aim 500,000; signatures, tiles, chains, manifest",
        );
        let began = Instant::now();
        drop(Ledger::open(&home, Options::default())?);
        let note = format!("{} entries, after a clean stop", report.size);
        self.add("opening", began.elapsed().as_secs_f64(), "s", None, note);
        fs::remove_dir_all(out)?;
        Ok(())
    }

    fn proofs(&mut self, ledger: &Ledger, size: u64) -> anyhow::Result<()> {
        // Steps of a large prime reach every part of the log.
        let index = |number: u32| u64::from(number) * 1_000_003 % size;
        for number in 0..100 {
            ledger.prove(SHARD, index(number))?;
        }
        let samples = Samples::of(2000, |number| ledger.prove(SHARD, index(number)).map(drop))?;
        let note = format!("aim 0.1 warm; {size} entries");
        self.add("inclusion proof p50", samples.p50(), "ms", None, note.clone());
        self.add("inclusion proof p99", samples.p99(), "ms", None, note.clone());
        let samples = Samples::of(2000, |number| ledger.consistency(SHARD, index(number).max(1), size).map(drop))?;
        self.add("consistency proof p50", samples.p50(), "ms", None, note);
        Ok(())
    }

    /// 256 rows an entry, from two threads.
    fn rows(&mut self) -> anyhow::Result<()> {
        let (ledger, _) = self.ledger("rows")?;
        let (count, rows) = (self.scaled(8000), 256);
        let writer = ledger.boot(boot_info())?;
        let began = Instant::now();
        std::thread::scope(|scope| {
            let append = || -> anyhow::Result<()> {
                let mut lanes: Vec<Option<Answer>> = (0..rows).map(|_| None).collect();
                for number in 1..=count / 2 {
                    let ticket = writer.ticket()?;
                    let (sequence, mut step) = (ticket.sequence(), StepRecord::default());
                    for (lane, slot) in (0u64..).zip(&mut lanes) {
                        if slot.is_none() {
                            *slot = Some(Answer::new(ledger.begin_request(None)?, lane));
                        }
                        let answer = slot.as_mut().expect("it was just begun");
                        if (number + lane).is_multiple_of(8) || number == count / 2 {
                            step.rows.push(answer.completion(writer.boot_id(), sequence));
                            *slot = None;
                        } else {
                            step.rows.push(answer.usage(sequence, Tokens::default()));
                        }
                    }
                    ticket.append(step, Level::Durable, None)?;
                }
                Ok(())
            };
            let threads = [scope.spawn(append), scope.spawn(append)];
            threads.into_iter().try_for_each(|thread| thread.join().expect("no panic"))
        })?;
        let last = append_and_wait(&writer, StepRecord::default())?;
        let rate = per_second((last.0 - 2) * rows, began.elapsed());
        let note = "aim 300,000; 256 an entry, one in eight a completion with a secret of its own";
        self.add("rows durable and integrated", rate, "rows/s", None, note);
        Ok(ledger.close()?)
    }

    /// Acknowledgements at a steady rate, each timed from when it was due.
    fn acknowledgements(&mut self, rate: u64) -> anyhow::Result<()> {
        let (ledger, _) = self.ledger(&format!("acks{rate}"))?;
        let writer = ledger.boot(boot_info())?;
        let count = self.scaled(rate * 5);
        let samples = paced(&writer, rate, count)?;
        let (sync, note) =
            (self.sync_p50, format!("at {rate} entries/s{}", if rate == 600 { "; aim 3/8" } else { "" }));
        for (name, time) in [("p50", samples.p50()), ("p99", samples.p99())] {
            self.add(
                &format!("acknowledgement {name}"),
                time / sync,
                "syncs",
                Some(2.0),
                format!("{note}; {time:.3} ms"),
            );
        }
        Ok(ledger.close()?)
    }

    /// A receipt, from the append of its completion to its last byte, while 600 other entries come each second.
    fn receipts(&mut self) -> anyhow::Result<()> {
        let (ledger, _) = self.ledger("receipts")?;
        let writer = ledger.boot(boot_info())?;
        let mut samples = Samples::default();
        let count = self.scaled(200);
        std::thread::scope(|scope| {
            let others = scope.spawn(|| paced(&writer, 600, self.scaled(6 * count)));
            for number in 0..count {
                std::thread::sleep(Duration::from_millis(7));
                let mut answer = Answer::new(ledger.begin_request(Some([3; 32]))?, number);
                let name = answer.request.commitment();
                let began = Instant::now();
                let ticket = writer.ticket()?;
                let mut step = StepRecord::default();
                step.rows.push(answer.usage(ticket.sequence(), Tokens::default()));
                step.rows.push(answer.completion(writer.boot_id(), ticket.sequence()));
                // Whoever wants a receipt asks for a checkpoint at once, and hears when it is on disk.
                let (sender, published) = mpsc::channel();
                ticket.append(step, Level::Published, Some(Box::new(move |outcome| drop(sender.send(outcome)))))?;
                published.recv().context("no acknowledgement")??;
                ledger.receipt(&name, 0)?.to_bytes();
                samples.push(began.elapsed());
            }
            others.join().expect("no panic").map(drop)
        })?;
        let sync = self.sync_p50;
        for (name, time) in [("p50", samples.p50()), ("p99", samples.p99())] {
            let note = format!("aim 5/12; published, at 600 entries/s; {time:.3} ms");
            self.add(&format!("receipt {name}"), time / sync, "syncs", Some(3.0), note);
        }
        Ok(ledger.close()?)
    }

    /// 256 sequences, a usage row every 64 tokens each, answers of 512 tokens: what all of it weighs on disk.
    fn bytes_per_token(&mut self) -> anyhow::Result<()> {
        const SEQUENCES: u64 = 256;
        const ROW_EVERY: u64 = 64;
        const ANSWER: u64 = 512;
        let (ledger, _) = self.ledger("bytes")?;
        let writer = ledger.boot(boot_info())?;
        let steps = self.scaled(40_000);
        let mut answers: Vec<Option<Answer>> = (0..SEQUENCES).map(|_| None).collect();
        let mut tokens = 0;
        for step_number in 1..=steps {
            let ticket = writer.ticket()?;
            let sequence = ticket.sequence();
            let mut step = StepRecord { emitted_tokens: SEQUENCES, open_requests: SEQUENCES, ..StepRecord::default() };
            tokens += SEQUENCES;
            for (lane, slot) in (0u64..).zip(&mut answers) {
                let age = step_number + 2 * lane;
                if slot.is_none() {
                    *slot = Some(Answer::new(ledger.begin_request(Some([1; 32]))?, lane));
                }
                let answer = slot.as_mut().expect("it was just begun");
                answer.emitted += 1;
                if age % ROW_EVERY == 0 {
                    let emitted = std::mem::take(&mut answer.emitted);
                    step.rows.push(answer.usage(sequence, Tokens { emitted, ..Tokens::default() }));
                }
                if age % ANSWER == 0 {
                    let done = slot.take().expect("it is running");
                    step.rows.push(done.completion(writer.boot_id(), sequence));
                }
            }
            ticket.append(step, Level::Durable, None)?;
        }
        append_and_wait(&writer, StepRecord { open_requests: SEQUENCES, ..StepRecord::default() })?;
        ledger.close()?;
        #[expect(clippy::cast_precision_loss, reason = "a ratio")]
        let bytes = weight(&self.top.path().join("bytes"))? as f64 / tokens as f64;
        let note = "aim under 50; 256 sequences, everything in the folder counted, the write-ahead log included";
        self.add("bytes on disk per served token", bytes, "bytes", None, note);
        Ok(())
    }
}

/// One answer of a synthetic request.
struct Answer {
    request: Arc<Request>,
    pairs: Vec<Pair>,
    /// Tokens emitted since the last row.
    emitted: u64,
    first: Option<u64>,
    last: u64,
    tokens: Tokens,
}

impl Answer {
    fn new(request: Arc<Request>, number: u64) -> Self {
        let generation = digest(&(number % 128).to_be_bytes());
        let pairs = vec![Pair { generation, weight_millionths: 1_000_000 }];
        Self { request, pairs, emitted: 0, first: None, last: 0, tokens: Tokens::default() }
    }

    fn usage(&mut self, sequence: u64, tokens: Tokens) -> (Arc<Request>, Row) {
        let first_sequence = if self.last == 0 { sequence } else { self.last + 1 }.min(sequence);
        self.first.get_or_insert(first_sequence);
        self.last = sequence;
        self.tokens = self.tokens.checked_add(&tokens).expect("a bench counts few tokens");
        let (request, pairs) = (self.request.commitment(), self.pairs.clone());
        let usage = Usage { request, choice: 0, pairs, first_sequence, last_sequence: sequence, tokens };
        (Arc::clone(&self.request), Row::Usage(usage))
    }

    fn completion(&self, boot: [u8; 16], sequence: u64) -> (Arc<Request>, Row) {
        let commit = |what| self.request.commit(what, 0, b"bytes that are committed to");
        let step = |sequence| Step { boot, sequence };
        let last = if self.first.is_some() { self.last } else { sequence };
        let completion = Completion {
            request: self.request.commitment(),
            choice: 0,
            tenant: commit(What::Tenant),
            pairs: self.pairs.clone(),
            first: step(self.first.unwrap_or(sequence)),
            last: step(last),
            tokens: self.tokens,
            delivered_tokens: self.tokens.emitted,
            finish: Finish::STOP,
            fee_nano: 0,
            price_policy: Hash::ZERO,
            request_bytes: commit(What::Request),
            prompt: commit(What::Prompt),
            text: commit(What::Text),
            output_tokens: commit(What::Tokens),
            sampling: commit(What::Sampling),
        };
        (Arc::clone(&self.request), Row::Completion(Box::new(completion)))
    }
}

fn boot_info() -> BootInfo {
    BootInfo { engine: [1; 16], base: digest(b"base"), build: digest(b"build"), config: digest(b"config") }
}

/// Appends a step and waits until it is durable; returns the log's size then.
fn append_and_wait(writer: &Writer, step: StepRecord) -> anyhow::Result<(u64, Hash)> {
    let (sender, durable) = mpsc::channel();
    writer.append(step, Level::Durable, Some(Box::new(move |outcome| drop(sender.send(outcome)))))?;
    let committed = durable.recv().context("no acknowledgement")??;
    Ok((committed.index + 1, committed.leaf))
}

/// Appends at a steady rate; the time of each acknowledgement is counted from when its entry was due.
fn paced(writer: &Writer, rate: u64, count: u64) -> anyhow::Result<Samples> {
    let began = Instant::now();
    let (sender, times) = mpsc::channel();
    let failed = Arc::new(AtomicU64::new(0));
    for number in 0..count {
        let due = began + Duration::from_nanos(number * 1_000_000_000 / rate);
        let now = Instant::now();
        if due > now {
            std::thread::sleep(due - now);
        }
        let (sender, failed) = (sender.clone(), Arc::clone(&failed));
        let acknowledge = move |outcome: Result<_, _>| match outcome {
            Ok(_) => drop(sender.send(due.elapsed())),
            Err::<_, loam_ledger::Error>(_) => drop(failed.fetch_add(1, Ordering::Relaxed)),
        };
        writer.append(StepRecord::default(), Level::Durable, Some(Box::new(acknowledge)))?;
    }
    drop(sender);
    let mut samples = Samples::default();
    times.iter().for_each(|time| samples.push(time));
    anyhow::ensure!(failed.load(Ordering::Relaxed) == 0, "an append failed");
    Ok(samples)
}

fn per_second(count: u64, time: Duration) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let count = count as f64;
    count / time.as_secs_f64()
}

/// Entries a second that hashing alone would allow on one core: a leaf and a node each.
fn hashing_roof() -> f64 {
    let (entry, mut hash) = ([7; ENTRY_BYTES], Hash::EMPTY_TREE);
    let (began, count) = (Instant::now(), 500_000);
    for _ in 0..count {
        hash = node_hash(&hash, &leaf_hash(&entry));
    }
    assert_ne!(std::hint::black_box(hash), Hash::EMPTY_TREE);
    per_second(count, began.elapsed())
}

fn weight(folder: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for each in fs::read_dir(folder)? {
        let each = each?;
        bytes += if each.file_type()?.is_dir() { weight(&each.path())? } else { each.metadata()?.len() };
    }
    Ok(bytes)
}
