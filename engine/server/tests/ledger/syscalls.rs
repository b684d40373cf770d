//! What the kernel was asked, and in which order: an acknowledgement comes after a sync of what it acknowledges.

use std::collections::BTreeMap;
use std::process::Command;

use super::text;

/// What one thread has written since it was last synced, and what it has synced since it last acknowledged.
#[derive(Default)]
struct Unsynced {
    log: bool,
    floor: bool,
    log_synced: bool,
    floor_synced: bool,
}

/// One line of the trace: thread, call, what it is about. A call that was interrupted is told when it is resumed.
fn parse(line: &str) -> Option<(&str, &str, &str)> {
    let (thread, rest) = line.split_once(' ')?;
    let (call, rest) = rest.trim_start().split_once('(')?;
    Some((thread, call, rest))
}

#[test]
fn an_acknowledgement_comes_after_its_sync() {
    let top = tempfile::tempdir().expect("a temporary folder");
    let (data, acks, trace) = (top.path().join("data"), top.path().join("acks"), top.path().join("trace"));
    let mut command = Command::new("strace");
    command.args(["-f", "-y", "-s", "0", "-e", "trace=write,writev,pwrite64,fdatasync,fsync", "-o", text(&trace)]);
    command.arg(env!("CARGO_BIN_EXE_loam")).args(["ledger", "bench", "--data", text(&data), "--entries", "300"]);
    command.args(["--rows", "2", "--writers", "2", "--acks", text(&acks)]);
    match command.output() {
        Ok(output) if output.status.success() => {}
        other => {
            eprintln!("skipped: strace cannot trace here ({other:?})");
            return;
        }
    }
    let trace = std::fs::read_to_string(&trace).expect("a trace");
    // The committer writes the log, the floor and, here, the acknowledgements: each thread is followed by itself.
    let mut threads: BTreeMap<&str, Unsynced> = BTreeMap::new();
    let mut syncing: BTreeMap<&str, &str> = BTreeMap::new();
    let (mut log_syncs, mut acknowledgements) = (0, 0);
    for line in trace.lines() {
        if let Some((thread, rest)) = line.split_once(" <... ") {
            let thread = thread.trim();
            if rest.contains("sync resumed") && rest.ends_with("= 0") {
                let file = syncing.remove(thread).unwrap_or_default();
                synced(threads.entry(thread).or_default(), file, &mut log_syncs);
            }
            continue;
        }
        let Some((thread, call, about)) = parse(line) else {
            continue;
        };
        let unsynced = threads.entry(thread).or_default();
        match call {
            "fdatasync" | "fsync" if about.ends_with("unfinished ...>") => drop(syncing.insert(thread, about)),
            "fdatasync" | "fsync" => synced(unsynced, about, &mut log_syncs),
            _ if about.contains("/store/") && about.contains(".log>") => unsynced.log = true,
            _ if about.contains("/floor>") => unsynced.floor = true,
            _ if about.contains("/acks>") => {
                assert!(!unsynced.log, "an acknowledgement before its log was synced: {line}");
                assert!(!unsynced.floor, "an acknowledgement before the floor was synced: {line}");
                // And it was not acknowledged on the strength of the group before.
                assert!(unsynced.log_synced, "an acknowledgement without a sync of the log: {line}");
                assert!(unsynced.floor_synced, "an acknowledgement without a sync of the floor: {line}");
                *unsynced = Unsynced::default();
                acknowledgements += 1;
            }
            _ => {}
        }
    }
    assert!(acknowledgements > 1 && log_syncs >= acknowledgements, "{acknowledgements} groups, {log_syncs} syncs");
}

fn synced(unsynced: &mut Unsynced, file: &str, log_syncs: &mut usize) {
    if file.contains(".log>") {
        (unsynced.log_synced, unsynced.log) = (unsynced.log, false);
        *log_syncs += 1;
    } else if file.contains("/floor>") {
        (unsynced.floor_synced, unsynced.floor) = (unsynced.floor, false);
    }
}
