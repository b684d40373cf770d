//! The fuzz targets' corpus, replayed on stable Rust: what was found once is looked at in every run.
//!
//! Each file is changed in some ways too, the same ones in every run: a fuzzer's first second, without one.
//! `LOAM_WRITE_VECTORS=1` writes the seeds, with which fuzzing begins, into the corpus.

#[path = "fuzz_bodies/mod.rs"]
mod fuzz_bodies;
#[path = "../../../engine/tests/replay/mod.rs"]
mod replay;

fn check(target: &str, body: fn(&[u8])) {
    replay::check(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus"), target, fuzz_bodies::seeds(), body);
}

#[test]
fn rows() {
    check("rows", fuzz_bodies::rows);
}

#[test]
fn edits() {
    check("edits", |data| _ = fuzz_bodies::edits(data));
}

#[test]
fn croissant() {
    check("croissant", |data| _ = fuzz_bodies::croissant(data));
}

#[test]
fn statement() {
    check("statement", |data| _ = fuzz_bodies::statement(data));
}

/// These seeds of a target are taken, and no others. One that is refused at its first line leads nowhere.
fn check_taken(target: &str, body: fn(&[u8]) -> bool, honest: &[&str]) {
    for (_, name, bytes) in fuzz_bodies::seeds().into_iter().filter(|(of, ..)| *of == target) {
        assert_eq!(body(&bytes), honest.contains(&name), "{target}/{name}");
    }
}

#[test]
fn honest_seeds_are_taken() {
    let edits = ["every-act", "mark-before", "there-and-back", "new-then-gone", "translate-several", "split-same"];
    check_taken("edits", fuzz_bodies::edits, &edits);
    check_taken("croissant", fuzz_bodies::croissant, &["json-lines", "csv", "text", "edition-1-0"]);
    check_taken("statement", fuzz_bodies::statement, &["signed-by-two", "signed-by-one", "signed-spaced"]);
}
