//! Kill the writer at any moment: nothing that it acknowledged is lost or moved, and nothing that it signed is denied.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::readers::{audit, independent, loam_audit};
use super::{loam, long_tier, run, said, text};

/// Rounds on one folder before a fresh one is taken.
const ROUNDS_PER_FOLDER: u64 = 10;

/// A small generator of numbers that only have to differ; its seed is printed with every failure.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// One run that is killed in its midst, and everything that must hold afterwards.
fn round(folder: &Path, number: u64, numbers: &mut Numbers, earlier: &mut Vec<PathBuf>) {
    let (data, acks) = (folder.join("data"), folder.join("acks"));
    let rows = ["0", "1", "16", "256"][usize::try_from(numbers.below(4)).expect("a small number")];
    let arguments = ["--entries", "100000000", "--rows", rows, "--writers", "2", "--acks", text(&acks)];
    let mut command = loam(&["bench", "--data", text(&data), "--reserve-bytes", "1000000"]);
    let mut writer = command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
    // Some die while they open, most while they write, however slow the machine is.
    if numbers.below(4) > 0 {
        let acknowledged = || fs::metadata(&acks).map_or(0, |acks| acks.len());
        let (before, began) = (acknowledged(), Instant::now());
        while acknowledged() == before && began.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    std::thread::sleep(Duration::from_millis(5 + numbers.below(120)));
    writer.kill().expect("it can be killed");
    assert_eq!(writer.wait().expect("it ends").code(), None, "it was killed, and did not end by itself");
    if !data.join("store").join("CURRENT").exists() || data.join("unfinished").exists() {
        // Killed before the folder was a ledger: there is nothing to keep, and the next round makes it again.
        let acknowledged = fs::read(&acks).unwrap_or_default();
        assert_eq!(acknowledged, b"", "a ledger that is none acknowledged something");
        return;
    }
    let mut fsck = vec!["fsck", "--data", text(&data)];
    if acks.exists() {
        fsck.extend(["--acks", text(&acks)]);
    }
    let output = loam(&fsck).output().expect("it starts");
    assert!(output.status.success(), "{}", said(&output));
    let out = folder.join(format!("out{number}"));
    run(&["export", "--data", text(&data), "--out", text(&out)]);
    let key = run(&["key", "show", "--data", text(&data)]);
    audit(&out, key.trim_end()).unwrap_or_else(|why| panic!("{why}"));
    let mut more = Vec::new();
    for checkpoint in &*earlier {
        more.extend(["--old", text(checkpoint)]);
    }
    if number % 5 == 4 {
        assert_ne!(independent(&out, key.trim_end(), &more), Some(false));
        assert!(matches!(loam_audit(&out, key.trim_end()), None | Some(0)));
    }
    let kept = folder.join(format!("checkpoint{number}"));
    fs::copy(out.join("checkpoint"), &kept).expect("a copy");
    earlier.push(kept);
    fs::remove_dir_all(&out).expect("it can be removed");
}

#[test]
fn nothing_acknowledged_is_lost_by_killing() {
    let rounds = if long_tier() { 200 } else { 10 };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
    let seed = now.as_secs() ^ u64::from(now.subsec_nanos());
    eprintln!("seed {seed}");
    let mut numbers = Numbers(seed);
    let mut acknowledged = 0;
    for _ in 0..rounds / ROUNDS_PER_FOLDER {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut earlier = Vec::new();
        for number in 0..ROUNDS_PER_FOLDER {
            round(folder.path(), number, &mut numbers, &mut earlier);
        }
        acknowledged +=
            fs::read(folder.path().join("acks")).map_or(0, |acks| acks.iter().filter(|b| **b == b'\n').count());
    }
    eprintln!("{rounds} rounds, {acknowledged} entries acknowledged and found");
    assert!(acknowledged > 100, "seed {seed}: only {acknowledged} entries were acknowledged before the kills");
}
