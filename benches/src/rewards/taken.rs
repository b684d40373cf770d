//! What something takes, in time, in time of processors and in memory: this process while a function runs, and a child
//! from start to end.

use std::fs::{self, File};
use std::io::Read as _;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;

/// How often a child is looked at. What it takes in its last such while is not seen.
const LOOK: Duration = Duration::from_millis(10);

/// Parts of a second in which the kernel counts processors' time, on every Linux.
const TICKS: f64 = 100.0;

/// What something took.
pub(super) struct Taken {
    pub(super) time: Duration,
    /// Of processors, all threads together: what a busy machine does not stretch.
    pub(super) processor_seconds: f64,
    pub(super) mib: f64,
    /// What was resident before.
    pub(super) mib_before: f64,
}

/// Runs something here; what it took is by how much the most that was resident exceeds what was before.
pub(super) fn here<T>(run: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<(T, Taken)> {
    // The kernel counts the most anew from here on.
    fs::write("/proc/self/clear_refs", "5").context("asking for a new count of the most memory")?;
    let mib_before = resident("self", "VmRSS:")?.context("this process has no memory")?;
    let (began, processors) = (Instant::now(), processor_seconds("self")?);
    let value = run()?;
    let (time, processor_seconds) = (began.elapsed(), processor_seconds("self")? - processors);
    let most = resident("self", "VmHWM:")?.context("this process has no memory")?;
    Ok((value, Taken { time, processor_seconds, mib: (most - mib_before).max(0.0), mib_before }))
}

/// Runs a program; gives how it ended, what it wrote, and what it took.
pub(super) fn child(command: &mut Command) -> anyhow::Result<(ExitStatus, String, Taken)> {
    let mut written = tempfile::tempfile()?;
    let (began, mut mib) = (Instant::now(), 0.0_f64);
    let out = Stdio::from(File::try_clone(&written)?);
    let mut child = command.stdin(Stdio::null()).stdout(out).spawn().context("starting loam-audit")?;
    let process = child.id().to_string();
    let (status, processor_seconds) = loop {
        // Of one that has ended and is not yet waited for, the kernel shows none.
        mib = resident(&process, "VmHWM:")?.map_or(mib, |most| most.max(mib));
        let processors = processor_seconds(&process)?;
        if let Some(status) = child.try_wait()? {
            break (status, processors);
        }
        std::thread::sleep(LOOK);
    };
    let time = began.elapsed();
    let mut text = String::new();
    std::io::Seek::rewind(&mut written)?;
    written.read_to_string(&mut text)?;
    Ok((status, text, Taken { time, processor_seconds, mib, mib_before: 0.0 }))
}

/// A line of a process's status, in MiB.
fn resident(process: &str, line: &str) -> anyhow::Result<Option<f64>> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).context("reading what a process takes")?;
    let kib = status.lines().find_map(|each| each.strip_prefix(line)?.trim().strip_suffix(" kB"));
    Ok(kib.map(str::parse::<f64>).transpose()?.map(|kib| kib / 1024.0))
}

/// Processors' time that a process has used, in itself and in the kernel.
fn processor_seconds(process: &str) -> anyhow::Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).context("reading what a process takes")?;
    // The program's name stands in brackets, and may hold anything; eleven fields stand between it and these two.
    let fields = stat.rsplit_once(')').context("a process has a name")?.1;
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<f64>).sum::<Result<f64, _>>()?;
    Ok(ticks / TICKS)
}
