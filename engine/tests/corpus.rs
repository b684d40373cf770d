//! The fuzz targets' corpus, replayed on stable Rust: what was found once is looked at in every run.
//!
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
    let mut replayed = 0;
    for file in files {
        let path = file.expect("the corpus can be listed").path();
        // Shown where a body fails: which file it was.
        eprintln!("{}", path.display());
        body(&fs::read(&path).expect("the corpus can be read"));
        replayed += 1;
    }
    let seeds = fuzz_bodies::seeds().into_iter().filter(|(of, ..)| *of == target).count();
    assert!(replayed >= seeds, "{target}: {replayed} files for {seeds} seeds; LOAM_WRITE_VECTORS=1 writes them");
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
