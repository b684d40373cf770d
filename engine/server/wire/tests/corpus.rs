//! The fuzz targets' corpus, replayed on stable Rust: what was found once is looked at in every run.
//!
//! `LOAM_WRITE_VECTORS=1` writes the seeds, with which fuzzing begins, into the corpus.

#[path = "fuzz_bodies/mod.rs"]
mod fuzz_bodies;
#[path = "../../../tests/replay/mod.rs"]
mod replay;

fn check(target: &str, body: fn(&[u8])) {
    replay::check(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus"), target, fuzz_bodies::seeds(), body);
}

#[test]
fn openai_chat() {
    check("openai_chat", fuzz_bodies::openai_chat);
}

#[test]
fn openai_completion() {
    check("openai_completion", fuzz_bodies::openai_completion);
}

#[test]
fn grpc_generate() {
    check("grpc_generate", fuzz_bodies::grpc_generate);
}
