//! A fuzz target's corpus, replayed: each file as it is, and changed in some ways, the same ones in every run.

use std::fs;
use std::path::PathBuf;

/// Target, name and bytes of a file with which fuzzing begins.
pub(crate) type Seed = (&'static str, &'static str, Vec<u8>);

/// Replays the files of a target, which lie in a folder of its name in this one.
pub(crate) fn check(corpora: &str, target: &str, seeds: Vec<Seed>, body: fn(&[u8])) {
    let folder = PathBuf::from(corpora).join(target);
    let seeds: Vec<Seed> = seeds.into_iter().filter(|(of, ..)| *of == target).collect();
    if std::env::var_os("LOAM_WRITE_VECTORS").is_some() {
        fs::create_dir_all(&folder).expect("the corpus can be made");
        for (_, name, bytes) in &seeds {
            fs::write(folder.join(name), bytes).expect("the corpus can be written");
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
    let (found, expected) = (corpus.len(), seeds.len());
    assert!(found >= expected, "{target}: {found} files for {expected} seeds; LOAM_WRITE_VECTORS=1 writes them");
    changed(&corpus, body);
}

/// Changes to each file in the fast tier; two hundred times as many in the long one.
const CHANGES: u64 = 16;

fn changed(corpus: &[(PathBuf, Vec<u8>)], body: fn(&[u8])) {
    let long = std::env::var("LOAM_TEST_TIER").is_ok_and(|tier| tier == "long");
    let times = if long { 200 * CHANGES } else { CHANGES };
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
