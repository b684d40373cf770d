//! Far more adapters than there is memory for: every answer is right, memory stays bounded, and the figures are told.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use loam_engine::adapter::Source;
use loam_engine::request::Generate;
use loam_engine::{Engine, OpenOptions};

use crate::ask::{heard, options, prompt, request};
use crate::made::{Chance, alone, bare, bits, resident_bytes, sized, turn, write_adapter};

const SLOTS: usize = 16;
/// Bytes that a registered adapter may cost before it is used.
const REGISTERED_BYTES: usize = 8 << 10;
/// What the process may need beside the budgets: pages of keys and values, adapters being read, the allocator's rest.
const SLACK_BYTES: usize = 96 << 20;
const CLIENTS: usize = 6;

struct Size {
    adapters: usize,
    /// The host's budget is for so many.
    kept: usize,
    requests: usize,
    /// Adapters whose answers are worked out beforehand, by engines of their own.
    sampled: usize,
}

/// Half of them folders, half out of seeds.
fn source(root: &Path, adapter: usize) -> Source {
    if adapter.is_multiple_of(2) {
        Source::Folder(root.join(format!("a{adapter}")))
    } else {
        Source::parse(&format!("dummy:{adapter}:8")).unwrap()
    }
}

fn name(adapter: usize) -> String {
    format!("adapter-{adapter}")
}

/// Each adapter has two questions of its own.
fn question(adapter: usize, which: u64) -> Generate {
    let tokens = prompt(2 * adapter as u64 + which, 4 + adapter % 9);
    request(&tokens, &[(&name(adapter), 1.0)], 4)
}

/// Ranks by Zipf's law with exponent 1: the second is asked for half as often as the first.
struct Zipf(Vec<f64>);

impl Zipf {
    fn new(count: usize) -> Self {
        let mut sum = 0.0;
        let sums = (1..=count).map(|rank| {
            sum += 1.0 / rank as f64;
            sum
        });
        Self(sums.collect())
    }

    fn draw(&self, chance: &mut Chance) -> usize {
        let at = chance.part() * self.0.last().unwrap();
        let rank = self.0.partition_point(|sum| *sum <= at).min(self.0.len() - 1);
        // Neighbours in rank are no neighbours by name.
        (rank * 7919) % self.0.len()
    }
}

/// Answers by adapter and question: the first is kept, all others must be it.
type Answers = Mutex<BTreeMap<(usize, u64), u64>>;

fn fingerprint(said: &crate::ask::Said) -> u64 {
    let mut hasher = DefaultHasher::new();
    bits(said).hash(&mut hasher);
    hasher.finish()
}

fn expected(size: &Size, options: &OpenOptions, root: &Path) -> (BTreeMap<(usize, u64), u64>, [usize; 2]) {
    let (mut answers, mut bytes) = (BTreeMap::new(), [0; 2]);
    for rank in 0..size.sampled {
        // Half of them often asked for, half seldom.
        let rank = if rank % 2 == 0 { rank / 2 } else { size.adapters * rank / (2 * size.sampled) };
        let adapter = (rank * 7919) % size.adapters;
        let questions = [question(adapter, 0), question(adapter, 1)];
        let (said, len) = alone(options, &name(adapter), &source(root, adapter), &questions);
        bytes[adapter % 2] = len;
        answers.extend((0..).zip(&said).map(|(which, said)| ((adapter, which), fingerprint(said))));
    }
    (answers, bytes)
}

fn ask_on(engine: &Engine, size: &Size, client: usize, left: &AtomicUsize, answers: &Answers) {
    let (zipf, mut chance) = (Zipf::new(size.adapters), Chance::new(client as u64));
    let more = |left: usize| left.checked_sub(1);
    loop {
        let mut streams = Vec::new();
        for _ in 0..=chance.below(6) {
            if left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_err() {
                break;
            }
            let asked = (zipf.draw(&mut chance), chance.below(2));
            let request = Generate { tenant: format!("tenant-{}", client % 3), ..question(asked.0, asked.1) };
            streams.push((asked, engine.generate(request).unwrap()));
        }
        if streams.is_empty() {
            return;
        }
        for (asked, stream) in streams {
            let said = fingerprint(&heard(stream));
            let first = *answers.lock().unwrap().entry(asked).or_insert(said);
            assert_eq!(said, first, "adapter {} answers question {} otherwise", asked.0, asked.1);
        }
    }
}

/// The most that is in memory until it is told to stop.
fn watch(done: &AtomicBool) -> usize {
    let mut most = 0;
    while !done.load(Ordering::Relaxed) {
        most = most.max(resident_bytes());
        std::thread::sleep(Duration::from_millis(20));
    }
    most.max(resident_bytes())
}

