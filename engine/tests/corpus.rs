//! The fuzz targets' corpus, replayed on stable Rust: what was found once is looked at in every run.
//!
//! Each file is changed in some ways too, the same ones in every run: a fuzzer's first second, without one.
//! `LOAM_WRITE_VECTORS=1` writes the seeds, with which fuzzing begins, into the corpus.

#[path = "fuzz_bodies/mod.rs"]
mod fuzz_bodies;
#[path = "replay/mod.rs"]
mod replay;

fn check(target: &str, body: fn(&[u8])) {
    replay::check(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus"), target, fuzz_bodies::seeds(), body);
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
