//! The fuzz targets' corpus, replayed on stable Rust: what was found once is looked at in every run.
//!
//! Each file is changed in a few hundred ways too, the same ones in every run: a fuzzer's first seconds, without one.
//! `LOAM_WRITE_VECTORS=1` writes the seeds, with which fuzzing begins, into the corpus.

#[path = "fuzz_bodies/mod.rs"]
mod fuzz_bodies;

use std::fs;
use std::path::PathBuf;

fn check(target: &str, body: fn(&[u8])) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    if std::env::var_os("LOAM_WRITE_VECTORS").is_some() {
        fs::create_dir_all(&folder).expect("the corpus can be made");
        for (_, name, bytes) in fuzz_bodies::seeds().into_iter().filter(|(of, ..)| *of == target) {
            fs::write(folder.join(name), &bytes).expect("the corpus can be written");
        }
    }
    let files = fs::read_dir(&folder).expect("the corpus is committed");
    let mut corpus = Vec::new();
    for file in files {
        let path = file.expect("the corpus can be listed").path();
        // Shown where a body fails: which file it was.
        eprintln!("{}", path.display());
        let bytes = fs::read(&path).expect("the corpus can be read");
        body(&bytes);
        corpus.push((path, bytes));
    }
    corpus.sort();
    let seeds = fuzz_bodies::seeds().into_iter().filter(|(of, ..)| *of == target).count();
    assert!(
        corpus.len() >= seeds,
        "{target}: {} files for {seeds} seeds; LOAM_WRITE_VECTORS=1 writes them",
        corpus.len()
    );
    changed(&corpus, body);
}

/// Changes to each file in the fast tier; a hundred times as many in the long one.
const CHANGES: u64 = 40;

fn changed(corpus: &[(PathBuf, Vec<u8>)], body: fn(&[u8])) {
    let long = std::env::var("LOAM_TEST_TIER").is_ok_and(|tier| tier == "long");
    let times = if long { 100 * CHANGES } else { CHANGES };
    for (place, (path, bytes)) in corpus.iter().enumerate() {
        for round in 0..times {
            let mut random = Random((place as u64) << 32 | round);
            let mut bytes = bytes.clone();
            (0..=random.below(3)).for_each(|_| change(&mut bytes, corpus, &mut random));
            // Shown where a body fails: what it failed over.
            if std::panic::catch_unwind(|| body(&bytes)).is_err() {
                panic!("{}, change {round}: {:?}", path.display(), String::from_utf8_lossy(&bytes));
            }
        }
    }
}

/// Values that readers trip over.
const TOKENS: [&str; 14] = [
    "0",
    "-1",
    "1e300",
    "5e-324",
    "4294967296",
    "18446744073709551615",
    "null",
    "true",
    "\"\"",
    "[]",
    "{}",
    "\\u0000",
    "\u{e9}",
    "{{",
];

/// One change: a bit, a byte, a part left out, doubled, taken from another file, or a value put in a number's place.
fn change(bytes: &mut Vec<u8>, corpus: &[(PathBuf, Vec<u8>)], random: &mut Random) {
    let at = random.below(bytes.len() + 1);
    let end = (at + 1 + random.below(16)).min(bytes.len());
    match random.below(6) {
        0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
        1 => bytes.insert(at, random.below(256) as u8),
        2 if at < end => drop(bytes.drain(at..end)),
        3 if at < end => bytes.extend_from_within(at..end),
        4 => {
            let other = &corpus[random.below(corpus.len())].1;
            let from = random.below(other.len() + 1);
            let part = other[from..(from + 24).min(other.len())].to_vec();
            drop(bytes.splice(at..end.max(at), part));
        }
        _ => {
            let token = TOKENS[random.below(TOKENS.len())].bytes();
            let digits = bytes.iter().skip(at).position(u8::is_ascii_digit).map_or(at, |place| at + place);
            let length = bytes[digits..].iter().take_while(|byte| byte.is_ascii_digit()).count();
            drop(bytes.splice(digits..digits + length, token));
        }
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % limit as u64) as usize
    }
}

#[test]
fn tensors() {
    check("tensors", fuzz_bodies::tensors);
}

#[test]
fn adapter_config() {
    check("adapter_config", fuzz_bodies::adapter_config);
}

#[test]
fn model_config() {
    check("model_config", fuzz_bodies::model_config);
}

#[test]
fn template() {
    check("template", fuzz_bodies::template);
}

#[test]
fn request_line() {
    check("request_line", fuzz_bodies::request_line);
}
