//! How much memory something takes at most: this process while a function runs, and a child from start to end.

use std::fs::{self, File};
use std::io::Read as _;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;

/// How often a child is looked at. What it takes in its last such while is not seen.
const LOOK: Duration = Duration::from_millis(10);

/// What something took.
pub(super) struct Taken {
    pub(super) time: Duration,
    pub(super) mib: f64,
}

/// Runs something here; what it took is by how much the most that was resident exceeds what was before.
pub(super) fn here<T>(run: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<(T, Taken)> {
    // The kernel counts the most anew from here on.
    fs::write("/proc/self/clear_refs", "5").context("asking for a new count of the most memory")?;
    let before = resident("self", "VmRSS:")?.context("this process has no memory")?;
    let began = Instant::now();
    let value = run()?;
    let time = began.elapsed();
    let most = resident("self", "VmHWM:")?.context("this process has no memory")?;
    Ok((value, Taken { time, mib: (most - before).max(0.0) }))
}

/// Runs a program; gives how it ended, what it wrote, and what it took.
pub(super) fn child(command: &mut Command) -> anyhow::Result<(ExitStatus, String, Taken)> {
    let mut written = tempfile::tempfile()?;
    let (began, mut mib) = (Instant::now(), 0.0_f64);
    let out = Stdio::from(File::try_clone(&written)?);
    let mut child = command.stdin(Stdio::null()).stdout(out).spawn().context("starting loam-audit")?;
    let status = loop {
        // Of one that has ended and is not yet waited for, the kernel shows none.
        mib = resident(&child.id().to_string(), "VmHWM:")?.map_or(mib, |most| most.max(mib));
        if let Some(status) = child.try_wait()? {
            break status;
        }
        std::thread::sleep(LOOK);
    };
    let time = began.elapsed();
    let mut text = String::new();
    std::io::Seek::rewind(&mut written)?;
    written.read_to_string(&mut text)?;
    Ok((status, text, Taken { time, mib }))
}

/// A line of a process's status, in MiB.
fn resident(process: &str, line: &str) -> anyhow::Result<Option<f64>> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).context("reading what a process takes")?;
    let kib = status.lines().find_map(|each| each.strip_prefix(line)?.trim().strip_suffix(" kB"));
    Ok(kib.map(str::parse::<f64>).transpose()?.map(|kib| kib / 1024.0))
}
