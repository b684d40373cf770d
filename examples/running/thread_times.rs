//! What the server's threads have computed: the ledger's beside all, as the operating system counts it.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

/// The ledger's threads begin so: the two of its own, and its database's.
const OF_LEDGER: [&str; 3] = ["loam-committer", "loam-publisher", "rocksdb:"];

/// Where the kernel counts in ticks, a tick is so long on every Linux.
const TICK_NS: u64 = 10_000_000;

/// CPU time of each thread.
pub struct ThreadTimes(HashMap<String, Thread>);

struct Thread {
    is_ledgers: bool,
    cpu_ns: u64,
}

/// CPU time between two moments.
#[derive(Clone, Copy)]
pub struct Spent {
    ledger_ns: u64,
    all_ns: u64,
}

impl ThreadTimes {
    /// Of a process now; none where the operating system does not say.
    pub fn of(process: u32) -> Option<Self> {
        let tasks = fs::read_dir(format!("/proc/{process}/task")).ok()?.filter_map(Result::ok);
        // A thread that ends meanwhile is not counted.
        let threads = tasks.filter_map(|task| {
            let path = task.path();
            let name = fs::read_to_string(path.join("comm")).ok()?;
            let is_ledgers = OF_LEDGER.iter().any(|begin| name.starts_with(begin));
            Some((task.file_name().to_string_lossy().into_owned(), Thread { is_ledgers, cpu_ns: cpu_ns(&path)? }))
        });
        Some(Self(threads.collect()))
    }

    /// What was spent since then.
    pub fn since(&self, before: &Self) -> Spent {
        let mut spent = Spent { ledger_ns: 0, all_ns: 0 };
        for (id, thread) in &self.0 {
            let earlier = before.0.get(id).map_or(0, |thread| thread.cpu_ns);
            let ns = thread.cpu_ns.saturating_sub(earlier);
            spent.all_ns += ns;
            spent.ledger_ns += if thread.is_ledgers { ns } else { 0 };
        }
        spent
    }
}

impl Spent {
    /// The ledger's threads' share.
    pub fn ledger_percent(self) -> f64 {
        100.0 * self.ledger_ns as f64 / self.all_ns.max(1) as f64
    }

    /// Seconds of all threads.
    pub fn all_s(self) -> f64 {
        self.all_ns as f64 * 1e-9
    }
}

/// Nanoseconds where the scheduler keeps them, else user and system ticks.
fn cpu_ns(task: &Path) -> Option<u64> {
    if let Ok(text) = fs::read_to_string(task.join("schedstat"))
        && let Some(ns) = text.split_whitespace().next().and_then(|field| field.parse().ok())
    {
        return Some(ns);
    }
    let text = fs::read_to_string(task.join("stat")).ok()?;
    // A thread's name stands in brackets and may hold anything; fields are counted behind it, from the third.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    Some((ticks(14)? + ticks(15)?) * TICK_NS)
}
