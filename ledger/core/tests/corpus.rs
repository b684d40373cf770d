//! The fuzz targets' corpus, replayed on stable Rust: what was found once is looked at in every run.
//!
//! `LOAM_WRITE_VECTORS=1` writes the seeds, with which fuzzing begins, into the corpus.

#[path = "fuzz_bodies/mod.rs"]
mod fuzz_bodies;
mod world;

use std::fs;
use std::path::PathBuf;

fn check(target: &str, body: fn(&[u8])) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let seeds = fuzz_bodies::seeds().into_iter().filter(|(of, ..)| *of == target);
    for (_, name, bytes) in seeds {
        body(&bytes);
        if std::env::var_os("LOAM_WRITE_VECTORS").is_some() {
            fs::create_dir_all(&folder).expect("the corpus can be made");
            fs::write(folder.join(name), &bytes).expect("the corpus can be written");
        }
    }
    let files = fs::read_dir(&folder).expect("the corpus is committed");
    let mut replayed = 0;
    for file in files {
        let path = file.expect("the corpus can be listed").path();
        // Shown where a body fails: which file it was.
        eprintln!("{}", path.display());
        body(&fs::read(&path).expect("the corpus can be read"));
        replayed += 1;
    }
    assert!(replayed > 1, "{target} has a corpus");
}

#[test]
fn entry() {
    check("entry", fuzz_bodies::entry);
}

#[test]
fn row() {
    check("row", fuzz_bodies::row);
}

#[test]
fn note() {
    check("note", fuzz_bodies::note);
}

#[test]
fn checkpoint() {
    check("checkpoint", fuzz_bodies::checkpoint);
}

#[test]
fn proof() {
    check("proof", fuzz_bodies::proof);
}

#[test]
fn receipt() {
    check("receipt", fuzz_bodies::receipt);
}

#[test]
fn record() {
    check("record", fuzz_bodies::record);
}

#[test]
fn export() {
    check("export", fuzz_bodies::export);
}