fn tell(size: &Size, engine: &Engine, took: Duration, grown: usize) {
    let metrics = engine.metrics();
    let (found, loads) = (metrics.adapters, metrics.loads);
    let all = (found.found_on_device + found.found_in_host + found.found_nowhere) as f64;
    let part = |count: u64| 100.0 * count as f64 / all;
    eprintln!(
        "{} adapters, host budget for {}: {} requests in {:.1} s, {:.0} a second; found on the device {:.1} %, in host \
        memory {:.1} %, on disk {:.1} %",
        size.adapters,
        size.kept,
        size.requests,
        took.as_secs_f64(),
        size.requests as f64 / took.as_secs_f64(),
        part(found.found_on_device),
        part(found.found_in_host),
        part(found.found_nowhere)
    );
    eprintln!(
        "{} loads, {:.0} a second, mean {:.2} ms, at most {} ms; host tier at most {} KiB; the process grew by {} KiB",
        loads.count,
        loads.count as f64 / took.as_secs_f64(),
        loads.micros_sum as f64 / 1000.0 / loads.count.max(1) as f64,
        loads.ms_max,
        found.host_bytes_max >> 10,
        grown >> 10
    );
}

#[test]
fn ten_thousand_adapters() {
    let _turn = turn();
    let size = sized(
        Size { adapters: 300, kept: 20, requests: 900, sampled: 8 },
        Size { adapters: 10_000, kept: 500, requests: 40_000, sampled: 60 },
    );
    let root = tempfile::tempdir().unwrap();
    for adapter in (0..size.adapters).step_by(2) {
        write_adapter(&root.path().join(format!("a{adapter}")), adapter as u64, 4);
    }
    let mut options = options("llama-gqa");
    options.kv_bytes = Some(16 << 20);
    options.slots = SLOTS;
    let (answers, bytes) = expected(&size, &options, root.path());
    let adapter_bytes = bytes[0].midpoint(bytes[1]);
    options.adapter_host_bytes = size.kept * adapter_bytes;
    options.adapter_device_bytes = SLOTS * bytes[0].max(bytes[1]);
    let engine = bare(&options);

    let before = resident_bytes();
    let start = Instant::now();
    for adapter in 0..size.adapters {
        engine.catalog().register(&name(adapter), &source(root.path(), adapter)).unwrap();
    }
    let registered = resident_bytes().saturating_sub(before);
    eprintln!(
        "registered {} in {:.2} s, {} bytes of memory each; one has {} bytes when it is used",
        size.adapters,
        start.elapsed().as_secs_f64(),
        registered / size.adapters,
        adapter_bytes
    );
    assert!(registered <= size.adapters * REGISTERED_BYTES + (4 << 20), "{registered} bytes for names alone");

    let (answers, left, done) = (Mutex::new(answers), AtomicUsize::new(size.requests), AtomicBool::new(false));
    let (before, start) = (resident_bytes(), Instant::now());
    let most = std::thread::scope(|scope| {
        let watched = scope.spawn(|| watch(&done));
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (engine, size, left, answers) = (&engine, &size, &left, &answers);
                scope.spawn(move || ask_on(engine, size, client, left, answers))
            })
            .collect();
        let outcomes: Vec<_> = clients.into_iter().map(|client| client.join()).collect();
        done.store(true, Ordering::Relaxed);
        outcomes.into_iter().for_each(|outcome| outcome.unwrap());
        watched.join().unwrap()
    });
    let grown = most.saturating_sub(before);
    tell(&size, &engine, start.elapsed(), grown);

    let metrics = engine.metrics();
    assert_eq!((metrics.failed, metrics.loads.failed), (0, 0));
    assert!(metrics.loads.count as usize > size.kept, "nothing was ever driven out: this test tries nothing");
    let budgets = options.adapter_host_bytes + options.adapter_device_bytes;
    assert!(grown <= budgets + SLACK_BYTES, "the process grew by {grown} bytes, with budgets of {budgets}");
    // Beyond the budget there is for a moment what was just read and has not been looked at.
    let over = 16 * bytes[0].max(bytes[1]);
    assert!(metrics.adapters.host_bytes_max <= options.adapter_host_bytes + over, "{:?}", metrics.adapters);
    engine.stop().unwrap();
}

/// What nobody has read yet is read once for its first request, and stays for the next.
#[test]
fn a_first_use_reads_once() {
    let _turn = turn();
    let engine = bare(&options("llama-gqa"));
    for adapter in [1, 3, 5, 7] {
        engine.catalog().register(&name(adapter), &source(Path::new(""), adapter)).unwrap();
        for _ in 0..3 {
            bits(&heard(engine.generate(question(adapter, 0)).unwrap()));
        }
    }
    engine.stop().unwrap();
    assert_eq!(engine.metrics().loads.count, 4);
    let found = engine.metrics().adapters;
    assert_eq!((found.found_nowhere, found.found_on_device), (4, 8), "{found:?}");
}
